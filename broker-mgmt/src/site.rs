//! The site that a browser asks for: pages of another one may have nothing done in its user's name.
//!
//! A browser that knows the secret sends it along with whatever any page asks of it. The pages of the API's own site
//! write with an `Origin` that is the `Host` they ask; who is no browser sends none.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::uri::{Authority, Scheme, Uri};

/// Whether a request would change something for a page of another site.
pub(crate) fn is_foreign_write(http: &HttpRequest) -> bool {
    if http.method().is_safe() {
        return false;
    }
    let fetch_site = http.headers().get_all("sec-fetch-site");
    let mut origins = http.headers().get_all(header::ORIGIN);
    fetch_site.into_iter().any(is_cross_site)
        || match (origins.next(), origins.next()) {
            (None, _) => false,
            (Some(origin), None) => !asked(http).is_some_and(|asked| is_origin(origin, &asked)),
            (Some(_), Some(_)) => true,
        }
}

fn is_cross_site(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"cross-site")
}

/// Host and port that were asked for, as the client knows them.
fn asked(http: &HttpRequest) -> Option<Authority> {
    match http.uri().authority() {
        Some(authority) => Some(authority.clone()),
        None => http.headers().get(header::HOST)?.to_str().ok()?.trim().parse().ok(),
    }
}

/// Whether an `Origin` is this host and port. A port that either leaves out is that of the origin's scheme: behind
/// a proxy that ends TLS, nobody else here knows it.
fn is_origin(origin: &HeaderValue, asked: &Authority) -> bool {
    let Some(origin) = origin.to_str().ok().and_then(|text| text.trim().parse::<Uri>().ok()) else {
        return false;
    };
    let (Some(scheme), Some(from)) = (origin.scheme(), origin.authority()) else { return false };
    let default_port = match scheme {
        scheme if *scheme == Scheme::HTTP => 80,
        scheme if *scheme == Scheme::HTTPS => 443,
        _ => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    from.host().eq_ignore_ascii_case(asked.host()) && port(from) == port(asked)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn is_foreign(host: &str, lines: &[(&str, &str)]) -> bool {
        let request = TestRequest::post().uri("/api/v3/apps").insert_header((header::HOST, host));
        let request = lines.iter().fold(request, |request, line| request.append_header(*line));
        is_foreign_write(&request.to_http_request())
    }

    #[test]
    fn an_origin_is_its_own_or_foreign() {
        let check = |host, origin, expected| {
            assert_eq!(is_foreign(host, &[("Origin", origin)]), expected, "{origin} at {host}");
        };
        for (host, origin) in [
            ("broker:8080", "http://broker:8080"),
            ("BROKER:8080", "http://Broker:8080"),
            ("broker", "http://broker"),
            ("broker:80", "http://broker"),
            ("broker", "http://broker:80"),
            // A proxy ends TLS, and hands the host on.
            ("broker", "https://broker"),
            ("broker:443", "https://broker"),
            ("broker:8443", "https://broker:8443"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            check(host, origin, false);
        }
        for (host, origin) in [
            ("broker:8080", "http://broker"),
            ("broker:8080", "http://broker:8081"),
            ("broker:80", "https://broker"),
            ("broker:443", "http://broker"),
            ("broker", "http://broker.evil.example"),
            ("broker", "http://evil.example/broker"),
            ("broker", "http://broker@evil.example"),
            ("broker", "ftp://broker"),
            ("broker", "broker"),
            ("broker", "//broker"),
            ("broker", "null"),
            ("broker", ""),
            ("", "http://broker"),
        ] {
            check(host, origin, true);
        }
    }

    #[test]
    fn what_a_browser_says_of_it_counts_too() {
        assert!(!is_foreign("broker", &[]));
        assert!(!is_foreign("broker", &[("Sec-Fetch-Site", "none")]));
        assert!(!is_foreign("broker", &[("Sec-Fetch-Site", "same-origin")]));
        assert!(is_foreign("broker", &[("Sec-Fetch-Site", "Cross-Site")]));
        let own = ("Origin", "http://broker");
        assert!(is_foreign("broker", &[own, ("Sec-Fetch-Site", "cross-site")]));
        assert!(is_foreign("broker", &[own, ("Origin", "http://evil.example")]));
        assert!(is_foreign("broker", &[own, own]));
    }

    #[test]
    fn reading_is_left_to_the_browser_which_shows_no_other_page_the_answer() {
        let request = TestRequest::get().insert_header(("Origin", "http://evil.example"));
        assert!(!is_foreign_write(&request.to_http_request()));
    }
}
