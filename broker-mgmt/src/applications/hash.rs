//! Secrets as they are kept: argon2id hashes, in the usual text form.

use std::sync::OnceLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::PUBLIC;

/// The hash of a secret: `$argon2id$v=19$m=19456,t=2,p=1$…`. The default fits none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Hash(String);

impl Hash {
    /// Hashes a secret: 19 MiB and some 20 ms. `None` if the system gives no random numbers.
    ///
    /// The one that everybody knows is no secret, and a first start with it does without all that memory.
    pub(crate) fn of(secret: &str) -> Option<Self> {
        let mut salt = [0; 16];
        SystemRandom::new().fill(&mut salt).ok()?;
        let params = if secret == PUBLIC {
            Params::new(Params::MIN_M_COST, Params::MIN_T_COST, Params::MIN_P_COST, None).ok()?
        } else {
            Params::default()
        };
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2.hash_password_with_salt(secret.as_bytes(), &salt).ok()?;
        Some(Self(hash.to_string()))
    }

    /// Whether it is the hash of this secret; costs what [`of`](Self::of) costs.
    pub(crate) fn fits(&self, secret: &str) -> bool {
        let Ok(hash) = PasswordHash::new(&self.0) else { return false };
        Argon2::default().verify_password(secret.as_bytes(), &hash).is_ok()
    }
}

/// Compared with where there is nobody of a name, so that the time does not tell.
#[derive(Default)]
pub(crate) struct Decoy(OnceLock<Hash>);

impl Decoy {
    /// Takes the time that a comparison takes. It is made on first use: the C library keeps for itself what a
    /// comparison has taken, and most brokers never need it.
    pub(crate) fn compare(&self, secret: &str) {
        match self.0.get() {
            Some(hash) => drop(std::hint::black_box(hash.fits(secret))),
            // To make it takes as long as to compare with it.
            None => drop(self.0.set(Hash::of("").unwrap_or_default())),
        }
    }
}

/// A new secret: 32 letters and digits, 190 bits. `None` if the system gives no random numbers.
pub(crate) fn generate() -> Option<String> {
    let random = SystemRandom::new();
    let mut secret = String::new();
    while secret.len() < 32 {
        let mut bytes = [0; 64];
        random.fill(&mut bytes).ok()?;
        // 248 is the greatest multiple of 62: above it some letters would be more frequent.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let letters = fair.map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
        secret.extend(letters.take(32 - secret.len()));
    }
    Some(secret)
}

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_secret_only() {
        let hash = Hash::of("secret").unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash:?}");
        assert!(hash.fits("secret"));
        assert!(!hash.fits("Secret"));
        assert!(!Hash::default().fits(""));
        assert_ne!(Hash::of("secret").unwrap(), hash, "each has its salt");
    }

    #[test]
    fn what_everybody_knows_is_hashed_in_little_memory() {
        let hash = Hash::of(PUBLIC).unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash:?}");
        assert!(hash.fits(PUBLIC));
        assert!(!hash.fits("Public"));
    }

    #[test]
    fn new_secrets_are_long_and_never_the_same() {
        let secret = generate().unwrap();
        assert_eq!(secret.len(), 32);
        assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(generate().unwrap(), secret);
    }
}
