//! `password_hash` of the plugins that read accounts from a data base: how what is stored there is compared.

pub(crate) mod digest;
pub(crate) mod random;
pub(crate) mod stored;

#[cfg(test)]
mod tests;

use std::str::FromStr;

pub(crate) use self::digest::Digest;
use self::digest::{Mac, equal, from_hex};

/// How a stored password was made: `plain`, `salt,sha256`, `bcrypt`, `pbkdf2,sha256,1000,20`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordForm(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Plain(Salted),
    Digest(Digest, Salted),
    /// The salt is in front of the stored hash, or in a column of its own.
    Bcrypt {
        has_salt: bool,
    },
    Pbkdf2 {
        mac: Mac,
        iterations: u32,
        len: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Salted {
    No,
    Before,
    Behind,
}

/// What is stored cannot be compared with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The form wants a salt and there is none.
    #[error("there is no salt")]
    NoSalt,
    /// The stored text has another form.
    #[error("what is stored has another form")]
    Malformed,
}

impl PasswordForm {
    /// True if a comparison takes milliseconds: it must not be made by a thread that serves connections.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        matches!(self.0, Form::Bcrypt { .. } | Form::Pbkdf2 { .. })
    }

    /// True if the salt comes from a column of its own.
    #[must_use]
    pub fn wants_salt(&self) -> bool {
        match self.0 {
            Form::Plain(salted) | Form::Digest(_, salted) => salted != Salted::No,
            Form::Bcrypt { has_salt } => has_salt,
            Form::Pbkdf2 { .. } => true,
        }
    }

    /// Whether `password` is the stored one. The time it takes does not tell how much of it is right.
    ///
    /// # Errors
    /// The salt is missing, or what is stored has another form.
    pub fn check(
        &self,
        password: &[u8],
        stored: &[u8],
        salt: Option<&[u8]>,
    ) -> Result<bool, Unusable> {
        let salt = match salt {
            None if self.wants_salt() => return Err(Unusable::NoSalt),
            salt => salt.unwrap_or_default(),
        };
        match &self.0 {
            Form::Plain(salted) => Ok(equal(&joined(*salted, salt, password), stored)),
            Form::Digest(digest, salted) => {
                let stored = from_hex(stored).ok_or(Unusable::Malformed)?;
                Ok(equal(&digest.of(&joined(*salted, salt, password)), &stored))
            }
            Form::Bcrypt { has_salt } => {
                let prefix = if *has_salt { salt } else { stored };
                check_bcrypt(password, stored, prefix).ok_or(Unusable::Malformed)
            }
            Form::Pbkdf2 { mac, iterations, len } => {
                let stored = from_hex(stored).ok_or(Unusable::Malformed)?;
                Ok(equal(&mac.pbkdf2(password, salt, *iterations, *len), &stored))
            }
        }
    }
}

fn joined(salted: Salted, salt: &[u8], password: &[u8]) -> Vec<u8> {
    match salted {
        Salted::No => password.to_vec(),
        Salted::Before => [salt, password].concat(),
        Salted::Behind => [password, salt].concat(),
    }
}

/// Compares with `$2a$10$`, 22 letters of salt, 31 of hash; `prefix` has the salt at least. Of the password 72
/// bytes count, as everywhere. `None` if one of them is malformed or asks for more work than anybody means.
pub(crate) fn check_bcrypt(password: &[u8], stored: &[u8], prefix: &[u8]) -> Option<bool> {
    let stored = std::str::from_utf8(stored).ok().filter(|it| it.len() == BCRYPT_LEN)?;
    let prefix = std::str::from_utf8(prefix).ok()?.get(..BCRYPT_PREFIX)?;
    let parts: bcrypt::HashParts =
        format!("{prefix}{}", stored.get(BCRYPT_PREFIX..)?).parse().ok()?;
    // `$2x$` is the mark of a faulty implementation.
    if prefix.starts_with("$2x$") || parts.get_cost() > BCRYPT_COST_MAX {
        return None;
    }
    let made = bcrypt::hash_with_salt(password, parts.get_cost(), parts.get_salt_raw()).ok()?;
    let made = made.to_string();
    Some(equal(made.as_bytes().get(BCRYPT_PREFIX..)?, &stored.as_bytes()[BCRYPT_PREFIX..]))
}

impl FromStr for PasswordForm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        let form = match parts[..] {
            ["plain"] => Form::Plain(Salted::No),
            ["salt", "plain"] => Form::Plain(Salted::Before),
            ["plain", "salt"] => Form::Plain(Salted::Behind),
            ["bcrypt"] => Form::Bcrypt { has_salt: false },
            ["salt", "bcrypt"] | ["bcrypt", "salt"] => Form::Bcrypt { has_salt: true },
            ["pbkdf2", mac, iterations, len] => Form::Pbkdf2 {
                mac: Mac::from_word(mac).ok_or_else(|| format!("{mac} is no MAC for pbkdf2"))?,
                iterations: number(iterations, PBKDF2_ITERATIONS_MAX)?,
                len: number(len, PBKDF2_LEN_MAX)? as usize,
            },
            [word] => Form::Digest(digest(word)?, Salted::No),
            ["salt", word] => Form::Digest(digest(word)?, Salted::Before),
            [word, "salt"] => Form::Digest(digest(word)?, Salted::Behind),
            _ => return Err(format!("{text} is no form of a stored password")),
        };
        Ok(Self(form))
    }
}

fn digest(word: &str) -> Result<Digest, String> {
    Digest::from_word(word).ok_or_else(|| format!("{word} is no hash function"))
}

fn number(text: &str, max: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("{text} is no number from 1 to {max}"))
}

/// Some seconds of work.
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;
const PBKDF2_LEN_MAX: u32 = 1_024;
/// Some seconds of work.
const BCRYPT_COST_MAX: u32 = 16;
const BCRYPT_LEN: usize = 60;
/// `$2a$10$` and the salt.
const BCRYPT_PREFIX: usize = 29;
