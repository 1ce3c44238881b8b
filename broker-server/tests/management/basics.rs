//! Envelope, paths, methods, bodies; the list of the API; `brokers` and `nodes`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, NODE};
use crate::http::keys;

#[test]
fn status_is_told_without_credentials() {
    let broker = Broker::start();
    let api = broker.api();
    let status = api.raw("GET", "/status", "", "");
    assert_eq!(status.status, 200);
    assert_eq!(status.header("content-type"), Some("text/plain"));
    assert_eq!(status.body, format!("Node {NODE} is started\nemqx is running"));
    let wrong = api.raw("POST", "/status", "", "");
    assert_eq!((wrong.status, wrong.body.as_str()), (400, "Not found."));
    assert_eq!(api.raw("GET", "/", "", "").status, 404);
    assert_eq!(api.raw("GET", "/api/v2/brokers", "", "").status, 404);
}

#[test]
fn the_list_is_the_documents() {
    let listed = Broker::start().api().data("");
    for (row, entry) in listed.as_array().unwrap().iter().zip(document_list()) {
        assert_eq!(*row, entry);
    }
    assert_eq!(listed.as_array().unwrap().len(), document_list().len());
}

#[test]
fn curl_gets_what_the_document_shows() {
    let broker = Broker::start();
    let api = broker.api();
    for path in ["brokers", "brokers/", "brokers//"] {
        let answer: Value = serde_json::from_str(&api.curl(&[], path)).unwrap();
        assert_eq!(keys(&answer), ["code", "data"]);
        let row = &answer["data"][0];
        assert_eq!(
            keys(row),
            ["datetime", "node", "node_status", "otp_release", "sysdescr", "uptime", "version"]
        );
        assert_eq!(row["node"], NODE);
        assert_eq!(row["node_status"], "Running");
        assert_eq!(row["version"], concat!("v", env!("CARGO_PKG_VERSION")));
        assert!(row["otp_release"].as_str().unwrap().starts_with("rustc 1."));
        assert!(row["uptime"].as_str().unwrap().ends_with(" seconds"));
    }
    let one: Value = serde_json::from_str(&api.curl(&[], "brokers/emqx%40127.0.0.1")).unwrap();
    assert_eq!(one["data"]["node_status"], "Running");
    assert_eq!(one["data"]["node"], Value::Null);
}

#[test]
fn a_time_is_local() {
    let broker = Broker::start_with(&[]);
    let date = || {
        let output = std::process::Command::new("date").arg("+%Y-%m-%d %H:%M:%S").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let before = date();
    let told =
        broker.api().data(&format!("brokers/{NODE}"))["datetime"].as_str().unwrap().to_owned();
    assert!(before <= told && told <= date(), "{before} {told}");
}

#[test]
fn the_list_of_nodes_has_texts_where_one_node_has_numbers() {
    let broker = Broker::start();
    let api = broker.api();
    let row = &api.data("nodes/")[0];
    let one = api.data(&format!("nodes/{NODE}"));
    let mut expected = vec![
        "connections",
        "load1",
        "load15",
        "load5",
        "max_fds",
        "memory_total",
        "memory_used",
        "name",
        "node",
        "node_status",
        "otp_release",
        "process_available",
        "process_used",
        "uptime",
        "version",
    ];
    assert_eq!(keys(row), expected);
    expected.retain(|key| *key != "node");
    assert_eq!(keys(&one), expected);
    assert!(row["memory_total"].as_str().unwrap().ends_with('M'), "{row}");
    let number = |key: &str| one[key].as_u64().unwrap_or_else(|| panic!("{key} of {one}"));
    assert!(number("memory_used") <= number("memory_total"));
    assert!(number("memory_used") > 1 << 20);
    assert!(number("process_used") < number("process_available"));
    assert!(number("max_fds") > 0);
    let load = one["load1"].as_str().unwrap();
    assert!(load.parse::<f64>().is_ok() && load.split_once('.').unwrap().1.len() == 2, "{load}");

    let resident = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let resident = resident.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.split_whitespace().next().unwrap().parse().unwrap();
    let difference = number("memory_total").abs_diff(resident * 1024);
    assert!(difference < 16 << 20, "{one} {resident}");
}

#[test]
fn a_node_that_is_not_there_is_named() {
    let broker = Broker::start();
    for path in ["brokers/other@host", "nodes/other@host"] {
        let failure = broker.api().call("GET", path, "").failure();
        assert_eq!(failure, (404, 102, "node other@host not found".into()));
    }
    let failure = broker.api().call("GET", "nodes/%E6%B8%A9%2F%00", "").failure();
    assert_eq!(failure, (404, 102, "node 温/\0 not found".into()));
}

#[test]
fn an_escape_that_is_none_is_a_bad_request() {
    let broker = Broker::start();
    let failure = broker.api().call("GET", "nodes/%zz", "").failure();
    let problem = "path segment %zz: % is not followed by two hexadecimal digits";
    assert_eq!(failure, (400, 108, problem.into()));
    let failure = broker.api().call("GET", "nodes/?_page=%f", "").failure();
    let problem = "query _page=%f: % is not followed by two hexadecimal digits";
    assert_eq!(failure, (400, 108, problem.into()));
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let broker = Broker::start();
    let api = broker.api();
    let unknown = api.call("GET", "nothing/here", "");
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "Not found."));
    let wrong = api.call("POST", "apps/x", "{}");
    assert_eq!(wrong.status, 405);
    assert_eq!(wrong.header("allow"), Some("GET, PUT, DELETE"));
    assert_eq!(api.call("PATCH", "brokers", "").header("allow"), Some("GET"));
    assert_eq!(api.call("POST", "", "").status, 405);
}

#[test]
fn bodies_are_bounded_and_must_be_objects() {
    let broker = Broker::start();
    let api = broker.api();
    let (status, code, message) = api.call("POST", "apps", "{\"app_id\":").failure();
    assert_eq!((status, code), (400, 109));
    assert!(message.starts_with("the body is not JSON: EOF"), "{message}");
    let failure = api.call("POST", "apps", "[]").failure();
    assert_eq!(failure, (400, 108, "the body must be a JSON object".into()));
    // More than fits is refused by its length, before it was sent.
    let request = format!(
        "POST /api/v3/apps HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic YWRtaW46cHVibGlj\r\n\
         Content-Length: {}\r\n\r\n",
        (8 << 20) + 1
    );
    let failure = api.send(&request).failure();
    assert_eq!(failure, (413, 108, "the body has more than 8388608 bytes".into()));
    // A head without end is cut off; what had been sent of it may take the answer with it.
    let mut stream = TcpStream::connect(&api.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!("GET /status HTTP/1.1\r\nX-Long: {}", "x".repeat(1 << 20));
    let mut answer = [0; 12];
    match stream.write_all(head.as_bytes()).and_then(|()| stream.read_exact(&mut answer)) {
        Ok(()) => assert_eq!(answer, *b"HTTP/1.1 431"),
        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "it is cut off"),
    }
    api.get("brokers");
}

#[test]
fn a_connection_serves_many_requests() {
    let broker = Broker::start();
    let request = |last| {
        format!(
            "GET /api/v3/brokers HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46cHVibGlj\r\n{last}\r\n"
        )
    };
    let both = request("") + &request("Connection: close\r\n");
    let answers = broker.api().send(&both);
    assert!(answers.body.contains("HTTP/1.1 200 OK"), "{answers:?}");
    assert_eq!(answers.body.matches("\"Running\"").count(), 2);
}

/// The list of the document, in its order.
fn document_list() -> Vec<Value> {
    serde_json::from_str::<Value>(include_str!("list.json")).unwrap().as_array().unwrap().clone()
}

#[test]
fn the_documents_list_has_its_87_entries() {
    let list = document_list();
    assert_eq!(list.len(), 87);
    assert_eq!(
        list[0],
        json!({
            "name": "list_clientid", "method": "GET", "path": "/auth_clientid",
            "descr": "List available clientid in the cluster",
        })
    );
}
