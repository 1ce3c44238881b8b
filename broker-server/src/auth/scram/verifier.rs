//! What is kept of passwords for SCRAM, and the hashes that it is made with.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};

/// The hash of a method.
pub(crate) trait Hash: Clone + PartialEq + Send + Sync + 'static {
    /// `SCRAM-SHA-256`; stored forms begin with it.
    const METHOD: &'static str;
    fn digest() -> &'static digest::Algorithm;
    fn hmac() -> hmac::Algorithm;
    fn pbkdf2() -> pbkdf2::Algorithm;
}

/// That of SCRAM-SHA-256 (RFC 7677).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sha256;

/// That of SCRAM-SHA-512, which differs in nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sha512;

impl Hash for Sha256 {
    const METHOD: &'static str = "SCRAM-SHA-256";

    fn digest() -> &'static digest::Algorithm {
        &digest::SHA256
    }

    fn hmac() -> hmac::Algorithm {
        hmac::HMAC_SHA256
    }

    fn pbkdf2() -> pbkdf2::Algorithm {
        pbkdf2::PBKDF2_HMAC_SHA256
    }
}

impl Hash for Sha512 {
    const METHOD: &'static str = "SCRAM-SHA-512";

    fn digest() -> &'static digest::Algorithm {
        &digest::SHA512
    }

    fn hmac() -> hmac::Algorithm {
        hmac::HMAC_SHA512
    }

    fn pbkdf2() -> pbkdf2::Algorithm {
        pbkdf2::PBKDF2_HMAC_SHA512
    }
}

/// What is kept of a password: enough to check a proof, too little to make one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier<H> {
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Vec<u8>,
    /// As long as what the hash gives, as is the other.
    pub(super) stored_key: Vec<u8>,
    pub(super) server_key: Vec<u8>,
    hash: PhantomData<H>,
}

pub(super) const SALT_BYTES: usize = 16;
/// The least that RFC 7677 allows. It is the client that computes them at each login.
pub(super) const ITERATIONS: NonZeroU32 = NonZeroU32::new(4_096).unwrap();
const ITERATIONS_MAX: u32 = 10_000_000;

impl<H> fmt::Debug for Verifier<H> {
    /// Leaves salt and keys out, so that no log can hold them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl<H: Hash> Verifier<H> {
    /// Reads a password, or the stored form of one.
    ///
    /// # Errors
    /// The stored form cannot be read; the text says where.
    pub(crate) fn from_text(text: &str) -> Result<Self, String> {
        let stored = text.strip_prefix(H::METHOD).and_then(|rest| rest.strip_prefix('$'));
        let Some(stored) = stored else {
            return Self::from_password(text.as_bytes());
        };
        let parts = || {
            let (head, keys) = stored.split_once('$')?;
            Some((head.split_once(':')?, keys.split_once(':')?))
        };
        let ((iterations, salt), (stored_key, server_key)) =
            parts().ok_or("is not <iterations>:<salt>$<StoredKey>:<ServerKey>")?;
        let iterations = iterations
            .parse()
            .ok()
            .filter(|n| {
                (ITERATIONS..=NonZeroU32::new(ITERATIONS_MAX).unwrap_or(ITERATIONS)).contains(n)
            })
            .ok_or_else(|| format!("iterations must be from {ITERATIONS} to {ITERATIONS_MAX}"))?;
        let key = |name: &str, text: &str| {
            let bytes = BASE64.decode(text).map_err(|error| format!("{name}: {error}"))?;
            let len = H::digest().output_len();
            if bytes.len() == len {
                Ok(bytes)
            } else {
                Err(format!("{name} is not of {len} bytes"))
            }
        };
        let salt = BASE64.decode(salt).map_err(|error| format!("salt: {error}"))?;
        if salt.is_empty() {
            return Err("the salt is empty".into());
        }
        let (stored_key, server_key) =
            (key("StoredKey", stored_key)?, key("ServerKey", server_key)?);
        Ok(Self::new(iterations, salt, stored_key, server_key))
    }

    fn from_password(password: &[u8]) -> Result<Self, String> {
        if password.is_empty() {
            return Err("an empty password lets everybody in".into());
        }
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| "the system gives no random salt")?;
        Ok(Self::derive(password, &salt, ITERATIONS))
    }

    pub(super) fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = vec![0; H::digest().output_len()];
        pbkdf2::derive(H::pbkdf2(), iterations, salt, password, &mut salted);
        let stored_key = hash::<H>(&mac::<H>(&salted, b"Client Key"));
        Self::new(iterations, salt.to_owned(), stored_key, mac::<H>(&salted, b"Server Key"))
    }

    pub(super) fn new(
        iterations: NonZeroU32,
        salt: Vec<u8>,
        stored_key: Vec<u8>,
        server_key: Vec<u8>,
    ) -> Self {
        Self { iterations, salt, stored_key, server_key, hash: PhantomData }
    }

    /// The stored form.
    pub(crate) fn to_text(&self) -> String {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        format!("{}${}:{salt}${stored_key}:{server_key}", H::METHOD, self.iterations)
    }
}

pub(super) fn mac<H: Hash>(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(H::hmac(), key), message).as_ref().to_vec()
}

pub(super) fn hash<H: Hash>(message: &[u8]) -> Vec<u8> {
    digest::digest(H::digest(), message).as_ref().to_vec()
}

/// In a time that does not depend on where they differ: what is compared are tags, by `ring`.
pub(super) fn equal<H: Hash>(a: &[u8], b: &[u8]) -> bool {
    let key = hmac::Key::new(H::hmac(), b"comparison");
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
}
