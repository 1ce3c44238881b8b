//! From the TLS keys of a listener to what rustls wants, and the certificate made at first start.

mod reloadable;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

pub use self::reloadable::ReloadableTls;
use crate::config::TlsConfig;

/// What is wrong with the TLS of a listener; the operator's to fix.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {value}: {cause}")]
pub struct TlsSetupError {
    /// `listener.ssl.external.certfile`.
    key: String,
    value: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a PEM file: {0}")]
    Pem(pem::Error),
    #[error("holds no certificate")]
    NoCertificate,
    #[error("holds no private key")]
    NoKey,
    #[error("certificate or key unusable: {0}")]
    Tls(#[from] rustls::Error),
    #[error("not usable to verify clients: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("must be given as well")]
    Missing,
    #[error("making a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

impl From<pem::Error> for Cause {
    fn from(error: pem::Error) -> Self {
        match error {
            pem::Error::Io(error) => Self::Io(error),
            error => Self::Pem(error),
        }
    }
}

/// What is read from the files, and the key of session tickets that goes with it.
#[derive(Debug, Clone)]
struct Material {
    certified_key: Arc<CertifiedKey>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// A fresh key for each: it ends sessions that an earlier list of authorities had let in.
    ticketer: Arc<dyn ProducesTickets>,
}

/// Reads the files and builds the configuration. `key` is `listener.ssl.external`; `data_dir` is
/// where the certificate is made if none is configured.
pub(crate) fn load(
    config: &TlsConfig,
    key: &str,
    data_dir: &Path,
) -> Result<Arc<ServerConfig>, TlsSetupError> {
    let Material { certified_key, verifier, ticketer } = read(config, key, data_dir)?;
    let resolver = Arc::new(SingleCertAndKey::from(certified_key));
    build(config, verifier, resolver, ticketer).map_err(|error| unusable(config, key, error))
}

fn read(config: &TlsConfig, key: &str, data_dir: &Path) -> Result<Material, TlsSetupError> {
    let error = |name: &str, value: &Path, cause: Cause| TlsSetupError {
        key: format!("{key}.{name}"),
        value: value.display().to_string(),
        cause,
    };
    let (certfile, keyfile) = match (&config.certfile, &config.keyfile) {
        (Some(certfile), Some(keyfile)) => (certfile.clone(), keyfile.clone()),
        (Some(_), None) => return Err(error("keyfile", Path::new(""), Cause::Missing)),
        (None, Some(_)) => return Err(error("certfile", Path::new(""), Cause::Missing)),
        (None, None) => {
            let folder = data_dir.join("certs");
            self_signed(&folder).map_err(|cause| error("certfile", &folder, cause))?
        }
    };
    let chain =
        read_certificates(&certfile).map_err(|cause| error("certfile", &certfile, cause))?;
    let private_key = PrivateKeyDer::from_pem_file(&keyfile).map_err(|cause| {
        let cause = match cause {
            pem::Error::NoItemsFound => Cause::NoKey,
            other => other.into(),
        };
        error("keyfile", &keyfile, cause)
    })?;
    let verifier = verifier(config).map_err(|cause| {
        let path = config.cacertfile.as_deref().unwrap_or_else(|| Path::new(""));
        error("cacertfile", path, cause)
    })?;
    let certified_key = CertifiedKey::from_der(chain, private_key, &ring::default_provider())
        .map_err(|cause| error("certfile", &certfile, cause.into()))?;
    let ticketer =
        ring::Ticketer::new().map_err(|cause| error("certfile", &certfile, cause.into()))?;
    Ok(Material { certified_key: Arc::new(certified_key), verifier, ticketer })
}

fn build(
    config: &TlsConfig,
    verifier: Arc<dyn ClientCertVerifier>,
    resolver: Arc<dyn ResolvesServerCert>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&versions(config))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    // Sessions are kept by clients, in tickets: no memory here, nothing shared between threads.
    server.ticketer = ticketer;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    // A client of MQTT holds one connection: one ticket to come back with is enough.
    server.send_tls13_tickets = 1;
    Ok(Arc::new(server))
}

/// What no file is to blame for.
fn unusable(config: &TlsConfig, key: &str, error: rustls::Error) -> TlsSetupError {
    let certfile = config.certfile.as_deref().unwrap_or_else(|| Path::new(""));
    TlsSetupError {
        key: format!("{key}.certfile"),
        value: certfile.display().to_string(),
        cause: error.into(),
    }
}

fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let tls13 = config.tls13.then_some(&rustls::version::TLS13);
    let tls12 = config.tls12.then_some(&rustls::version::TLS12);
    tls13.into_iter().chain(tls12).collect()
}

fn verifier(config: &TlsConfig) -> Result<Arc<dyn ClientCertVerifier>, Cause> {
    if !config.verify_peer {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let cacertfile = config.cacertfile.as_deref().ok_or(Cause::Missing)?;
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(cacertfile)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder =
        if config.fail_if_no_peer_cert { builder } else { builder.allow_unauthenticated() };
    Ok(builder.build()?)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let certificates = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() { Err(Cause::NoCertificate) } else { Ok(certificates) }
}

/// Certificate and key in `folder`, made if they are not there.
fn self_signed(folder: &Path) -> Result<(PathBuf, PathBuf), Cause> {
    let (certfile, keyfile) = (folder.join("server.crt"), folder.join("server.key"));
    if certfile.exists() && keyfile.exists() {
        return Ok((certfile, keyfile));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    names.extend(host_name().filter(|name| name != "localhost"));
    let mut params = rcgen::CertificateParams::new(names)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "MQTT broker, self-signed");
    params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_pem(&keyfile, "PRIVATE KEY", key.serialized_der())?;
    write_pem(&certfile, "CERTIFICATE", certificate.der())?;
    log::warn!(
        "no certificate configured, made a self-signed one; clients cannot verify it file={}",
        certfile.display()
    );
    Ok((certfile, keyfile))
}

/// Writes a file that only its owner may read, whole or not at all.
fn write_pem(path: &Path, label: &str, der: &[u8]) -> io::Result<()> {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for at in (0..text.len()).step_by(64) {
        pem.push_str(&text[at..text.len().min(at + 64)]);
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    let unfinished = path.with_added_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

/// The name of this host, where it is a name that may stand in a certificate.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// An empty folder of its own for a test, removed with it.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new() -> Self {
            static N: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("broker-net-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn write(&self, name: &str, label: &str, der: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            write_pem(&path, label, der).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    pub(crate) fn config() -> TlsConfig {
        TlsConfig {
            certfile: None,
            keyfile: None,
            cacertfile: None,
            verify_peer: false,
            fail_if_no_peer_cert: false,
            tls12: true,
            tls13: true,
            handshake_timeout_ms: 15_000,
            peer_cert_as_username: None,
        }
    }

    fn error(config: &TlsConfig, folder: &Folder) -> String {
        load(config, "listener.ssl.external", &folder.0).unwrap_err().to_string()
    }

    #[test]
    fn a_certificate_is_made_once_and_kept_private() {
        let folder = Folder::new();
        load(&config(), "listener.ssl.external", &folder.0).unwrap();
        let mode =
            |name: &str| fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("certs"), 0o700);
        assert_eq!(mode("certs/server.key"), 0o600);
        let first = fs::read(folder.0.join("certs/server.crt")).unwrap();
        load(&config(), "listener.ssl.external", &folder.0).unwrap();
        assert_eq!(fs::read(folder.0.join("certs/server.crt")).unwrap(), first);
        assert_eq!(fs::read_dir(folder.0.join("certs")).unwrap().count(), 2);
    }

    #[test]
    fn errors_name_key_and_file() {
        let folder = Folder::new();
        load(&config(), "listener.ssl.external", &folder.0).unwrap();
        let (cert, key) = (folder.0.join("certs/server.crt"), folder.0.join("certs/server.key"));
        let missing = folder.0.join("missing.pem");
        let good =
            TlsConfig { certfile: Some(cert.clone()), keyfile: Some(key.clone()), ..config() };
        let check = |config: TlsConfig, start: String| {
            let found = error(&config, &folder);
            assert!(found.starts_with(&start), "{found} does not start with {start}");
        };
        check(
            TlsConfig { certfile: Some(missing.clone()), ..good.clone() },
            format!("listener.ssl.external.certfile = {}: No such file", missing.display()),
        );
        check(
            TlsConfig { certfile: Some(key.clone()), ..good.clone() },
            format!("listener.ssl.external.certfile = {}: holds no certificate", key.display()),
        );
        check(
            TlsConfig { keyfile: Some(cert.clone()), ..good.clone() },
            format!("listener.ssl.external.keyfile = {}: holds no private key", cert.display()),
        );
        check(
            TlsConfig { keyfile: None, ..good.clone() },
            "listener.ssl.external.keyfile = : must be given".into(),
        );
        check(
            TlsConfig { verify_peer: true, ..good.clone() },
            "listener.ssl.external.cacertfile = : must be given".into(),
        );
        let foreign = rcgen::KeyPair::generate().unwrap();
        let foreign = folder.write("foreign.key", "PRIVATE KEY", foreign.serialized_der());
        check(
            TlsConfig { keyfile: Some(foreign), ..good },
            format!("listener.ssl.external.certfile = {}: certificate or key", cert.display()),
        );
    }
}
