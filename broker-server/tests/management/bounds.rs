//! What a client may take: connections, bytes, time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DEADLINE};

const GET: &str =
    "GET /api/v3/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46cHVibGlj\r\n\r\n";
const POST: &str =
    "POST /api/v3/apps HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46cHVibGlj\r\n";

#[test]
fn connections_above_max_clients_wait_until_another_ends() {
    let broker = Broker::start_with(&[
        ("management.listener.http.max_clients", "3"),
        ("management.listener.http.acceptors", "3"),
    ]);
    let mut served: Vec<_> = (0..3).map(|_| connect(broker.address("http:management"))).collect();
    for stream in &mut served {
        assert_eq!(ask(stream, GET), "HTTP/1.1 200");
    }
    let mut waiting = connect(broker.address("http:management"));
    waiting.write_all(GET.as_bytes()).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let error = waiting.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "it is not served");
    drop(served.pop());
    waiting.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(status(&mut waiting), "HTTP/1.1 200");
}

#[test]
fn who_does_not_read_answers_is_cut_off_after_send_timeout() {
    let broker = Broker::start_with(&[
        ("management.listener.http.send_timeout", "\"1s\""),
        ("management.listener.http.max_clients", "1"),
    ]);
    let address = broker.address("http:management");
    // Asks until nothing more goes in either direction.
    let mut deaf = connect(address);
    deaf.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let began = Instant::now();
    while deaf.write_all(GET.repeat(100).as_bytes()).is_ok() {
        assert!(began.elapsed() < DEADLINE, "it takes requests for ever");
    }
    // There is room for one, so this one waits for the other's end.
    let mut next = connect(address);
    assert_eq!(ask(&mut next, GET), "HTTP/1.1 200");
    deaf.set_read_timeout(Some(DEADLINE)).unwrap();
    let end = deaf.read_to_end(&mut Vec::new());
    assert!(!end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it is closed");
}

#[test]
fn heads_are_bounded_in_bytes_and_lines() {
    let broker = Broker::start();
    let api = broker.api();
    let with = |headers: &str| api.raw("GET", "/status", headers, "").status;
    assert_eq!(with(&format!("X-Long: {}\r\n", "x".repeat(100 << 10))), 200);
    assert_eq!(with(&"X: y\r\n".repeat(50)), 200);
    assert_eq!(with(&"X: y\r\n".repeat(200)), 431);
    api.get("brokers");
}

#[test]
fn a_body_in_chunks_is_bounded_as_well() {
    let broker = Broker::start();
    let mut stream = connect(broker.address("http:management"));
    let head = format!("{POST}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
    // It may be cut off before all is sent: then the answer waits already.
    let _ = stream.write_all((head + &chunk.repeat(9) + "0\r\n\r\n").as_bytes());
    assert_eq!(status(&mut stream), "HTTP/1.1 413");
    broker.api().get("brokers");
}

#[test]
fn what_comes_too_slowly_is_cut_off() {
    let broker = Broker::start_with(&[("management.listener.https.bind", "\"127.0.0.1:0\"")]);
    let (http, https) = (broker.address("http:management"), broker.address("https:management"));
    let body = format!("{POST}Content-Length: 1000\r\n\r\n");
    std::thread::scope(|scope| {
        // A byte now and then does not help.
        let trickle = |address, head: String, seconds| {
            scope.spawn(move || {
                let mut stream = connect(address);
                stream.write_all(head.as_bytes()).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                let began = Instant::now();
                let mut answer = [0; 12];
                let answer = loop {
                    match stream.read(&mut answer) {
                        Ok(n) => break String::from_utf8_lossy(&answer[..n]).into_owned(),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(_) => break String::new(),
                    }
                    let _ = stream.write_all(b"x");
                };
                let took = began.elapsed().as_secs_f64();
                assert!(took > seconds - 2.0 && took < 2.0 * seconds, "{seconds} s, but {took} s");
                answer
            })
        };
        let nothing = trickle(http, String::new(), 10.0);
        let head = trickle(http, "GET /status HTTP/1.1\r\nX-Slow: ".into(), 10.0);
        let body = trickle(http, body, 30.0);
        // The beginning of a record of TLS.
        let handshake = trickle(https, "\x16\x03\x01\x3f\x00".into(), 10.0);
        assert_eq!(nothing.join().unwrap(), "HTTP/1.1 408");
        assert_eq!(head.join().unwrap(), "HTTP/1.1 408");
        assert_eq!(handshake.join().unwrap(), "");
        assert_eq!(body.join().unwrap(), "HTTP/1.1 408");
    });
    broker.api().get("brokers");
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends a request and reads the beginning of its answer.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    status(stream)
}

fn status(stream: &mut TcpStream) -> String {
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
