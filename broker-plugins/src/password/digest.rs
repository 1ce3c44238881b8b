//! Hash functions and MACs by the names that EMQ X gives them; hexadecimal; comparison in constant time.

use std::num::NonZeroU32;

use hmac::EagerHash;
use md4::Md4;
use md5::Md5;
use ring::pbkdf2;
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::digest::Digest as _;
use sha2::{Sha224, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digest {
    Md5,
    /// SHA-1.
    Sha,
    Sha256,
    Sha512,
}

/// The hash function of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mac {
    Md4,
    Md5,
    Ripemd160,
    /// SHA-1.
    Sha,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    const ALL: [(&str, Self); 4] = [
        ("md5", Self::Md5),
        ("sha", Self::Sha),
        ("sha256", Self::Sha256),
        ("sha512", Self::Sha512),
    ];

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, digest)| *digest)
    }

    pub(crate) fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, digest)| *digest == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => Md5::digest(bytes).to_vec(),
            Self::Sha => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

impl Mac {
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "md4" => Self::Md4,
            "md5" => Self::Md5,
            "ripemd160" => Self::Ripemd160,
            "sha" => Self::Sha,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            _ => return None,
        })
    }

    pub(crate) fn pbkdf2(
        self,
        password: &[u8],
        salt: &[u8],
        iterations: u32,
        len: usize,
    ) -> Vec<u8> {
        fn key<H>(password: &[u8], salt: &[u8], iterations: u32, len: usize) -> Vec<u8>
        where
            H: EagerHash<Core: Sync> + Clone + Sync,
        {
            let mut key = vec![0; len];
            ::pbkdf2::pbkdf2_hmac::<H>(password, salt, iterations, &mut key);
            key
        }
        let quick = match self {
            Self::Md4 => return key::<Md4>(password, salt, iterations, len),
            Self::Md5 => return key::<Md5>(password, salt, iterations, len),
            Self::Ripemd160 => return key::<Ripemd160>(password, salt, iterations, len),
            Self::Sha224 => return key::<Sha224>(password, salt, iterations, len),
            Self::Sha => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut key = vec![0; len];
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(quick, iterations, salt, password, &mut key);
        key
    }
}

/// In a time that depends on their lengths only.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |bits: u8| char::from_digit(bits.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Upper or lower case.
pub(crate) fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| Some(char::from(byte).to_digit(16)? as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}
