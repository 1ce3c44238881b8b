//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as a method of MQTT 5.0's enhanced authentication.
//!
//! The client's first message comes with CONNECT (or the AUTH that begins a re-authentication), the server's
//! first with AUTH, the client's final with AUTH, and the server's final with CONNACK (or the last AUTH).
//! Channel binding is not offered, so a client that asks for it is refused and one that could do it (`y`)
//! is not. Names are compared as they are written, without SASLprep.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use broker_codec::ReasonCode;
use broker_core::extension::{AuthExchange, AuthMethod, AuthStep, Credentials};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};

/// What is kept of a password: enough to check a proof, too little to make one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: [u8; KEY_BYTES],
    server_key: [u8; KEY_BYTES],
}

const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 18;
/// The least that RFC 7677 allows. It is the client that computes them at each login.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4_096).unwrap();
const ITERATIONS_MAX: u32 = 10_000_000;
const STORED_PREFIX: &str = "SCRAM-SHA-256$";

impl fmt::Debug for Verifier {
    /// Leaves salt and keys out, so that no log can hold them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Reads a password, or the stored form of one.
    ///
    /// # Errors
    /// The stored form cannot be read; the text says where.
    pub(crate) fn from_text(text: &str) -> Result<Self, String> {
        let Some(stored) = text.strip_prefix(STORED_PREFIX) else {
            return Self::from_password(text.as_bytes());
        };
        let parts = || {
            let (head, keys) = stored.split_once('$')?;
            Some((head.split_once(':')?, keys.split_once(':')?))
        };
        let ((iterations, salt), (stored_key, server_key)) =
            parts().ok_or("is not <iterations>:<salt>$<StoredKey>:<ServerKey>")?;
        let iterations = iterations
            .parse()
            .ok()
            .filter(|n| {
                (ITERATIONS..=NonZeroU32::new(ITERATIONS_MAX).unwrap_or(ITERATIONS)).contains(n)
            })
            .ok_or_else(|| format!("iterations must be from {ITERATIONS} to {ITERATIONS_MAX}"))?;
        let key = |name: &str, text: &str| -> Result<[u8; KEY_BYTES], String> {
            let bytes = BASE64.decode(text).map_err(|error| format!("{name}: {error}"))?;
            bytes.try_into().map_err(|_| format!("{name} is not of {KEY_BYTES} bytes"))
        };
        let salt = BASE64.decode(salt).map_err(|error| format!("salt: {error}"))?;
        if salt.is_empty() {
            return Err("the salt is empty".into());
        }
        Ok(Self {
            iterations,
            salt,
            stored_key: key("StoredKey", stored_key)?,
            server_key: key("ServerKey", server_key)?,
        })
    }

    fn from_password(password: &[u8]) -> Result<Self, String> {
        if password.is_empty() {
            return Err("an empty password lets everybody in".into());
        }
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| "the system gives no random salt")?;
        Ok(Self::derive(password, &salt, ITERATIONS))
    }

    fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = [0; KEY_BYTES];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, &mut salted);
        Self {
            iterations,
            salt: salt.to_owned(),
            stored_key: sha256(&mac(&salted, b"Client Key")),
            server_key: mac(&salted, b"Server Key"),
        }
    }

    /// The stored form.
    pub(crate) fn to_text(&self) -> String {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        format!("{STORED_PREFIX}{}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

/// The method; one for all connections.
pub(crate) struct ScramSha256(Arc<Users>);

struct Users {
    by_name: BTreeMap<String, Verifier>,
    /// Makes up what a name that is not there is answered.
    secret: [u8; KEY_BYTES],
    random: SystemRandom,
}

impl ScramSha256 {
    /// The method for these users.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn new(
        by_name: BTreeMap<String, Verifier>,
    ) -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let mut secret = [0; KEY_BYTES];
        random.fill(&mut secret)?;
        Ok(Self(Arc::new(Users { by_name, secret, random })))
    }
}

impl AuthMethod for ScramSha256 {
    fn name(&self) -> &str {
        "SCRAM-SHA-256"
    }

    fn begin(&self, _credentials: &Credentials) -> Box<dyn AuthExchange> {
        Box::new(Exchange { users: Arc::clone(&self.0), state: State::Start })
    }
}

impl Users {
    /// The verifier of a user, and whether there is one.
    ///
    /// Who is not there gets a salt of his own, the same each time, and of the form that users who are there
    /// have: the answer does not tell the two apart.
    fn verifier(&self, name: &str) -> (Verifier, Known) {
        if let Some(verifier) = self.by_name.get(name) {
            return (verifier.clone(), Known::Yes);
        }
        let made_up = mac(&self.secret, name.as_bytes());
        let pick = usize::from(u16::from_be_bytes([made_up[0], made_up[1]]));
        let like = self.by_name.values().nth(pick % self.by_name.len().max(1));
        let salt_len = like.map_or(SALT_BYTES, |like| like.salt.len());
        let salt = mac(&made_up, b"salt").iter().copied().cycle().take(salt_len).collect();
        let verifier = Verifier {
            iterations: like.map_or(ITERATIONS, |like| like.iterations),
            salt,
            stored_key: mac(&made_up, b"stored key"),
            server_key: mac(&made_up, b"server key"),
        };
        (verifier, Known::No)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

struct Exchange {
    users: Arc<Users>,
    state: State,
}

enum State {
    Start,
    Challenged(Box<Challenge>),
    Over,
}

/// What the client's final message is held against.
struct Challenge {
    username: String,
    verifier: Verifier,
    known: Known,
    /// What `c=` must be.
    binding: String,
    nonce: String,
    /// `client-first-message-bare "," server-first-message ","`.
    said: String,
}

impl AuthExchange for Exchange {
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

impl Exchange {
    fn server_nonce(&self) -> Result<String, ring::error::Unspecified> {
        let mut bytes = [0; NONCE_BYTES];
        self.users.random.fill(&mut bytes)?;
        Ok(BASE64.encode(bytes))
    }

    /// The server's first message.
    fn challenge(&self, first: &ClientFirst<'_>, server_nonce: &str) -> (Challenge, String) {
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

impl Challenge {
    /// Checks the client's proof.
    fn conclude(self, message: &str) -> AuthStep {
        let malformed = AuthStep::Deny(ReasonCode::NotAuthorized);
        let Some((without_proof, proof)) = message.rsplit_once(",p=") else { return malformed };
        let mut attributes = without_proof.split(',');
        let is_ours = attributes.next().and_then(|a| a.strip_prefix("c=")) == Some(&*self.binding)
            && attributes.next().and_then(|a| a.strip_prefix("r=")) == Some(&*self.nonce);
        let proof = BASE64.decode(proof).ok().and_then(|p| <[u8; KEY_BYTES]>::try_from(p).ok());
        let (true, Some(proof)) = (is_ours, proof) else { return malformed };
        let auth_message = format!("{}{without_proof}", self.said);
        let signature = mac(&self.verifier.stored_key, auth_message.as_bytes());
        let mut client_key = [0; KEY_BYTES];
        for (byte, (a, b)) in client_key.iter_mut().zip(proof.iter().zip(signature)) {
            *byte = a ^ b;
        }
        let is_right = equal(&sha256(&client_key), &self.verifier.stored_key);
        if !is_right || self.known == Known::No {
            return AuthStep::Deny(ReasonCode::BadUserNameOrPassword);
        }
        let server_signature = mac(&self.verifier.server_key, auth_message.as_bytes());
        AuthStep::Success {
            data: format!("v={}", BASE64.encode(server_signature)).into_bytes(),
            username: Some(self.username.as_str().into()),
            superuser: false,
        }
    }
}

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

fn mac(key: &[u8], message: &[u8]) -> [u8; KEY_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    array(tag.as_ref())
}

fn sha256(message: &[u8]) -> [u8; KEY_BYTES] {
    array(digest::digest(&digest::SHA256, message).as_ref())
}

fn array(bytes: &[u8]) -> [u8; KEY_BYTES] {
    bytes.try_into().expect("SHA-256 gives 32 bytes")
}

/// In a time that does not depend on where they differ: what is compared are tags, by `ring`.
fn equal(a: &[u8; KEY_BYTES], b: &[u8; KEY_BYTES]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"comparison");
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
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

    fn exchange() -> Exchange {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let user = Verifier::derive(b"pencil", &salt, ITERATIONS);
        let users = BTreeMap::from([("user".to_owned(), user)]);
        Exchange { users: ScramSha256::new(users).unwrap().0, state: State::Start }
    }

    fn challenge(client_first: &str) -> (Challenge, String) {
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
        let made = Verifier::from_text("pencil").unwrap();
        assert_ne!(made, Verifier::from_text("pencil").unwrap(), "each has a salt of its own");
        assert_eq!(Verifier::from_text(&made.to_text()), Ok(made.clone()));
        assert!(!format!("{made:?}").contains(&BASE64.encode(&made.salt)));
        for bad in ["", "SCRAM-SHA-256$", "SCRAM-SHA-256$1:AA==$AA==:AA==", "SCRAM-SHA-256$4096:$:"]
        {
            assert!(Verifier::from_text(bad).is_err(), "{bad}");
        }
    }
}
