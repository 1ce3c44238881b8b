//! The ACL file of EMQ X 3.1, `acl.conf`: rules of who may publish and subscribe to what, the first that fits decides.

mod rules;
mod terms;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_core::ClientInfo;
use broker_core::extension::{Action, Answer, Authorizer, Verdict};
use parking_lot::RwLock;

use rules::{Asker, Rules};

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
        let rules = read(path)?;
        Ok(Self { path: path.to_owned(), rules: RwLock::new(Arc::new(rules)) })
    }

    /// Reads the file again. Returns how many rules it has. What the old ones said counts until the broker is told to
    /// [forget it](broker_core::Broker::forget_rights).
    ///
    /// # Errors
    /// As [`load`](Self::load): the old rules stay.
    pub fn reload(&self) -> Result<usize, AclFileError> {
        let rules = read(&self.path)?;
        let n_rules = rules.len();
        *self.rules.write() = Arc::new(rules);
        Ok(n_rules)
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many rules it has.
    #[must_use]
    pub fn n_rules(&self) -> usize {
        self.rules.read().len()
    }
}

impl Authorizer for AclFile {
    fn authorize(&self, client: &Arc<ClientInfo>, action: Action, topic: &str) -> Answer<Verdict> {
        let rules = Arc::clone(&self.rules.read());
        let asker = Asker {
            client_id: client.client_id.as_str(),
            username: client.username.as_deref(),
            address: client.peer.map(|peer| peer.ip()),
        };
        Answer::Now(match rules.decide(&asker, action, topic) {
            Some(true) => Verdict::Allow,
            Some(false) => Verdict::Deny,
            None => Verdict::Ignore,
        })
    }
}

fn read(path: &Path) -> Result<Rules, AclFileError> {
    let unreadable = |reason: String| AclFileError::Unreadable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(unreadable(format!("has more than {BYTES_MAX} bytes")));
    }
    let parsed = terms::parse(&bytes).and_then(|terms| Rules::of(&terms));
    parsed.map_err(|error| AclFileError::Malformed {
        path: path.to_owned(),
        line: error.line,
        problem: error.problem,
    })
}

#[cfg(test)]
mod tests;
