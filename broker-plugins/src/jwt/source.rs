//! Where a key set comes from: a file, or a web server.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker_rules::http::{EndpointOptions, HttpEndpoint};

pub(super) enum Source {
    File(PathBuf),
    Url { url: String, endpoint: Box<HttpEndpoint> },
}

/// The key of the configuration that is wrong, behind `auth.jwt.`, and why.
type Problem = (&'static str, String);

impl Source {
    /// From `auth.jwt.jwks` and `auth.jwt.jwks_cacertfile`.
    pub(super) fn new(place: &str, ca: Option<&Path>) -> Result<Self, Problem> {
        let Some((scheme, rest)) = place.split_once("://") else {
            return Ok(Self::File(place.into()));
        };
        if !["http", "https"].contains(&scheme) {
            return Err(("jwks", "neither a file nor an http or https URL".to_owned()));
        }
        // The URL is shown where the configuration is.
        if rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@')) {
            return Err(("jwks", "a URL must not hold a user name or password".to_owned()));
        }
        let options = EndpointOptions {
            connect_timeout: TIMEOUT / 2,
            request_timeout: TIMEOUT / 2,
            pool_size: 0,
            answer_bytes_max: DOCUMENT_BYTES_MAX + 1,
            cacertfile: ca.map(Path::to_owned),
            certfile: None,
            keyfile: None,
        };
        let endpoint = HttpEndpoint::new(place, [], &options);
        let endpoint = endpoint.map_err(|why| match why.strip_prefix("url: ") {
            Some(why) => ("jwks", why.to_owned()),
            None => ("jwks_cacertfile", why.trim_start_matches("cacertfile ").to_owned()),
        })?;
        Ok(Self::Url { url: place.to_owned(), endpoint: Box::new(endpoint) })
    }

    /// The document as it is now; waits for 10 seconds at most.
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        let document = match self {
            Self::File(path) => {
                let mut document = Vec::new();
                let file = File::open(path).map_err(|error| error.to_string())?;
                let read = file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut document);
                read.map_err(|error| error.to_string())?;
                document
            }
            Self::Url { endpoint, .. } => {
                let answer = endpoint.get("").map_err(|error| error.to_string())?;
                if answer.status != 200 {
                    return Err(format!("the server answered {}", answer.status));
                }
                answer.body
            }
        };
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("longer than {DOCUMENT_BYTES_MAX} bytes"));
        }
        Ok(document)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            // A query may hold what not everybody should read.
            Self::Url { url, .. } => f.write_str(url.split('?').next().unwrap_or_default()),
        }
    }
}

/// Within the 15 seconds that a client has for its CONNECT.
const TIMEOUT: Duration = Duration::from_secs(10);
/// 256 keys of 8,192 bits take 350 KiB.
const DOCUMENT_BYTES_MAX: usize = 512 << 10;
