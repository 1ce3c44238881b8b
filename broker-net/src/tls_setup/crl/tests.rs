//! Lists made up, held against certificates that are.

use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use super::*;
use crate::config::CrlCheck;
use crate::tls_setup::clients::{ClientVerifier, Mandatory};
use crate::tls_setup::tests::Folder;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> Issuer {
    CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn client(serial: u64, issuer: &Issuer) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial.into());
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
}

/// A list of the years from `from` to `to`.
pub(crate) fn list(from: i32, to: i32, serials: &[u64], issuer: &Issuer) -> Vec<u8> {
    numbered(1, from, to, serials, issuer)
}

fn numbered(number: u64, from: i32, to: i32, serials: &[u64], issuer: &Issuer) -> Vec<u8> {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: (*serial).into(),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(from, 1, 1),
        next_update: date_time_ymd(to, 1, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().der().to_vec()
}

fn crls(lists: &[Vec<u8>]) -> Crls {
    let fetched = Fetched::default();
    let urls: Vec<_> = (0..lists.len()).map(|i| format!("http://crl.example/{i}")).collect();
    for (url, list) in urls.iter().zip(lists) {
        fetched.put_list(url, list).unwrap();
    }
    Crls::read(&[], &urls, &fetched).unwrap()
}

fn verifier(check: CrlCheck, lists: &[Vec<u8>], root: &Issuer) -> ClientVerifier {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    ClientVerifier::new((roots, Vec::new()), Mandatory::Yes, check, Some(crls(lists))).unwrap()
}

fn refusal(verifier: &ClientVerifier, chain: &[CertificateDer<'_>]) -> Option<CertificateError> {
    match verifier.verify_client_cert(&chain[0], &chain[1..], UnixTime::now()) {
        Ok(_) => None,
        Err(Error::InvalidCertificate(error)) => Some(error),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_revoked_certificate_is_refused_and_others_are_not() {
    let ca = authority("ca");
    let (good, bad) = (client(300, &ca), client(4_000, &ca));
    for check in [CrlCheck::Chain, CrlCheck::Peer, CrlCheck::BestEffort] {
        let verifier = verifier(check, &[list(2024, 2100, &[4_000], &ca)], &ca);
        assert_eq!(refusal(&verifier, std::slice::from_ref(&bad)), Some(CertificateError::Revoked));
        assert_eq!(refusal(&verifier, std::slice::from_ref(&good)), None);
        assert!(verifier.is_revoked(std::slice::from_ref(&bad)));
        assert!(!verifier.is_revoked(std::slice::from_ref(&good)));
    }
}

#[test]
fn without_a_list_in_date_only_best_effort_lets_in() {
    let (ca, other) = (authority("ca"), authority("other"));
    let chain = [client(1, &ca)];
    let unknown = Some(CertificateError::UnknownRevocationStatus);
    for lists in [vec![], vec![list(2024, 2100, &[], &other)]] {
        assert_eq!(refusal(&verifier(CrlCheck::Chain, &lists, &ca), &chain), unknown);
        assert_eq!(refusal(&verifier(CrlCheck::Peer, &lists, &ca), &chain), unknown);
        assert_eq!(refusal(&verifier(CrlCheck::BestEffort, &lists, &ca), &chain), None);
    }
    let stale = [list(2020, 2021, &[2], &ca)];
    for check in [CrlCheck::Chain, CrlCheck::Peer] {
        let refusal = refusal(&verifier(check, &stale, &ca), &chain);
        assert!(matches!(refusal, Some(CertificateError::ExpiredRevocationListContext { .. })));
    }
    let best_effort = verifier(CrlCheck::BestEffort, &stale, &ca);
    assert_eq!(refusal(&best_effort, &chain), None);
    let revoked = [client(2, &ca)];
    assert_eq!(refusal(&best_effort, &revoked), Some(CertificateError::Revoked));
}

#[test]
fn an_intermediate_needs_a_list_of_its_own_unless_only_the_peer_is_checked() {
    let root = authority("root");
    let mut params = ca_params("middle");
    params.serial_number = Some(77u64.into());
    let middle = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
    let chain = [client(1, &middle), middle.der().clone()];
    let of_middle = list(2024, 2100, &[], &middle);
    let revokes_middle = list(2024, 2100, &[77], &root);
    let lists = [of_middle.clone()];
    let unknown = Some(CertificateError::UnknownRevocationStatus);
    assert_eq!(refusal(&verifier(CrlCheck::Chain, &lists, &root), &chain), unknown);
    assert_eq!(refusal(&verifier(CrlCheck::Peer, &lists, &root), &chain), None);
    assert_eq!(refusal(&verifier(CrlCheck::BestEffort, &lists, &root), &chain), None);
    let lists = [of_middle, revokes_middle];
    let chained = verifier(CrlCheck::Chain, &lists, &root);
    assert_eq!(refusal(&chained, &chain), Some(CertificateError::Revoked));
    assert!(chained.is_revoked(&chain));
    assert!(!verifier(CrlCheck::Peer, &lists, &root).is_revoked(&chain));
}

#[test]
fn a_list_that_only_bears_the_issuers_name_revokes_nothing() {
    let (ca, impostor) = (authority("ca"), authority("ca"));
    let chain = [client(5, &ca)];
    let verifier = verifier(CrlCheck::Chain, &[list(2024, 2100, &[5], &impostor)], &ca);
    assert_eq!(crls(&[list(2024, 2100, &[5], &impostor)]).naming(&chain[0]).count(), 1);
    assert!(!verifier.is_revoked(&chain));
    assert!(verifier.verify_client_cert(&chain[0], &[], UnixTime::now()).is_err());
}

#[test]
fn of_two_lists_the_newer_counts() {
    let ca = authority("ca");
    let chain = [client(5, &ca)];
    let (older, newer) = (list(2023, 2100, &[], &ca), list(2024, 2100, &[5], &ca));
    for lists in [[older.clone(), newer.clone()], [newer, older]] {
        let verifier = verifier(CrlCheck::Chain, &lists, &ca);
        assert_eq!(refusal(&verifier, &chain), Some(CertificateError::Revoked));
    }
}

#[test]
fn lists_are_read_as_der_and_as_pem() {
    let (ca, other) = (authority("ca"), authority("other"));
    let folder = Folder::new();
    let der = list(2024, 2030, &[5], &ca);
    let as_pem = folder.write("list.pem", "X509 CRL", &der);
    let as_der = folder.0.join("list.crl");
    std::fs::write(&as_der, &der).unwrap();
    let read =
        |path: &PathBuf| Crls::read(std::slice::from_ref(path), &[], &Fetched::default()).unwrap();
    assert!(read(&as_pem).is_same(&read(&as_der)));
    assert_eq!(read(&as_pem).next_update_s(), Some(1_893_456_000));
    let second = folder.write("second.pem", "X509 CRL", &list(2024, 2029, &[], &other));
    let both = [std::fs::read(&as_pem).unwrap(), std::fs::read(second).unwrap()].concat();
    std::fs::write(&as_pem, both).unwrap();
    assert_eq!(read(&as_pem).lists().len(), 2);
    assert!(!read(&as_pem).is_same(&read(&as_der)));
    assert_eq!(read(&as_pem).next_update_s(), Some(1_861_920_000), "that of the first to expire");
}

#[test]
fn what_is_no_list_is_refused_and_leaves_the_old_one() {
    let ca = authority("ca");
    let fetched = Fetched::default();
    let urls = ["http://crl.example/".to_owned()];
    fetched.put_list(&urls[0], &list(2024, 2100, &[5], &ca)).unwrap();
    let error = |bytes: &[u8]| fetched.put_list(&urls[0], bytes).unwrap_err().to_string();
    assert_eq!(error(b"<html>not found</html>"), "holds no revocation list");
    assert!(error(&[0x30, 0x03, 1, 2, 3]).starts_with("not a usable revocation list"));
    assert!(error(&vec![0x30; CRL_BYTES_MAX + 1]).starts_with("longer than"));
    assert_eq!(Crls::read(&[], &urls, &fetched).unwrap().lists().len(), 1);
}

/// Each list is asked alone, at a time when all certificates were in date.
#[test]
fn what_is_wrong_elsewhere_does_not_hide_that_a_client_is_revoked() {
    let root = authority("root");
    let middle =
        CertifiedIssuer::signed_by(ca_params("middle"), KeyPair::generate().unwrap(), &root)
            .unwrap();
    let mut ended = CertificateParams::default();
    ended.serial_number = Some(5u64.into());
    ended.not_after = date_time_ymd(2025, 1, 1);
    let ended = ended.signed_by(&KeyPair::generate().unwrap(), &middle).unwrap().der().clone();
    let impostor = &authority("middle");
    let names = list(2024, 2100, &[5], &middle);
    let beside = [
        list(2020, 2021, &[], &root),
        list(2024, 2100, &[5], &root),
        list(2025, 2100, &[5], impostor),
        list(2025, 2100, &[], impostor),
    ];
    let newer = list(2025, 2100, &[], &middle);
    for check in [CrlCheck::Chain, CrlCheck::Peer, CrlCheck::BestEffort] {
        for end_entity in [client(5, &middle), ended.clone()] {
            let chain = [end_entity, middle.der().clone()];
            assert!(verifier(check, std::slice::from_ref(&names), &root).is_revoked(&chain));
            for other in &beside {
                let verifier = verifier(check, &[names.clone(), other.clone()], &root);
                assert!(verifier.is_revoked(&chain), "{check:?}");
            }
            // Its issuer has thought better of it.
            let verifier = verifier(check, &[names.clone(), newer.clone()], &root);
            assert!(!verifier.is_revoked(&chain), "{check:?}");
        }
        let other = [client(6, &middle), middle.der().clone()];
        assert!(!verifier(check, std::slice::from_ref(&names), &root).is_revoked(&other));
    }
}

#[test]
fn a_list_out_of_date_cuts_off_where_it_counts() {
    let ca = authority("ca");
    let chain = [client(5, &ca)];
    let stale = [list(2020, 2021, &[5], &ca)];
    assert!(verifier(CrlCheck::BestEffort, &stale, &ca).is_revoked(&chain));
    assert!(!verifier(CrlCheck::Chain, &stale, &ca).is_revoked(&chain));
    assert!(!verifier(CrlCheck::Peer, &stale, &ca).is_revoked(&chain));
}

#[test]
fn an_older_list_does_not_replace_a_newer_one() {
    let (ca, other) = (authority("ca"), authority("other"));
    let check = |old: &[u8], new: &[u8], is_taken: bool| {
        let fetched = Fetched::default();
        fetched.put_list("u", old).unwrap();
        let put = fetched.put_list("u", new).map_err(|error| error.to_string());
        let expected = if is_taken { Ok(()) } else { Err("older than the list in force".into()) };
        assert_eq!(put, expected);
        let digests: Vec<_> = fetched.lists("u").iter().map(|crl| crl.digest).collect();
        let in_force = if is_taken { new } else { old };
        assert_eq!(digests, [Crl::parse(in_force).unwrap().digest]);
    };
    let now = numbered(0x0201, 2024, 2100, &[5], &ca);
    check(&now, &numbered(0x0201, 2023, 2100, &[], &ca), false);
    check(&now, &numbered(0xff, 2024, 2100, &[], &ca), false);
    check(&now, &numbered(0xff, 2023, 2100, &[], &ca), false);
    check(&now, &now, true);
    check(&now, &numbered(0x0202, 2024, 2100, &[], &ca), true);
    check(&now, &numbered(0xff, 2025, 2100, &[], &ca), true);
    check(&now, &numbered(0x0202, 2023, 2100, &[], &ca), true);
    check(&now, &numbered(1, 2020, 2100, &[], &other), true);
}

#[test]
fn a_list_of_the_future_is_not_taken() {
    let ca = authority("ca");
    let fetched = Fetched::default();
    let error = fetched.put_list("u", &list(2090, 2100, &[], &ca)).unwrap_err();
    assert_eq!(error.to_string(), "its thisUpdate is yet to come");
    assert!(fetched.lists("u").is_empty());
}

#[test]
fn a_file_that_cannot_be_read_again_holds_no_other_up() {
    let (ca, other) = (authority("ca"), authority("other"));
    let folder = Folder::new();
    let write = |name: &str, der: &[u8]| folder.write(name, "X509 CRL", der);
    let files =
        [write("a", &list(2024, 2100, &[], &ca)), write("b", &list(2024, 2100, &[], &other))];
    let fetched = Fetched::default();
    let urls = ["u".to_owned()];
    let old = Crls::read(&files, &urls, &fetched).unwrap();
    let again = |files_have: [&[u8]; 2]| {
        for (file, bytes) in files.iter().zip(files_have) {
            std::fs::write(file, bytes).unwrap();
        }
        let (crls, errors) = old.read_again(&files, &urls, &fetched);
        let digests: Vec<_> =
            crls.of_files.iter().flatten().map(|crl| crl.times.this_update_s).collect();
        let errors: Vec<_> =
            errors.iter().map(|(path, error)| (path.clone(), error.to_string())).collect();
        (digests, crls.lists().len(), errors)
    };
    let (y2023, y2024, y2025) = (1_672_531_200, 1_704_067_200, 1_735_689_600);
    fetched.put_list("u", &list(2024, 2100, &[], &ca)).unwrap();
    let newer = list(2025, 2100, &[], &other);
    let no_list = (files[0].clone(), "holds no revocation list".to_owned());
    assert_eq!(again([b"", &newer]), (vec![y2024, y2025], 3, vec![no_list]));
    let older = list(2023, 2100, &[], &ca);
    let is_older = (files[0].clone(), "older than the list in force".to_owned());
    assert_eq!(again([&older, &newer]), (vec![y2024, y2025], 3, vec![is_older]));
    // Who reads all anew takes what is there.
    let anew = Crls::read(&files, &urls, &fetched).unwrap();
    assert_eq!(anew.of_files[0][0].times.this_update_s, y2023);
}

static LIST: LazyLock<Vec<u8>> = LazyLock::new(|| list(2024, 2100, &[1, 2, 3], &authority("ca")));

proptest! {
    #[test]
    fn damaged_lists_do_not_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        len in any::<prop::sample::Index>(),
    ) {
        let mut der = LIST.clone();
        for (at, byte) in flips {
            *at.get_mut(&mut der) = byte;
        }
        Times::parse(&der);
        let _ = parse(&der);
        der.truncate(len.index(der.len()));
        Times::parse(&der);
        let _ = parse(&der);
    }
}
