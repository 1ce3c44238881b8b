//! `emqx_auth_jwt`: clients that prove who they are with a JSON Web Token (RFC 7519).

mod claims;
mod key;
mod key_set;
mod login;
mod pem;
mod refresh;
mod source;
mod token;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ring::hmac;

use self::claims::Rules;
use self::login::{Login, PublicKeys};
use self::refresh::Jwks;
use self::source::Source;
use crate::config::PluginsConfig;
use crate::plugin::{Parts, Plugin, Ready};
use crate::workers::Workers;

/// `auth.jwt.*`.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtConfig {
    /// `secret`: key of HS256, HS384 and HS512.
    pub secret: String,
    /// `from`: where clients send their token.
    pub from: TokenFrom,
    /// `pubkey`: PEM file with the key of RS*, PS* or ES*.
    pub pubkey: Option<PathBuf>,
    /// `jwks`: file or URL of a JSON Web Key Set (RFC 7517) with such keys.
    pub jwks: Option<String>,
    /// `jwks_refresh_interval`, above 0.
    pub jwks_refresh_interval_ms: u64,
    /// `jwks_cacertfile`: who is trusted as the server of the URL; the authorities of the system without it.
    pub jwks_cacertfile: Option<PathBuf>,
    /// `verify_claims.*`: what claims must be; `%u` stands for the user name, `%c` for the client id.
    pub verify_claims: BTreeMap<String, String>,
    /// `leeway`: how far the clocks of broker and issuer may be apart.
    pub leeway_s: u64,
}

/// Where clients send their token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFrom {
    /// As password.
    Password,
    /// As user name.
    Username,
}

/// The plugin.
pub struct Jwt {
    workers: Arc<Workers>,
    /// The key set in use, if one is.
    jwks: Mutex<Option<Arc<Jwks>>>,
}

impl JwtConfig {
    /// The secret that EMQ X comes with, and everybody knows.
    pub const WELL_KNOWN_SECRET: &str = "emqxsecret";
    /// Refused as secret: the empty text, by which anybody could sign.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_secret(secret: &str) -> Result<(), String> {
        if secret.is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            secret: Self::WELL_KNOWN_SECRET.to_owned(),
            from: TokenFrom::Password,
            pubkey: None,
            jwks: None,
            jwks_refresh_interval_ms: 300_000,
            jwks_cacertfile: None,
            verify_claims: BTreeMap::new(),
            leeway_s: 0,
        }
    }
}

impl fmt::Debug for JwtConfig {
    /// Leaves the secret out, so that no log can hold it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtConfig")
            .field("from", &self.from)
            .field("pubkey", &self.pubkey)
            .field("jwks", &self.jwks)
            .finish_non_exhaustive()
    }
}

impl Jwt {
    /// The plugin, not yet at work.
    #[must_use]
    pub fn new() -> Self {
        Self { workers: Arc::new(Workers::for_signatures()), jwks: Mutex::default() }
    }

    /// The key set that was in use is not read again.
    fn use_instead(&self, jwks: Option<Arc<Jwks>>) {
        let old = std::mem::replace(&mut *self.jwks.lock(), jwks);
        if let Some(old) = old {
            old.stop();
        }
    }
}

impl Default for Jwt {
    fn default() -> Self {
        Self::new()
    }
}

impl Plugin for Jwt {
    fn name(&self) -> &'static str {
        "emqx_auth_jwt"
    }

    fn stop(&self) {
        self.use_instead(None);
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        let config = &config.auth_jwt;
        JwtConfig::check_secret(&config.secret).map_err(|why| format!("auth.jwt.secret: {why}"))?;
        let public_keys = public_keys(config)?;
        let is_well_known = config.secret == JwtConfig::WELL_KNOWN_SECRET;
        // Who has given another key does not mean that anybody can sign with this one.
        let secret = (!is_well_known || matches!(public_keys, PublicKeys::None))
            .then(|| Secret::new(config.secret.as_bytes()));
        let login = Login {
            from: config.from,
            secret,
            public_keys,
            rules: Arc::new(Rules {
                expected: config.verify_claims.clone(),
                leeway_s: config.leeway_s,
            }),
            workers: Arc::clone(&self.workers),
        };
        Ok(Box::new(move || {
            if is_well_known && login.secret.is_some() {
                log::warn!(
                    "anybody can sign tokens: auth.jwt.secret is the one that EMQ X comes with; set another"
                );
            }
            self.use_instead(match &login.public_keys {
                PublicKeys::Set(jwks) => Some(Arc::clone(jwks)),
                PublicKeys::None | PublicKeys::One(_) => None,
            });
            Parts { authenticator: Some(Arc::new(login)), ..Parts::default() }
        }))
    }
}

/// The key of HS256, HS384 and HS512.
struct Secret {
    sha256: hmac::Key,
    sha384: hmac::Key,
    sha512: hmac::Key,
}

impl Secret {
    fn new(secret: &[u8]) -> Self {
        Self {
            sha256: hmac::Key::new(hmac::HMAC_SHA256, secret),
            sha384: hmac::Key::new(hmac::HMAC_SHA384, secret),
            sha512: hmac::Key::new(hmac::HMAC_SHA512, secret),
        }
    }
}

fn public_keys(config: &JwtConfig) -> Result<PublicKeys, String> {
    match (&config.pubkey, &config.jwks) {
        (None, None) => Ok(PublicKeys::None),
        (Some(_), Some(_)) => {
            Err("auth.jwt.pubkey and auth.jwt.jwks: only one of them can be set".to_owned())
        }
        (Some(path), None) => match pem::read(path) {
            Ok(key) => Ok(PublicKeys::One(Arc::new(key))),
            Err(why) => Err(format!("auth.jwt.pubkey: {}: {why}", path.display())),
        },
        (None, Some(place)) => {
            let source = Source::new(place, config.jwks_cacertfile.as_deref())
                .map_err(|(key, why)| format!("auth.jwt.{key}: {why}"))?;
            let interval = Duration::from_millis(config.jwks_refresh_interval_ms.max(1));
            let jwks = Jwks::begin(source, interval)
                .map_err(|why| format!("auth.jwt.jwks: {place}: {why}"))?;
            Ok(PublicKeys::Set(Arc::new(jwks)))
        }
    }
}
