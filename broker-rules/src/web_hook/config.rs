//! WebHookConfig: what an operator says of a web hook, checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map as Object, Value as Json};
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderName, HeaderValue, Method};

use crate::http::target::Target;
use crate::http::{has_body, header};
use crate::params::{self, ParamKind, ParamSpec};
use crate::remote::tls::TlsFiles;
use crate::remote::{parse_duration, queue_config, queue_params, retry_pauses};
use crate::sink::SinkConfig;

/// A web hook as it was configured. Its headers may be secrets.
#[derive(Clone)]
pub(super) struct WebHookConfig {
    pub(super) target: Target,
    pub(super) method: Method,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) pool_size: usize,
    /// Of a request that the server itself fails on.
    pub(super) max_retries: u32,
    pub(super) tls: TlsFiles,
    pub(super) sink: SinkConfig,
}

/// Parameters of the resource.
pub(super) fn params() -> Vec<ParamSpec> {
    let timeout = ParamKind::Range(0.001, TIMEOUT_MAX_S);
    let text = |name, title, description, default: &str| {
        ParamSpec::optional(name, ParamKind::String, title, description).or(default)
    };
    let file = |name, title, description| text(name, title, description, "");
    let mut params = vec![
        ParamSpec::required("url", ParamKind::Url, "Request URL", "Request URL"),
        ParamSpec::optional("headers", ParamKind::Object, "Request Header", "Request Header")
            .or(Json::Object(Object::new())),
        ParamSpec::optional(
            "method",
            ParamKind::OneOf(&["PUT", "POST", "GET", "DELETE"]),
            "Request Method",
            "Request Method",
        )
        .or("POST"),
        ParamSpec::optional("connect_timeout", timeout, "Connect Timeout", "Seconds to connect")
            .or(5),
        ParamSpec::optional("request_timeout", timeout, "Request Timeout", "Seconds to answer")
            .or(5),
        ParamSpec::optional(
            "pool_size",
            ParamKind::Range(1.0, 1024.0),
            "Pool Size",
            "Requests on their way at once, each on a connection of its own; more than one may overtake each other",
        )
        .or(1),
        ParamSpec::optional(
            "queue_batch_items",
            ParamKind::Range(1.0, 4096.0),
            "Batch Size",
            "Requests that are taken from the buffer at once",
        )
        .or(32),
        text("retry_interval", "Retry Interval", "First pause after a failure; it doubles", "1s"),
        text("retry_interval_max", "Longest Retry Interval", "Longest pause after one", "60s"),
        ParamSpec::optional(
            "max_retries",
            ParamKind::Range(0.0, 1000.0),
            "Max Retries",
            "How often a request is repeated that the server answers with 500 or another fault of its own",
        )
        .or(10),
        ParamSpec::optional(
            "content_type",
            ParamKind::OneOf(&["application/json", "text/plain;charset=UTF-8"]),
            "Content Type",
            "Content type of the request's body",
        )
        .or("application/json"),
        file("cacertfile", "CA Certificates", "PEM file of the CAs that are trusted"),
        file("certfile", "Certificate", "PEM file of the broker's own certificates"),
        file("keyfile", "Key", "PEM file of the key of the broker's certificate"),
    ];
    params.append(&mut queue_params());
    params
}

impl WebHookConfig {
    /// Reads a configuration; `folder` is for the buffer.
    pub(super) fn new(
        specs: &[ParamSpec],
        config: &Object<String, Json>,
        folder: Option<PathBuf>,
    ) -> Result<Self, String> {
        params::check(specs, config).map_err(|error| error.to_string())?;
        let value = |name| params::value(specs, config, name).unwrap_or(&Json::Null);
        let text = |name| params::text(specs, config, name);
        let (target, login) = Target::parse(text("url"))?;
        let method = match text("method") {
            "PUT" => Method::PUT,
            "GET" => Method::GET,
            "DELETE" => Method::DELETE,
            _ => Method::POST,
        };
        let mut headers = headers(value("headers"))?;
        if has_body(&method) && !headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
            let value = HeaderValue::from_str(text("content_type")).map_err(|_| "content_type")?;
            headers.push((CONTENT_TYPE, value));
        }
        if let Some(login) = login
            && !headers.iter().any(|(name, _)| *name == AUTHORIZATION)
        {
            let mut value = HeaderValue::from_str(&login.0).map_err(|_| "url")?;
            value.set_sensitive(true);
            headers.push((AUTHORIZATION, value));
        }
        let seconds = |name: &'static str| {
            parse_duration(value(name)).ok_or_else(|| format!("{name}: seconds are expected"))
        };
        let count = |name| value(name).as_f64().map_or(1, |number| number as usize);
        let mut sink = queue_config(specs, config, folder)?;
        sink.batch_items_max = count("queue_batch_items");
        (sink.retry_min, sink.retry_max) = retry_pauses(specs, config)?;
        Ok(Self {
            target,
            method,
            headers,
            connect_timeout: seconds("connect_timeout")?,
            request_timeout: seconds("request_timeout")?,
            pool_size: count("pool_size"),
            max_retries: value("max_retries").as_f64().map_or(0, |n| n as u32),
            tls: TlsFiles::new(text("cacertfile"), text("certfile"), text("keyfile"))?,
            sink,
        })
    }
}

impl fmt::Debug for WebHookConfig {
    /// Without headers: one of them may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebHookConfig")
            .field("target", &self.target)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

fn headers(value: &Json) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let read = |(name, value): (&String, &Json)| {
        let value = value.as_str().ok_or_else(|| format!("headers: {name}: no string"))?;
        header(name, value)
    };
    value.as_object().into_iter().flatten().map(read).collect()
}

/// An hour: a server that takes longer does not answer.
const TIMEOUT_MAX_S: f64 = 3600.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: &Json) -> Result<WebHookConfig, String> {
        WebHookConfig::new(&params(), config.as_object().unwrap(), None)
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = read(&json!({"url": "http://h/p"})).unwrap();
        assert_eq!(config.method, Method::POST);
        assert_eq!(config.headers, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        assert_eq!(config.connect_timeout, Duration::from_secs(5));
        assert_eq!(config.request_timeout, Duration::from_secs(5));
        assert_eq!((config.pool_size, config.sink), (1, SinkConfig::default()));
    }

    #[test]
    fn what_is_said_is_taken() {
        let config = read(&json!({
            "url": "http://h/p", "connect_timeout": 0.5, "request_timeout": 7, "pool_size": 4,
            "queue_batch_items": 8, "queue_linger": "20ms", "queue_memory_bytes": "1MB",
            "queue_disk_bytes": "2MB", "queue_seg_bytes": "256KB", "queue_max_age": "1h",
            "retry_interval": "100ms", "retry_interval_max": "2s",
        }))
        .unwrap();
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        assert_eq!((config.request_timeout, config.pool_size), (Duration::from_secs(7), 4));
        let expected = SinkConfig {
            folder: None,
            spills: true,
            memory_bytes_max: 1 << 20,
            disk_bytes_max: 2 << 20,
            segment_bytes: 256 << 10,
            age_max: Duration::from_secs(3600),
            batch_items_max: 8,
            batch_bytes_max: 256 << 10,
            linger: Duration::from_millis(20),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(2),
        };
        assert_eq!(config.sink, expected);
    }

    #[test]
    fn faults_are_named() {
        for (config, expected) in [
            (json!({}), "{required_field_missing,url}"),
            (json!({"url": "ftp://h"}), "invalid_data_type"),
            (json!({"url": "http://h", "method": "PATCH"}), "method"),
            (json!({"url": "http://h", "headers": {"a b": "c"}}), "\"a b\" is no header name"),
            (json!({"url": "http://h", "headers": {"a\r\nb": "c"}}), "is no header name"),
            (json!({"url": "http://h", "headers": {"a": "b\r\nc: d"}}), "a: not allowed"),
            (json!({"url": "http://h", "headers": {"a": 1}}), "a: no string"),
            (json!({"url": "http://h", "headers": {"Content-Length": "1"}}), "set by the broker"),
            (json!({"url": "http://h", "connect_timeout": 0}), "connect_timeout"),
            (json!({"url": "http://h", "certfile": "c.pem"}), "certfile needs keyfile"),
            (json!({"url": "http://h", "queue_disk_bytes": "much"}), "queue_disk_bytes: a size"),
            (json!({"url": "http://h", "queue_max_age": "0s"}), "queue_max_age: a duration"),
            (json!({"url": "http://h", "queue_linger": "2h"}), "queue_linger: a duration such"),
            (json!({"url": "http://h", "queue_linger": 1}), "queue_linger}}: a string"),
            (json!({"url": "http://h", "queue_batch_items": 0}), "a number from 1 to 4096"),
            (json!({"url": "http://h", "pool_size": 0}), "pool_size}}: a number from 1 to 1024"),
            (json!({"url": "http://h", "retry_interval": "0ms"}), "retry_interval: a duration"),
            (json!({"url": "http://h", "retry_interval": "soon"}), "retry_interval: a duration"),
            (json!({"url": "http://h", "retry_interval_max": "2d"}), "retry_interval_max: a"),
            (
                json!({"url": "http://h", "retry_interval": "2s", "retry_interval_max": "1s"}),
                "retry_interval: more than retry_interval_max",
            ),
            (json!({"url": "http://h", "request_timeout": 3601}), "request_timeout"),
        ] {
            let error = read(&config).unwrap_err();
            assert!(error.contains(expected), "{config}: {error}");
        }
    }

    #[test]
    fn no_secret_is_shown_or_in_an_error() {
        let config = json!({
            "url": "http://me:hidden@h/p",
            "headers": {"Authorization": "Bearer hidden", "X-Token": "hidden"},
        });
        let config = read(&config).unwrap();
        assert!(!format!("{config:?} {:?}", config.headers).contains("hidden"));
        for config in [
            json!({"url": "http://me:hidden@h:x"}),
            json!({"url": "http://h", "headers": {"a": "hidden\n"}}),
        ] {
            assert!(!read(&config).unwrap_err().contains("hidden"));
        }
    }
}
