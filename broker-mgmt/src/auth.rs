//! Who asks: HTTP Basic, an application's id and secret.
//!
//! Hashing a secret is meant to be slow. A pair that was right is therefore remembered, as a MAC under a key
//! that only this process knows, and a failure makes the next attempts from its address wait.

pub(crate) mod attempts;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use actix_web::web;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::RwLock;
use ring::hmac;
use ring::rand::SystemRandom;

use self::attempts::Attempts;
use crate::applications::{Application, Applications, Decoy, Hash, Role};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) app_id: String,
    pub(crate) role: Role,
}

/// Why nobody is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Unauthorized,
    /// There were so many failures that the attempt was not looked at; seconds to wait.
    TooMany(u64),
    /// More secrets are being checked than there is memory for.
    Busy,
}

/// Checks credentials.
pub(crate) struct Authentication {
    applications: Arc<Applications>,
    /// Of this process, for `known`.
    key: hmac::Key,
    /// The MAC of the right credentials, by application; beside it the hash they were right for.
    known: RwLock<HashMap<String, (Hash, hmac::Tag)>>,
    attempts: Attempts,
    hashing: AtomicUsize,
    decoy: Arc<Decoy>,
}

impl Authentication {
    /// `None` if the system gives no random numbers.
    pub(crate) fn new(applications: Arc<Applications>) -> Option<Self> {
        Some(Self {
            applications,
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?,
            known: RwLock::default(),
            attempts: Attempts::default(),
            hashing: AtomicUsize::new(0),
            decoy: Arc::default(),
        })
    }

    /// Who the header names, if the secret is right. Waits while failures from this address weigh on it.
    pub(crate) async fn check(
        self: &Arc<Self>,
        header: Option<&str>,
        from: IpAddr,
        unix_s: u64,
    ) -> Result<Principal, Refused> {
        let Some((app_id, secret)) = header.and_then(basic) else {
            return Err(Refused::Unauthorized);
        };
        let app = self.applications.one(&app_id);
        if let Some(app) = &app
            && self.is_known(&app_id, app, &secret)
        {
            return self.admit(app_id, app, unix_s, from);
        }
        match self.attempts.wait(from, Instant::now()) {
            Ok(wait) => sleep(wait).await,
            Err(seconds) => return Err(Refused::TooMany(seconds)),
        }
        let _permit = self.permit().await.ok_or(Refused::Busy)?;
        let (given, compared) = (secret.clone(), app.as_ref().map(|app| app.secret.clone()));
        let decoy = Arc::clone(&self.decoy);
        let is_right = web::block(move || match compared {
            Some(hash) => hash.fits(&given),
            None => {
                decoy.compare(&given);
                false
            }
        });
        let is_right = is_right.await.unwrap_or(false);
        match app {
            Some(app) if is_right => {
                let tag = self.tag(&app_id, &secret);
                let mut known = self.known.write();
                // Those of applications that are gone go as well.
                known.retain(|id, _| self.applications.one(id).is_some());
                known.insert(app_id.clone(), (app.secret.clone(), tag));
                drop(known);
                self.admit(app_id, &app, unix_s, from)
            }
            _ => Err(self.refuse(&app_id, from)),
        }
    }

    /// Logins that failed since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.attempts.failures()
    }

    fn admit(
        &self,
        app_id: String,
        app: &Application,
        unix_s: u64,
        from: IpAddr,
    ) -> Result<Principal, Refused> {
        if !app.is_valid(unix_s) {
            return Err(self.refuse(&app_id, from));
        }
        Ok(Principal { app_id, role: app.role })
    }

    fn refuse(&self, app_id: &str, from: IpAddr) -> Refused {
        if self.attempts.failed(from, Instant::now()) {
            // Whoever fails chooses the name: as a quoted text it cannot make a line of its own.
            let app_id: String = app_id.chars().take(64).collect();
            log::warn!("login to the management API failed app_id={app_id:?} address={from}");
        }
        Refused::Unauthorized
    }

    fn is_known(&self, app_id: &str, app: &Application, secret: &str) -> bool {
        let known = self.known.read();
        let Some((hash, tag)) = known.get(app_id) else { return false };
        // A secret that was changed has another hash.
        *hash == app.secret && {
            let message = message(app_id, secret);
            hmac::verify(&self.key, &message, tag.as_ref()).is_ok()
        }
    }

    fn tag(&self, app_id: &str, secret: &str) -> hmac::Tag {
        hmac::sign(&self.key, &message(app_id, secret))
    }

    /// Leave to hash, which takes 19 MiB.
    async fn permit(self: &Arc<Self>) -> Option<Permit> {
        for _ in 0..PERMIT_WAIT_MS / PERMIT_PAUSE_MS {
            let taken = self.hashing.fetch_add(1, Ordering::Relaxed);
            let permit = Permit(Arc::clone(self));
            if taken < HASHING_MAX {
                return Some(permit);
            }
            drop(permit);
            sleep(Duration::from_millis(PERMIT_PAUSE_MS)).await;
        }
        None
    }
}

struct Permit(Arc<Authentication>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.hashing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No application id holds a colon, which is where the two part.
fn message(app_id: &str, secret: &str) -> Vec<u8> {
    [app_id.as_bytes(), b":", secret.as_bytes()].concat()
}

/// Id and secret of a header `Basic …`.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (app_id, secret) = text.split_once(':')?;
    (secret.len() <= SECRET_MAX).then(|| (app_id.to_owned(), secret.to_owned()))
}

/// Bytes of a secret.
pub(crate) const SECRET_MAX: usize = 1_024;
/// As many as two cores do anyway.
const HASHING_MAX: usize = 2;
const PERMIT_WAIT_MS: u64 = 5_000;
const PERMIT_PAUSE_MS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_basic_or_nothing() {
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(basic("Basic YWRtaW46cHVibGlj"), pair("admin", "public"));
        assert_eq!(basic("basic  YWRtaW46cHVibGlj "), pair("admin", "public"));
        assert_eq!(basic("Basic YTpiOmM="), pair("a", "b:c"));
        assert_eq!(basic("Basic Og=="), pair("", ""));
        for wrong in ["", "Basic", "Basic ", "Basic !", "Bearer YWRtaW46cHVibGlj", "Basic YWRtaW4="]
        {
            assert_eq!(basic(wrong), None, "{wrong}");
        }
        let long = BASE64_STANDARD.encode(format!("a:{}", "x".repeat(SECRET_MAX + 1)));
        assert_eq!(basic(&format!("Basic {long}")), None);
    }
}
