//! The certificate that is made at the first start where none is configured.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Cause;

/// Certificate and key in `folder`, made if they are not there.
pub(super) fn self_signed(folder: &Path) -> Result<(PathBuf, PathBuf), Cause> {
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
pub(super) fn write_pem(path: &Path, label: &str, der: &[u8]) -> io::Result<()> {
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
