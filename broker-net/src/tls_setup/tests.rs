//! Files of a listener: made, read, and refused with their names.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::self_signed::write_pem;
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

pub(super) fn source(config: TlsConfig, folder: &Folder) -> TlsSource {
    TlsSource {
        config,
        key: "listener.ssl.external".to_owned(),
        data_dir: folder.0.clone(),
        fetched: Fetched::default(),
    }
}

fn error(config: TlsConfig, folder: &Folder) -> String {
    source(config, folder).read().unwrap_err().to_string()
}

#[test]
fn a_certificate_is_made_once_and_kept_private() {
    let folder = Folder::new();
    source(TlsConfig::default(), &folder).read().unwrap();
    let mode = |name: &str| fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("certs"), 0o700);
    assert_eq!(mode("certs/server.key"), 0o600);
    let first = fs::read(folder.0.join("certs/server.crt")).unwrap();
    source(TlsConfig::default(), &folder).read().unwrap();
    assert_eq!(fs::read(folder.0.join("certs/server.crt")).unwrap(), first);
    assert_eq!(fs::read_dir(folder.0.join("certs")).unwrap().count(), 2);
}

#[test]
fn errors_name_key_and_file() {
    let folder = Folder::new();
    source(TlsConfig::default(), &folder).read().unwrap();
    let (cert, key) = (folder.0.join("certs/server.crt"), folder.0.join("certs/server.key"));
    let missing = folder.0.join("missing.pem");
    let good = TlsConfig {
        certfile: Some(cert.clone()),
        keyfile: Some(key.clone()),
        ..TlsConfig::default()
    };
    let check = |config: TlsConfig, start: String| {
        let found = error(config, &folder);
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
    let crlfile = vec![cert.clone()];
    check(
        TlsConfig { verify_peer: true, cacertfile: Some(cert.clone()), crlfile, ..good.clone() },
        format!("listener.ssl.external.crlfile = {}: holds no revocation list", cert.display()),
    );
    let foreign = rcgen::KeyPair::generate().unwrap();
    let foreign = folder.write("foreign.key", "PRIVATE KEY", foreign.serialized_der());
    check(
        TlsConfig { keyfile: Some(foreign), ..good },
        format!("listener.ssl.external.certfile = {}: certificate or key", cert.display()),
    );
}
