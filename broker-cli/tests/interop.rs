//! Interoperation with mosquitto: its broker with our clients, and its clients with ours.
//!
//! Skipped with a message where mosquitto is not installed, unless REQUIRE_MOSQUITTO is set.

mod mosquitto;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use mosquitto::Mosquitto;

/// Arguments of one command line, split at spaces.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn command(program: &str, line: &str) -> Command {
    let mut command = Command::new(program);
    command.args(words(line)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn cli(line: &str) -> Command {
    command(env!("CARGO_BIN_EXE_broker-cli"), line)
}

/// Runs to the end and returns exit status, stdout and stderr.
fn run(mut command: Command) -> (i32, String, String) {
    outcome(command.output().unwrap())
}

fn outcome(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn succeed(command: Command) -> String {
    let (status, stdout, stderr) = run(command);
    assert_eq!(status, 0, "stdout: {stdout}stderr: {stderr}");
    stdout
}

/// A kept session makes the order certain: subscribe, then publish, then receive; nothing has to sleep.
#[track_caller]
fn receive_after(connection: &str, filter: &str, publishers: Vec<Command>, format: &str) -> String {
    let session = format!("{connection} -c -i session -q 2 -t {filter}");
    succeed(cli(&format!("sub {session} -E")));
    let n_messages = publishers.len();
    publishers.into_iter().for_each(|it| drop(succeed(it)));
    succeed(cli(&format!("sub {session} -C {n_messages} -W 10 {format}")))
}

#[test]
fn both_clients_publish_to_our_subscriber_in_each_version_and_qos() {
    let Some(broker) = Mosquitto::start() else { return };
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        // Without QoS 0, which mosquitto does not queue for an absent client.
        for qos in 1..3 {
            let base = format!("{} -V {version}", broker.tcp());
            let topic = format!("{version}/{qos}");
            let ours = cli(&format!("pub {base} -t {topic} -m ours -q {qos}"));
            let theirs = command("mosquitto_pub", &format!("{base} -t {topic} -m theirs -q {qos}"));
            let got = receive_after(&base, &topic, vec![ours, theirs], "-F %q:%p");
            assert_eq!(got, format!("{qos}:ours\n{qos}:theirs\n"), "{version}");
        }
    }
}

#[test]
fn their_subscriber_receives_what_we_publish() {
    let Some(broker) = Mosquitto::start() else { return };
    let base = broker.tcp();
    succeed(cli(&format!("pub {base} -t kept -m retained -r -q 2")));
    let got = succeed(command("mosquitto_sub", &format!("{base} -t kept -C 1 -W 10 -v")));
    assert_eq!(got, "kept retained\n");
    let properties = "-D publish content-type text/plain -D publish user-property k v \
                      -D publish response-topic r -D publish correlation-data c";
    succeed(cli(&format!("pub {base} -t v5 -m x -r -q 1 {properties}")));
    let line = format!("{base} -V mqttv5 -t v5 -C 1 -W 10 -F %C|%P|%R|%D|%p");
    assert_eq!(succeed(command("mosquitto_sub", &line)), "text/plain|k:v|r|c|x\n");
}

#[test]
fn our_subscriber_shows_the_properties_they_publish() {
    let Some(broker) = Mosquitto::start() else { return };
    let base = broker.tcp();
    let theirs =
        "-V mqttv5 -t p -m hi -r -D publish content-type text -D publish user-property k v";
    succeed(command("mosquitto_pub", &format!("{base} {theirs}")));
    let subscribe = format!("sub {base} -t p -C 1 -W 10 -D subscribe subscription-identifier 5");
    assert_eq!(succeed(cli(&format!("{subscribe} -F %C|%P|%S|%r"))), "text|k:v|5|1\n");
    let json = succeed(cli(&format!("{subscribe} --json")));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["payload"], "hi");
    assert_eq!(json["properties"]["user-properties"][0]["k"], "v");
    assert_eq!(json["properties"]["subscription-identifiers"][0], 5);
}

#[test]
fn tls_websocket_and_both_carry_mqtt() {
    let Some(broker) = Mosquitto::start() else { return };
    for transport in [broker.websocket(), broker.tls(), broker.websocket_tls(), broker.unix()] {
        succeed(cli(&format!("pub {transport} -t over/it -m payload -q 2 -r")));
        let got = succeed(cli(&format!("sub {transport} -t over/it -C 1 -W 10")));
        assert_eq!(got, "payload\n", "{transport}");
    }
    for version in ["tlsv1.2", "tlsv1.3"] {
        let line = format!("pub {} -t t -n -q 1 --tls-version {version}", broker.tls());
        succeed(cli(&line));
    }
}

#[test]
fn certificate_is_checked_unless_insecure() {
    let Some(broker) = Mosquitto::start() else { return };
    let publish = |flags: &str| {
        run(cli(&format!("pub -h 127.0.0.1 -p {} -t t -n -q 1 {flags}", broker.tls_port)))
    };
    let (status, _, stderr) = publish(&format!("--cafile {}", broker.other_ca().display()));
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("TLS: invalid peer certificate: "), "{stderr}");
    // The certificate is for localhost.
    let ca = broker.ca().display().to_string();
    let (status, _, stderr) = publish(&format!("--cafile {ca}"));
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("not valid for name"), "{stderr}");
    assert_eq!(publish(&format!("--cafile {ca} --insecure")).0, 0);
    assert_eq!(publish("--insecure").0, 0);
    let (status, ..) = publish(&format!("--insecure --cafile {}", broker.other_ca().display()));
    assert_eq!(status, 1);
}

#[test]
fn large_payload_survives_each_transport() {
    let Some(broker) = Mosquitto::start() else { return };
    let payload = |len| (0..len).map(|i| char::from(b'a' + (i % 23) as u8)).collect::<String>();
    let (large, medium) = (payload(600_000), payload(30_000));
    let large_path = broker.write_file("large", &large);
    let medium_path = broker.write_file("medium", &medium);
    for transport in [broker.tcp(), broker.tls(), broker.websocket(), broker.websocket_tls()] {
        succeed(cli(&format!("pub {transport} -t large -f {} -q 1 -r", large_path.display())));
        let got = succeed(cli(&format!("sub {} -t large -C 1 -W 10 -N", broker.tcp())));
        assert!(got == large, "{transport}: {} bytes", got.len());
        // mosquitto sends 4 KiB every 100 ms over WebSocket, hence not the large one.
        succeed(cli(&format!(
            "pub {} -t medium -f {} -q 1 -r",
            broker.tcp(),
            medium_path.display()
        )));
        let got = succeed(cli(&format!("sub {transport} -t medium -C 1 -W 10 -N")));
        assert!(got == medium, "{transport}: {} bytes", got.len());
    }
}

#[test]
fn payload_above_the_bound_of_the_output_does_not_stall() {
    let Some(broker) = Mosquitto::start() else { return };
    let path = broker.write_file("large", &"x".repeat(300_000));
    let large = format!("-f {} --repeat 20", path.display());
    succeed(cli(&format!("pub {} -t large {large}", broker.tcp())));
    let load = "-c 1 -n 20 --size 300000 --duration 10 --json --quiet";
    let json = succeed(cli(&format!("bench pubsub {} {load}", broker.tcp())));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["received"]["count"], 20, "{json:#}");
}

#[test]
fn each_line_of_stdin_is_a_message() {
    let Some(broker) = Mosquitto::start() else { return };
    let base = broker.tcp();
    let session = format!("{base} -c -i lines -q 1 -t lines");
    succeed(cli(&format!("sub {session} -E")));
    let mut publisher = cli(&format!("pub {base} -t lines -l -q 1 -M 3"));
    let mut publisher = publisher.stdin(Stdio::piped()).spawn().unwrap();
    let lines: String = (0..50).map(|i| format!("line {i}\n")).collect();
    publisher.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert_eq!(outcome(publisher.wait_with_output().unwrap()).0, 0);
    assert_eq!(succeed(cli(&format!("sub {session} -C 50 -W 10"))), lines);
}

#[test]
fn repeated_message_arrives_so_often() {
    let Some(broker) = Mosquitto::start() else { return };
    let base = broker.tcp();
    let session = format!("{base} -c -i repeat -q 2 -t repeat");
    succeed(cli(&format!("sub {session} -E")));
    succeed(cli(&format!("pub {base} -t repeat -m again -q 2 --repeat 5 --repeat-delay 0.01")));
    assert_eq!(succeed(cli(&format!("sub {session} -C 5 -W 10"))), "again\n".repeat(5));
}

#[test]
fn retained_messages_are_selected_and_removed() {
    let Some(broker) = Mosquitto::start() else { return };
    let base = broker.tcp();
    for topic in ["r/1", "r/2", "r/3"] {
        succeed(cli(&format!("pub {base} -t {topic} -m {topic} -r -q 1")));
    }
    let got = succeed(cli(&format!("sub {base} -t r/# -T r/2 -C 2 -W 10 -v")));
    assert_eq!(got, "r/1 r/1\nr/3 r/3\n");
    for flags in ["-R", "-V mqttv5 -R", "-V mqttv5 --retain-handling never"] {
        let (status, stdout, stderr) = run(cli(&format!("sub {base} -t r/# -W 0.3 {flags}")));
        assert_eq!((status, stdout.as_str()), (27, ""), "{flags}: {stderr}");
    }
    succeed(cli(&format!("sub {base} -t r/# -T r/2 --remove-retained -C 2 -W 10")));
    let got = succeed(cli(&format!("sub {base} -t r/# -C 1 -W 10")));
    assert_eq!(got, "r/2\n");
}

#[test]
fn refused_connection_is_the_exit_status() {
    let Some(broker) = Mosquitto::start() else { return };
    let base = broker.password_protected();
    let publish = |flags: &str| run(cli(&format!("pub {base} -t t -n {flags}")));
    let (status, _, stderr) = publish("-V mqttv5 -u me -P wrong");
    assert_eq!(stderr, "broker-cli: error: connection refused: 0x87 Not authorized\n");
    assert_eq!(status, 0x87);
    // MQTT 3.1.1 has a return code of its own, which means the same.
    let (status, _, stderr) = publish("-V mqttv311");
    assert_eq!((status, stderr.contains("0x87 Not authorized")), (0x87, true), "{stderr}");
    assert_eq!(publish("--quiet"), (0x87, String::new(), String::new()));
    assert_eq!(publish("-u me -P secret -q 1").0, 0);
}

#[test]
fn unreachable_server_is_named() {
    let port = mosquitto::free_port();
    let (status, _, stderr) = run(cli(&format!("pub -h 127.0.0.1 -p {port} -t t -n")));
    assert_eq!(status, 1);
    let expected = format!("broker-cli: error: connecting to 127.0.0.1:{port}: ");
    assert!(stderr.starts_with(&expected), "{stderr}");
}

#[test]
fn wrong_flags_are_named() {
    for (line, expected) in [
        ("pub -t t", "--message"),
        ("pub -m x", "-t/--topic is missing"),
        ("pub -t a/# -m x", "-t/--topic 'a/#': wildcard in a topic name at byte 2"),
        ("sub -t a#", "-t/--topic 'a#': '#' is not alone in the last level at byte 1"),
        ("sub -t t -F %", "-F"),
        ("pub -t t -f /nonexistent", "reading -f/--file /nonexistent"),
        ("bench pubsub -t %c", "-t/--topic: %c differs between the clients of a pair"),
    ] {
        let (status, _, stderr) = run(cli(line));
        assert!(status == 1 || status == 2, "{line}: {status}");
        assert!(stderr.contains(expected), "{line}: {stderr}");
    }
}

#[test]
fn interrupted_subscriber_disconnects_without_will() {
    let Some(broker) = Mosquitto::start() else { return };
    let base = broker.tcp();
    let session = format!("{base} -c -i witness -q 1 -t will");
    succeed(cli(&format!("sub {session} -E")));
    let mut subscriber = cli(&format!("sub {base} -t s -v --will-topic will --will-payload died"));
    let subscriber = subscriber.arg("-d").spawn().unwrap();
    let (mut subscriber, stderr) = mosquitto::wait_for_line(subscriber, "received SUBACK");
    mosquitto::interrupt(&subscriber);
    assert_eq!(subscriber.wait().unwrap().code(), Some(0));
    drop(stderr);
    let (status, stdout, _) = run(cli(&format!("sub {session} -W 0.3")));
    assert_eq!((status, stdout.as_str()), (27, ""));
}

#[test]
fn bench_loses_nothing_and_reports_json() {
    let Some(broker) = Mosquitto::start() else { return };
    for transport in [broker.tcp(), broker.tls(), broker.websocket()] {
        for qos in 0..3 {
            let load = format!("-c 5 --fan 2 -q {qos} --rate 1000 -n 200 --json --quiet");
            let json = succeed(cli(&format!("bench pubsub {transport} {load}")));
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json["clients"]["connected"], 15, "{json:#}");
            assert_eq!(json["published"]["sent"], 200, "{json:#}");
            assert_eq!(json["received"]["count"], 400, "{json:#}");
            assert_eq!(json["received"]["lost"], 0, "{json:#}");
            assert!(json["received"]["latency_us"]["p50"].is_number(), "{json:#}");
        }
    }
    let text = succeed(cli(&format!("bench conn {} -c 50 --quiet", broker.tcp())));
    assert!(text.starts_with("connected   50 of 50 in "), "{text}");
    let text = succeed(cli(&format!("bench pub {} -c 3 -q 1 -n 500 --quiet", broker.tcp())));
    assert!(text.contains("acked       500, 0 refused, 0 missing"), "{text}");
}

#[test]
fn bench_sub_counts_what_arrives() {
    let Some(broker) = Mosquitto::start() else { return };
    let base = broker.tcp();
    // Retained, so that they are there whenever it has subscribed.
    for (topic, payload) in [("bench/0", "ab"), ("bench/1", "abc"), ("bench/none", "abcd")] {
        succeed(cli(&format!("pub {base} -t {topic} -m {payload} -r -q 1")));
    }
    let sub = format!("bench sub {base} -c 2 -q 1 --duration 1 --quiet");
    let json: serde_json::Value =
        serde_json::from_str(&succeed(cli(&format!("{sub} --json")))).unwrap();
    assert_eq!(json["clients"]["connected"], 2, "{json:#}");
    assert_eq!(json["received"]["count"], 2, "{json:#}");
    // Nobody knows what there was to come, and the payloads tell no time.
    assert!(json["received"].get("lost").is_none(), "{json:#}");
    assert!(json["received"]["latency_us"].is_null(), "{json:#}");
    assert!(json.get("published").is_none(), "{json:#}");
    let text = succeed(cli(&format!("{sub} -t bench/#")));
    assert!(text.contains("\nreceived    6, "), "{text}");
    let publish = cli(&format!("bench pub {base} -c 2 -q 1 -n 2 -r --quiet"));
    succeed(publish);
    let text = succeed(cli(&sub));
    assert!(text.contains("\nreceived    2, ") && text.contains("\n  delivery  p50 "), "{text}");
}

#[test]
fn brokers_are_compared_side_by_side() {
    let Some(broker) = Mosquitto::start() else { return };
    let json = std::env::temp_dir().join(format!("broker-cli-compare-{}.json", broker.pid()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/compare");
    let address = broker.address();
    let line = format!(
        "{script} one={address}@{} two={address} --cli {} --json {} --rounds 1 --secs 0.5 \
         --loads q0,q1 -- -c 2",
        broker.pid(),
        env!("CARGO_BIN_EXE_broker-cli"),
        json.display()
    );
    let shown = succeed(command("python3", &format!("-B {line}")));
    assert!(shown.contains("q1: 10 pairs, QoS 1\n"), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.starts_with("  one ")).count(), 2, "{shown}");
    let figures: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(json).unwrap();
    let is_measured = |load, name, column| figures[load][name][0][column].as_f64() > Some(0.0);
    for column in ["msg/s", "cpu us", "p50 ms", "p99 ms", "ack p50 ms", "ack p99 ms"] {
        assert!(is_measured("q1", "one", column), "{column}: {figures:#}");
    }
    assert!(is_measured("q0", "two", "p99 ms") && !is_measured("q0", "two", "cpu us"));
    let (status, _, stderr) = run(command("python3", &format!("-B {script} nowhere")));
    assert_eq!(status, 2);
    assert!(stderr.contains("'nowhere' is not NAME=HOST:PORT"), "{stderr}");
}
