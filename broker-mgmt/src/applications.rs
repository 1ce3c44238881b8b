//! Applications: who may use the API, with which secret. They are kept in the broker's store.

mod hash;

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_core::Broker;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::hash::{Decoy, Hash, generate};
use crate::options::Secret;
use crate::saving::{self, NotSaved};

/// What an application may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// All.
    #[default]
    Admin,
    /// Look, and change nothing.
    Viewer,
}

/// One application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Application {
    pub(crate) name: String,
    pub(crate) desc: String,
    /// False refuses it.
    pub(crate) status: bool,
    /// Unix seconds; from then on it is refused.
    pub(crate) expired: Option<u64>,
    pub(crate) role: Role,
    pub(crate) secret: Hash,
    /// Its secret is the one that everybody knows.
    #[serde(default)]
    pub(crate) has_public_secret: bool,
}

/// All applications, in memory and in the broker's store.
pub(crate) struct Applications {
    broker: Arc<Broker>,
    default_secret: Option<Secret>,
    all: RwLock<BTreeMap<String, Application>>,
    /// Changes come one after the other, each waits for the store.
    change: Mutex<()>,
}

/// Why a change was not made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    // The original's spelling.
    #[error("alread_existed")]
    Exists,
    // The original's spelling.
    #[error("ont_found")]
    Unknown,
    #[error("the last application with the role admin that is not refused must stay so")]
    LastAdmin,
    #[error("there are {MAX} applications already")]
    TooMany,
    #[error("the system gives no random numbers")]
    NoRandom,
    #[error(transparent)]
    NotSaved(#[from] NotSaved),
}

impl Application {
    /// Whether it may be used now.
    pub(crate) fn is_valid(&self, unix_s: u64) -> bool {
        self.status && self.expired.is_none_or(|expired| unix_s < expired)
    }

    /// Gives it a secret.
    pub(crate) fn set_secret(&mut self, secret: &str) -> Result<(), ChangeError> {
        self.secret = Hash::of(secret).ok_or(ChangeError::NoRandom)?;
        self.has_public_secret = secret == PUBLIC;
        Ok(())
    }

    fn is_admin(&self) -> bool {
        self.status && self.role == Role::Admin && self.expired.is_none()
    }
}

impl Applications {
    /// Reads those that the broker keeps; at the first start of all it makes `admin`.
    pub(crate) fn load(
        broker: Arc<Broker>,
        default_secret: Option<Secret>,
    ) -> Result<Self, ChangeError> {
        let mut all = BTreeMap::new();
        for (app_id, json) in broker.settings(KIND) {
            match serde_json::from_slice(&json) {
                Ok(app) => {
                    all.insert(app_id.into(), app);
                }
                Err(error) => {
                    log::error!("application in the store is unreadable app_id={app_id}: {error}");
                }
            }
        }
        let applications =
            Self { broker, default_secret, all: RwLock::new(all), change: Mutex::new(()) };
        applications.seed()?;
        Ok(applications)
    }

    /// Makes `admin`, once in the life of a store: what was deleted does not come back.
    fn seed(&self) -> Result<(), ChangeError> {
        if self.broker.setting(SEEDED.0, SEEDED.1).is_some() {
            return Ok(());
        }
        let secret = self.default_secret.as_ref().map_or(PUBLIC, Secret::reveal);
        let app = Application::new("admin", secret)?;
        // No wait: if a crash forgets it, the next start makes it again.
        let _ = self.broker.put_setting(KIND, "admin", &to_json(&app));
        let _ = self.broker.put_setting(SEEDED.0, SEEDED.1, b"1");
        self.all.write().insert("admin".into(), app);
        Ok(())
    }

    pub(crate) fn one(&self, app_id: &str) -> Option<Application> {
        self.all.read().get(app_id).cloned()
    }

    pub(crate) fn list(&self) -> Vec<(String, Application)> {
        self.all.read().iter().map(|(id, app)| (id.clone(), app.clone())).collect()
    }

    /// The applications whose secret is the one that everybody knows.
    pub(crate) fn with_public_secret(&self) -> Vec<String> {
        let all = self.all.read();
        let public = all.iter().filter(|(_, app)| app.has_public_secret && app.status);
        public.map(|(id, _)| id.clone()).collect()
    }

    /// The secret of an application that is made without one.
    pub(crate) fn new_secret(&self) -> Result<String, ChangeError> {
        match &self.default_secret {
            Some(secret) => Ok(secret.reveal().to_owned()),
            None => generate().ok_or(ChangeError::NoRandom),
        }
    }

    pub(crate) fn add(&self, app_id: &str, app: Application) -> Result<(), ChangeError> {
        let _change = self.change.lock();
        match self.all.read() {
            all if all.contains_key(app_id) => return Err(ChangeError::Exists),
            all if all.len() >= MAX => return Err(ChangeError::TooMany),
            _ => {}
        }
        self.put(app_id, app)
    }

    /// Changes one; `change` may refuse.
    pub(crate) fn update(
        &self,
        app_id: &str,
        change: impl FnOnce(&mut Application) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let _change = self.change.lock();
        let mut app = self.one(app_id).ok_or(ChangeError::Unknown)?;
        change(&mut app)?;
        if !app.is_admin() && self.is_last_admin(app_id) {
            return Err(ChangeError::LastAdmin);
        }
        self.put(app_id, app)
    }

    /// Removes one, if there is one.
    pub(crate) fn remove(&self, app_id: &str) -> Result<(), ChangeError> {
        let _change = self.change.lock();
        if self.is_last_admin(app_id) {
            return Err(ChangeError::LastAdmin);
        }
        let saved = self.broker.remove_setting(KIND, app_id);
        self.all.write().remove(app_id);
        Ok(saving::wait(&self.broker, saved)?)
    }

    /// Whether nobody could make applications any more without this one.
    fn is_last_admin(&self, app_id: &str) -> bool {
        let all = self.all.read();
        all.get(app_id).is_some_and(Application::is_admin)
            && !all.iter().any(|(id, app)| id != app_id && app.is_admin())
    }

    fn put(&self, app_id: &str, app: Application) -> Result<(), ChangeError> {
        let saved = self.broker.put_setting(KIND, app_id, &to_json(&app));
        self.all.write().insert(app_id.to_owned(), app);
        Ok(saving::wait(&self.broker, saved)?)
    }
}

impl Application {
    /// One that may do all, for ever.
    pub(crate) fn new(name: &str, secret: &str) -> Result<Self, ChangeError> {
        let mut app = Self {
            name: name.to_owned(),
            desc: String::new(),
            status: true,
            expired: None,
            role: Role::Admin,
            secret: Hash::default(),
            has_public_secret: false,
        };
        app.set_secret(secret)?;
        Ok(app)
    }
}

fn to_json(app: &Application) -> Vec<u8> {
    serde_json::to_vec(app).expect("texts, numbers and flags are JSON")
}

/// The secret of the document's examples.
pub(crate) const PUBLIC: &str = "public";
/// Of the settings that are applications.
const KIND: &str = "application";
const SEEDED: (&str, &str) = ("management", "seeded");
const MAX: usize = 1_000;
