//! Server: answers what a test says, and remembers what was asked.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// `GET /api/v3/brokers`
    pub(crate) line: String,
    /// `id:secret` of the header.
    pub(crate) credentials: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Value of a parameter in the query.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.line.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Status and body.
pub(crate) type Answer = (u16, String);

/// 200 and a body.
pub(crate) fn ok(body: impl Into<String>) -> Answer {
    (200, body.into())
}

/// 200 and the data in its envelope.
pub(crate) fn data(data: &Value) -> Answer {
    ok(format!("{{\"code\":0,\"data\":{data}}}"))
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A server on a free port, until the end of the test process.
pub(crate) struct Server {
    address: SocketAddr,
    is_tls: bool,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on(None, handler)
    }

    /// The same answers whatever is asked.
    pub(crate) fn with(answer: Answer) -> Self {
        Self::start(move |_| answer.clone())
    }

    /// One answer after the other.
    pub(crate) fn with_each(answers: Vec<Answer>) -> Self {
        let answers = Mutex::new(answers.into_iter());
        Self::start(move |_| answers.lock().next().expect("no more answers"))
    }

    pub(crate) fn start_on(
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (is_tls, handler) =
            (tls.is_some(), Arc::<Handler>::from(Box::new(handler) as Box<Handler>));
        let shared = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (requests, handler) = (Arc::clone(&shared), Arc::clone(&handler));
                let tls = tls.clone();
                // A client that goes, or does not trust the certificate, ends its connection only.
                thread::spawn(move || match tls {
                    None => serve(stream, &requests, &*handler),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(connection, stream), &requests, &*handler)
                    }
                });
            }
        });
        Self { address, is_tls, requests }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// Takes all requests so far.
    pub(crate) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock())
    }

    /// Takes the lines of all requests so far.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        self.take_requests().into_iter().map(|request| request.line).collect()
    }

    /// Takes the one request that changed something.
    #[track_caller]
    pub(crate) fn take_change(&self) -> Request {
        let requests = self.take_requests();
        let changes: Vec<&Request> =
            requests.iter().filter(|request| !request.line.starts_with("GET ")).collect();
        let [change] = changes.as_slice() else { panic!("no single change: {requests:#?}") };
        (*change).clone()
    }
}

fn serve<S: Read + Write>(
    mut stream: S,
    requests: &Mutex<Vec<Request>>,
    handler: &Handler,
) -> io::Result<()> {
    while let Some(request) = read(&mut stream)? {
        requests.lock().push(request.clone());
        let (status, body) = handler(&request);
        let len = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
        )?;
        stream.flush()?;
    }
    Ok(())
}

fn read(stream: &mut impl Read) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Request::new(&mut headers);
        // What is no HTTP, such as TLS, ends the connection.
        let Ok(status) = parsed.parse(&bytes) else { return Ok(None) };
        if let httparse::Status::Complete(head) = status {
            let header = |name: &str| {
                let found = parsed.headers.iter().find(|it| it.name.eq_ignore_ascii_case(name));
                found.map_or("", |it| std::str::from_utf8(it.value).unwrap()).to_owned()
            };
            let len: usize = header("content-length").parse().unwrap_or(0);
            if bytes.len() >= head + len {
                let basic = header("authorization");
                let basic =
                    BASE64.decode(basic.strip_prefix("Basic ").unwrap_or_default()).unwrap();
                return Ok(Some(Request {
                    line: format!("{} {}", parsed.method.unwrap(), parsed.path.unwrap()),
                    credentials: String::from_utf8(basic).unwrap(),
                    body: String::from_utf8(bytes[head..head + len].to_vec()).unwrap(),
                }));
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}
