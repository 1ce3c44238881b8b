//! Where a key set comes from: a file, or a web server.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub(super) enum Source {
    File(PathBuf),
    Url { url: String, agent: Agent },
}

/// The key of the configuration that is wrong, behind `auth.jwt.`, and why.
type Problem = (&'static str, String);

impl Source {
    /// From `auth.jwt.jwks` and `auth.jwt.jwks_cacertfile`.
    pub(super) fn new(place: &str, ca: Option<&Path>) -> Result<Self, Problem> {
        let Some((scheme, _)) = place.split_once("://") else {
            return Ok(Self::File(place.into()));
        };
        let wrong = |why: &str| ("jwks", why.to_owned());
        if !["http", "https"].contains(&scheme) {
            return Err(wrong("neither a file nor an http or https URL"));
        }
        let uri: Uri = place.parse().map_err(|_| wrong("no URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("a URL without a host"))?;
        if authority.host().is_empty() {
            return Err(wrong("a URL without a host"));
        }
        if authority.as_str().contains('@') {
            return Err(wrong("a URL must not hold a user name or password"));
        }
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        if scheme == "https" {
            let trusted = trusted(ca)?;
            let trusted = trusted.iter().map(|it| Certificate::from_der(it).to_owned());
            tls = tls.root_certs(RootCerts::from(trusted));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Who may say which keys count is named in the configuration.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The way around is the operator's: variables for a browser's proxy do not mean the broker.
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .max_idle_connections(0)
            .max_response_header_size(HEADER_BYTES_MAX)
            .user_agent(concat!("mqtt-broker/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build();
        Ok(Self::Url { url: place.to_owned(), agent: Agent::new_with_config(config) })
    }

    /// The document as it is now; waits for 10 seconds at most.
    pub(super) fn read(&self) -> Result<Vec<u8>, String> {
        let mut document = Vec::new();
        match self {
            Self::File(path) => {
                let file = File::open(path).map_err(|error| error.to_string())?;
                let read = file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut document);
                read.map_err(|error| error.to_string())?;
            }
            Self::Url { url, agent } => {
                let answer = agent.get(url).call().map_err(|error| error.to_string())?;
                if answer.status() != 200 {
                    return Err(format!("the server answered {}", answer.status().as_u16()));
                }
                let body = answer.into_body().into_reader();
                let read = body.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut document);
                read.map_err(|error| error.to_string())?;
            }
        }
        if document.len() as u64 > DOCUMENT_BYTES_MAX {
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

fn trusted(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let from_env = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = || from_env.into_iter().chain(SYSTEM_CA_FILES.iter().map(PathBuf::from));
    let path = ca.map(Path::to_owned).or_else(|| known().find(|path| path.exists()));
    let wrong = |why: String| ("jwks_cacertfile", why);
    let path = path.ok_or_else(|| wrong("no CA certificates of the system found".to_owned()))?;
    let read = || CertificateDer::pem_file_iter(&path)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    if found.is_empty() {
        return Err(wrong(format!("{}: no certificate in PEM format", path.display())));
    }
    Ok(found)
}

/// Within the 15 seconds that a client has for its CONNECT.
const TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_BYTES_MAX: usize = 16 << 10;
/// 256 keys of 8,192 bits take 350 KiB.
const DOCUMENT_BYTES_MAX: u64 = 512 << 10;
/// Where Linux distributions keep their CA certificates.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
