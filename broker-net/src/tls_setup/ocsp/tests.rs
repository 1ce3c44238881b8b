//! Answers made up and signed, by whom may and by whom may not.

use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SigningKey,
};

use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

const NOW_S: u64 = 1_800_000_000;
const TAG_TIME: u8 = 0x18;
/// Two hours before and after that.
const BEFORE: &[u8] = b"20270115060000Z";
const AFTER: &[u8] = b"20270115100000Z";
pub(crate) const GOOD: &[u8] = &[TAG_GOOD, 0];
const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub(crate) fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn question(serial: u64, issuer: &Issuer) -> OcspQuestion {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial.into());
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap();
    OcspQuestion::about(&[certificate.der().clone(), issuer.der().clone()]).unwrap()
}

/// Whom the issuer lets sign, if `may` says so.
fn delegate(issuer: &Issuer, may: bool) -> (CertificateDer<'static>, KeyPair) {
    let mut params = CertificateParams::default();
    if may {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    }
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().der().clone(), key)
}

/// What a responder says of a question: `times` are thisUpdate and, perhaps, nextUpdate.
pub(crate) fn response(
    question: &OcspQuestion,
    status: &[u8],
    times: &[&[u8]],
    key: &impl SigningKey,
    certificates: &[CertificateDer<'_>],
) -> Vec<u8> {
    let request = question.encode().unwrap();
    let mut request = Der(&request).expect(TAG_SEQUENCE).unwrap();
    let mut list = request.expect(TAG_SEQUENCE).unwrap().expect(TAG_SEQUENCE).unwrap();
    let id = list.expect(TAG_SEQUENCE).unwrap().0;
    let this_update = encode(TAG_TIME, &[times[0]]);
    let next_update = times
        .get(1)
        .map(|time| encode(TAG_EXPLICIT_0, &[&encode(TAG_TIME, &[time])]))
        .unwrap_or_default();
    let single = encode(TAG_SEQUENCE, &[id, status, &this_update, &next_update]);
    let responder = encode(0xa2, &[&encode(TAG_OCTET_STRING, &[b"who"])]);
    let produced_at = encode(TAG_TIME, &[BEFORE]);
    let responses = encode(TAG_SEQUENCE, &[&single]);
    let data = encode(TAG_SEQUENCE, &[&responder, &produced_at, &responses]);
    let signature = encode(TAG_BIT_STRING, &[&[0], &key.sign(&data).unwrap()]);
    let list: Vec<_> = certificates.iter().map(|certificate| certificate.as_ref()).collect();
    let list = encode(TAG_EXPLICIT_0, &[&encode(TAG_SEQUENCE, &list)]);
    let list = if certificates.is_empty() { Vec::new() } else { list };
    let basic = encode(TAG_SEQUENCE, &[&data, ECDSA_SHA256, &signature, &list]);
    let basic = encode(TAG_OCTET_STRING, &[&basic]);
    let typed = encode(TAG_SEQUENCE, &[&encode(TAG_OID, &[OID_BASIC]), &basic]);
    encode(TAG_SEQUENCE, &[&encode(TAG_ENUMERATED, &[&[0]]), &encode(TAG_EXPLICIT_0, &[&typed])])
}

fn error(question: &OcspQuestion, response: &[u8]) -> OcspError {
    question.check(response, NOW_S).unwrap_err()
}

#[test]
fn the_issuer_and_whom_it_lets_sign_are_believed() {
    let ca = authority("ca");
    let question = question(7, &ca);
    let times = [BEFORE, AFTER];
    let own = response(&question, GOOD, &times, ca.key(), &[]);
    let good = question.check(&own, NOW_S).unwrap();
    assert_eq!(good.next_update_s, Some(1_800_007_200));
    assert_eq!(good.response, own);
    let (certificate, key) = delegate(&ca, true);
    let delegated = response(&question, GOOD, &times, &key, &[certificate]);
    assert!(question.check(&delegated, NOW_S).is_ok());
}

#[test]
fn nobody_else_is() {
    let (ca, other) = (authority("ca"), authority("ca"));
    let question = question(7, &ca);
    let times = [BEFORE, AFTER];
    let signed = |key: &KeyPair, certificates: &[CertificateDer<'_>]| {
        error(&question, &response(&question, GOOD, &times, key, certificates))
    };
    assert_eq!(signed(other.key(), &[other.der().clone()]), OcspError::Signature);
    let (certificate, key) = delegate(&ca, false);
    assert_eq!(signed(&key, &[certificate]), OcspError::Signature, "it has no such purpose");
    let (certificate, key) = delegate(&other, true);
    assert_eq!(signed(&key, &[certificate]), OcspError::Signature, "another let it sign");
    let (certificate, _) = delegate(&ca, true);
    assert_eq!(signed(&key, &[certificate]), OcspError::Signature, "it has not signed this");
    let mut changed = response(&question, &[TAG_REVOKED, 0], &times, ca.key(), &[]);
    let at = changed.windows(2).position(|two| two == [TAG_REVOKED, 0]).unwrap();
    changed[at] = TAG_GOOD;
    assert_eq!(error(&question, &changed), OcspError::Signature);
}

#[test]
fn what_is_not_good_is_told_apart() {
    let ca = authority("ca");
    let question = question(7, &ca);
    let answer = |status: &[u8], times: &[&[u8]]| {
        error(&question, &response(&question, status, times, ca.key(), &[]))
    };
    assert_eq!(answer(&[TAG_REVOKED, 0], &[BEFORE, AFTER]), OcspError::Revoked);
    assert_eq!(answer(&[0x82, 0], &[BEFORE, AFTER]), OcspError::Unknown);
    assert_eq!(answer(GOOD, &[BEFORE, BEFORE]), OcspError::OutOfDate);
    assert_eq!(answer(GOOD, &[AFTER]), OcspError::OutOfDate, "of the future");
    let foreign = self::question(8, &ca);
    let about_foreign = response(&foreign, GOOD, &[BEFORE, AFTER], ca.key(), &[]);
    assert_eq!(error(&question, &about_foreign), OcspError::Foreign);
    let try_later = [0x30, 3, TAG_ENUMERATED, 1, 3];
    assert_eq!(error(&question, &try_later), OcspError::Refused(3));
    assert_eq!(error(&question, b"<html>"), OcspError::Malformed);
    let without_end = response(&question, GOOD, &[BEFORE], ca.key(), &[]);
    assert_eq!(question.check(&without_end, NOW_S).unwrap().next_update_s, None);
}

#[test]
fn the_responder_stands_in_the_certificate() {
    let ca = authority("ca");
    assert_eq!(question(1, &ca).responder(), None);
    let place = |method: &[u8], url: &[u8]| {
        encode(TAG_SEQUENCE, &[&encode(TAG_OID, &[method]), &encode(TAG_URL, &[url])])
    };
    let issuers = place(&[0x2b, 6, 1, 5, 5, 7, 0x30, 2], b"http://ca.example/ca.crt");
    let places = [issuers, place(OID_OCSP, b"ldap://x"), place(OID_OCSP, b"http://ocsp.example/")];
    let content = encode(TAG_SEQUENCE, &[&places.concat()]);
    let mut params = CertificateParams::default();
    let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
    params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&oid, content));
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), &ca).unwrap();
    assert_eq!(responder(certificate.der()).as_deref(), Some("http://ocsp.example/"));
}

static SAMPLE: LazyLock<(OcspQuestion, Vec<u8>)> = LazyLock::new(|| {
    let ca = authority("ca");
    let question = question(7, &ca);
    let (certificate, key) = delegate(&ca, true);
    let response = response(&question, GOOD, &[BEFORE, AFTER], &key, &[certificate]);
    (question, response)
});

proptest! {
    #[test]
    fn damaged_answers_and_certificates_do_not_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        len in any::<prop::sample::Index>(),
    ) {
        let (question, sample) = &*SAMPLE;
        let (mut response, mut certificate) = (sample.clone(), question.certificate.to_vec());
        for (at, byte) in flips {
            *at.get_mut(&mut response) = byte;
            *at.get_mut(&mut certificate) = byte;
        }
        let _ = question.check(&response, NOW_S);
        responder(&certificate);
        response.truncate(len.index(response.len()));
        prop_assert!(question.check(&response, NOW_S).is_err());
    }
}
