//! Several requests at once, against a server that answers none of them before all have come.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Barrier;
use std::thread;

use super::*;

/// A server that answers so many requests together, each on a connection of its own.
struct Gathering {
    port: u16,
    /// Bodies, in the order in which they were answered.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Gathering {
    /// `status` gives the answer to a body that has come so often before.
    fn start(n_at_once: usize, status: fn(&str, usize) -> u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let (all, barrier) = (Arc::clone(&seen), Arc::new(Barrier::new(n_at_once)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, all) = (stream.unwrap(), Arc::clone(&all));
                let barrier = Arc::clone(&barrier);
                thread::spawn(move || {
                    while let Some(body) = read_body(&mut stream) {
                        barrier.wait();
                        let mut all = all.lock();
                        let n_before = all.iter().filter(|it| **it == body).count();
                        let status = status(&body, n_before);
                        all.push(body);
                        drop(all);
                        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                });
            }
        });
        Self { port, seen }
    }
}

/// The body of the next request; `None` at the end of the connection.
fn read_body(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        text.push(byte[0]);
    }
    let header = String::from_utf8(text).unwrap().to_lowercase();
    let len = header.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().unwrap();
    let mut body = vec![0; len];
    stream.read_exact(&mut body).ok()?;
    Some(String::from_utf8(body).unwrap())
}

#[test]
fn as_many_requests_are_on_their_way_as_the_pool_has() {
    let server = Gathering::start(4, |_, _| 200);
    let config = json!({"url": format!("http://127.0.0.1:{}/", server.port), "pool_size": 4});
    // With fewer at once none would ever be answered.
    let (host, _) = host(None, AddressRules::default());
    let read = WebHookConfig::new(&config::params(), config.as_object().unwrap(), None).unwrap();
    let mut sink_config = read.sink.clone();
    // All of them are one batch.
    sink_config.linger = Duration::from_secs(60);
    sink_config.batch_items_max = 12;
    let client = Client::new(read, Arc::clone(&host.addresses)).unwrap();
    let sink = host.open_sink("w", sink_config, Box::new(client)).unwrap();
    (0..12).for_each(|n| push(&sink, &n.to_string()));
    wait_until("all", || sink.status().delivered == 12);
    let mut seen = server.seen.lock().clone();
    seen.sort_by_key(|body| body.parse::<u32>().unwrap());
    assert_eq!(seen, (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Else each that fails would repeat all that go beside it.
#[test]
fn what_was_taken_behind_one_that_was_not_is_not_sent_again() {
    let server = Gathering::start(1, |body, n_before| match (body, n_before) {
        ("0", 0..3) | ("2", 0) => 503,
        ("3", _) => 400,
        _ => 200,
    });
    let world = World::new();
    let config = json!({
        "url": format!("http://127.0.0.1:{}/", server.port), "pool_size": 4,
        "queue_batch_items": 4, "queue_linger": "1h",
    });
    let sink = world.open(&config, AddressRules::default());
    (0..4).for_each(|n| push(&sink, &n.to_string()));
    wait_until("all", || sink.status().held == Default::default());
    let n_of = |body: &str| server.seen.lock().iter().filter(|it| *it == body).count();
    assert_eq!(["0", "1", "2", "3"].map(n_of), [4, 1, 2, 1]);
    assert_eq!(sink.status().delivered, 3);
    assert_eq!(dropped(&sink), [(DropReason::Refused, 1)]);
}

/// A server that takes the connection and says nothing.
#[test]
fn an_answer_is_waited_for_as_long_as_it_may_take() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let config = json!({"url": url, "connect_timeout": 0.1, "request_timeout": 0.1});
    let world = World::new();
    let sink = world.open(&config, AddressRules::default());
    push(&sink, "x");
    wait_until("a failure", || sink.status().retried > 1);
    let error = sink.status().last_error.unwrap();
    assert!(error.starts_with("timeout"), "{error}");
}
