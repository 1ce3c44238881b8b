//! A public key in a PEM file, as `openssl pkey -pubout` writes it (RFC 5280, 4.1: SubjectPublicKeyInfo).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use super::key::PublicKey;

/// Reads the key of a file.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(path: &Path) -> Result<PublicKey, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("longer than {FILE_BYTES_MAX} bytes, so not one key"));
    }
    parse(&text)
}

fn parse(text: &[u8]) -> Result<PublicKey, String> {
    if let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_slice(text) {
        return from_spki(&spki);
    }
    if PrivateKeyDer::from_pem_slice(text).is_ok() {
        return Err("a private key; give its public key (openssl pkey -pubout)".to_owned());
    }
    Err("no public key in PEM format (BEGIN PUBLIC KEY)".to_owned())
}

fn from_spki(der: &[u8]) -> Result<PublicKey, String> {
    let malformed = || "a malformed public key".to_owned();
    let Spki { algorithm, curve, key } = Spki::read(der).ok_or_else(malformed)?;
    match (algorithm, curve, key) {
        (RSA_ENCRYPTION, _, key) => {
            let mut all = Der(key);
            let mut numbers = Der(all.take(SEQUENCE).ok_or_else(malformed)?);
            let (n, e) = (numbers.take(INTEGER), numbers.take(INTEGER));
            match (n, e, numbers.0.is_empty() && all.0.is_empty()) {
                (Some(n), Some(e), true) => PublicKey::rsa(n, e),
                _ => Err(malformed()),
            }
        }
        (EC_PUBLIC_KEY, Some(PRIME256V1), [4, ..]) if key.len() == 65 => {
            Ok(PublicKey::P256(key.to_vec()))
        }
        (EC_PUBLIC_KEY, Some(SECP384R1), [4, ..]) if key.len() == 97 => {
            Ok(PublicKey::P384(key.to_vec()))
        }
        (EC_PUBLIC_KEY, Some(SECP521R1), [4, ..]) if key.len() == 133 => {
            Ok(PublicKey::P521(key.to_vec()))
        }
        (EC_PUBLIC_KEY, ..) => {
            Err("an EC key that is not of P-256, P-384 or P-521, or compressed".to_owned())
        }
        _ => Err("neither an RSA nor an EC key".to_owned()),
    }
}

struct Spki<'a> {
    algorithm: &'a [u8],
    curve: Option<&'a [u8]>,
    key: &'a [u8],
}

impl<'a> Spki<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let mut all = Der(der);
        let mut info = Der(all.take(SEQUENCE)?);
        let mut identifier = Der(info.take(SEQUENCE)?);
        let algorithm = identifier.take(OBJECT_IDENTIFIER)?;
        let curve = identifier.take(OBJECT_IDENTIFIER);
        // A bit string begins with the number of bits that its last byte lacks.
        let (0, key) = info.take(BIT_STRING)?.split_first()? else { return None };
        (all.0.is_empty() && info.0.is_empty()).then_some(Self { algorithm, curve, key })
    }
}

/// What is left of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let [its_tag, length, rest @ ..] = self.0 else { return None };
        let (length, rest) = match (length, rest) {
            (0..=0x7F, _) => (usize::from(*length), rest),
            (0x81, [a, rest @ ..]) => (usize::from(*a), rest),
            (0x82, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            _ => return None,
        };
        if *its_tag != tag {
            return None;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// 1.2.840.113549.1.1.1
const RSA_ENCRYPTION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
/// 1.2.840.10045.2.1
const EC_PUBLIC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
/// 1.2.840.10045.3.1.7
const PRIME256V1: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
/// 1.3.132.0.34
const SECP384R1: &[u8] = &[0x2B, 0x81, 0x04, 0, 0x22];
/// 1.3.132.0.35
const SECP521R1: &[u8] = &[0x2B, 0x81, 0x04, 0, 0x23];
/// An RSA key of 8,192 bits takes below 2 KiB.
const FILE_BYTES_MAX: u64 = 64 << 10;
