//! TLS towards a remote side: which certificates are trusted, and what the broker shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Files that a configuration names; an empty name counts as none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// CA certificates; those of the system without it.
    pub(crate) ca: Option<PathBuf>,
    /// The broker's own certificate chain, and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// From `cacertfile`, `certfile` and `keyfile`.
    pub(crate) fn new(ca: &str, cert: &str, key: &str) -> Result<Self, String> {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        Self::of_paths(path(ca), path(cert), path(key))
    }

    /// The same, where what is not given is `None`.
    pub(crate) fn of_paths(
        ca: Option<PathBuf>,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Self, String> {
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => return Err("certfile needs keyfile".to_owned()),
            (None, Some(_)) => return Err("keyfile needs certfile".to_owned()),
        };
        Ok(Self { ca, identity })
    }

    /// The certificates that are trusted.
    pub(crate) fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        match &self.ca {
            Some(path) => certificates(path, "cacertfile"),
            None => {
                let from_env = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
                let known = SYSTEM_CA_FILES.iter().map(PathBuf::from);
                let found = from_env.into_iter().chain(known).find(|path| path.exists());
                let path =
                    found.ok_or("no CA certificates of the system found; give cacertfile")?;
                certificates(&path, "CA certificates of the system")
            }
        }
    }

    /// The broker's own certificates and key.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, String> {
        let Some((cert, key)) = &self.identity else { return Ok(None) };
        let chain = certificates(cert, "certfile")?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| format!("keyfile {}: {error}", key.display()))?;
        Ok(Some((chain, key)))
    }

    /// The file of the key as it is.
    pub(crate) fn key_pem(&self) -> Result<Vec<u8>, String> {
        let Some((_, key)) = &self.identity else { return Ok(Vec::new()) };
        std::fs::read(key).map_err(|error| format!("keyfile {}: {error}", key.display()))
    }

    /// What connections share.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        let (n_added, _) = roots.add_parsable_certificates(self.trusted()?);
        if n_added == 0 {
            return Err("cacertfile: no usable certificate".to_owned());
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .with_root_certificates(roots);
        let config = match self.identity()? {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("certfile with keyfile: {error}"))?,
        };
        Ok(Arc::new(config))
    }
}

/// A certificate chain and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = read().map_err(|error| format!("{what} {}: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!("{what} {}: no certificate in PEM format", path.display()));
    }
    Ok(found)
}

/// Where Linux distributions keep their CA certificates.
const SYSTEM_CA_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
