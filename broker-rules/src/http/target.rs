//! Target: a URL, taken apart. Who logs in there is kept apart from what may be shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ureq::http::Uri;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_https: bool,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `http://host:port`, without who logs in.
    origin: String,
    /// Without a slash at its end.
    path: String,
    /// With its question mark, if it has one.
    query: String,
    /// All of it as it was given, without who logs in.
    whole: String,
}

/// `Authorization` made of what stands before the host.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login(pub(crate) String);

impl Target {
    /// Takes a URL apart. No part of it is in an error: it may have a password in it.
    pub(crate) fn parse(url: &str) -> Result<(Self, Option<Login>), String> {
        let bad = |what: &str| format!("url: {what}");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("no scheme"))?;
        let is_https = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(bad("http:// or https:// is expected")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user_info, address) = match authority.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info), address),
            None => (None, authority),
        };
        let login = match user_info {
            Some(user_info) => {
                let decoded = percent_decode(user_info).ok_or_else(|| bad("user and password"))?;
                Some(Login(format!("Basic {}", BASE64.encode(decoded))))
            }
            None => None,
        };
        // What the client library would not take is refused here, where its words cannot reach a log.
        let origin = format!("{scheme}://{address}");
        let uri: Uri = origin.parse().map_err(|_| bad("no host and port"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let port = match (uri.port_u16(), has_port) {
            (Some(0), _) | (None, true) => return Err(bad("no port")),
            (Some(port), _) => port,
            (None, false) => {
                if is_https {
                    443
                } else {
                    80
                }
            }
        };
        let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
        let mut target = Self {
            is_https,
            host,
            port,
            origin,
            path: path.trim_end_matches('/').to_owned(),
            query: query.to_owned(),
            whole: String::new(),
        };
        // A path of its own keeps its slash at the end.
        target.whole = target.url_of(if path.is_empty() { "/" } else { path });
        target.whole.parse::<Uri>().map_err(|_| bad("no path and query"))?;
        Ok((target, login))
    }

    /// The URL as it was given, or with `suffix` behind its path.
    pub(crate) fn url(&self, suffix: &str) -> String {
        if suffix.is_empty() {
            let path = if self.path.is_empty() { "/" } else { &self.path };
            return self.url_of(path);
        }
        let (path, query) = suffix.split_at(suffix.find('?').unwrap_or(suffix.len()));
        let mut url = format!("{}{}", self.origin, self.path);
        if !path.is_empty() {
            url.push('/');
            url += path.trim_start_matches('/');
        }
        url += &self.query;
        match query.strip_prefix('?') {
            Some(more) if self.query.is_empty() => {
                url.push('?');
                url += more;
            }
            Some(more) => {
                url.push('&');
                url += more;
            }
            None => {}
        }
        url
    }

    /// The URL as it was given, with `query` behind what it has of its own.
    pub(crate) fn url_with(&self, query: &str) -> String {
        let joint = match (query, &*self.query) {
            ("", _) | (_, "?") => "",
            (_, "") => "?",
            _ => "&",
        };
        format!("{}{joint}{query}", self.whole)
    }

    /// `http://host:port`.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    fn url_of(&self, path: &str) -> String {
        format!("{}{path}{}", self.origin, self.query)
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, behind) = rest.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(digits[0])? << 4 | digit(digits[1])?) as u8);
        rest = behind;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> (Target, Option<Login>) {
        Target::parse(url).unwrap()
    }

    #[test]
    fn a_url_is_taken_apart() {
        let (target, login) = parse("http://h.example:8080/a/b/?x=1#f");
        assert_eq!((target.is_https, &*target.host, target.port), (false, "h.example", 8080));
        assert_eq!(target.url(""), "http://h.example:8080/a/b?x=1");
        assert_eq!(target.url("c"), "http://h.example:8080/a/b/c?x=1");
        assert_eq!(target.url("/c?y=2"), "http://h.example:8080/a/b/c?x=1&y=2");
        assert!(login.is_none());
        let (target, _) = parse("https://[::1]");
        assert_eq!((target.is_https, &*target.host, target.port), (true, "::1", 443));
        assert_eq!(target.url(""), "https://[::1]/");
        assert_eq!(target.url("?y=2"), "https://[::1]?y=2");
    }

    #[test]
    fn a_query_comes_behind_that_of_the_url() {
        for (url, expected) in [
            ("http://h", "http://h/?a=1"),
            ("http://h/", "http://h/?a=1"),
            ("http://h/p/", "http://h/p/?a=1"),
            ("http://me:pw@h/p?", "http://h/p?a=1"),
            ("http://h/p?k=v#f", "http://h/p?k=v&a=1"),
        ] {
            assert_eq!(parse(url).0.url_with("a=1"), expected);
        }
        assert_eq!(parse("http://h/p/?k=v").0.url_with(""), "http://h/p/?k=v");
    }

    #[test]
    fn who_logs_in_is_nowhere_but_in_the_login() {
        let (target, login) = parse("http://me:p%40ss@h/p");
        assert_eq!(login.unwrap().0, format!("Basic {}", BASE64.encode("me:p@ss")));
        assert_eq!(target.url(""), "http://h/p");
        assert!(!format!("{target:?}").contains("p@ss"));
        for url in ["http://me:secret@", "http://me:secret@h:x", "http://me:%secret@h", "me:secret"]
        {
            let error = Target::parse(url).err().unwrap();
            assert!(error.starts_with("url: ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for url in [
            "",
            "h",
            "ftp://h",
            "http://",
            "http://:80",
            "http://h:99999",
            "http://h:0",
            "http://h/\r\nX: y",
            "http://h /",
            "HTTP://h",
        ] {
            assert!(Target::parse(url).is_err(), "{url:?}");
        }
    }
}
