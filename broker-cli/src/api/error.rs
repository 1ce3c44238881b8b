//! ApiError: why a request to the broker came to nothing, and what to do about it.

use std::io;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No answer came.
    #[error("cannot reach the broker at {url}: {reason}; {advice}")]
    Unreachable { url: String, reason: String, advice: &'static str },
    /// What answers is something else.
    #[error(
        "what answers at {url} is not the management API: {what}; --api URL (or BROKER_API) says where it is"
    )]
    NotTheApi { url: String, what: String },
    /// HTTP status 401.
    #[error(
        "the broker at {url} does not know application '{app}', or its secret is another, or it has been disabled; \
         --app with --secret-file (or BROKER_APP with BROKER_SECRET) name one. A new broker has 'admin' with the \
         secret 'public'; 'broker-cli apps insert ID NAME' makes others"
    )]
    Unauthorized { url: String, app: String },
    /// The broker has no such endpoint, or not now.
    #[error("this broker has no {method} {path}: {}", missing(path))]
    NoRoute { method: &'static str, path: String },
    /// The API said no.
    #[error("{message} (code {code})")]
    Refused { code: i64, message: String },
    /// A status that says what is wrong without a body that does.
    #[error("the broker answered {status}{}{}", if text.is_empty() { "" } else { ": " }, text)]
    Failed { status: u16, text: String },
    /// The list was empty or had no such entry.
    #[error("{0}")]
    NotFound(String),
}

impl ApiError {
    /// Exit status of a command that fails so: 3 if the broker could not be asked, 1 if it said no.
    pub(crate) const fn exit_status(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::NotTheApi { .. } => 3,
            _ => 1,
        }
    }

    /// What the broker said, if it answered.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Self::Refused { message, .. } => Some(message),
            _ => None,
        }
    }

    /// No answer from `url`.
    pub(super) fn unreachable(url: &str, error: &ureq::Error) -> Self {
        const RUNNING: &str =
            "is it running there? --api URL (or BROKER_API) says where the management API listens";
        const NAME: &str = "is the name right? --api URL (or BROKER_API) says where it is";
        const TRUST: &str = "--ca-file names the certificates to trust, and --insecure trusts any";
        // Talking TLS to a listener without it, or the other way round, fails in many ways.
        let scheme = if url.starts_with("https:") {
            "a listener without TLS is reached by http://"
        } else {
            "a listener with TLS is reached by https://"
        };
        let (reason, advice) = match error {
            ureq::Error::HostNotFound => ("no such host".to_owned(), NAME),
            ureq::Error::ConnectionFailed => ("connection refused".to_owned(), RUNNING),
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => ("connection refused".to_owned(), RUNNING),
                io::ErrorKind::InvalidData if error.to_string().contains("certificate") => {
                    (error.to_string(), TRUST)
                }
                io::ErrorKind::InvalidData
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset => (error.to_string(), scheme),
                _ => (error.to_string(), RUNNING),
            },
            ureq::Error::Timeout(_) => {
                ("no answer in time".to_owned(), "--timeout SECONDS waits longer")
            }
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => (error.to_string(), TRUST),
            ureq::Error::Protocol(_) => (error.to_string(), scheme),
            _ => (error.to_string(), RUNNING),
        };
        Self::Unreachable { url: url.to_owned(), reason, advice }
    }
}

/// What to do about a route that is not there.
fn missing(path: &str) -> String {
    let mut segments = path.split('/');
    let first = segments.next().unwrap_or_default();
    let (plugins, first) = match first {
        "nodes" => (PLUGINS_OF_NODES, segments.nth(1).unwrap_or_default()),
        _ => (PLUGINS, first),
    };
    match plugins.iter().find(|(route, _)| *route == first) {
        Some((_, plugin)) => {
            format!("plugin {plugin} is not loaded; 'broker-cli plugins load {plugin}' loads it")
        }
        None => "it may be older than this program".to_owned(),
    }
}

/// First segment of the routes that a plugin serves.
const PLUGINS: &[(&str, &str)] = &[
    ("actions", "emqx_rule_engine"),
    ("auth_clientid", "emqx_auth_clientid"),
    ("auth_username", "emqx_auth_username"),
    ("resource_status", "emqx_rule_engine"),
    ("resource_types", "emqx_rule_engine"),
    ("resources", "emqx_rule_engine"),
    ("rule_events", "emqx_rule_engine"),
    ("rule_test", "emqx_rule_engine"),
    ("rules", "emqx_rule_engine"),
];
/// The same of those that come behind a node's name.
const PLUGINS_OF_NODES: &[(&str, &str)] = &[("recon", "emqx_recon")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        let no_route =
            |path: &str| ApiError::NoRoute { method: "GET", path: path.to_owned() }.to_string();
        let expected = "this broker has no GET auth_clientid/x: plugin emqx_auth_clientid is not loaded; \
                        'broker-cli plugins load emqx_auth_clientid' loads it";
        assert_eq!(no_route("auth_clientid/x"), expected);
        let recon = no_route("nodes/emqx@127.0.0.1/recon/memory");
        assert!(recon.contains("plugin emqx_recon is not loaded"), "{recon}");
        let expected = "this broker has no GET traces: it may be older than this program";
        assert_eq!(no_route("traces"), expected);
        let refused = ApiError::Refused { code: 112, message: "session_not_found".to_owned() };
        assert_eq!(refused.to_string(), "session_not_found (code 112)");
        let unreachable = |error| ApiError::unreachable("http://h:1", &error).to_string();
        let said = unreachable(ureq::Error::Io(io::ErrorKind::ConnectionRefused.into()));
        assert!(
            said.starts_with(
                "cannot reach the broker at http://h:1: connection refused; is it running"
            ),
            "{said}"
        );
        let failed = |text: &str| ApiError::Failed { status: 500, text: text.to_owned() };
        assert_eq!(failed("").to_string(), "the broker answered 500");
        assert_eq!(failed("Internal Error").to_string(), "the broker answered 500: Internal Error");
    }

    #[test]
    fn only_a_broker_that_could_not_be_asked_is_a_three() {
        let text = String::new;
        let unreachable = ApiError::unreachable("u", &ureq::Error::HostNotFound);
        assert_eq!(unreachable.exit_status(), 3);
        assert_eq!(ApiError::NotTheApi { url: text(), what: text() }.exit_status(), 3);
        assert_eq!(ApiError::Unauthorized { url: text(), app: text() }.exit_status(), 1);
        assert_eq!(ApiError::Refused { code: 1, message: text() }.exit_status(), 1);
    }
}
