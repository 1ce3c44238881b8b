//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677) as methods of MQTT 5.0's enhanced authentication.
//!
//! The client's first message comes with CONNECT (or the AUTH that begins a re-authentication), the server's
//! first with AUTH, the client's final with AUTH, and the server's final with CONNACK (or the last AUTH).
//! Channel binding is not offered, so a client that asks for it is refused and one that could do it (`y`)
//! is not. Names are compared as they are written, without SASLprep.

mod verifier;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use broker_codec::ReasonCode;
use broker_core::extension::{AuthExchange, AuthMethod, AuthStep, Credentials};
use ring::rand::{SecureRandom as _, SystemRandom};

pub(crate) use self::verifier::{Hash, Sha256, Sha512, Verifier};
use self::verifier::{ITERATIONS, SALT_BYTES, equal, hash, mac};

/// The method; one for all connections.
pub(crate) struct Scram<H>(Arc<Users<H>>);

struct Users<H> {
    by_name: BTreeMap<String, Verifier<H>>,
    /// Makes up what a name that is not there is answered.
    secret: [u8; SECRET_BYTES],
    random: SystemRandom,
}

impl<H: Hash> Scram<H> {
    /// The method for these users.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn new(
        by_name: BTreeMap<String, Verifier<H>>,
    ) -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let mut secret = [0; SECRET_BYTES];
        random.fill(&mut secret)?;
        Ok(Self(Arc::new(Users { by_name, secret, random })))
    }
}

impl<H: Hash> AuthMethod for Scram<H> {
    fn name(&self) -> &str {
        H::METHOD
    }

    fn begin(&self, _credentials: &Credentials) -> Box<dyn AuthExchange> {
        Box::new(Exchange { users: Arc::clone(&self.0), state: State::Start })
    }
}

impl<H: Hash> Users<H> {
    /// The verifier of a user, and whether there is one.
    ///
    /// Who is not there gets a salt of his own, the same each time, and of the form that users who are there
    /// have: the answer does not tell the two apart.
    fn verifier(&self, name: &str) -> (Verifier<H>, Known) {
        if let Some(verifier) = self.by_name.get(name) {
            return (verifier.clone(), Known::Yes);
        }
        let made_up = mac::<H>(&self.secret, name.as_bytes());
        let pick = usize::from(u16::from_be_bytes([made_up[0], made_up[1]]));
        let like = self.by_name.values().nth(pick % self.by_name.len().max(1));
        let salt_len = like.map_or(SALT_BYTES, |like| like.salt.len());
        let salt = mac::<H>(&made_up, b"salt").iter().copied().cycle().take(salt_len).collect();
        let iterations = like.map_or(ITERATIONS, |like| like.iterations);
        let key = |name: &[u8]| mac::<H>(&made_up, name);
        let verifier = Verifier::new(iterations, salt, key(b"stored key"), key(b"server key"));
        (verifier, Known::No)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

struct Exchange<H> {
    users: Arc<Users<H>>,
    state: State<H>,
}

enum State<H> {
    Start,
    Challenged(Box<Challenge<H>>),
    Over,
}

/// What the client's final message is held against.
struct Challenge<H> {
    username: String,
    verifier: Verifier<H>,
    known: Known,
    /// What `c=` must be.
    binding: String,
    nonce: String,
    /// `client-first-message-bare "," server-first-message ","`.
    said: String,
}

impl<H: Hash> AuthExchange for Exchange<H> {
    fn handle(&mut self, data: &[u8]) -> AuthStep {
        let refused = AuthStep::Deny(ReasonCode::NotAuthorized);
        let Ok(message) = std::str::from_utf8(data) else { return refused };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start => {
                let Ok(nonce) = self.server_nonce() else { return refused };
                let Some(first) = ClientFirst::parse(message) else { return refused };
                let (challenge, answer) = self.challenge(&first, &nonce);
                self.state = State::Challenged(Box::new(challenge));
                AuthStep::Continue(answer.into_bytes())
            }
            State::Challenged(challenge) => challenge.conclude(message),
            State::Over => refused,
        }
    }
}

impl<H: Hash> Exchange<H> {
    fn server_nonce(&self) -> Result<String, ring::error::Unspecified> {
        let mut bytes = [0; NONCE_BYTES];
        self.users.random.fill(&mut bytes)?;
        Ok(BASE64.encode(bytes))
    }

    /// The server's first message.
    fn challenge(&self, first: &ClientFirst<'_>, server_nonce: &str) -> (Challenge<H>, String) {
        let (verifier, known) = self.users.verifier(&first.username);
        let nonce = format!("{}{server_nonce}", first.nonce);
        let answer =
            format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        let challenge = Challenge {
            username: first.username.clone(),
            verifier,
            known,
            binding: BASE64.encode(first.gs2_header),
            said: format!("{},{answer},", first.bare),
            nonce,
        };
        (challenge, answer)
    }
}

impl<H: Hash> Challenge<H> {
    /// Checks the client's proof.
    fn conclude(self, message: &str) -> AuthStep {
        let malformed = AuthStep::Deny(ReasonCode::NotAuthorized);
        let Some((without_proof, proof)) = message.rsplit_once(",p=") else { return malformed };
        let mut attributes = without_proof.split(',');
        let is_ours = attributes.next().and_then(|a| a.strip_prefix("c=")) == Some(&*self.binding)
            && attributes.next().and_then(|a| a.strip_prefix("r=")) == Some(&*self.nonce);
        let proof = BASE64.decode(proof).ok();
        let proof = proof.filter(|proof| proof.len() == self.verifier.stored_key.len());
        let (true, Some(proof)) = (is_ours, proof) else { return malformed };
        let auth_message = format!("{}{without_proof}", self.said);
        let signature = mac::<H>(&self.verifier.stored_key, auth_message.as_bytes());
        let client_key: Vec<_> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let is_right = equal::<H>(&hash::<H>(&client_key), &self.verifier.stored_key);
        if !is_right || self.known == Known::No {
            return AuthStep::Deny(ReasonCode::BadUserNameOrPassword);
        }
        let server_signature = mac::<H>(&self.verifier.server_key, auth_message.as_bytes());
        AuthStep::Success {
            data: format!("v={}", BASE64.encode(server_signature)).into_bytes(),
            username: Some(self.username.as_str().into()),
            superuser: false,
        }
    }
}

/// Bytes of the secret that answers for unknown names are made up with.
const SECRET_BYTES: usize = 32;
const NONCE_BYTES: usize = 18;

/// `gs2-header client-first-message-bare`.
struct ClientFirst<'a> {
    gs2_header: &'a str,
    bare: &'a str,
    username: String,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a str) -> Option<Self> {
        let mut parts = message.splitn(3, ',');
        let (flag, authzid, bare) = (parts.next()?, parts.next()?, parts.next()?);
        // `p=…` wants a channel binding, which a method of this name does not have.
        if flag != "n" && flag != "y" {
            return None;
        }
        let mut attributes = bare.split(',');
        // An extension that must be understood (`m=`) would stand before the name.
        let username = unescape(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if nonce.is_empty() || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        if !authzid.is_empty() && unescape(authzid.strip_prefix("a=")?)? != username {
            return None;
        }
        let gs2_header = &message[..message.len() - bare.len()];
        Some(Self { gs2_header, bare, username, nonce })
    }
}

/// A name with `,` and `=` written as `=2C` and `=3D`.
fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (c, rest) = match part.get(..2)? {
            "2C" => (',', &part[2..]),
            "3D" => ('=', &part[2..]),
            _ => return None,
        };
        plain.push(c);
        plain.push_str(rest);
    }
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, 3.
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn exchange() -> Exchange<Sha256> {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let user = Verifier::derive(b"pencil", &salt, ITERATIONS);
        let users = BTreeMap::from([("user".to_owned(), user)]);
        Exchange { users: Scram::new(users).unwrap().0, state: State::Start }
    }

    fn challenge(client_first: &str) -> (Challenge<Sha256>, String) {
        exchange().challenge(&ClientFirst::parse(client_first).unwrap(), SERVER_NONCE)
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let (challenge, server_first) = challenge(CLIENT_FIRST);
        assert_eq!(server_first, SERVER_FIRST);
        assert_eq!(
            challenge.conclude(CLIENT_FINAL),
            AuthStep::Success {
                data: SERVER_FINAL.into(),
                username: Some("user".into()),
                superuser: false
            }
        );
    }

    /// The same exchange; no document has one for this hash. Its numbers are those of Python's hashlib.
    #[test]
    fn the_same_with_sha_512() {
        const PROOF: &str = "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC\
                             6wdp6dybEmDYXYTxwnYPJQ==";
        const SIGNATURE: &str = "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4\
                                 +5ZxXnJq199RVG2rR7N7Zw==";
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let user = Verifier::<Sha512>::derive(b"pencil", &salt, ITERATIONS);
        assert_eq!(Verifier::from_text(&user.to_text()), Ok(user.clone()));
        assert!(
            Verifier::<Sha256>::from_text(&format!("SCRAM-SHA-256{}", &user.to_text()[13..]))
                .is_err()
        );
        let users = BTreeMap::from([("user".to_owned(), user)]);
        let exchange = Exchange { users: Scram::new(users).unwrap().0, state: State::Start };
        let challenge =
            || exchange.challenge(&ClientFirst::parse(CLIENT_FIRST).unwrap(), SERVER_NONCE).0;
        let (without_proof, short) = CLIENT_FINAL.split_once("p=").unwrap();
        let conclude = |proof: &str| challenge().conclude(&format!("{without_proof}p={proof}"));
        let data = format!("v={SIGNATURE}").into_bytes();
        let username = Some("user".into());
        assert_eq!(conclude(PROOF), AuthStep::Success { data, username, superuser: false });
        assert_eq!(conclude(short), AuthStep::Deny(ReasonCode::NotAuthorized));
    }

    #[test]
    fn a_wrong_proof_nonce_or_binding_is_refused() {
        for (message, code) in [
            (CLIENT_FINAL.replace("p=dH", "p=eH"), ReasonCode::BadUserNameOrPassword),
            (CLIENT_FINAL.replace("k0,", "k1,"), ReasonCode::NotAuthorized),
            (CLIENT_FINAL.replace("c=biws", "c=eSws"), ReasonCode::NotAuthorized),
            (CLIENT_FINAL.replace("p=dHzb", "p="), ReasonCode::NotAuthorized),
            (CLIENT_FINAL.replace(",p=", ",q="), ReasonCode::NotAuthorized),
            (String::new(), ReasonCode::NotAuthorized),
        ] {
            assert_eq!(
                challenge(CLIENT_FIRST).0.conclude(&message),
                AuthStep::Deny(code),
                "{message}"
            );
        }
    }

    #[test]
    fn flags_and_names_of_the_first_message() {
        for good in [
            "n,,n=user,r=x",
            "y,,n=user,r=x",
            "n,a=user,n=user,r=x",
            "n,,n=a=2Cb=3Dc,r=x",
            "n,,n=user,r=x,ext=1",
        ] {
            assert!(ClientFirst::parse(good).is_some(), "{good}");
        }
        assert_eq!(ClientFirst::parse("n,,n=a=2Cb=3Dc,r=x").unwrap().username, "a,b=c");
        for bad in [
            "",
            "n",
            "n,,",
            "p=tls-unique,,n=user,r=x",
            "x,,n=user,r=x",
            "n,a=other,n=user,r=x",
            "n,b=user,n=user,r=x",
            "n,,m=1,n=user,r=x",
            "n,,n=,r=x",
            "n,,n=user,r=",
            "n,,n=user,r=\u{e9}",
            "n,,n=user",
            "n,,n=us=er,r=x",
            "n,,n=us=2,r=x",
            "n,,n=us=\u{e9}x,r=x",
            "n,,r=x,n=user",
        ] {
            assert!(ClientFirst::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn who_is_not_there_is_answered_alike() {
        let exchange = exchange();
        let answer = |name: &str| {
            let first = format!("n,,n={name},r=x");
            exchange.challenge(&ClientFirst::parse(&first).unwrap(), "y").1
        };
        assert_eq!(answer("nobody"), answer("nobody"));
        assert_ne!(answer("nobody"), answer("somebody"));
        assert_eq!(answer("nobody").len(), answer("user").len());
        assert!(answer("nobody").ends_with(",i=4096"));
    }

    #[test]
    fn an_exchange_ends_with_its_first_mistake() {
        let mut exchange = exchange();
        assert!(matches!(exchange.handle(CLIENT_FIRST.as_bytes()), AuthStep::Continue(_)));
        assert!(matches!(exchange.handle(b"nonsense"), AuthStep::Deny(_)));
        assert!(matches!(exchange.handle(CLIENT_FIRST.as_bytes()), AuthStep::Deny(_)));
    }

    #[test]
    fn the_stored_form_reads_back() {
        let made = Verifier::<Sha256>::from_text("pencil").unwrap();
        assert_ne!(made, Verifier::from_text("pencil").unwrap(), "each has a salt of its own");
        assert_eq!(Verifier::from_text(&made.to_text()), Ok(made.clone()));
        assert!(!format!("{made:?}").contains(&BASE64.encode(&made.salt)));
        for bad in ["", "SCRAM-SHA-256$", "SCRAM-SHA-256$1:AA==$AA==:AA==", "SCRAM-SHA-256$4096:$:"]
        {
            assert!(Verifier::<Sha256>::from_text(bad).is_err(), "{bad}");
        }
    }
}
