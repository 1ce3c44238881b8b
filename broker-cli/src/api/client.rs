//! Api: requests to the broker, and what their answers mean.

use std::cell::OnceCell;
use std::sync::Arc;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::crypto::ring;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::error::ApiError;
use super::options::Settings;
use super::pages::Pages;
use super::path::Path;
use crate::transport::trusted_certificates;

/// The management API of one broker.
pub(crate) struct Api {
    agent: Agent,
    /// Scheme, host and port.
    url: String,
    app: String,
    authorization: String,
    /// The node that is meant: as asked for, or the one that answers.
    node: OnceCell<String>,
}

/// `data` of an answer as it came, and what belongs to a page.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) data: Option<Box<RawValue>>,
    pub(crate) meta: Option<Meta>,
}

/// Which page an answer is, and of how many rows in all; of a trace, where it goes on.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Meta {
    pub(super) limit: u64,
    pub(super) count: u64,
    pub(crate) next: u64,
    pub(crate) dropped: u64,
    pub(crate) running: bool,
}

/// The form of all answers. EMQ X 3.1 leaves the code out of some failures, and the data of some successes.
#[derive(Deserialize)]
struct Envelope {
    code: Option<i64>,
    message: Option<Value>,
    data: Option<Box<RawValue>>,
    meta: Option<Meta>,
}

/// A change, or a look.
#[derive(Debug, Clone, Copy)]
enum Method<'a> {
    Get,
    Delete,
    Put(Option<&'a Value>),
    Post(&'a Value),
}

impl Method<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Delete => "DELETE",
            Self::Put(_) => "PUT",
            Self::Post(_) => "POST",
        }
    }
}

impl Api {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .disable_verification(settings.is_insecure);
        if settings.url.starts_with("https:") && !settings.is_insecure {
            let trusted = trusted_certificates(settings.ca_file.as_deref())?;
            let trusted = trusted.iter().map(|it| Certificate::from_der(it).to_owned());
            tls = tls.root_certs(RootCerts::from(trusted));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A broker is no web site: variables for a browser's proxy do not mean it.
            .proxy(None)
            .timeout_global(Some(settings.timeout))
            .user_agent(concat!("broker-cli/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build();
        let credentials = BASE64.encode(format!("{}:{}", settings.app, settings.secret));
        let node = settings.node.clone().map_or_else(OnceCell::new, OnceCell::from);
        Ok(Self {
            agent: agent.into(),
            url: settings.url.clone(),
            app: settings.app.clone(),
            authorization: format!("Basic {credentials}"),
            node,
        })
    }

    pub(crate) fn get(&self, path: &Path) -> Result<Answer, ApiError> {
        self.ask(Method::Get, path)
    }

    pub(crate) fn delete(&self, path: &Path) -> Result<Answer, ApiError> {
        self.ask(Method::Delete, path)
    }

    pub(crate) fn put(&self, path: &Path, body: &Value) -> Result<Answer, ApiError> {
        self.ask(Method::Put(Some(body)), path)
    }

    /// PUT of a path that says it all.
    pub(crate) fn put_empty(&self, path: &Path) -> Result<Answer, ApiError> {
        self.ask(Method::Put(None), path)
    }

    pub(crate) fn post(&self, path: &Path, body: &Value) -> Result<Answer, ApiError> {
        self.ask(Method::Post(body), path)
    }

    /// Rows of a list in pages of a bounded size, up to `limit` if there is one.
    pub(crate) fn pages(&self, path: Path, limit: Option<u64>) -> Pages<'_> {
        Pages::new(self, path, limit)
    }

    /// The data of a GET as a value.
    pub(crate) fn value(&self, path: &Path) -> Result<Value, ApiError> {
        let answer = self.get(path)?;
        let Some(data) = answer.data else { return Ok(Value::Null) };
        serde_json::from_str(data.get()).map_err(|error| self.no_api(&error.to_string()))
    }

    /// Name of the node that is meant.
    pub(crate) fn node(&self) -> Result<&str, ApiError> {
        if let Some(node) = self.node.get() {
            return Ok(node);
        }
        let brokers = self.value(&Path::new("brokers"))?;
        let node = brokers.get(0).and_then(|broker| broker.get("node")).and_then(Value::as_str);
        let node = node.ok_or_else(|| self.no_api("GET brokers names no node"))?;
        Ok(self.node.get_or_init(|| node.to_owned()))
    }

    /// `nodes/NODE` of the node that is meant.
    pub(crate) fn node_path(&self) -> Result<Path, ApiError> {
        Ok(Path::new("nodes").join(self.node()?))
    }

    fn ask(&self, method: Method<'_>, path: &Path) -> Result<Answer, ApiError> {
        let url = format!("{}/api/v3/{}", self.url, path.as_str());
        let authorization = self.authorization.as_str();
        let sent = match method {
            Method::Get => self.agent.get(url).header("Authorization", authorization).call(),
            Method::Delete => self.agent.delete(url).header("Authorization", authorization).call(),
            Method::Put(None) => {
                self.agent.put(url).header("Authorization", authorization).send_empty()
            }
            Method::Put(Some(body)) => self
                .agent
                .put(url)
                .header("Authorization", authorization)
                .content_type("application/json")
                .send(body.to_string()),
            Method::Post(body) => self
                .agent
                .post(url)
                .header("Authorization", authorization)
                .content_type("application/json")
                .send(body.to_string()),
        };
        let unreachable = |error| ApiError::unreachable(&self.url, &error);
        let response = sent.map_err(unreachable)?;
        let (status, body) = read(response).map_err(unreachable)?;
        self.judge(method.name(), path, status, &body)
    }

    fn judge(
        &self,
        method: &'static str,
        path: &Path,
        status: u16,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        if status == 401 {
            return Err(ApiError::Unauthorized { url: self.url.clone(), app: self.app.clone() });
        }
        match serde_json::from_slice::<Envelope>(body) {
            Ok(Envelope { code: Some(0), data, meta, .. }) if status == 200 => {
                Ok(Answer { data, meta })
            }
            Ok(Envelope { code: None, message: None, data: data @ Some(_), meta })
                if status == 200 =>
            {
                Ok(Answer { data, meta })
            }
            Ok(Envelope { code, message: Some(message), .. }) => {
                let message = match message {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                Err(ApiError::Refused { code: code.unwrap_or(UNKNOWN_ERROR), message })
            }
            _ if status == 404 || status == 405 => {
                // The query is not what is missing.
                let path = path.as_str().split('?').next().unwrap_or_default().to_owned();
                Err(ApiError::NoRoute { method, path })
            }
            _ if status >= 400 => {
                let text = String::from_utf8_lossy(body);
                let line = text.lines().next().unwrap_or_default();
                Err(ApiError::Failed { status, text: line.chars().take(200).collect() })
            }
            _ => Err(self.no_api(&format!("HTTP status {status} without JSON of its form"))),
        }
    }

    fn no_api(&self, what: &str) -> ApiError {
        ApiError::NotTheApi { url: self.url.clone(), what: what.to_owned() }
    }
}

fn read(mut response: Response<Body>) -> Result<(u16, Vec<u8>), ureq::Error> {
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(BODY_MAX).read_to_vec()?;
    Ok((status, body))
}

/// A page of 1000 rows has a megabyte; this is for the answers that have no pages.
const BODY_MAX: u64 = 256 * 1024 * 1024;
/// What a failure without a code means.
const UNKNOWN_ERROR: i64 = 102;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn api() -> Api {
        let text = str::to_owned;
        Api::new(&Settings {
            url: text("http://h:1"),
            app: text("me"),
            secret: text("s"),
            ca_file: None,
            is_insecure: false,
            node: None,
            timeout: Duration::from_secs(1),
        })
        .unwrap()
    }

    fn judge(status: u16, body: &str) -> Result<Option<String>, String> {
        let answer = api().judge("GET", &Path::new("users"), status, body.as_bytes());
        match answer {
            Ok(answer) => Ok(answer.data.map(|data| data.get().to_owned())),
            Err(error) => Err(error.to_string().chars().take(62).collect()),
        }
    }

    #[test]
    fn data_is_kept_as_it_came() {
        let data = r#"{ "b":1.50, "a":[1 ,2]}"#;
        let body = format!("{{\"code\":0,\"data\":{data}}}");
        assert_eq!(judge(200, &body), Ok(Some(data.to_owned())));
        assert_eq!(judge(200, r#"{"code":0}"#), Ok(None));
    }

    #[test]
    fn failures_are_told_apart() {
        for (status, body, expected) in [
            (200, r#"{"code":112,"message":"not_found"}"#, "not_found (code 112)"),
            // EMQ X 3.1 has no code here.
            (200, r#"{"message":"already_started"}"#, "already_started (code 102)"),
            (200, r#"{"message":{"a":1}}"#, r#"{"a":1} (code 102)"#),
            (404, r#"{"code":102,"message":"node x not found"}"#, "node x not found (code 102)"),
            (404, "Not found.", "this broker has no GET users: it may be older than this progra"),
            (500, "Internal Error\nmore", "the broker answered 500: Internal Error"),
            (401, "UNAUTHORIZED", "the broker at http://h:1 does not know application 'me', or it"),
            (200, "<html>", "what answers at http://h:1 is not the management API: HTTP sta"),
            (200, "[1]", "what answers at http://h:1 is not the management API: HTTP sta"),
            (
                302,
                r#"{"code":0}"#,
                "what answers at http://h:1 is not the management API: HTTP sta",
            ),
        ] {
            assert_eq!(judge(status, body), Err(expected.to_owned()), "{status} {body}");
        }
    }
}
