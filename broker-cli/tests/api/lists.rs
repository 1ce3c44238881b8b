//! Lists, look-ups, paging, and the form of what is printed.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::server::{Request, Server, data, ok};
use crate::{program, run, succeed};

/// A broker with so many connections, which has pages as the original has.
fn broker_with(count: u64) -> Server {
    Server::start(move |request: &Request| {
        let number = |name| request.query(name).and_then(|text| text.parse::<u64>().ok());
        let (page, limit) = (number("_page").unwrap_or(1), number("_limit").unwrap_or(10_000));
        let rows: Vec<Value> = ((page - 1) * limit..(page * limit).min(count))
            .map(|n| json!({"client_id": format!("c{n}"), "ipaddress": "127.0.0.1", "port": n}))
            .collect();
        let meta = json!({"page": page, "limit": limit, "count": count});
        ok(json!({"code": 0, "data": rows, "meta": meta}).to_string())
    })
}

#[test]
fn every_page_is_fetched_and_every_row_printed_once() {
    let server = broker_with(2500);
    let rows: Vec<Value> = serde_json::from_str(&succeed(&server, "clients list --json")).unwrap();
    let ids: Vec<String> =
        rows.iter().map(|row| row["client_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..2500).map(|n| format!("c{n}")).collect::<Vec<_>>());
    let expected =
        [1, 2, 3].map(|page| format!("GET /api/v3/connections?_page={page}&_limit=1000"));
    assert_eq!(server.take_lines(), expected);
    assert_eq!(succeed(&server, "clients list").lines().count(), 2501);
}

#[test]
fn limit_fetches_no_more_than_it_needs() {
    let server = broker_with(2500);
    assert_eq!(succeed(&server, "clients list --limit 3").lines().count(), 4);
    assert_eq!(server.take_lines(), ["GET /api/v3/connections?_page=1&_limit=3"]);
}

#[test]
fn a_reader_that_has_enough_ends_the_list() {
    let server = broker_with(200_000);
    let mut child = program(env!("CARGO_BIN_EXE_broker-cli"))
        .args(["clients", "list"])
        .env("BROKER_API", server.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("CLIENT ID"));
    drop(lines);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    assert_eq!(stderr, "");
    // Long before all 200 pages.
    assert!(server.take_lines().len() < 100);
}

#[test]
fn json_is_what_the_api_has_to_the_byte() {
    let body = r#"{ "b": 1.50,  "a":[1 ,2], "c":"\u00e4" }"#;
    let server = Server::with(ok(format!("{{\"code\":0,\"data\":{body}}}")));
    assert_eq!(succeed(&server, "broker stats --node n --json"), format!("{body}\n"));
}

#[test]
fn ids_and_topics_are_encoded_once() {
    let server = Server::with(data(&json!([{"client_id": "x", "topic": "t", "node": "n"}])));
    for (words, expected) in [
        (["clients", "show", "a/b #+%"], "GET /api/v3/connections/a%2Fb%20%23%2B%25"),
        (["sessions", "show", "ä"], "GET /api/v3/sessions/%C3%A4"),
        (["routes", "show", "t/+/#"], "GET /api/v3/routes/t%2F%2B%2F%23"),
        (["topics", "show", "$SYS/#"], "GET /api/v3/routes/%24SYS%2F%23"),
        (["subscriptions", "show", ".."], "GET /api/v3/subscriptions/%2E%2E"),
    ] {
        let outcome = run(&server, &words);
        assert_eq!(outcome.status, 0, "{words:?}: {outcome:?}");
        assert_eq!(server.take_lines(), [expected]);
    }
}

#[test]
fn a_node_that_is_asked_for_has_its_own_paths() {
    let server = Server::with(data(&json!([])));
    for (line, expected) in [
        ("clients list", "GET /api/v3/nodes/a@b/connections?_page=1&_limit=1000"),
        (
            "clients list --username u",
            "GET /api/v3/nodes/a@b/connection/username/u?_page=1&_limit=1000",
        ),
        ("sessions list", "GET /api/v3/nodes/a@b/sessions?_page=1&_limit=1000"),
        ("subscriptions list", "GET /api/v3/nodes/a@b/subscriptions?_page=1&_limit=1000"),
        ("listeners", "GET /api/v3/nodes/a@b/listeners"),
        ("plugins list", "GET /api/v3/nodes/a@b/plugins"),
        ("metrics", "GET /api/v3/nodes/a@b/metrics"),
        ("stats", "GET /api/v3/nodes/a@b/stats"),
        ("alarms", "GET /api/v3/alarms/present/a@b"),
        ("alarms history", "GET /api/v3/alarms/history/a@b"),
        ("vm", "GET /api/v3/nodes/a@b"),
        ("config show", "GET /api/v3/nodes/a@b/configs"),
        ("slow-subscriptions", "GET /api/v3/nodes/a@b/slow_subscriptions"),
        ("store stats", "GET /api/v3/nodes/a@b/store/stats"),
        ("drops", "GET /api/v3/nodes/a@b/drops"),
    ] {
        succeed(&server, &format!("{line} --node a@b"));
        assert_eq!(server.take_lines(), [expected], "{line}");
    }
}

#[test]
fn lists_by_node_are_flat() {
    let alarms = json!([{"node": "a@b", "alarms": [
        {"id": "cpu_high_watermark", "desc": "82.6", "clear_at": "2019-07-10 16:54:35"},
        {"id": "x", "desc": {"severity": "error", "title": "t", "summary": "s", "timestamp": "z"}, "clear_at": "c"},
    ]}]);
    let server = Server::with(data(&alarms));
    let expected = "ALARM               CLEARED AT           DESCRIPTION\n\
                    cpu_high_watermark  2019-07-10 16:54:35  82.6\n\
                    x                   c                    error: t: s\n";
    assert_eq!(succeed(&server, "alarms history"), expected);
    assert_eq!(succeed(&server, "alarms history --json"), format!("{alarms}\n"));
}

#[test]
fn nothing_is_no_row_and_a_word_on_stderr() {
    let server = Server::with(data(&json!([])));
    let outcome = run(&server, &["clients", "list"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, ""));
    assert_eq!(outcome.stderr, "broker-cli: no clients\n");
    assert_eq!(succeed(&server, "clients list --json"), "[]\n");
    // Looked for and not found is a failure.
    let outcome = run(&server, &["clients", "show", "x"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    assert!(outcome.stderr.ends_with("error: no client 'x' is connected\n"), "{outcome:?}");
    let outcome = run(&server, &["clients", "show", "x", "--format", "emqx", "--node", "n"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, "Not Found.\n"));
    assert_eq!(outcome.stderr, "");
}

#[test]
fn what_a_client_calls_itself_cannot_steer_the_terminal() {
    let server = Server::with(data(
        &json!([{"client_id": "\u{1b}[2Jx\r\n", "topic": "t", "qos": 0, "node": "n"}]),
    ));
    for line in ["subscriptions list", "subscriptions list --format emqx"] {
        let stdout = succeed(&server, line);
        assert!(stdout.contains("\\u{1b}[2Jx\\r\\n"), "{stdout:?}");
        assert!(!stdout.contains('\u{1b}') && !stdout.contains('\r'), "{stdout:?}");
    }
}

#[test]
fn why_says_the_verdict_first() {
    let answer = json!({
        "from": "a", "topic": "t", "to": "b", "verdict": "no_subscription",
        "explanation": "'b' has no subscription that matches 't'",
        "checks": [
            {"check": "publisher", "result": "pass", "detail": "connected"},
            {"check": "subscription", "result": "fail", "detail": "2 filters, none matches"},
        ],
        "counts": {"delivered": 3, "queue_full": 1},
    });
    let server = Server::with(data(&answer));
    let stdout = succeed(&server, "why --from a --topic t/1 --to b --qos 1 --size 20");
    let expected = "no_subscription: 'b' has no subscription that matches 't'\n\n\
                    CHECK         RESULT  DETAIL\n\
                    publisher     pass    connected\n\
                    subscription  fail    2 filters, none matches\n\n\
                    messages for 'b' so far: delivered 3, queue_full 1\n";
    assert_eq!(stdout, expected);
    assert_eq!(server.take_lines(), ["GET /api/v3/why?from=a&topic=t%2F1&to=b&qos=1&size=20"]);
}

#[test]
fn a_trace_is_followed_until_it_ends() {
    let event = |seq: u64| {
        json!({"seq": seq, "at": "12:00:00.001", "client_id": "c", "peer": "1.2.3.4:5", "event": "received",
               "text": format!("PINGREQ {seq}")})
    };
    let page = |events: &[Value], next: u64, dropped: u64, is_running: bool| {
        let meta = json!({"next": next, "dropped": dropped, "running": is_running});
        ok(json!({"code": 0, "data": events, "meta": meta}).to_string())
    };
    let server = Server::with_each(vec![
        page(&[event(1), event(2)], 2, 0, true),
        page(&[], 2, 0, true),
        page(&[event(3)], 3, 7, false),
        page(&[], 3, 7, false),
    ]);
    let outcome = run(&server, &["trace", "follow", "client", "c"]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let expected: String = (1..4)
        .map(|seq| format!("12:00:00.001  received      c@1.2.3.4:5  PINGREQ {seq}\n"))
        .collect();
    assert_eq!(outcome.stdout, expected);
    assert_eq!(outcome.stderr, "broker-cli: 7 events dropped, over the rate\n");
    let expected = [0, 2, 2, 3].map(|n| format!("GET /api/v3/traces/client_id/c/events?after={n}"));
    assert_eq!(server.take_lines(), expected);
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = program(env!("CARGO_BIN_EXE_broker-cli"));
        let output = command.args(["completion", shell]).output().unwrap();
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("clean-persistent"), "{shell}");
    }
    let bash =
        program(env!("CARGO_BIN_EXE_broker-cli")).args(["completion", "bash"]).output().unwrap();
    let path = crate::scratch("completion");
    std::fs::write(&path, bash.stdout).unwrap();
    assert!(program("bash").arg("-n").arg(&path).status().unwrap().success());
    std::fs::remove_file(path).unwrap();
}

/// `script` of util-linux, which every Debian has, gives the program a terminal.
#[cfg(target_os = "linux")]
#[test]
fn titles_are_bold_on_a_terminal_that_wants_it() {
    let server =
        Server::with(data(&json!([{"client_id": "c", "topic": "t", "qos": 0, "node": "n"}])));
    let print = |flags: &str, no_color: &str| {
        let line = format!("{} subscriptions list{flags}", env!("CARGO_BIN_EXE_broker-cli"));
        let mut command = program("script");
        command.args(["-qec", &line, "/dev/null"]).env("BROKER_API", server.url());
        let output = command.env("NO_COLOR", no_color).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = "CLIENT ID  TOPIC  QOS  NODE\r\nc          t        0  n\r\n";
    assert_eq!(print("", ""), format!("\x1b[1m{}\x1b[0m{}", &plain[..27], &plain[27..]));
    assert_eq!(print("", "1"), plain);
    assert_eq!(print(" --no-color", ""), plain);
}
