//! Users of the dashboard: who may log in there. They are kept in the broker's store.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use broker_core::{Broker, Saved};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::applications::{Decoy, Hash, PUBLIC};
use crate::auth::attempts::Attempts;
use crate::options::DefaultUser;
use crate::saving::{self, NotSaved};

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// Words of the operator's choice.
    tags: String,
    password: Hash,
    /// Its password is the one that everybody knows.
    #[serde(default)]
    has_public_password: bool,
}

/// All users, in memory and in the broker's store.
pub(crate) struct Users {
    broker: Arc<Broker>,
    all: RwLock<BTreeMap<String, User>>,
    /// Changes come one after the other.
    change: Mutex<()>,
    attempts: Attempts,
    /// Passwords are compared one after the other: each takes 19 MiB, and no failure is overlooked.
    comparing: Mutex<()>,
    decoy: Decoy,
}

/// Why a user was not changed. The words are the original's where it has them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    #[error("Username Already Exist")]
    Exists,
    #[error("Username Not Found")]
    Unknown,
    #[error("Cannot delete admin")]
    Admin,
    // One text for a wrong name and a wrong password: it must not tell who there is.
    #[error("Password Error")]
    Wrong,
    #[error("too many failed logins from this address; come again in {0} s")]
    TooMany(u64),
    #[error("there are {MAX} users already")]
    Full,
    #[error("the system gives no random numbers")]
    NoRandom,
    #[error(transparent)]
    NotSaved(#[from] NotSaved),
}

impl User {
    fn new(tags: &str, password: &str) -> Result<Self, UserError> {
        let mut user =
            Self { tags: tags.to_owned(), password: Hash::default(), has_public_password: false };
        user.set_password(password)?;
        Ok(user)
    }

    fn set_password(&mut self, password: &str) -> Result<(), UserError> {
        self.password = Hash::of(password).ok_or(UserError::NoRandom)?;
        self.has_public_password = password == PUBLIC;
        Ok(())
    }
}

impl Users {
    /// Reads those that the broker keeps, and makes the default one if it is not there.
    pub(crate) fn load(broker: Arc<Broker>, default: &DefaultUser) -> Result<Self, UserError> {
        let mut all = BTreeMap::new();
        for (name, json) in broker.settings(KIND) {
            match serde_json::from_slice(&json) {
                Ok(user) => {
                    all.insert(name.into(), user);
                }
                Err(error) => log::error!("user in the store is unreadable name={name}: {error}"),
            }
        }
        let users = Self {
            broker,
            all: RwLock::new(all),
            change: Mutex::new(()),
            attempts: Attempts::default(),
            comparing: Mutex::new(()),
            decoy: Decoy::default(),
        };
        if !users.all.read().contains_key(&default.login) {
            let user = User::new(ADMINISTRATOR, default.password.reveal())?;
            // No wait: if a crash forgets it, the next start makes it again.
            let _ = users.put(&default.login, user);
        }
        Ok(users)
    }

    /// The users whose password is the one that everybody knows.
    pub(crate) fn with_public_password(&self) -> Vec<String> {
        let all = self.all.read();
        let public = all.iter().filter(|(_, user)| user.has_public_password);
        public.map(|(name, _)| name.clone()).collect()
    }

    /// Names and tags, by name.
    pub(crate) fn list(&self) -> Vec<(String, String)> {
        let all = self.all.read();
        all.iter().map(|(name, user)| (name.clone(), user.tags.clone())).collect()
    }

    pub(crate) fn add(&self, name: &str, password: &str, tags: &str) -> Result<(), UserError> {
        let user = User::new(tags, password)?;
        let saved = {
            let _change = self.change.lock();
            match self.all.read() {
                all if all.contains_key(name) => return Err(UserError::Exists),
                all if all.len() >= MAX => return Err(UserError::Full),
                _ => {}
            }
            self.put(name, user)
        };
        Ok(saving::wait(&self.broker, saved)?)
    }

    /// Gives a user other tags, another password, or both.
    pub(crate) fn update(
        &self,
        name: &str,
        tags: Option<&str>,
        password: Option<&str>,
    ) -> Result<(), UserError> {
        let saved = {
            let _change = self.change.lock();
            let mut user = self.all.read().get(name).cloned().ok_or(UserError::Unknown)?;
            if let Some(tags) = tags {
                tags.clone_into(&mut user.tags);
            }
            if let Some(password) = password {
                user.set_password(password)?;
            }
            self.put(name, user)
        };
        Ok(saving::wait(&self.broker, saved)?)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), UserError> {
        if name == ADMIN {
            return Err(UserError::Admin);
        }
        let saved = {
            let _change = self.change.lock();
            if self.all.write().remove(name).is_none() {
                return Err(UserError::Unknown);
            }
            self.broker.remove_setting(KIND, name)
        };
        Ok(saving::wait(&self.broker, saved)?)
    }

    /// Whether this is the password of this user. Failures from an address have further attempts from there
    /// refused unseen for a while.
    pub(crate) fn check(&self, name: &str, password: &str, from: IpAddr) -> Result<(), UserError> {
        let _comparing = self.comparing.lock();
        if let Some(seconds) = self.attempts.refuses(from, Instant::now()) {
            return Err(UserError::TooMany(seconds));
        }
        let hash = self.all.read().get(name).map(|user| user.password.clone());
        match hash {
            Some(hash) if hash.fits(password) => return Ok(()),
            Some(_) => {}
            None => self.decoy.compare(password),
        }
        if self.attempts.failed(from, Instant::now()) {
            // Whoever fails chooses the name: as a quoted text it cannot make a line of its own.
            let name: String = name.chars().take(64).collect();
            log::warn!("login of a dashboard user failed username={name:?} address={from}");
        }
        Err(UserError::Wrong)
    }

    /// Logins that failed since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.attempts.failures()
    }

    fn put(&self, name: &str, user: User) -> Saved {
        let json = serde_json::to_vec(&user).expect("texts and flags are JSON");
        let saved = self.broker.put_setting(KIND, name, &json);
        self.all.write().insert(name.to_owned(), user);
        saved
    }
}

/// Of the settings that are users.
const KIND: &str = "dashboard_user";
const ADMIN: &str = "admin";
const ADMINISTRATOR: &str = "administrator";
const MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::options::Secret;

    fn load(broker: &Arc<Broker>) -> Users {
        let default = DefaultUser { login: ADMIN.into(), password: Secret::new(PUBLIC) };
        Users::load(Arc::clone(broker), &default).unwrap()
    }

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn the_default_user_is_made_where_it_is_not() {
        let broker = Broker::builder().build().unwrap();
        let users = load(&broker);
        assert_eq!(users.list(), [(ADMIN.to_owned(), ADMINISTRATOR.to_owned())]);
        assert_eq!(users.check(ADMIN, PUBLIC, HERE), Ok(()));
        assert_eq!(users.with_public_password(), [ADMIN]);
        users.update(ADMIN, Some("boss"), Some("changed")).unwrap();
        let users = load(&broker);
        assert_eq!(users.list(), [(ADMIN.to_owned(), "boss".to_owned())]);
        assert_eq!(users.check(ADMIN, PUBLIC, HERE), Err(UserError::Wrong));
        assert_eq!(users.check(ADMIN, "changed", HERE), Ok(()));
        assert!(users.with_public_password().is_empty());
    }

    #[test]
    fn failures_refuse_further_logins_from_there_for_a_while() {
        let users = load(&Broker::builder().build().unwrap());
        for name in [ADMIN, "nobody", ADMIN] {
            assert_eq!(users.check(name, "wrong", HERE), Err(UserError::Wrong));
        }
        assert_eq!(users.check(ADMIN, PUBLIC, HERE), Err(UserError::TooMany(1)));
        assert_eq!(users.check(ADMIN, PUBLIC, THERE), Ok(()));
        assert_eq!(users.failures(), 3, "what was not looked at is none");
    }
}
