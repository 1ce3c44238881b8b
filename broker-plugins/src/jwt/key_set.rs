//! A JSON Web Key Set (RFC 7517): public keys by name.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::key::PublicKey;
use super::token::Algorithm;

/// The keys of a set that can check tokens.
pub(super) struct KeySet(Vec<Named>);

struct Named {
    kid: Option<String>,
    /// The one algorithm it is for, if it says so.
    algorithm: Option<Algorithm>,
    key: Arc<PublicKey>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a document. Keys that are not known or for something else are passed over, as RFC 7517, 5 asks for.
    ///
    /// # Errors
    /// It is no key set, or has no key that can check tokens.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(document)
            .map_err(|error| format!("no JSON Web Key Set: {error}"))?;
        if document.keys.len() > KEYS_MAX {
            return Err(format!("more than {KEYS_MAX} keys"));
        }
        let mut keys = Vec::new();
        let mut passed_over = Vec::new();
        for (number, jwk) in document.keys.into_iter().enumerate() {
            match Named::from_jwk(jwk) {
                Ok(key) => keys.push(key),
                Err(why) => passed_over.push(format!("key {}: {why}", number + 1)),
            }
        }
        if keys.is_empty() {
            let why =
                if passed_over.is_empty() { "no keys".into() } else { passed_over.join("; ") };
            return Err(format!("no key in it that can check tokens: {why}"));
        }
        if !passed_over.is_empty() {
            log::debug!("passed over of a JSON Web Key Set: {}", passed_over.join("; "));
        }
        Ok(Self(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key that a token of this algorithm may be signed with. One that names none must leave no choice.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<PublicKey>> {
        let mut fitting = self.0.iter().filter(|named| {
            (kid.is_none() || named.kid.as_deref() == kid)
                && named.algorithm.is_none_or(|its| its == algorithm)
                && named.key.fits(algorithm)
        });
        let first = fitting.next()?;
        fitting.next().is_none().then(|| Arc::clone(&first.key))
    }

    /// Whether there is a key of this name, whatever it is for.
    pub(super) fn has(&self, kid: Option<&str>) -> bool {
        self.0.iter().any(|named| kid.is_some() && named.kid.as_deref() == kid)
    }
}

impl Named {
    fn from_jwk(jwk: serde_json::Value) -> Result<Self, String> {
        let jwk: Jwk = serde_json::from_value(jwk).map_err(|error| error.to_string())?;
        if jwk.purpose.is_some_and(|purpose| purpose != "sig") {
            return Err("is not for signatures".to_owned());
        }
        if jwk.key_ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("is not to verify".to_owned());
        }
        let number = |name: &str, text: &Option<String>| {
            let text = text.as_ref().ok_or_else(|| format!("has no {name}"))?;
            let decoded = BASE64_URL_SAFE_NO_PAD.decode(text);
            decoded.map_err(|_| format!("{name} is not base64url"))
        };
        let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => PublicKey::rsa(&number("n", &jwk.n)?, &number("e", &jwk.e)?)?,
            ("EC", Some(curve @ ("P-256" | "P-384" | "P-521"))) => {
                let (x, y) = (number("x", &jwk.x)?, number("y", &jwk.y)?);
                let (bytes, key): (_, fn(_) -> _) = match curve {
                    "P-256" => (32, PublicKey::P256),
                    "P-384" => (48, PublicKey::P384),
                    _ => (66, PublicKey::P521),
                };
                if x.len() != bytes || y.len() != bytes {
                    return Err(format!("x and y of {curve} have {bytes} bytes each"));
                }
                key([&[4][..], &x, &y].concat())
            }
            // A secret has no place in a document that is fetched.
            ("oct", _) => return Err("is a secret, no public key".to_owned()),
            _ => return Err("is of a kind or curve that is not known".to_owned()),
        };
        let algorithm = match jwk.alg {
            None => None,
            Some(name) => {
                let algorithm = Algorithm::from_name(&name).filter(|known| key.fits(*known));
                Some(algorithm.ok_or("is for an algorithm that does not fit it or is not known")?)
            }
        };
        Ok(Self { kid: jwk.kid, algorithm, key: Arc::new(key) })
    }
}

const KEYS_MAX: usize = 256;
