//! `recon` and `reload`: what two plugins of the original add to the command line.

use crate::broker::Broker;

/// Names and values of the lines of emqx_ctl, whose names are padded.
fn fields<'a>(lines: &'a str) -> Vec<(&'a str, f64)> {
    let parse = |line: &'a str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        assert_eq!(name.len(), 20, "{line}");
        (name.trim_end(), value.parse().unwrap())
    };
    lines.lines().map(parse).collect()
}

#[test]
fn memory_is_told_in_the_lines_of_the_original() {
    let broker = Broker::start();
    let memory = broker.cli("recon memory --format emqx");
    let told = fields(&memory);
    let names: Vec<_> = told.iter().map(|(name, _)| *name).collect();
    let expected = ["usage", "used", "allocated", "unused"]
        .iter()
        .flat_map(|key| [format!("{key}/current"), format!("{key}/max")])
        .collect::<Vec<_>>();
    assert_eq!(names, expected);
    let of = |name: &str| told.iter().find(|(it, _)| *it == name).unwrap().1;
    assert!(of("used/current") > 1e5 && of("used/current") <= of("used/max"), "{memory}");
    assert_eq!(of("used/current") + of("unused/current"), of("allocated/current"));
    assert!((of("usage/current") - of("used/current") / of("allocated/current")).abs() < 1e-6);
    let allocated = broker.cli("recon allocated --format emqx");
    let told = fields(&allocated);
    let names: Vec<_> = told.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["arenas/current", "blocks/current", "arenas/max", "blocks/max"]);
    assert!(told[0].1 > 1e5 && told[0].1 <= told[2].1, "{allocated}");
    // For people, and as JSON.
    assert!(broker.cli("recon memory").starts_with("usage/current      0."));
    assert!(broker.json("recon memory")["allocated/max"].as_u64().unwrap() > 100_000);
}

#[test]
fn the_load_is_told_again_and_again_with_what_has_come_since() {
    let broker = Broker::start();
    let lines = broker.cli("recon node_stats --count 2 --interval 0.1 --format emqx");
    assert_eq!(lines.lines().count(), 2);
    for line in lines.lines() {
        assert!(line.starts_with("{[{process_count,") && line.ends_with("}]}"), "{line}");
        for name in ["run_queue", "memory_total", "messages_in_queues"] {
            assert!(line.contains(&format!("{{{name},")), "{line}");
        }
    }
    let told = broker.json("recon node_stats --count 1 --interval 0.01");
    assert!(told["memory_total"].as_u64().unwrap() > 1_000_000, "{told}");
    assert_eq!(told["messages_in_queues"], 0);
    assert_eq!(told["bytes_in"], 0, "nobody has connected");
    assert!((0.0..=1.0).contains(&told["scheduler_usage"].as_f64().unwrap()), "{told}");
    broker.fails("recon node_stats --interval 0", 2, "0.01 to 3600");
}

#[test]
fn what_is_of_erlang_is_not_supported() {
    let broker = Broker::start();
    broker.fails("recon bin_leak", 1, "recon bin_leak is not supported: ");
    broker.fails("recon remote_load emqx", 1, "recon remote_load is not supported: ");
    let ctl = broker.run(&["recon", "bin_leak", "--format", "emqx"]);
    assert!(ctl.stdout.starts_with("recon bin_leak is not supported: "), "{ctl:?}");
    assert_eq!((ctl.status, ctl.stderr.as_str()), (1, ""));
    broker.cli("plugins unload emqx_recon");
    broker.fails("recon memory", 1, "plugin emqx_recon is not loaded");
}

#[test]
fn reload_is_about_plugins_that_are_loaded() {
    let broker = Broker::start();
    broker.fails("reload emqx_retainer", 1, "plugin emqx_reloader is not loaded");
    broker.cli("plugins load emqx_reloader");
    assert_eq!(broker.cli("reload emqx_retainer"), "reloaded emqx_retainer\n");
    let ctl = broker.cli("reload emqx_reloader --format emqx");
    assert_eq!(ctl, "Reload module emqx_reloader successfully.\n");
    for module in ["emqx_auth_jwt", "emqx_coap", "emqx_broker", "lists"] {
        let ctl = broker.run(&["reload", module, "--format", "emqx"]);
        assert_eq!(ctl.stdout, format!("Failed to reload module {module}: not found.\n"));
        assert_eq!(ctl.status, 1);
    }
    broker.fails("reload lists", 1, "Failed to reload module lists: not found.");
}
