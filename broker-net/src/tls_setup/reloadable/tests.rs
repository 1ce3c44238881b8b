//! Files that change, and fail, while a listener goes by them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};

use super::*;
use crate::config::OcspStapling;
use crate::tls_setup::crl::tests::list;
use crate::tls_setup::ocsp::tests::{GOOD, authority, response};
use crate::tls_setup::tests::Folder;
use crate::tls_setup::{OcspError, OcspQuestion};

/// The files of a listener.
struct Files {
    folder: Folder,
    ca: CertifiedIssuer<'static, KeyPair>,
    chain: Vec<CertificateDer<'static>>,
}

impl Files {
    fn new() -> Self {
        let ca = authority("ca");
        let mut files = Self { folder: Folder::new(), ca, chain: Vec::new() };
        files.write_certificate();
        files.folder.write("ca.pem", "CERTIFICATE", files.ca.der());
        files.write_list(2024);
        files.write_staple(GOOD, FUTURE);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// A new one, and its key.
    fn write_certificate(&mut self) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().signed_by(&key, &self.ca).unwrap();
        let pem = certificate.pem() + &self.ca.pem();
        fs::write(self.path("server.pem"), pem).unwrap();
        self.folder.write("server.key", "PRIVATE KEY", key.serialized_der());
        self.chain = vec![certificate.der().clone(), self.ca.der().clone()];
    }

    fn list(&self, year: i32) -> Vec<u8> {
        list(year, 2100, &[], &self.ca)
    }

    fn write_list(&self, year: i32) {
        fs::write(self.path("list"), self.list(year)).unwrap();
    }

    fn write_staple(&self, status: &[u8], until: &[u8]) {
        let question = OcspQuestion::about(&self.chain).unwrap();
        let response = response(&question, status, &[PAST, until], self.ca.key(), &[]);
        fs::write(self.path("staple"), response).unwrap();
    }

    fn load(&self) -> ReloadableTls {
        let config = TlsConfig {
            certfile: Some(self.path("server.pem")),
            keyfile: Some(self.path("server.key")),
            cacertfile: Some(self.path("ca.pem")),
            crlfile: vec![self.path("list")],
            ocsp_stapling: Some(OcspStapling::File(self.path("staple"))),
            verify_peer: true,
            ..TlsConfig::default()
        };
        ReloadableTls::load(config, "l", &self.folder.0, &Fetched::default()).unwrap()
    }
}

fn errors(tls: &ReloadableTls) -> Vec<String> {
    tls.refresh().iter().map(ToString::to_string).collect()
}

fn staple(tls: &ReloadableTls) -> (bool, Option<OcspError>) {
    let staple = tls.revocation_state().unwrap().staple.unwrap();
    assert_eq!(tls.current.0.read().certified_key.ocsp.is_some(), staple.is_there);
    (staple.is_there, staple.problem)
}

/// Whether the lists are others than before.
fn has_new_lists(tls: &ReloadableTls, before: &Material) -> bool {
    let now = tls.current.0.read();
    let crls = |material: &Material| material.clients.as_ref().unwrap().crls().unwrap().clone();
    !crls(&now).is_same(&crls(before))
}

#[test]
fn lists_and_staple_do_not_hold_each_other_up() {
    let files = Files::new();
    let tls = files.load();
    assert_eq!((errors(&tls), staple(&tls)), (vec![], (true, None)));
    // The list fails, and the staple is taken back all the same.
    fs::write(files.path("list"), b"no list").unwrap();
    files.write_staple(REVOKED, FUTURE);
    let failed = errors(&tls);
    assert_eq!(failed.len(), 1);
    assert!(failed[0].starts_with("l.crlfile = "), "{failed:?}");
    assert_eq!(staple(&tls), (false, Some(OcspError::Revoked)));
    // The staple fails, and the list is taken all the same.
    let before = tls.current.0.read().clone();
    fs::write(files.path("staple"), b"no answer").unwrap();
    files.write_list(2025);
    let failed = errors(&tls);
    assert_eq!(failed.len(), 1);
    assert!(failed[0].starts_with("l.ocsp_stapling = "), "{failed:?}");
    assert!(has_new_lists(&tls, &before));
}

#[test]
fn what_a_file_says_against_the_certificate_is_not_stapled() {
    let files = Files::new();
    let tls = files.load();
    for (status, until, problem) in [
        (REVOKED, FUTURE, OcspError::Revoked),
        (UNKNOWN, FUTURE, OcspError::Unknown),
        (GOOD, PAST, OcspError::OutOfDate),
    ] {
        files.write_staple(status, until);
        assert_eq!((errors(&tls), staple(&tls)), (vec![], (false, Some(problem))));
        // Neither does it keep the listener from its start, nor a certificate from being read.
        assert_eq!(staple(&files.load()), (false, Some(problem)));
        tls.reload().unwrap();
        assert_eq!(staple(&tls), (false, Some(problem)));
        files.write_staple(GOOD, FUTURE);
        assert_eq!((errors(&tls), staple(&tls)), (vec![], (true, None)));
    }
    // What is no answer says nothing against it.
    fs::write(files.path("staple"), b"no answer").unwrap();
    assert_eq!((errors(&tls).len(), staple(&tls)), (1, (true, None)));
}

/// Reading begins with the old certificate, is held up by a list that comes slowly, and a new certificate is read
/// meanwhile.
#[test]
fn what_was_read_before_does_not_replace_what_was_read_later() {
    let mut files = Files::new();
    let tls = files.load();
    let fifo = files.path("list");
    fs::remove_file(&fifo).unwrap();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::thread::scope(|scope| {
        let refresh = scope.spawn(|| errors(&tls));
        // Opens once the other end is open.
        let mut slow = fs::File::options().write(true).open(&fifo).unwrap();
        fs::remove_file(&fifo).unwrap();
        files.write_list(2024);
        files.write_certificate();
        files.write_staple(GOOD, FUTURE);
        let reload = scope.spawn(|| tls.reload());
        // As much time as it takes where nothing keeps it from being too fast.
        let until = Instant::now() + Duration::from_millis(300);
        while !reload.is_finished() && Instant::now() < until {
            std::thread::yield_now();
        }
        std::io::Write::write_all(&mut slow, &files.list(2025)).unwrap();
        drop(slow);
        refresh.join().unwrap();
        reload.join().unwrap().unwrap();
    });
    assert_eq!(tls.current.0.read().certified_key.cert[0], files.chain[0]);
}

const REVOKED: &[u8] = &[0xa1, 0];
const UNKNOWN: &[u8] = &[0x82, 0];
const PAST: &[u8] = b"20240101000000Z";
const FUTURE: &[u8] = b"20990101000000Z";
