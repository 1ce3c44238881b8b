//! Passwords as this broker keeps them: each entry says how it was made, so that old ones outlive a change of the
//! setting.

use std::fmt;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;

use super::digest::{Digest, Mac, equal, from_hex, to_hex};
use super::{check_bcrypt, random};

/// How new passwords are kept: `auth.client.password_hash`, `auth.user.password_hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccountHash {
    /// As it is.
    Plain,
    /// Salted MD5.
    Md5,
    /// Salted SHA-1.
    Sha,
    /// Salted SHA-256.
    Sha256,
    /// Salted SHA-512.
    Sha512,
    /// bcrypt of cost 10.
    Bcrypt,
    /// PBKDF2 with HMAC-SHA-256, 100,000 rounds.
    Pbkdf2,
    /// argon2id with 19 MiB and two rounds.
    #[default]
    Argon2id,
}

/// A password as it is kept: `$sha256$<salt>$<digest>` in hexadecimal, `$plain$<base64>`,
/// `$pbkdf2-sha256$i=<rounds>$<salt>$<key>` in base64, and the usual `$2b$…` and `$argon2id$…`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stored(String);

/// A password cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// bcrypt would not look at the rest.
    #[error("must be at most {BCRYPT_PASSWORD_MAX} bytes with bcrypt")]
    TooLong,
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl AccountHash {
    /// Words of the configuration.
    pub const WORDS: [&'static str; 8] =
        ["argon2id", "bcrypt", "pbkdf2", "sha512", "sha256", "sha", "md5", "plain"];

    /// The one of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        const ALL: [AccountHash; 8] = [
            AccountHash::Argon2id,
            AccountHash::Bcrypt,
            AccountHash::Pbkdf2,
            AccountHash::Sha512,
            AccountHash::Sha256,
            AccountHash::Sha,
            AccountHash::Md5,
            AccountHash::Plain,
        ];
        Self::WORDS.iter().position(|it| *it == word).map(|at| ALL[at])
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|word| Self::from_word(word) == Some(self)).unwrap_or_default()
    }

    fn digest(self) -> Option<Digest> {
        Digest::from_word(self.word())
    }
}

impl Stored {
    /// Makes what is kept of a password; slow for the slow ones.
    pub(crate) fn make(hash: AccountHash, password: &[u8]) -> Result<Self, HashError> {
        let salt: [u8; 16] = random::bytes().ok_or(HashError::NoRandom)?;
        let text = match hash {
            AccountHash::Plain => format!("$plain${}", BASE64.encode(password)),
            AccountHash::Bcrypt => {
                if password.len() > BCRYPT_PASSWORD_MAX {
                    return Err(HashError::TooLong);
                }
                let made = bcrypt::hash_with_salt(password, BCRYPT_COST, salt);
                made.map_err(|_| HashError::TooLong)?.to_string()
            }
            AccountHash::Pbkdf2 => {
                let key = Mac::Sha256.pbkdf2(password, &salt, PBKDF2_ITERATIONS, PBKDF2_LEN);
                let (salt, key) = (BASE64.encode(salt), BASE64.encode(key));
                format!("{PBKDF2}i={PBKDF2_ITERATIONS}${salt}${key}")
            }
            AccountHash::Argon2id => {
                let made = Argon2::default().hash_password_with_salt(password, &salt);
                made.map_err(|_| HashError::TooLong)?.to_string()
            }
            AccountHash::Md5 | AccountHash::Sha | AccountHash::Sha256 | AccountHash::Sha512 => {
                let digest = hash.digest().unwrap_or(Digest::Sha256);
                let made = digest.of(&[&salt, password].concat());
                format!("${}${}${}", digest.word(), to_hex(&salt), to_hex(&made))
            }
        };
        Ok(Self(text))
    }

    /// What takes as long to compare as one that was made so, and fits no password. It is written, not hashed.
    pub(crate) fn decoy(hash: AccountHash) -> Self {
        let (salt, key) = ([0x55; 16], [0; 64]);
        Self(match hash {
            AccountHash::Plain => format!("$plain${}", BASE64.encode(key)),
            AccountHash::Bcrypt => format!("$2b${BCRYPT_COST:02}${}", ".".repeat(53)),
            AccountHash::Pbkdf2 => {
                let (salt, key) = (BASE64.encode(salt), BASE64.encode(&key[..PBKDF2_LEN]));
                format!("{PBKDF2}i={PBKDF2_ITERATIONS}${salt}${key}")
            }
            AccountHash::Argon2id => {
                let params = argon2::Params::DEFAULT;
                let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
                let (salt, key) = (BASE64.encode(salt), BASE64.encode(&key[..32]));
                format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${key}")
            }
            AccountHash::Md5 | AccountHash::Sha | AccountHash::Sha256 | AccountHash::Sha512 => {
                let digest = hash.digest().unwrap_or(Digest::Sha256);
                let len = digest.of(b"").len();
                format!("${}${}${}", digest.word(), to_hex(&salt), to_hex(&key[..len]))
            }
        })
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored = Self(String::from_utf8(bytes.to_vec()).ok()?);
        stored.parse().map(|_| ())?;
        Some(stored)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// True if a comparison takes milliseconds.
    pub(crate) fn is_slow(&self) -> bool {
        !matches!(self.parse(), Some(Parsed::Plain(_) | Parsed::Digest { .. }))
    }

    /// Whether it was made of this password.
    pub(crate) fn fits(&self, password: &[u8]) -> bool {
        match self.parse() {
            Some(Parsed::Plain(stored)) => equal(&stored, password),
            Some(Parsed::Digest { digest, salt, stored }) => {
                equal(&digest.of(&[&salt, password].concat()), &stored)
            }
            Some(Parsed::Bcrypt) => {
                check_bcrypt(password, self.as_bytes(), self.as_bytes()) == Some(true)
            }
            Some(Parsed::Pbkdf2 { iterations, salt, key }) => {
                equal(&Mac::Sha256.pbkdf2(password, &salt, iterations, key.len()), &key)
            }
            Some(Parsed::Argon2(hash)) => {
                Argon2::default().verify_password(password, &*hash).is_ok()
            }
            None => false,
        }
    }

    fn parse(&self) -> Option<Parsed> {
        let text = self.0.as_str();
        if let Some(password) = text.strip_prefix("$plain$") {
            return BASE64.decode(password).ok().map(Parsed::Plain);
        }
        if text.starts_with("$argon2") {
            return PasswordHash::new(text).ok().map(|hash| Parsed::Argon2(Box::new(hash)));
        }
        if text.starts_with("$2") {
            return text.parse::<bcrypt::HashParts>().ok().map(|_| Parsed::Bcrypt);
        }
        if let Some(rest) = text.strip_prefix(PBKDF2) {
            let mut parts = rest.split('$');
            let iterations = parts.next()?.strip_prefix("i=")?.parse().ok()?;
            let mut bytes = || BASE64.decode(parts.next()?).ok();
            let (salt, key) = (bytes()?, bytes()?);
            let is_whole = iterations <= PBKDF2_ITERATIONS_MAX && parts.next().is_none();
            return is_whole.then_some(Parsed::Pbkdf2 { iterations, salt, key });
        }
        let mut parts = text.strip_prefix('$')?.split('$');
        let digest = Digest::from_word(parts.next()?)?;
        let mut bytes = || from_hex(parts.next()?.as_bytes());
        let (salt, stored) = (bytes()?, bytes()?);
        parts.next().is_none().then_some(Parsed::Digest { digest, salt, stored })
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A stored text taken apart.
enum Parsed {
    Plain(Vec<u8>),
    Digest { digest: Digest, salt: Vec<u8>, stored: Vec<u8> },
    Bcrypt,
    Pbkdf2 { iterations: u32, salt: Vec<u8>, key: Vec<u8> },
    Argon2(Box<PasswordHash>),
}

const BCRYPT_COST: u32 = 10;
/// Further bytes would not be looked at.
const BCRYPT_PASSWORD_MAX: usize = 72;
const PBKDF2: &str = "$pbkdf2-sha256$";
/// They take about as long as the other slow ones.
const PBKDF2_ITERATIONS: u32 = 100_000;
/// Some seconds of work.
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;
const PBKDF2_LEN: usize = 32;
