//! Accounts: names and passwords in the broker's store, of `emqx_auth_clientid` and `emqx_auth_username`.

mod login;
mod proven;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use broker_core::{Broker, Saved};
use parking_lot::{Mutex, RwLock};

use self::login::Login;
use self::proven::Proven;
use crate::config::PluginsConfig;
use crate::password::stored::{AccountHash, HashError, Stored};
use crate::plugin::{Parts, Plugin, Ready};
use crate::states;
use crate::workers::Workers;

/// What an account's name is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The Client Identifier: `emqx_auth_clientid`.
    ClientId,
    /// The User Name: `emqx_auth_username`.
    Username,
}

/// The accounts of one plugin, and the plugin. They are kept whether it is loaded or not.
#[derive(Clone)]
pub struct Accounts(Arc<Shared>);

struct Shared {
    subject: Subject,
    broker: Arc<Broker>,
    workers: Arc<Workers>,
    /// How new passwords are kept.
    hash: RwLock<AccountHash>,
    /// What the password of a name is held against that nobody has; of the same kind.
    decoy: RwLock<Arc<Stored>>,
    proven: Proven,
    /// Changes come one after the other.
    change: Mutex<()>,
}

/// `auth.client.*` or `auth.user.*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountsConfig {
    /// `password_hash`.
    pub hash: AccountHash,
    /// Accounts to be there when the plugin is loaded; those that are there already are left as they are.
    pub accounts: Vec<ConfiguredAccount>,
}

/// An account of the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfiguredAccount {
    /// Where it stands: `auth.user.1`.
    pub key: String,
    /// Client id or user name.
    pub name: String,
    /// Its password.
    pub password: String,
}

/// Why accounts stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// There is one of this name. The words are the original's.
    #[error("{}", match .0 { Subject::ClientId => "exitsted", Subject::Username => "existed" })]
    Exists(Subject),
    /// There is none of this name. The words are the original's.
    #[error("{}", match .0 { Subject::ClientId => "noexitsted", Subject::Username => "noexisted" })]
    Unknown(Subject),
    /// The name cannot be one of a client.
    #[error("{}: must be 1 to {TEXT_MAX} bytes", .0.word())]
    Name(Subject),
    /// The password cannot be one of a client, or not be kept as is configured.
    #[error("password: {0}")]
    Password(String),
    /// There is no room for another.
    #[error("there are {ACCOUNTS_MAX} accounts already")]
    TooMany,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
    /// The store does not keep up.
    #[error("in force, but not on disk after {:?}; a restart may undo it", states::SAVE_TIMEOUT)]
    NotSaved,
}

impl Subject {
    /// `clientid` or `username`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ClientId => "clientid",
            Self::Username => "username",
        }
    }

    /// Kind of the settings that are its accounts.
    const fn kind(self) -> &'static str {
        match self {
            Self::ClientId => "auth_clientid",
            Self::Username => "auth_username",
        }
    }
}

impl Accounts {
    /// Those that the broker's store has.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(
        subject: Subject,
        broker: &Arc<Broker>,
        workers: &Arc<Workers>,
    ) -> Result<Self, AccountError> {
        Ok(Self(Arc::new(Shared {
            subject,
            broker: Arc::clone(broker),
            workers: Arc::clone(workers),
            hash: RwLock::default(),
            decoy: RwLock::new(Arc::new(Stored::decoy(AccountHash::default()))),
            proven: Proven::new().ok_or(AccountError::NoRandom)?,
            change: Mutex::new(()),
        })))
    }

    /// All names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let all = self.0.broker.settings(self.0.subject.kind());
        all.into_iter().map(|(name, _)| name.into_string()).collect()
    }

    /// Whether there is an account of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.stored(name).is_some()
    }

    /// Makes an account; hashes its password, which takes a while.
    ///
    /// # Errors
    /// There is one of this name, or no room, or one of the texts cannot be kept.
    pub fn add(&self, name: &str, password: &str) -> Result<(), AccountError> {
        let stored = self.hash(name, password)?;
        let saved = {
            let _change = self.0.change.lock();
            if self.has(name) {
                return Err(AccountError::Exists(self.0.subject));
            }
            if self.0.broker.settings_len(self.0.subject.kind()) >= ACCOUNTS_MAX {
                return Err(AccountError::TooMany);
            }
            self.0.put(name, &stored)
        };
        self.0.wait(saved)
    }

    /// Gives an account another password. Connected clients stay.
    ///
    /// # Errors
    /// There is none of this name, or the password cannot be kept.
    pub fn set_password(&self, name: &str, password: &str) -> Result<(), AccountError> {
        let stored = self.hash(name, password)?;
        let saved = {
            let _change = self.0.change.lock();
            if !self.has(name) {
                return Err(AccountError::Unknown(self.0.subject));
            }
            self.0.put(name, &stored)
        };
        self.0.wait(saved)
    }

    /// Removes an account, if there is one. Connected clients stay.
    ///
    /// # Errors
    /// The store does not keep up.
    pub fn remove(&self, name: &str) -> Result<(), AccountError> {
        let saved = {
            let _change = self.0.change.lock();
            let saved = self.0.broker.remove_setting(self.0.subject.kind(), name);
            self.0.proven.forget(name);
            saved
        };
        self.0.wait(saved)
    }

    fn hash(&self, name: &str, password: &str) -> Result<Stored, AccountError> {
        let hash = *self.0.hash.read();
        make(self.0.subject, hash, name, password)
    }
}

fn make(
    subject: Subject,
    hash: AccountHash,
    name: &str,
    password: &str,
) -> Result<Stored, AccountError> {
    if !(1..=TEXT_MAX).contains(&name.len()) {
        return Err(AccountError::Name(subject));
    }
    if !(1..=TEXT_MAX).contains(&password.len()) {
        return Err(AccountError::Password(format!("must be 1 to {TEXT_MAX} bytes")));
    }
    Stored::make(hash, password.as_bytes()).map_err(|error| match error {
        HashError::NoRandom => AccountError::NoRandom,
        HashError::TooLong => AccountError::Password(error.to_string()),
    })
}

impl Shared {
    fn stored(&self, name: &str) -> Option<Arc<[u8]>> {
        self.broker.setting(self.subject.kind(), name)
    }

    fn put(&self, name: &str, stored: &Stored) -> Saved {
        let saved = self.broker.put_setting(self.subject.kind(), name, stored.as_bytes());
        self.proven.forget(name);
        saved
    }

    fn wait(&self, saved: Saved) -> Result<(), AccountError> {
        if states::wait(&self.broker, saved) { Ok(()) } else { Err(AccountError::NotSaved) }
    }
}

impl Plugin for Accounts {
    fn name(&self) -> &'static str {
        match self.0.subject {
            Subject::ClientId => "emqx_auth_clientid",
            Subject::Username => "emqx_auth_username",
        }
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        let config = match self.0.subject {
            Subject::ClientId => &config.auth_clientid,
            Subject::Username => &config.auth_username,
        };
        let hash = config.hash;
        let mut new = Vec::new();
        for ConfiguredAccount { key, name, password } in &config.accounts {
            if !self.has(name) {
                let stored = make(self.0.subject, hash, name, password);
                new.push((name.clone(), stored.map_err(|error| format!("{key}.{error}"))?));
            }
        }
        Ok(Box::new(move || {
            let _change = self.0.change.lock();
            *self.0.hash.write() = hash;
            *self.0.decoy.write() = Arc::new(Stored::decoy(hash));
            for (name, stored) in new {
                if !self.has(&name) {
                    // No wait: if a crash forgets it, the next start makes it again.
                    let _ = self.0.put(&name, &stored);
                }
            }
            let login = Login(Arc::clone(&self.0));
            Parts { authenticator: Some(Arc::new(login)), ..Parts::default() }
        }))
    }
}

impl fmt::Debug for ConfiguredAccount {
    /// Leaves the password out, so that no log can hold it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredAccount").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a CONNECT can hold.
const TEXT_MAX: usize = 65_535;
const ACCOUNTS_MAX: usize = 1_000_000;
