//! Rules whose actions go to a remote side, from the message to what arrives there.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use broker_core::Now;
use broker_rules::action::Catalogue;
use broker_rules::engine::{EngineOptions, ResourceSpec, RuleEngine};
use broker_rules::{AddressRules, DropReason, OpenSinks, RemoteHost, SinkListener};
use serde_json::{Value as Json, json};

use crate::rig::Q0;
use crate::world::{World, compile};

struct Deaf;

impl SinkListener for Deaf {
    fn handle_dropped(&self, _: &str, _: DropReason, _: u64) {}
}

/// An engine whose catalogue has the types with a remote side.
fn world() -> World {
    let mut world = World::new();
    let (start, wall_ms) = (Instant::now(), world.rig.now.wall_ms);
    let host = RemoteHost {
        folder: None,
        clock: Arc::new(move || Now::new(start.elapsed(), Duration::from_millis(wall_ms))),
        listener: Arc::new(Deaf),
        node: "node1".to_owned(),
        addresses: Arc::new(AddressRules::default()),
        open: OpenSinks::default(),
    };
    let mut catalogue = Catalogue::built_in();
    host.register(&mut catalogue);
    let options = EngineOptions::default();
    world.engine = RuleEngine::new(&world.rig.broker, catalogue, Box::new(compile), options);
    world
}

/// Takes requests, on one connection after the other; answers the first with 404 and the others with 200.
fn serve() -> (u16, Receiver<(String, Json)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = mpsc::channel();
    thread::spawn(move || {
        let mut statuses = ["404 Not Found"].into_iter().chain(std::iter::repeat("200 OK"));
        for out in listener.incoming() {
            let mut out = out.unwrap();
            let mut input = BufReader::new(out.try_clone().unwrap());
            while let Some(request) = read_request(&mut input) {
                let _ = seen.send(request);
                let status = statuses.next().unwrap();
                write!(out, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        }
    });
    (port, requests)
}

/// The first line and the body of a request; `None` when there is no other on this connection.
fn read_request(input: &mut impl BufRead) -> Option<(String, Json)> {
    let (mut first, mut len) = (String::new(), 0);
    if input.read_line(&mut first).unwrap_or(0) == 0 {
        return None;
    }
    loop {
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; len];
    input.read_exact(&mut body).unwrap();
    Some((first.trim().to_owned(), serde_json::from_slice(&body).unwrap()))
}

fn web_hook(world: &World, url: &str) -> String {
    let request = json!({ "name": "w", "type": "web_hook", "config": { "url": url } });
    let spec = ResourceSpec::from_json(request.as_object().unwrap()).unwrap();
    world.engine.create_resource(spec, 1).unwrap().0
}

fn next(requests: &Receiver<(String, Json)>) -> (String, Json) {
    requests.recv_timeout(Duration::from_secs(30)).expect("a request has not come")
}

#[track_caller]
fn wait_for_metric(world: &World, rule: &str, name: &str, expected: u64) {
    let until = Instant::now() + Duration::from_secs(30);
    while world.action_metric_of(rule, name) != json!(expected) {
        assert!(Instant::now() < until, "{name}: {}", world.action_metric_of(rule, name));
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_message_becomes_a_request_and_its_action_counts_what_became_of_it() {
    let mut world = world();
    let (port, requests) = serve();
    let resource = web_hook(&world, &format!("http://127.0.0.1:{port}/hook"));
    assert!(matches!(world.engine.is_alive(&resource), Ok(true)));
    let params = json!({ "$resource": resource });
    let rule = world.rule("X FROM t", "web_hook:publish_action", params);
    let p = world.client("p");
    world.publish(p, "t", "{\"x\":1}", Q0, 0);
    world.publish(p, "t", "{\"x\":2}", Q0, 0);
    world.publish(p, "other", "{\"x\":3}", Q0, 0);
    for x in 1..=2 {
        let expected = ("POST /hook HTTP/1.1".to_owned(), json!({ "clientid": "p", "x": x }));
        assert_eq!(next(&requests), expected);
    }
    wait_for_metric(&world, &rule, "success", 1);
    wait_for_metric(&world, &rule, "failed", 1);
}

#[test]
fn an_event_fills_a_template_and_a_resource_in_use_stays() {
    let mut world = world();
    let (port, requests) = serve();
    let resource = web_hook(&world, &format!("http://127.0.0.1:{port}/"));
    let actions = json!([{
        "name": "web_hook:event_action",
        "params": { "$resource": resource, "template": { "who": "${client_id}", "v": ["${proto_ver}", "x"] } },
    }]);
    let rule = json!({ "name": "r", "for": "client.connected", "rawsql": "ALL FROM #", "actions": actions });
    let id = world.try_rule(rule).unwrap();
    world.client("c1");
    let (_, body) = next(&requests);
    assert_eq!((&body["who"], &body["v"][1]), (&json!("c1"), &json!("x")), "{body}");
    assert!(body["v"][0].is_number(), "{body}");
    assert!(world.engine.delete_resource(&resource).is_err());
    world.engine.delete_rule(&id);
    assert!(matches!(world.engine.delete_resource(&resource), Ok(Some(_))));
}

/// They would never run: whether a request fails is known when the row is gone.
#[test]
fn what_waits_in_a_buffer_has_no_fallbacks() {
    let mut world = world();
    let resource = web_hook(&world, "http://127.0.0.1:9/");
    let nothing = json!({ "name": "do_nothing" });
    for name in ["web_hook:publish_action", "web_hook:event_action", "data_to_webserver"] {
        let action =
            json!({ "name": name, "params": { "$resource": resource }, "fallbacks": [nothing] });
        let rule = json!({ "name": "r", "rawsql": "ALL FROM t", "actions": [action] });
        let error = world.try_rule(rule).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "Bad Arguments: fallbacks: nothing can stand in for {name}, which waits in the buffer of its resource until it is done"
            )
        );
    }
    // It may stand in for another one.
    let action = json!({ "name": "web_hook:publish_action", "params": { "$resource": resource } });
    let action = json!({ "name": "do_nothing", "fallbacks": [action] });
    world.try_rule(json!({ "name": "r", "rawsql": "ALL FROM t", "actions": [action] })).unwrap();
}
