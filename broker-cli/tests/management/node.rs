//! What the node is, who may ask it, and what a broker that is gone is like.

use crate::broker::Broker;

#[test]
fn the_node_shows_what_it_is() {
    let broker = Broker::start();
    let status = broker.cli("status");
    assert!(
        status.starts_with("node     emqx@127.0.0.1\nstatus   Running\nversion  v"),
        "{status}"
    );
    let ctl = broker.cli("status --format emqx");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(ctl, format!("Node 'emqx@127.0.0.1' is started\nemqx v{version} is running\n"));
    assert!(broker.cli("nodes").starts_with("NODE "));
    assert_eq!(broker.json("nodes emqx@127.0.0.1")["node_status"], "Running");
    assert_eq!(broker.json("status")[0]["node"], "emqx@127.0.0.1");
    let ctl = broker.cli("cluster status --format emqx");
    assert_eq!(ctl, "Cluster status: [{running_nodes,['emqx@127.0.0.1']}]\n");
    let vm = broker.cli("vm memory");
    let words: Vec<&str> = vm.split_whitespace().collect();
    let ["memory/total", total, "memory/used", used] = words.as_slice() else { panic!("{vm}") };
    assert!(used.parse::<u64>().unwrap() <= total.parse().unwrap());
    broker.fails("nodes nowhere@x", 1, "nowhere@x");
    broker.fails("cluster join b@x", 1, "cannot join");
}

#[test]
fn applications_come_and_go_and_their_secrets_count() {
    let broker = Broker::start();
    let made = broker.json("apps insert ops Operators --role viewer");
    let secret = made["secret"].as_str().unwrap();
    let as_ops = |line: &str| {
        broker.run(
            &[&line.split(' ').collect::<Vec<_>>()[..], &["--app", "ops", "--secret", secret]]
                .concat(),
        )
    };
    assert_eq!(as_ops("nodes").status, 0);
    // A viewer only looks.
    let refused = as_ops("apps insert x y");
    assert_eq!(refused.status, 1, "{refused:?}");
    broker.fails("apps insert ops again", 1, "exist");
    let app = broker.json("apps lookup ops");
    assert_eq!(
        (&app["name"], &app["role"], &app["secret"]),
        (&"Operators".into(), &"viewer".into(), &"******".into())
    );
    broker.cli("apps update ops off --desc nobody");
    let app = broker.json("apps lookup ops");
    assert_eq!(
        (&app["name"], &app["desc"], &app["status"]),
        (&"Operators".into(), &"nobody".into(), &false.into())
    );
    let disabled = as_ops("nodes");
    assert_eq!(disabled.status, 1);
    assert!(disabled.stderr.contains("does not know application 'ops'"), "{disabled:?}");
    assert!(!disabled.stderr.contains(secret), "{disabled:?}");
    broker.cli("apps delete ops");
    broker.fails("apps lookup ops", 1, "no application 'ops'");
}

#[test]
fn a_broker_that_was_killed_cannot_be_reached() {
    let mut broker = Broker::start();
    broker.cli("status");
    broker.kill();
    broker.fails("status", 3, "connection refused; is it running there?");
}

#[test]
fn a_configuration_is_checked_by_the_broker_itself() {
    let broker = Broker::start();
    let path = broker.path("other.toml");
    let check = || broker.run(&["config", "check", path.to_str().unwrap()]);
    std::fs::write(&path, "[mqtt]\nmax_packet_size = \"2MB\"\n").unwrap();
    let fine = check();
    assert_eq!(fine.status, 0, "{fine:?}");
    assert!(fine.stderr.contains("the configuration is fine"), "{fine:?}");
    std::fs::write(&path, "[mqtt]\nmax_packet_sise = \"2MB\"\n").unwrap();
    let wrong = check();
    assert_eq!(wrong.status, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("did you mean mqtt.max_packet_size?"), "{wrong:?}");
}
