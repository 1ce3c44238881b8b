//! The password file of Mosquitto as `mosquitto_passwd` writes it: `NAME:$6$…` (SHA-512) and `NAME:$7$…` (PBKDF2).

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use broker_core::ReasonCode;
use broker_core::extension::{Answer, Authentication, Authenticator, Credentials};
use parking_lot::RwLock;

use crate::password::Digest;
use crate::password::digest::{Mac, equal};
use crate::workers::Workers;

/// Users and their passwords, read as a whole or not at all. Who has a name that is not among them is refused; who has none is
/// left to the next source.
pub struct MosquittoPasswords {
    path: PathBuf,
    users: RwLock<Arc<Users>>,
    workers: Workers,
}

type Users = HashMap<Box<str>, Entry>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sha512,
    Pbkdf2 { iterations: u32 },
}

/// Why the users stay as they are: `passwd:7: …`, or without a line if it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFileError {
    /// The system does not give it.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A line is none of Mosquitto's. What stands in it is not told.
    #[error("{}:{line}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        problem: &'static str,
    },
}

/// Bytes that a file may have: a hundred thousand users.
const BYTES_MAX: u64 = 32 << 20;
/// Rounds that a line may ask for; `mosquitto_passwd` writes 101 or 1,000 if it is not told otherwise.
const ITERATIONS_MAX: u32 = 1_000_000;
/// What both forms end in.
const HASH_BYTES: usize = 64;

impl MosquittoPasswords {
    /// Reads the users of a file.
    ///
    /// # Errors
    /// It cannot be read, or a line is malformed.
    pub fn load(path: &Path) -> Result<Self, PasswordFileError> {
        let users = RwLock::new(Arc::new(read(path)?));
        Ok(Self { path: path.to_owned(), users, workers: Workers::new() })
    }

    /// Reads the file again. Returns how many users it has.
    ///
    /// # Errors
    /// As [`load`](Self::load): the old ones stay.
    pub fn reload(&self) -> Result<usize, PasswordFileError> {
        let users = read(&self.path)?;
        let n_users = users.len();
        *self.users.write() = Arc::new(users);
        Ok(n_users)
    }

    /// How many users it has.
    #[must_use]
    pub fn n_users(&self) -> usize {
        self.users.read().len()
    }
}

impl Authenticator for MosquittoPasswords {
    fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        let Some(name) = credentials.username.as_deref() else {
            return Answer::Now(Authentication::Ignore);
        };
        let users = Arc::clone(&self.users.read());
        let known = users.get(name);
        // A name that is not there takes as long as one that is.
        let Some(entry) = known.or_else(|| users.values().next()).cloned() else {
            return Answer::Now(verdict(false));
        };
        let (is_known, is_quick) = (known.is_some(), entry.kind == Kind::Sha512);
        let credentials = Arc::clone(credentials);
        let fits = move || {
            let password = credentials.password.as_deref();
            // Who sends no password has none to be compared.
            entry.fits(password.unwrap_or_default()) && is_known && password.is_some()
        };
        if is_quick {
            return Answer::Now(verdict(fits()));
        }
        match self.workers.run(fits) {
            Ok(outcome) => Answer::later(async move {
                let failed = Authentication::Deny(ReasonCode::ServerUnavailable);
                outcome.await.map_or(failed, verdict)
            }),
            Err(_) => Answer::Now(Authentication::Deny(ReasonCode::ServerBusy)),
        }
    }
}

impl Entry {
    fn fits(&self, password: &[u8]) -> bool {
        let hash = match self.kind {
            Kind::Sha512 => Digest::Sha512.of(&[password, &self.salt].concat()),
            Kind::Pbkdf2 { iterations } => {
                Mac::Sha512.pbkdf2(password, &self.salt, iterations, self.hash.len())
            }
        };
        equal(&hash, &self.hash)
    }
}

fn verdict(fits: bool) -> Authentication {
    if fits {
        Authentication::Allow { superuser: false }
    } else {
        Authentication::Deny(ReasonCode::BadUserNameOrPassword)
    }
}

fn read(path: &Path) -> Result<Users, PasswordFileError> {
    let unreadable =
        |reason: String| PasswordFileError::Unreadable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    file.take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(unreadable(format!("has more than {BYTES_MAX} bytes")));
    }
    parse(&text).map_err(|(line, problem)| PasswordFileError::Malformed {
        path: path.to_owned(),
        line,
        problem,
    })
}

fn parse(text: &str) -> Result<Users, (usize, &'static str)> {
    let mut users = Users::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, entry) = user(line).map_err(|problem| (at + 1, problem))?;
        if users.insert(name, entry).is_some() {
            return Err((at + 1, "the name is there already"));
        }
    }
    Ok(users)
}

fn user(line: &str) -> Result<(Box<str>, Entry), &'static str> {
    let Some((name, stored)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) else {
        return Err("a line is NAME:PASSWORD as mosquitto_passwd writes it");
    };
    let mut parts = stored.split('$');
    let kind = match (parts.next(), parts.next()) {
        (Some(""), Some("6")) => Kind::Sha512,
        (Some(""), Some("7")) => {
            let iterations = parts.next().and_then(|text| text.parse().ok());
            let iterations = iterations.filter(|n| (1..=ITERATIONS_MAX).contains(n));
            Kind::Pbkdf2 { iterations: iterations.ok_or("the number of rounds is malformed")? }
        }
        (Some(""), Some(_)) => {
            return Err(
                "the hash is of another kind than $6$ and $7$: mosquitto_passwd sets it anew",
            );
        }
        _ => return Err("the password is not hashed: mosquitto_passwd sets one that is"),
    };
    let mut bytes = || parts.next().and_then(|text| BASE64.decode(text).ok());
    let (salt, hash) = (bytes(), bytes());
    match (salt, hash, parts.next()) {
        (Some(salt), Some(hash), None) if !salt.is_empty() && hash.len() == HASH_BYTES => {
            Ok((name.into(), Entry { kind, salt, hash }))
        }
        _ => Err("salt or hash is malformed"),
    }
}

#[cfg(test)]
mod tests;
