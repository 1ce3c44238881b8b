//! Claims: when a token is valid (RFC 7519, 4.1), and what it must say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use broker_core::extension::Credentials;
use serde_json::{Map, Value};

/// What claims must be.
pub(super) struct Rules {
    /// Texts by claim.
    pub(super) expected: BTreeMap<String, String>,
    pub(super) leeway_s: u64,
}

/// What a token says that lets its client in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Valid {
    /// When it expires: on the wall clock in milliseconds, `u64::MAX` for never.
    pub(super) until_ms: u64,
    /// `sub`: whom it is about.
    pub(super) subject: Option<Arc<str>>,
}

/// Why a token with a right signature is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadClaims {
    NoObject,
    NoTime(&'static str),
    Expired,
    NotYet(&'static str),
    Unexpected(String),
}

impl Rules {
    /// Checks the claims, and tells whom they name.
    pub(super) fn check(
        &self,
        claims: &[u8],
        credentials: &Credentials,
        now_ms: u64,
    ) -> Result<Valid, BadClaims> {
        // What nests deeper than 128 is no JSON to this reader.
        let claims: Map<String, Value> =
            serde_json::from_slice(claims).map_err(|_| BadClaims::NoObject)?;
        // Whole seconds, as the original has it.
        let now_s = (now_ms / 1_000) as f64;
        let leeway_s = self.leeway_s as f64;
        for name in ["iat", "nbf"] {
            if time(&claims, name)?.is_some_and(|from_s| from_s > now_s + leeway_s) {
                return Err(BadClaims::NotYet(name));
            }
        }
        let expires_s = time(&claims, "exp")?.map(|exp_s| exp_s + leeway_s);
        if expires_s.is_some_and(|expires_s| now_s >= expires_s) {
            return Err(BadClaims::Expired);
        }
        for (name, expected) in &self.expected {
            let expected = match expected.as_str() {
                "%u" => credentials.username.as_deref(),
                "%c" => Some(credentials.client_id.as_str()),
                text => Some(text),
            };
            let is_so = match (claims.get(name), expected) {
                (Some(Value::String(text)), Some(expected)) => text == expected,
                (Some(value @ (Value::Number(_) | Value::Bool(_))), Some(expected)) => {
                    let json = value.to_string();
                    json == expected
                }
                _ => false,
            };
            if !is_so {
                return Err(BadClaims::Unexpected(name.clone()));
            }
        }
        // A float is cut off at the ends of the integer.
        let until_ms = expires_s.map_or(u64::MAX, |expires_s| (expires_s * 1_000.0) as u64);
        let subject = claims.get("sub").and_then(Value::as_str).filter(|name| !name.is_empty());
        Ok(Valid { until_ms, subject: subject.map(Into::into) })
    }
}

/// A NumericDate: seconds since 1970, which may have a fraction.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, BadClaims> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(BadClaims::NoTime(name)),
    }
}

impl fmt::Display for BadClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObject => f.write_str("claims are no JSON object"),
            Self::NoTime(name) => write!(f, "{name} is no time"),
            Self::Expired => f.write_str("expired"),
            Self::NotYet(name) => write!(f, "{name} is to come"),
            Self::Unexpected(name) => write!(f, "unexpected_{name}"),
        }
    }
}
