//! What must hold for whatever a web server answers; the fuzz target and `broker-rules/tests/fuzz_smoke.rs` share it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use broker_rules::http::{EndpointOptions, HttpEndpoint};
use parking_lot::Mutex;

/// Without a status line there is no answer, and of none more is kept than may be.
pub(crate) fn http_answer(data: &[u8]) {
    // One question at a time: its answer must be its own.
    static SERVER: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(Server::start()));
    let server = SERVER.lock();
    *server.next.lock() = data.to_vec();
    // A connection that was kept would have an answer of its own.
    let Ok(answer) = endpoint(server.address).post(b"x") else { return };
    let status = answer.status.to_string();
    // Blank lines may come first: RFC 9112, section 2.2.
    let line = data.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(data.len());
    assert!(data[line..].starts_with(b"HTTP/1."), "{answer:?}");
    assert!(data.windows(3).any(|text| text == status.as_bytes()), "{answer:?}");
    assert!(answer.body.len() <= BODY_MAX, "{} bytes", answer.body.len());
}

/// Gives each connection the answer that is next, and closes it.
struct Server {
    address: SocketAddr,
    next: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        let next = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::clone(&next);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if read_request(&mut stream) {
                    // Who has heard enough hangs up.
                    let _ = stream.write_all(&answer.lock());
                }
            }
        });
        Self { address, next }
    }
}

/// Up to its end: what is left unread would take the answer down with it.
fn read_request(stream: &mut TcpStream) -> bool {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut request = Vec::new();
    let mut some = [0; 1024];
    while !request.ends_with(b"\r\n\r\nx") {
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return false,
            Ok(n) => request.extend_from_slice(&some[..n]),
        }
    }
    true
}

fn endpoint(address: SocketAddr) -> HttpEndpoint {
    let options = EndpointOptions {
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
        pool_size: 1,
        answer_bytes_max: BODY_MAX,
        cacertfile: None,
        certfile: None,
        keyfile: None,
    };
    HttpEndpoint::new(&format!("http://{address}/"), [], &options).expect("it is a URL")
}

const BODY_MAX: usize = 64;
