//! The check of a client's token.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use broker_core::ReasonCode;
use broker_core::extension::{Answer, Authentication, Authenticator, Credentials};

use super::claims::{Rules, Valid};
use super::key::PublicKey;
use super::refresh::{Jwks, Renewal};
use super::token::{BadToken, Token};
use super::{Secret, TokenFrom};
use crate::workers::Workers;

/// Asked when a client connects.
pub(super) struct Login {
    pub(super) from: TokenFrom,
    pub(super) secret: Option<Secret>,
    pub(super) public_keys: PublicKeys,
    pub(super) rules: Arc<Rules>,
    pub(super) workers: Arc<Workers>,
}

#[derive(Clone)]
pub(super) enum PublicKeys {
    None,
    One(Arc<PublicKey>),
    Set(Arc<Jwks>),
}

impl Authenticator for Login {
    fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        let text = match self.from {
            TokenFrom::Password => credentials.password.as_deref(),
            TokenFrom::Username => credentials.username.as_deref().map(str::as_bytes),
        };
        // In the original what is no token passes, and comes in under allow_anonymous. Here it comes in only if
        // a source that is asked later knows it.
        let missing = Answer::Now(Authentication::Missing(REFUSED));
        let Some(text) = text.filter(|text| !text.is_empty()) else { return missing };
        let token = match Token::read(text) {
            Ok(token) => token,
            Err(BadToken::Unreadable(why)) => {
                log::debug!("not a token client_id={:?}: {why}", credentials.client_id.as_str());
                return missing;
            }
            Err(BadToken::Unsupported(why)) => return Answer::Now(refuse(credentials, why)),
        };
        if !token.algorithm.is_of_secret() {
            return self.check_later(token, credentials);
        }
        let Some(secret) = &self.secret else {
            return Answer::Now(refuse(credentials, "there is no secret"));
        };
        // A few microseconds: not worth a way to another thread.
        let is_right = secret.verifies(token.algorithm, &token.signed, &token.signature);
        Answer::Now(conclude(is_right, &token, &self.rules, self.from, credentials))
    }
}

impl Login {
    /// Public keys take long enough to have threads of their own, and may have to be fetched.
    fn check_later(&self, token: Token, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        let (keys, rules, from) = (self.public_keys.clone(), Arc::clone(&self.rules), self.from);
        let (workers, credentials) = (Arc::clone(&self.workers), Arc::clone(credentials));
        Answer::later(async move {
            let key = match keys.find(&token, &credentials).await {
                Ok(key) => key,
                Err(answer) => return answer,
            };
            let work = move || {
                let is_right = key.verifies(token.algorithm, &token.signed, &token.signature);
                conclude(is_right, &token, &rules, from, &credentials)
            };
            match workers.run(work) {
                Ok(outcome) => {
                    let failed = Authentication::Deny(ReasonCode::ServerUnavailable);
                    outcome.await.unwrap_or(failed)
                }
                Err(_) => Authentication::Deny(ReasonCode::ServerBusy),
            }
        })
    }
}

impl PublicKeys {
    /// The key that the token must be signed with, or why it is not let in.
    async fn find(
        &self,
        token: &Token,
        credentials: &Credentials,
    ) -> Result<Arc<PublicKey>, Authentication> {
        let jwks = match self {
            Self::One(key) if key.fits(token.algorithm) => return Ok(Arc::clone(key)),
            Self::None | Self::One(_) => {
                return Err(refuse(credentials, "there is no key for its algorithm"));
            }
            Self::Set(jwks) => jwks,
        };
        let kid = token.kid.as_deref();
        let mut keys = jwks.keys();
        let is_known = keys
            .as_ref()
            .is_some_and(|keys| keys.has(kid) || keys.find(kid, token.algorithm).is_some());
        if !is_known {
            match jwks.renew() {
                Renewal::Begun(outcome) => {
                    outcome.await;
                    keys = jwks.keys();
                }
                Renewal::TooSoon => {}
                Renewal::Busy => return Err(Authentication::Deny(ReasonCode::ServerBusy)),
            }
        }
        let Some(keys) = keys else {
            log::debug!(
                "no keys yet to check a token with client_id={:?}",
                credentials.client_id.as_str()
            );
            return Err(Authentication::Deny(ReasonCode::ServerUnavailable));
        };
        let key = keys.find(kid, token.algorithm);
        key.ok_or_else(|| refuse(credentials, "the key set has no such key"))
    }
}

fn conclude(
    is_right: bool,
    token: &Token,
    rules: &Rules,
    from: TokenFrom,
    credentials: &Credentials,
) -> Authentication {
    if !is_right {
        return refuse(credentials, "invalid_signature");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    match rules.check(&token.claims, credentials, now_ms) {
        // A token is no name: the next one of the same user is another, and who reads it could use it.
        Ok(Valid { until_ms, subject: Some(username) }) if from == TokenFrom::Username => {
            Authentication::AllowAs { username, superuser: false, until_ms }
        }
        Ok(Valid { until_ms, .. }) => Authentication::AllowUntil { superuser: false, until_ms },
        Err(why) => refuse(credentials, why),
    }
}

/// The token itself is never told: who reads it could use it.
fn refuse(credentials: &Credentials, why: impl Display) -> Authentication {
    log::debug!("token refused client_id={:?}: {why}", credentials.client_id.as_str());
    Authentication::Deny(REFUSED)
}

/// As the original refuses whatever is not a wrong password.
const REFUSED: ReasonCode = ReasonCode::NotAuthorized;
