//! A file of rules of who may publish and subscribe to what, the first that fits decides: EMQ X 3.1's `acl.conf`, the same as
//! TOML, or Mosquitto's.

mod filters;
mod mosquitto;
mod rules;
mod terms;
mod toml_form;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_core::ClientInfo;
use broker_core::extension::{Action, Answer, Authorizer, Verdict};
use parking_lot::RwLock;

pub use rules::Asker;
use rules::Rules;
use terms::Problem;

/// A file of rules, read as a whole or not at all.
pub struct AclFile {
    path: PathBuf,
    rules: RwLock<Arc<Rules>>,
}

/// Why the rules stay as they are: `etc/acl.conf:7: …`, or without a line if it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclFileError {
    /// The system does not give it.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// It has something that is no rule.
    #[error("{}:{line}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
}

/// Bytes that a file may have: a hundred thousand rules, several times over.
const BYTES_MAX: u64 = 16 << 20;

impl AclFile {
    /// Reads the rules of a file.
    ///
    /// # Errors
    /// It cannot be read, or is no file of rules.
    pub fn load(path: &Path) -> Result<Self, AclFileError> {
        Self::from_bytes(path, &read(path)?)
    }

    /// The rules of a file whose bytes are at hand. Its name says which form they have: `.toml`; `.acl`, or `aclfile`, for
    /// Mosquitto's; and that of `acl.conf` for all others.
    ///
    /// # Errors
    /// They are no file of rules.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, AclFileError> {
        let rules = rules_of(path, bytes)?;
        Ok(Self { path: path.to_owned(), rules: RwLock::new(Arc::new(rules)) })
    }

    /// Reads the file again. Returns how many rules it has. What the old ones said counts until the broker is told to
    /// [forget it](broker_core::Broker::forget_rights).
    ///
    /// # Errors
    /// As [`load`](Self::load): the old rules stay.
    pub fn reload(&self) -> Result<usize, AclFileError> {
        let rules = rules_of(&self.path, &read(&self.path)?)?;
        let n_rules = rules.len();
        *self.rules.write() = Arc::new(rules);
        Ok(n_rules)
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the first rule that fits allows it; `None` if none fits.
    #[must_use]
    pub fn decide(&self, asker: &Asker<'_>, action: Action, topic: &str) -> Option<bool> {
        let rules = Arc::clone(&self.rules.read());
        rules.decide(asker, action, topic)
    }

    /// How many rules it has.
    #[must_use]
    pub fn n_rules(&self) -> usize {
        self.rules.read().len()
    }
}

impl Authorizer for AclFile {
    fn authorize(&self, client: &Arc<ClientInfo>, action: Action, topic: &str) -> Answer<Verdict> {
        let asker = Asker {
            client_id: client.client_id.as_str(),
            username: client.username.as_deref(),
            address: client.peer.map(|peer| peer.ip()),
        };
        Answer::Now(match self.decide(&asker, action, topic) {
            Some(true) => Verdict::Allow,
            Some(false) => Verdict::Deny,
            None => Verdict::Ignore,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AclFileError> {
    let unreadable = |reason: String| AclFileError::Unreadable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(unreadable(format!("has more than {BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn rules_of(path: &Path, bytes: &[u8]) -> Result<Rules, AclFileError> {
    let parsed = terms::text_of(bytes).and_then(|text| match form_of(path) {
        Form::Terms => Rules::of(&terms::parse(text)?),
        Form::Toml => Rules::of(&toml_form::parse(text)?),
        Form::Mosquitto => mosquitto::parse(text),
    });
    let malformed =
        |line, problem| AclFileError::Malformed { path: path.to_owned(), line, problem };
    match parsed {
        // It would leave all to acl_nomatch, and an empty file is mostly one that was lost.
        Ok(rules) if rules.len() == 0 => Err(malformed(1, "there is no rule in it".to_owned())),
        Ok(rules) => Ok(rules),
        Err(Problem { line, problem }) => Err(malformed(line, problem)),
    }
}

enum Form {
    Terms,
    Toml,
    Mosquitto,
}

fn form_of(path: &Path) -> Form {
    let is_named = |part: Option<&std::ffi::OsStr>, name: &str| {
        part.is_some_and(|part| part.eq_ignore_ascii_case(name))
    };
    let (extension, name) = (path.extension(), path.file_name());
    if is_named(extension, "toml") {
        Form::Toml
    } else if is_named(extension, "acl") || is_named(name, "aclfile") {
        Form::Mosquitto
    } else {
        Form::Terms
    }
}

#[cfg(test)]
mod tests;
