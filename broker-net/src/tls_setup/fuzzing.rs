//! What must hold for whatever a web server sends as a revocation list or as an answer of OCSP.

use std::sync::LazyLock;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;

use super::crl;
use super::ocsp::OcspQuestion;

/// It is read to an end, and no answer is believed that its issuer has not signed.
pub fn revocation(bytes: &[u8]) {
    if let Ok(lists) = crl::parse(bytes) {
        assert!(!lists.is_empty());
    }
    assert!(QUESTION.check(bytes, NOW_S).is_err());
    assert!(QUESTION.judge_new(bytes, NOW_S, b"nonce").is_err());
}

static QUESTION: LazyLock<OcspQuestion> = LazyLock::new(|| {
    let certificate = || -> Result<CertificateDer<'static>, rcgen::Error> {
        let certificate = CertificateParams::default().self_signed(&KeyPair::generate()?)?;
        Ok(certificate.der().clone())
    };
    let certificate = certificate().expect("a key can be made");
    OcspQuestion::about(&[certificate.clone(), certificate]).expect("there are two")
});

const NOW_S: u64 = 1_800_000_000;
