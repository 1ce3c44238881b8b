//! The check of a client against the accounts.

use std::sync::Arc;

use broker_core::ReasonCode;
use broker_core::extension::{Answer, Authentication, Authenticator, Credentials};

use super::{Shared, Subject};
use crate::password::stored::Stored;

/// Asked when a client connects.
pub(super) struct Login(pub(super) Arc<Shared>);

impl Authenticator for Login {
    fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        let Shared { subject, proven, workers, .. } = &*self.0;
        let name = match subject {
            Subject::ClientId => credentials.client_id.as_str(),
            Subject::Username => credentials.username.as_deref().unwrap_or_default(),
        };
        let password = credentials.password.as_deref().unwrap_or_default();
        if name.is_empty() || password.is_empty() {
            return Answer::Now(Authentication::Missing(ReasonCode::BadUserNameOrPassword));
        }
        let Some(bytes) = self.0.stored(name) else { return self.unknown(credentials) };
        let Some(stored) = Stored::from_bytes(&bytes) else {
            log::error!("account in the store is unreadable {}={name:?}", subject.word());
            return Answer::Now(Authentication::Deny(ReasonCode::ServerUnavailable));
        };
        if !stored.is_slow() {
            return Answer::Now(verdict(stored.fits(password)));
        }
        if proven.knows(name, &bytes, password) {
            return Answer::Now(verdict(true));
        }
        let work = {
            let credentials = Arc::clone(credentials);
            move || stored.fits(credentials.password.as_deref().unwrap_or_default())
        };
        let Ok(outcome) = workers.run(work) else {
            return Answer::Now(Authentication::Deny(ReasonCode::ServerBusy));
        };
        let (shared, credentials, name) =
            (Arc::clone(&self.0), Arc::clone(credentials), name.to_owned());
        Answer::later(async move {
            match outcome.await {
                Some(fits) => {
                    if fits {
                        let password = credentials.password.as_deref().unwrap_or_default();
                        shared.proven.learn(&name, &bytes, password);
                    }
                    verdict(fits)
                }
                None => Authentication::Deny(ReasonCode::ServerUnavailable),
            }
        })
    }
}

const UNKNOWN: Authentication = Authentication::Unknown(ReasonCode::BadUserNameOrPassword);

impl Login {
    /// Nobody of that name: as slow as an account with another password, or who asks would learn which names there are.
    /// The next source is asked thereafter.
    fn unknown(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        let Shared { subject, broker, workers, .. } = &*self.0;
        if broker.settings_len(subject.kind()) == 0 {
            return Answer::Now(UNKNOWN);
        }
        let decoy = Arc::clone(&self.0.decoy.read());
        if !decoy.is_slow() {
            decoy.fits(credentials.password.as_deref().unwrap_or_default());
            return Answer::Now(UNKNOWN);
        }
        let credentials = Arc::clone(credentials);
        let work = move || decoy.fits(credentials.password.as_deref().unwrap_or_default());
        let Ok(outcome) = workers.run(work) else {
            return Answer::Now(Authentication::Deny(ReasonCode::ServerBusy));
        };
        Answer::later(async move {
            match outcome.await {
                Some(_) => UNKNOWN,
                None => Authentication::Deny(ReasonCode::ServerUnavailable),
            }
        })
    }
}

fn verdict(fits: bool) -> Authentication {
    if fits {
        Authentication::Allow { superuser: false }
    } else {
        Authentication::Deny(ReasonCode::BadUserNameOrPassword)
    }
}
