//! BrokerUrl: where a broker listens, written as one URL.

use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

/// What a URL like `mqtts://user:pw@host:8883/topic` says; what it leaves open is `None`.
///
/// The path is the topic for `mqtt` and `mqtts`, and the request path for `ws` and `wss`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerUrl {
    pub(crate) is_tls: bool,
    pub(crate) is_websocket: bool,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) topic: Option<String>,
    pub(crate) websocket_path: Option<String>,
}

impl FromStr for BrokerUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").context("no scheme, such as mqtt://")?;
        let (is_tls, is_websocket) = match scheme {
            "mqtt" | "tcp" => (false, false),
            "mqtts" | "ssl" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => bail!("scheme '{scheme}' is none of mqtt, mqtts, ws, wss"),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, address) = match authority.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info), address),
            None => (None, authority),
        };
        let (username, password) = match user_info.map(|it| it.split_once(':').ok_or(it)) {
            None => (None, None),
            Some(Ok((username, password))) => {
                (Some(percent_decode(username)?), Some(percent_decode(password)?))
            }
            Some(Err(username)) => (Some(percent_decode(username)?), None),
        };
        let (host, port) = split_port(address)?;
        ensure!(!host.is_empty(), "no host");
        let topic =
            if is_websocket || path.is_empty() { None } else { Some(percent_decode(path)?) };
        let websocket_path = (is_websocket && !path.is_empty()).then(|| format!("/{path}"));
        let host = host.to_owned();
        Ok(Self { is_tls, is_websocket, host, port, username, password, topic, websocket_path })
    }
}

/// Host and port of `host`, `host:port`, `[v6]` and `[v6]:port`.
fn split_port(address: &str) -> Result<(&str, Option<u16>)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').context("'[' without ']'")?;
            ensure!(after.is_empty() || after.starts_with(':'), "'{after}' after ']'");
            (host, after.strip_prefix(':'))
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().with_context(|| format!("port '{port}'"))?),
        None => None,
    };
    Ok((host, port))
}

fn percent_decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
        let digits = digits.context("'%' without two hexadecimal digits")?;
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).context("not UTF-8 after percent decoding")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> BrokerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn mqtt_url_names_user_host_port_and_topic() {
        let url = parse("mqtt://me:p%40ss@broker.example:1884/a/b%23");
        assert_eq!((url.is_tls, url.is_websocket), (false, false));
        assert_eq!((url.host.as_str(), url.port), ("broker.example", Some(1884)));
        assert_eq!(url.username.as_deref(), Some("me"));
        assert_eq!(url.password.as_deref(), Some("p@ss"));
        assert_eq!(url.topic.as_deref(), Some("a/b#"));
    }

    #[test]
    fn what_a_url_leaves_out_is_none() {
        let url = parse("mqtts://me@h");
        assert!(url.is_tls);
        assert_eq!((url.port, url.password, url.topic), (None, None, None));
        assert_eq!(url.username.as_deref(), Some("me"));
    }

    #[test]
    fn path_of_a_websocket_url_is_the_request_path() {
        let url = parse("wss://[::1]:8084/mqtt?x=1");
        assert!(url.is_tls && url.is_websocket);
        assert_eq!((url.host.as_str(), url.port), ("::1", Some(8084)));
        assert_eq!(url.websocket_path.as_deref(), Some("/mqtt?x=1"));
        assert_eq!(url.topic, None);
        assert_eq!(parse("ws://h").websocket_path, None);
    }

    #[test]
    fn refusal_says_what_is_wrong() {
        for (text, expected) in [
            ("localhost", "no scheme, such as mqtt://"),
            ("http://h", "scheme 'http' is none of mqtt, mqtts, ws, wss"),
            ("mqtt://", "no host"),
            ("mqtt://h:port", "port 'port'"),
            ("mqtt://h/%zz", "'%' without two hexadecimal digits"),
            ("mqtt://[::1", "'[' without ']'"),
        ] {
            let error = text.parse::<BrokerUrl>().unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }
}
