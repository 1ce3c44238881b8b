//! A token as text: header, claims and signature, none of them believed yet (RFC 7515, 3.1).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

/// A token that can be read.
pub(super) struct Token {
    pub(super) algorithm: Algorithm,
    /// Which key has signed it, if it says so.
    pub(super) kid: Option<String>,
    /// The text that is signed: header and claims as they came.
    pub(super) signed: Box<[u8]>,
    /// The claims as JSON, which may be none.
    pub(super) claims: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// How a token is signed. There is no way to say `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

/// Why there is no token to check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadToken {
    /// The text is none.
    Unreadable(&'static str),
    /// It is one, of a kind that is not let in.
    Unsupported(&'static str),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
    /// Whether the claims are base64 (RFC 7797).
    b64: Option<serde::de::IgnoredAny>,
}

impl Token {
    pub(super) fn read(text: &[u8]) -> Result<Self, BadToken> {
        let unreadable = BadToken::Unreadable;
        if text.len() > TOKEN_BYTES_MAX {
            return Err(unreadable("longer than 16 KiB"));
        }
        let mut parts = text.split(|byte| *byte == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(unreadable("not three parts with dots between"));
        };
        let signed = &text[..header.len() + 1 + claims.len()];
        // Strict: no padding, no spare bits, no other alphabet, so that a token has one spelling.
        let decode = |part| BASE64_URL_SAFE_NO_PAD.decode(part);
        let header = decode(header).map_err(|_| unreadable("header is not base64url"))?;
        let claims = decode(claims).map_err(|_| unreadable("claims are not base64url"))?;
        let signature = decode(signature).map_err(|_| unreadable("signature is not base64url"))?;
        let header: Header = serde_json::from_slice(&header)
            .map_err(|_| unreadable("header is no JSON object with alg"))?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(BadToken::Unsupported("header has crit or b64"));
        }
        let Some(algorithm) = Algorithm::from_name(&header.alg) else {
            return Err(BadToken::Unsupported("token_unsupported: alg is none of those known"));
        };
        Ok(Self { algorithm, kid: header.kid, signed: signed.into(), claims, signature })
    }
}

impl Algorithm {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            _ => return None,
        })
    }

    /// Whether both sides have the same secret, and no public key is in play.
    pub(super) const fn is_of_secret(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// A CONNECT may hold four times as much; what issuers make is far below.
pub(super) const TOKEN_BYTES_MAX: usize = 16 << 10;
