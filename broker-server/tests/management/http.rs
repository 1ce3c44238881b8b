//! A small client for HTTP, and curl: raw requests in, status, headers and JSON out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::broker::DEADLINE;

/// The API of a broker, as one application sees it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) address: String,
    /// APP_ID:SECRET.
    pub(crate) credentials: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Api {
    pub(crate) fn new(address: &str, app_id: &str, secret: &str) -> Self {
        Self { address: address.to_owned(), credentials: format!("{app_id}:{secret}") }
    }

    /// GET of a path below `/api/v3/`, which must succeed. Returns the whole envelope.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.call("GET", path, "").success()
    }

    /// `data` of the same.
    #[track_caller]
    pub(crate) fn data(&self, path: &str) -> Value {
        let mut envelope = self.get(path);
        envelope["data"].take()
    }

    /// POST of a JSON body, which must succeed.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, &body.to_string()).success()
    }

    /// PUT of a JSON body, which must succeed.
    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &Value) -> Value {
        self.call("PUT", path, &body.to_string()).success()
    }

    /// DELETE, which must succeed.
    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Value {
        self.call("DELETE", path, "").success()
    }

    /// HTTP status, code and message of what is refused.
    #[track_caller]
    pub(crate) fn refused(&self, method: &str, path: &str, body: &Value) -> (u16, u64, String) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call(method, path, &body).failure()
    }

    /// `data` of the same, a list.
    #[track_caller]
    pub(crate) fn rows(&self, path: &str) -> Vec<Value> {
        self.data(path).as_array().expect("a list").clone()
    }

    /// Any method and body on a path below `/api/v3/`, sent as it stands.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Response {
        self.raw(method, &format!("/api/v3/{path}"), &self.authorization(), body)
    }

    /// The header that names the application.
    pub(crate) fn authorization(&self) -> String {
        let credentials = BASE64_STANDARD.encode(&self.credentials);
        format!("Authorization: Basic {credentials}\r\n")
    }

    /// Any request; `headers` end with `\r\n` each.
    #[track_caller]
    pub(crate) fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let length = body.len();
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}",
            self.address
        ))
    }

    /// Sends bytes, and reads what comes until the end.
    #[track_caller]
    pub(crate) fn send(&self, request: &str) -> Response {
        let mut stream = TcpStream::connect(&self.address).expect("the API listens");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer comes in time");
        let text = String::from_utf8(bytes).expect("answers are UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {text:?}"));
        Response { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// What curl prints for these arguments and a path, below `/api/v3/` if it does not begin with a slash.
    #[track_caller]
    pub(crate) fn curl(&self, arguments: &[&str], path: &str) -> String {
        let base = if path.starts_with('/') { "" } else { "/api/v3/" };
        let url = format!("http://{}{base}{path}", self.address);
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--path-as-is", "--globoff", "--basic"])
            .args(["-u", &self.credentials])
            .args(arguments)
            .arg(url)
            .output()
            .expect("curl is there");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Response {
    /// The envelope of an answer that must have status 200 and code 0.
    #[track_caller]
    pub(crate) fn success(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let value = self.json();
        assert_eq!(value["code"], 0, "{value}");
        value
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// HTTP status, code and message of a failure.
    #[track_caller]
    pub(crate) fn failure(&self) -> (u16, u64, String) {
        let value = self.json();
        let keys: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["code", "message"], "{value}");
        let message = value["message"].as_str().unwrap().to_owned();
        (self.status, value["code"].as_u64().unwrap(), message)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (its_name, value) = line.split_once(": ")?;
            its_name.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Keys of an object, sorted.
#[track_caller]
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> =
        value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
