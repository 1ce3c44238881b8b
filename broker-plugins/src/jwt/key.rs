//! Keys: what checks a signature, each with the algorithms that fit it and no other.

use p521::ecdsa::signature::Verifier;
use p521::ecdsa::{Signature, VerifyingKey};
use ring::hmac;
use ring::rsa::PublicKeyComponents;
use ring::signature::{self, RsaParameters, UnparsedPublicKey};

use super::Secret;
use super::token::Algorithm;

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point of P-256, uncompressed.
    P256(Vec<u8>),
    /// A point of P-384, uncompressed.
    P384(Vec<u8>),
    /// A point of P-521, uncompressed.
    P521(Vec<u8>),
}

impl Secret {
    /// Whether it has signed so; never with the algorithm of a public key.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let key = match algorithm {
            Algorithm::Hs256 => &self.sha256,
            Algorithm::Hs384 => &self.sha384,
            Algorithm::Hs512 => &self.sha512,
            _ => return false,
        };
        hmac::verify(key, signed, signature).is_ok()
    }
}

impl PublicKey {
    /// From modulus and exponent of RSA.
    ///
    /// # Errors
    /// Such a key is not used.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, String> {
        let [n, e] = [n, e].map(without_zeros);
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(format!(
                "an RSA key of {bits} bits; it must have {} to {}",
                RSA_BITS.start(),
                RSA_BITS.end()
            ));
        }
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        // ring takes exponents from 3 to 2^33 - 1.
        let is_fit = is_odd(e) && e != [1] && (e.len() < 5 || (e.len() == 5 && e[0] <= 1));
        if !is_odd(n) || !is_fit {
            return Err("an RSA key that cannot be one".to_owned());
        }
        Ok(Self::Rsa { n: n.to_vec(), e: e.to_vec() })
    }

    /// Whether the key can have signed so.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => false,
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => matches!(self, Self::Rsa { .. }),
            Algorithm::Es256 => matches!(self, Self::P256(_)),
            Algorithm::Es384 => matches!(self, Self::P384(_)),
            Algorithm::Es512 => matches!(self, Self::P521(_)),
        }
    }

    /// Whether it has signed so.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let of_rsa = |parameters: &'static RsaParameters| match self {
            Self::Rsa { n, e } => {
                PublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok()
            }
            Self::P256(_) | Self::P384(_) | Self::P521(_) => false,
        };
        match (algorithm, self) {
            (Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512, _) => false,
            (Algorithm::Rs256, _) => of_rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            (Algorithm::Rs384, _) => of_rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            (Algorithm::Rs512, _) => of_rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            (Algorithm::Ps256, _) => of_rsa(&signature::RSA_PSS_2048_8192_SHA256),
            (Algorithm::Ps384, _) => of_rsa(&signature::RSA_PSS_2048_8192_SHA384),
            (Algorithm::Ps512, _) => of_rsa(&signature::RSA_PSS_2048_8192_SHA512),
            (Algorithm::Es256, Self::P256(point)) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                key.verify(signed, signature).is_ok()
            }
            (Algorithm::Es384, Self::P384(point)) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                key.verify(signed, signature).is_ok()
            }
            (Algorithm::Es512, Self::P521(point)) => p521_verifies(point, signed, signature),
            (Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512, _) => false,
        }
    }
}

/// ring has no P-521.
fn p521_verifies(point: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let key = VerifyingKey::from_sec1_bytes(point);
    let signature = Signature::from_slice(signature);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(signed, &signature).is_ok())
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// What ring takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
