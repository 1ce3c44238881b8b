//! The HTTP request that opens a WebSocket (RFC 6455, 4.2), and our answer.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use broker_core::Cookies;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::config::WebSocketConfig;

/// Collects the header block. Memory follows the bytes received, up to `HEAD_BYTES_MAX`.
#[derive(Debug, Default)]
pub struct Upgrade {
    head: Vec<u8>,
}

/// How far the request is.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// All bytes belong to the header block and there is more of it.
    Incomplete,
    /// The block has ended.
    Done {
        /// So many of the bytes given belong to it.
        consumed: usize,
        /// What it asks for.
        request: Request,
    },
}

/// An acceptable request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `101 Switching Protocols`, to be sent as it is.
    pub response: Vec<u8>,
    /// What `proxy_address_header` and `proxy_port_header` name, if the peer may name somebody.
    pub source: Option<SocketAddr>,
    /// Whether it says that who asks is not of this machine: a page of another host, which a browser here may show
    /// as well as one there, or a proxy that does not say for whom it speaks.
    pub is_elsewhere: bool,
    /// Its cookies.
    pub cookies: Option<Cookies>,
}

/// Whom a request comes from and whether its proxy headers count.
pub(crate) struct Origin<'a> {
    pub(crate) addr: Option<SocketAddr>,
    pub(crate) is_proxy: &'a dyn Fn(IpAddr) -> bool,
}

impl Origin<'_> {
    /// Whether it is a proxy that has to say for whom it speaks.
    fn speaks_for_others(&self, config: &WebSocketConfig) -> bool {
        config.proxy_address_header.is_some()
            && self.addr.is_some_and(|addr| (self.is_proxy)(addr.ip()))
    }
}

/// A refusal, to be sent before closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("websocket upgrade refused: {self:?}")]
pub enum Response {
    /// A request that cannot be read, or without what RFC 6455 and MQTT ask for.
    BadRequest,
    /// Another path than the listener's.
    NotFound,
    /// Another method than GET.
    MethodNotAllowed,
    /// No upgrade to the version of WebSocket that is spoken here.
    UpgradeRequired,
    /// More header fields than are read.
    HeadTooLarge,
    /// Another version of HTTP than 1.1.
    VersionNotSupported,
}

impl Response {
    /// The bytes of the response.
    pub fn encode(self) -> Vec<u8> {
        let (status, header) = match self {
            Self::BadRequest => ("400 Bad Request", ""),
            Self::NotFound => ("404 Not Found", ""),
            Self::MethodNotAllowed => ("405 Method Not Allowed", "Allow: GET\r\n"),
            Self::UpgradeRequired => {
                ("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
            }
            Self::HeadTooLarge => ("431 Request Header Fields Too Large", ""),
            Self::VersionNotSupported => ("505 HTTP Version Not Supported", ""),
        };
        format!("HTTP/1.1 {status}\r\n{header}Connection: close\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
    }
}

impl Upgrade {
    /// Takes the next bytes of the stream.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        config: &WebSocketConfig,
        origin: &Origin<'_>,
    ) -> Result<Progress, Response> {
        let n_before = self.head.len();
        let n_room = HEAD_BYTES_MAX - n_before;
        self.head.extend_from_slice(&input[..input.len().min(n_room)]);
        // The end may straddle what was there and what came.
        let search_at = n_before.saturating_sub(END.len() - 1);
        let Some(end) = self.head[search_at..].windows(END.len()).position(|four| four == END)
        else {
            let full = self.head.len() == HEAD_BYTES_MAX;
            return if full { Err(Response::HeadTooLarge) } else { Ok(Progress::Incomplete) };
        };
        self.head.truncate(search_at + end + END.len());
        let consumed = self.head.len() - n_before;
        let request = answer(&self.head, config, origin)?;
        Ok(Progress::Done { consumed, request })
    }

    #[cfg(test)]
    pub(crate) fn kept_bytes(&self) -> usize {
        self.head.capacity()
    }
}

fn answer(head: &[u8], config: &WebSocketConfig, origin: &Origin<'_>) -> Result<Request, Response> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Response::BadRequest),
        Err(httparse::Error::TooManyHeaders) => return Err(Response::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(Response::VersionNotSupported),
        Err(_) => return Err(Response::BadRequest),
    }
    let headers = Headers(request.headers);
    if request.method != Some("GET") {
        return Err(Response::MethodNotAllowed);
    }
    if request.version != Some(1) {
        return Err(Response::VersionNotSupported);
    }
    let path = request.path.unwrap_or_default().split('?').next();
    if path != Some(config.mqtt_path.as_str()) {
        return Err(Response::NotFound);
    }
    if !headers.has_token("upgrade", "websocket") || !headers.has_token("connection", "upgrade") {
        return Err(Response::UpgradeRequired);
    }
    if headers.single("sec-websocket-version")? != Some("13") {
        return Err(Response::UpgradeRequired);
    }
    let key = headers.single("sec-websocket-key")?.ok_or(Response::BadRequest)?;
    if !BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Err(Response::BadRequest);
    }
    // The client must offer "mqtt" and the server must pick it [MQTT-6.0.0-3] [MQTT-6.0.0-4].
    let protocol = headers
        .tokens("sec-websocket-protocol")
        .find(|offered| PROTOCOLS.iter().any(|ours| ours.eq_ignore_ascii_case(offered)));
    if protocol.is_none() && config.verify_protocol_header {
        return Err(Response::BadRequest);
    }
    let source = source(&headers, config, origin);
    let is_unnamed = source.is_none() && origin.speaks_for_others(config);
    let is_elsewhere = is_unnamed || !headers.all("origin", is_page_of_loopback);
    // There ought to be one header (RFC 6265, 5.4); HTTP/2 proxies make several of it.
    let cookies = headers.values("cookie").collect::<Vec<_>>().join(";");
    let cookies = Cookies::parse(&cookies);
    Ok(Request { response: accept(key, protocol), source, is_elsewhere, cookies })
}

fn accept(key: &str, protocol: Option<&str>) -> Vec<u8> {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    let accept = BASE64_STANDARD.encode(hash);
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    );
    if let Some(protocol) = protocol {
        // It came through the parser as one token of ours: nothing to escape.
        response.push_str(&format!("Sec-WebSocket-Protocol: {protocol}\r\n"));
    }
    response.push_str("\r\n");
    response.into_bytes()
}

/// The client as its proxy names it. Of a list the last entry that is no proxy itself counts:
/// earlier ones are what the client said.
fn source(
    headers: &Headers<'_, '_>,
    config: &WebSocketConfig,
    origin: &Origin<'_>,
) -> Option<SocketAddr> {
    if !origin.speaks_for_others(config) {
        return None;
    }
    let name = config.proxy_address_header.as_deref()?;
    let named: Vec<&str> = headers.tokens(name).collect();
    let mut ip = None;
    for entry in named.iter().rev() {
        let entry = entry.parse::<IpAddr>().ok()?.to_canonical();
        ip = Some(entry);
        if !(origin.is_proxy)(entry) {
            break;
        }
    }
    let port = config.proxy_port_header.as_deref();
    let port = port.and_then(|name| headers.tokens(name).last()?.parse().ok());
    Some(SocketAddr::new(ip?, port.unwrap_or_default()))
}

/// `http://localhost:8080`, `https://[::1]`; not `null`, which any page can have itself made.
fn is_page_of_loopback(origin: &[u8]) -> bool {
    let Ok(origin) = str::from_utf8(origin) else { return false };
    let Some((_, authority)) = origin.trim().split_once("://") else { return false };
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) if port.is_empty() || port.starts_with(':') => v6,
        Some(_) => return false,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

struct Headers<'h, 'b>(&'h [httparse::Header<'b>]);

impl<'b> Headers<'_, 'b> {
    /// Values of all headers of this name, readable ones only.
    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'b str> {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .filter_map(|header| str::from_utf8(header.value).ok())
    }

    /// Whether all headers of this name are such; true where there is none.
    fn all(&self, name: &str, is_such: impl Fn(&[u8]) -> bool) -> bool {
        let mut named = self.0.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.all(|header| is_such(header.value))
    }

    /// Members of a comma-separated list, which may come in several headers.
    fn tokens(&self, name: &str) -> impl Iterator<Item = &'b str> {
        self.values(name).flat_map(|value| value.split(',')).map(str::trim)
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|found| found.eq_ignore_ascii_case(token))
    }

    /// The value of a header that must not come twice.
    fn single(&self, name: &str) -> Result<Option<&'b str>, Response> {
        let mut values = self.values(name);
        let value = values.next();
        if values.next().is_some() { Err(Response::BadRequest) } else { Ok(value.map(str::trim)) }
    }
}

/// Header block, its end included.
pub(crate) const HEAD_BYTES_MAX: usize = 8192;
const HEADERS_MAX: usize = 64;
const END: &[u8] = b"\r\n\r\n";
const PROTOCOLS: [&str; 3] = ["mqtt", "mqttv3.1.1", "mqttv3.1"];
/// RFC 6455, 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn config() -> WebSocketConfig {
        WebSocketConfig {
            mqtt_path: "/mqtt".into(),
            verify_protocol_header: true,
            max_frame_size: 0,
            proxy_address_header: Some("X-Forwarded-For".into()),
            proxy_port_header: Some("X-Forwarded-Port".into()),
        }
    }

    pub(crate) const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: chat, mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn receive(upgrade: &mut Upgrade, bytes: &[u8]) -> Result<Progress, Response> {
        let is_proxy = |ip: IpAddr| ip.to_string().starts_with("10.");
        let origin = Origin { addr: Some("10.0.0.1:4000".parse().unwrap()), is_proxy: &is_proxy };
        upgrade.receive(bytes, &config(), &origin)
    }

    fn request(text: &str) -> Result<Request, Response> {
        match receive(&mut Upgrade::default(), text.as_bytes())? {
            Progress::Done { consumed, request } => {
                assert_eq!(consumed, text.len());
                Ok(request)
            }
            Progress::Incomplete => panic!("incomplete: {text}"),
        }
    }

    /// The good request with one part exchanged.
    fn check(from: &str, to: &str, expected: Result<&str, Response>) {
        assert!(REQUEST.contains(from));
        let response = request(&REQUEST.replace(from, to)).map(|request| request.response);
        match (response, expected) {
            (Ok(response), Ok(part)) => {
                assert!(String::from_utf8(response).unwrap().contains(part), "{to}");
            }
            (response, expected) => assert_eq!(response.err(), expected.err(), "{to}"),
        }
    }

    #[test]
    fn the_request_of_the_rfc_is_accepted() {
        let response = String::from_utf8(request(REQUEST).unwrap().response).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 "));
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(response.contains("Sec-WebSocket-Protocol: mqtt\r\n"));
        assert!(response.ends_with("\r\n\r\n"));
    }

    // [MQTT-6.0.0-3] [MQTT-6.0.0-4]
    #[test]
    fn the_subprotocol_is_negotiated() {
        let answer = |protocol| Ok(protocol);
        check("chat, mqtt", "mqttv3.1", answer("Sec-WebSocket-Protocol: mqttv3.1\r\n"));
        check("chat, mqtt", "mqttv3.1.1,mqtt", answer("Sec-WebSocket-Protocol: mqttv3.1.1\r\n"));
        check("chat, mqtt", "chat", Err(Response::BadRequest));
        check("Sec-WebSocket-Protocol: chat, mqtt\r\n", "", Err(Response::BadRequest));
        let config = WebSocketConfig { verify_protocol_header: false, ..config() };
        let origin = Origin { addr: None, is_proxy: &|_| false };
        let text = REQUEST.replace("Sec-WebSocket-Protocol: chat, mqtt\r\n", "");
        let progress = Upgrade::default().receive(text.as_bytes(), &config, &origin).unwrap();
        let Progress::Done { request, .. } = progress else { panic!("incomplete") };
        assert!(!String::from_utf8(request.response).unwrap().contains("Protocol:"));
    }

    #[test]
    fn other_requests_are_refused() {
        check("GET", "POST", Err(Response::MethodNotAllowed));
        check("HTTP/1.1", "HTTP/1.0", Err(Response::VersionNotSupported));
        check("HTTP/1.1", "HTTP/2.0", Err(Response::VersionNotSupported));
        check("/mqtt", "/", Err(Response::NotFound));
        check("/mqtt", "/mqtt/", Err(Response::NotFound));
        check("/mqtt ", "/mqtt?token=1 ", Ok("101"));
        check("Upgrade: WebSocket\r\n", "", Err(Response::UpgradeRequired));
        check("keep-alive, Upgrade", "keep-alive", Err(Response::UpgradeRequired));
        check("Version: 13", "Version: 8", Err(Response::UpgradeRequired));
        check("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", Err(Response::BadRequest));
        check("Host: broker", "Sec-WebSocket-Key: AAAA", Err(Response::BadRequest));
        check("Host: broker", "Host broker", Err(Response::BadRequest));
        check("Host: broker", ("A: b\r\n".repeat(70)).trim_end(), Err(Response::HeadTooLarge));
    }

    #[test]
    fn a_header_block_is_bounded() {
        let mut upgrade = Upgrade::default();
        let huge = format!("GET /mqtt HTTP/1.1\r\nCookie: {}", "x".repeat(20_000));
        let mut result = Ok(Progress::Incomplete);
        for chunk in huge.as_bytes().chunks(700) {
            result = receive(&mut upgrade, chunk);
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result, Err(Response::HeadTooLarge));
        assert!(upgrade.kept_bytes() <= 2 * HEAD_BYTES_MAX);
    }

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        let source =
            |header: &str| request(&REQUEST.replace("Host: broker", header)).unwrap().source;
        assert_eq!(source("Host: broker"), None);
        let named = source("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Port: 4711");
        assert_eq!(named, Some("192.0.2.7:4711".parse().unwrap()));
        let spoofed = source("X-Forwarded-For: 127.0.0.1, 192.0.2.7, 10.0.0.3");
        assert_eq!(spoofed, Some("192.0.2.7:0".parse().unwrap()));
        assert_eq!(source("X-Forwarded-For: someone"), None);
        let origin = Origin { addr: Some("192.0.2.1:4000".parse().unwrap()), is_proxy: &|_| false };
        let text = REQUEST.replace("Host: broker", "X-Forwarded-For: 192.0.2.7");
        let Ok(Progress::Done { request, .. }) =
            Upgrade::default().receive(text.as_bytes(), &config(), &origin)
        else {
            panic!("refused")
        };
        assert_eq!(request.source, None);
    }

    #[test]
    fn a_page_is_of_loopback_or_of_elsewhere() {
        for origin in [
            "http://localhost",
            "https://LOCALHOST:8443",
            "http://127.0.0.1:8080",
            "http://127.1.2.3",
            "http://[::1]",
            "http://[::1]:8080",
            " http://localhost ",
        ] {
            assert!(is_page_of_loopback(origin.as_bytes()), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://localhost@evil.example",
            "http://evil.example:80",
            "http://[::1].evil.example",
            "http://[::1",
            "http://192.168.0.1",
            "http://[2001:db8::1]",
            "chrome-extension://abcdef",
            "localhost",
            "null",
            "",
            "://",
        ] {
            assert!(!is_page_of_loopback(origin.as_bytes()), "{origin}");
        }
        assert!(!is_page_of_loopback(&[0xff]));
        let two = "Origin: http://localhost\r\nOrigin: http://evil.example";
        assert!(request(&REQUEST.replace("Host: broker", two)).unwrap().is_elsewhere);
    }

    #[test]
    fn cookies_are_taken_apart_and_not_shown() {
        let cookies = |header: &str| {
            let cookies = request(&REQUEST.replace("Host: broker", header)).unwrap().cookies?;
            assert!(!format!("{cookies:?}").contains("secret"));
            let pairs = cookies.iter().map(|(name, value)| format!("{name}={value}"));
            Some(pairs.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(cookies("Host: broker"), None);
        assert_eq!(cookies("Cookie: "), None);
        assert_eq!(
            cookies("Cookie: a=secret; b = c=d;;e; =f; g="),
            Some("a=secret b=c=d g=".into())
        );
        assert_eq!(cookies("Cookie: a=1\r\nCookie: b=2"), Some("a=1 b=2".into()));
    }

    #[test]
    fn what_follows_the_request_is_left_alone() {
        let stream = [REQUEST.as_bytes(), b"\x82\x80"].concat();
        for split in 0..stream.len() {
            let mut upgrade = Upgrade::default();
            let progress = match receive(&mut upgrade, &stream[..split]).unwrap() {
                Progress::Incomplete => receive(&mut upgrade, &stream[split..]).unwrap(),
                done => {
                    assert!(split >= REQUEST.len());
                    done
                }
            };
            let Progress::Done { consumed, .. } = progress else { panic!("incomplete") };
            let before = if split < REQUEST.len() { split } else { 0 };
            assert_eq!(before + consumed, REQUEST.len());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_heads_do_not_panic(text in "[ -~\r\n]{0,200}") {
            let _ = receive(&mut Upgrade::default(), format!("GET {text}\r\n\r\n").as_bytes());
        }
    }
}
