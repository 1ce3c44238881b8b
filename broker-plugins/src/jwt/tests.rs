//! Tokens of another implementation (PyJWT, in `tests/vectors.json`), and tokens as attackers make them.

mod keys;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use broker_core::config::ZoneConfig;
use broker_core::extension::{Answer, Authentication, Authenticator, Credentials};
use broker_core::{Peer, ProtocolVersion, ReasonCode};
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::claims::Valid;
use super::*;

const REFUSED: Authentication = Authentication::Deny(ReasonCode::NotAuthorized);
const MISSING: Authentication = Authentication::Missing(ReasonCode::NotAuthorized);
const ALLOWED: Authentication = Authentication::AllowUntil { superuser: false, until_ms: u64::MAX };
const PUBLIC: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"];

fn vectors() -> Value {
    serde_json::from_str(include_str!("tests/vectors.json")).unwrap()
}

fn text(vectors: &Value, path: &str) -> String {
    vectors.pointer(path).unwrap().as_str().unwrap().to_owned()
}

/// A file that is gone with it.
struct TempFile(PathBuf);

impl TempFile {
    fn new(content: &[u8]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("broker-jwt-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn prepared(config: JwtConfig) -> Result<Arc<dyn Authenticator>, String> {
    let config = PluginsConfig { auth_jwt: config, ..PluginsConfig::default() };
    let jwt = Jwt::new();
    let parts = jwt.prepare(&config)?();
    Ok(parts.authenticator.unwrap())
}

fn begin(config: JwtConfig) -> Arc<dyn Authenticator> {
    prepared(config).unwrap()
}

fn with_secret(secret: &str) -> JwtConfig {
    JwtConfig { secret: secret.to_owned(), ..JwtConfig::default() }
}

fn credentials(username: Option<&str>, password: Option<&[u8]>) -> Arc<Credentials> {
    Arc::new(Credentials {
        client_id: "c1".into(),
        username: username.map(Into::into),
        password: password.map(Into::into),
        version: ProtocolVersion::V5,
        peer: Peer::new("test", Arc::new(ZoneConfig::default())),
    })
}

fn ask(login: &Arc<dyn Authenticator>, token: &str) -> Authentication {
    answer_to(login, &credentials(Some("bob"), Some(token.as_bytes())))
}

fn answer_to(login: &Arc<dyn Authenticator>, credentials: &Arc<Credentials>) -> Authentication {
    match login.authenticate(credentials) {
        Answer::Now(answer) => answer,
        Answer::Later(answer) => block_on(answer),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future: Pin<&mut _> = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// Signed with HMAC-SHA-256, whatever the header says.
fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let text = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

fn hs256(claims: &str) -> String {
    signed(r#"{"alg":"HS256"}"#, claims, b"secret")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn secrets_check_hmac_of_another_implementation() {
    let vectors = vectors();
    let login = begin(with_secret(&text(&vectors, "/secret")));
    let other = begin(with_secret("another"));
    for algorithm in ["HS256", "HS384", "HS512"] {
        let token = text(&vectors, &format!("/tokens/{algorithm}"));
        assert_eq!(ask(&login, &token), ALLOWED, "{algorithm}");
        assert_eq!(ask(&other, &token), REFUSED, "{algorithm}");
    }
    for algorithm in PUBLIC {
        let token = text(&vectors, &format!("/tokens/{algorithm}"));
        assert_eq!(ask(&login, &token), REFUSED, "{algorithm} without a public key");
    }
}

/// RFC 7515, A.1, which has expired since.
#[test]
fn the_token_of_the_rfc_is_read_and_expired() {
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let key =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = Secret::new(&BASE64_URL_SAFE_NO_PAD.decode(key).unwrap());
    let token = token::Token::read(token.as_bytes()).unwrap_or_else(|_| panic!("unreadable"));
    assert!(secret.verifies(token.algorithm, &token.signed, &token.signature));
    let rules = Rules { expected: BTreeMap::new(), leeway_s: 0 };
    let credentials = credentials(None, None);
    let at = |s: u64| rules.check(&token.claims, &credentials, s * 1_000);
    assert_eq!(at(1_300_819_379), Ok(Valid { until_ms: 1_300_819_380_000, subject: None }));
    assert_eq!(at(1_300_819_380), Err(claims::BadClaims::Expired));
}

#[test]
fn a_public_key_checks_the_algorithms_of_its_kind_alone() {
    let vectors = vectors();
    for (name, fitting) in [
        ("rsa_a", &PUBLIC[..6]),
        ("p256", &["ES256"][..]),
        ("p384", &["ES384"][..]),
        ("p521", &["ES512"][..]),
    ] {
        let pem = TempFile::new(text(&vectors, &format!("/pem/{name}")).as_bytes());
        let login = begin(JwtConfig { pubkey: Some(pem.0.clone()), ..JwtConfig::default() });
        for algorithm in PUBLIC.iter().chain(&["HS256", "HS384", "HS512", "EdDSA"]) {
            let token = text(&vectors, &format!("/tokens/{algorithm}"));
            let expected = if fitting.contains(algorithm) { ALLOWED } else { REFUSED };
            assert_eq!(ask(&login, &token), expected, "{algorithm} with {name}");
        }
        assert_eq!(ask(&login, &text(&vectors, "/none")), REFUSED);
        assert_eq!(ask(&login, &text(&vectors, "/of_another_key")), REFUSED);
    }
}

#[test]
fn a_signature_of_p_521_is_right_in_each_of_its_bytes() {
    let vectors = vectors();
    let pem = TempFile::new(text(&vectors, "/pem/p521").as_bytes());
    let login = begin(JwtConfig { pubkey: Some(pem.0.clone()), ..JwtConfig::default() });
    let token = text(&vectors, "/tokens/ES512");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let with = |signature: &[u8]| format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(ask(&login, &with(&signature)), ALLOWED);
    for at in (0..signature.len()).step_by(11) {
        let mut other = signature.clone();
        other[at] ^= 1;
        assert_eq!(ask(&login, &with(&other)), REFUSED, "byte {at}");
    }
    for other in [&signature[1..], &signature[..131], &[], &[0; 132], &[255; 132]] {
        assert_eq!(ask(&login, &with(other)), REFUSED, "{other:?}");
    }
}

/// Attack case 31: the public key, which everybody has, as secret.
#[test]
fn a_public_key_is_never_a_secret() {
    let vectors = vectors();
    let pem = text(&vectors, "/pem/rsa_a");
    let file = TempFile::new(pem.as_bytes());
    let config = JwtConfig { pubkey: Some(file.0.clone()), ..with_secret("a real secret") };
    let login = begin(config);
    assert_eq!(ask(&login, &text(&vectors, "/hs256_of_pem")), REFUSED);
    let trimmed = signed(r#"{"alg":"HS256"}"#, "{}", pem.trim().as_bytes());
    assert_eq!(ask(&login, &trimmed), REFUSED);
    // An HMAC in the place of a signature of RSA.
    let confused = signed(r#"{"alg":"RS256"}"#, "{}", b"a real secret");
    assert_eq!(ask(&login, &confused), REFUSED);
    assert_eq!(ask(&login, &signed(r#"{"alg":"HS256"}"#, "{}", b"a real secret")), ALLOWED);
    // Without a secret of its own: the well-known one does not count beside another key.
    let login = begin(JwtConfig { pubkey: Some(file.0.clone()), ..JwtConfig::default() });
    let known = signed(r#"{"alg":"HS256"}"#, "{}", JwtConfig::WELL_KNOWN_SECRET.as_bytes());
    assert_eq!(ask(&login, &known), REFUSED);
    assert_eq!(ask(&begin(JwtConfig::default()), &known), ALLOWED);
}

/// Attack case 31: `none` in all its spellings, and what a header may not have.
#[test]
fn what_a_header_says_opens_no_door() {
    let login = begin(with_secret("secret"));
    for algorithm in
        ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS1", "ES512", "EdDSA"]
    {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        let token = signed(&header, "{}", b"secret");
        assert_eq!(ask(&login, &token), REFUSED, "{algorithm}");
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(ask(&login, &unsigned), REFUSED, "{algorithm} without signature");
    }
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
    ] {
        assert_eq!(ask(&login, &signed(header, "{}", b"secret")), REFUSED, "{header}");
    }
    // Which key counts is ours to say, not the token's.
    for header in [
        r#"{"alg":"HS256","jwk":{"kty":"oct","k":"c2VjcmV0"},"kid":"../../dev/null"}"#,
        r#"{"alg":"HS256","jku":"http://127.0.0.1:1/x","x5u":"http://127.0.0.1:1/x"}"#,
    ] {
        assert_eq!(ask(&login, &signed(header, "{}", b"secret")), ALLOWED, "{header}");
        assert_eq!(ask(&login, &signed(header, "{}", b"other")), REFUSED, "{header}");
    }
}

/// Who does not send a token at all may be known to a later source, which then must let him in.
#[test]
fn what_is_no_token_is_refused_unless_somebody_else_knows_it() {
    let login = begin(with_secret("secret"));
    let good = hs256("{}");
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let long = format!("{header}.{}.{signature}", "A".repeat(16 << 10));
    for text in [
        "password",
        "..",
        "...",
        "a.b.c",
        &format!("{header}.{claims}"),
        &format!("{good}.{signature}"),
        &format!("{header}=.{claims}.{signature}"),
        &format!("{header}.{claims}.{signature}="),
        &format!(" {good}"),
        &format!("{good}\n"),
        &signed("[]", "{}", b"secret"),
        &signed(r#"{"typ":"JWT"}"#, "{}", b"secret"),
        &signed(r#"{"alg":"none","alg":"HS256"}"#, "{}", b"secret"),
        &signed(r#"{"alg":["HS256"]}"#, "{}", b"secret"),
        &long,
    ] {
        assert_eq!(ask(&login, text), MISSING, "{text}");
    }
    assert_eq!(answer_to(&login, &credentials(Some("bob"), None)), MISSING);
    assert_eq!(answer_to(&login, &credentials(Some("bob"), Some(b""))), MISSING);
    assert_eq!(answer_to(&login, &credentials(None, Some(&[0xFF; 40]))), MISSING);
    assert_eq!(answer_to(&login, &credentials(None, Some(good.as_bytes()))), ALLOWED);
}

/// A signature has one spelling: bits that no byte takes must be zero.
#[test]
fn a_signature_has_one_spelling() {
    let login = begin(with_secret("secret"));
    let good = hs256("{}");
    assert_eq!(ask(&login, &good), ALLOWED);
    let (head, last) = good.split_at(good.len() - 1);
    // 32 bytes leave two bits of the last character.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).unwrap();
    assert_eq!(at % 4, 0);
    let other = &alphabet[at + 1..at + 2];
    assert_eq!(ask(&login, &format!("{head}{other}")), MISSING);
}

#[test]
fn the_user_name_may_be_the_token() {
    let login = begin(JwtConfig { from: TokenFrom::Username, ..with_secret("secret") });
    let token = hs256("{}");
    assert_eq!(answer_to(&login, &credentials(Some(&token), None)), ALLOWED);
    assert_eq!(answer_to(&login, &credentials(Some("bob"), Some(token.as_bytes()))), MISSING);
    assert_eq!(answer_to(&login, &credentials(None, Some(token.as_bytes()))), MISSING);
    // The client is whom it is about, whatever token it comes with.
    let token = hs256(r#"{"sub":"bob"}"#);
    let bob =
        Authentication::AllowAs { username: "bob".into(), superuser: false, until_ms: u64::MAX };
    assert_eq!(answer_to(&login, &credentials(Some(&token), None)), bob);
    for claims in [r#"{"sub":""}"#, r#"{"sub":7}"#] {
        assert_eq!(answer_to(&login, &credentials(Some(&hs256(claims)), None)), ALLOWED);
    }
    let password = begin(with_secret("secret"));
    assert_eq!(answer_to(&password, &credentials(Some("eve"), Some(token.as_bytes()))), ALLOWED);
}

#[test]
fn times_are_checked_where_they_are_there() {
    let login = begin(with_secret("secret"));
    let lenient = begin(JwtConfig { leeway_s: 60, ..with_secret("secret") });
    let now = now_s();
    let until = |s: u64| Authentication::AllowUntil { superuser: false, until_ms: s * 1_000 };
    for (claims, strict, with_leeway) in [
        (json!({}), ALLOWED, ALLOWED),
        (json!({"exp": now + 100}), until(now + 100), until(now + 160)),
        (json!({"exp": now - 1}), REFUSED, until(now + 59)),
        (json!({"exp": now - 100}), REFUSED, REFUSED),
        (json!({"exp": 0}), REFUSED, REFUSED),
        (json!({"exp": -1}), REFUSED, REFUSED),
        (json!({"exp": u64::MAX}), ALLOWED, ALLOWED),
        (json!({"exp": 1e300}), ALLOWED, ALLOWED),
        (json!({"exp": "9999999999"}), REFUSED, REFUSED),
        (json!({"exp": null}), REFUSED, REFUSED),
        (json!({"nbf": now - 1, "iat": now - 1}), ALLOWED, ALLOWED),
        (json!({"nbf": now + 30}), REFUSED, ALLOWED),
        (json!({"iat": now + 30}), REFUSED, ALLOWED),
        (json!({"nbf": now + 300}), REFUSED, REFUSED),
        (json!({"iat": "now"}), REFUSED, REFUSED),
    ] {
        let token = hs256(&claims.to_string());
        assert_eq!(ask(&login, &token), strict, "{claims}");
        assert_eq!(ask(&lenient, &token), with_leeway, "{claims} with leeway");
    }
    // Half a second later than the whole one.
    let token = hs256(&format!(r#"{{"exp":{now}00.5}}"#));
    let until_ms = now * 100_000 + 500;
    assert_eq!(ask(&login, &token), Authentication::AllowUntil { superuser: false, until_ms });
    let deep = format!("{}1{}", "[".repeat(8_000), "]".repeat(8_000));
    for claims in ["", "[]", "null", "\"x\"", "{", "{}{}", &deep[..9_000]] {
        assert_eq!(ask(&login, &hs256(claims)), REFUSED, "{}", &claims[..claims.len().min(20)]);
    }
}

#[test]
fn claims_are_what_the_configuration_wants() {
    let with = |claims: &[(&str, &str)]| {
        let claims = claims.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        begin(JwtConfig { verify_claims: claims.collect(), ..with_secret("secret") })
    };
    let claims = r#"{"sub":"bob","id":"c1","level":3,"ratio":0.5,"admin":true,"aud":["a"],"x":null,"odd":"%u"}"#;
    let token = hs256(claims);
    for (expected, is_let_in) in [
        (&[("sub", "bob")][..], true),
        (&[("sub", "%u"), ("id", "%c")], true),
        (&[("sub", "%c")], false),
        (&[("sub", "%u"), ("id", "c2")], false),
        (&[("sub", "x%u")], false),
        (&[("odd", "%u")], false),
        (&[("level", "3")], true),
        (&[("level", "03")], false),
        (&[("ratio", "0.5")], true),
        (&[("admin", "true")], true),
        (&[("admin", "1")], false),
        (&[("aud", "a")], false),
        (&[("x", "null")], false),
        (&[("none", "")], false),
    ] {
        let verdict = if is_let_in { ALLOWED } else { REFUSED };
        assert_eq!(ask(&with(expected), &token), verdict, "{expected:?}");
    }
    let nameless = credentials(None, Some(token.as_bytes()));
    assert_eq!(answer_to(&with(&[("sub", "%u")]), &nameless), REFUSED);
}

#[test]
fn no_debug_text_holds_the_secret() {
    assert!(!format!("{:?}", with_secret("hush-hush")).contains("hush"));
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let login = begin(with_secret("secret"));
        let answer = answer_to(&login, &credentials(None, Some(&text)));
        prop_assert!(matches!(answer, MISSING | REFUSED));
    }

    #[test]
    fn no_header_and_no_claims_are_too_odd(header in ".{0,60}", claims in ".{0,60}") {
        let login = begin(with_secret("secret"));
        let answer = ask(&login, &signed(&header, &claims, b"secret"));
        prop_assert!(matches!(answer, MISSING | REFUSED | ALLOWED));
        let answer = ask(&login, &hs256(&claims));
        let is_object = claims.trim_start().starts_with('{');
        prop_assert!(answer == REFUSED || is_object);
    }

    /// A token that is changed anywhere is none.
    #[test]
    fn no_bit_can_be_changed(at in any::<prop::sample::Index>(), bit in 0..7_u8) {
        let login = begin(with_secret("secret"));
        let mut token = hs256(r#"{"sub":"bob"}"#).into_bytes();
        let at = at.index(token.len());
        token[at] ^= 1 << bit;
        let answer = answer_to(&login, &credentials(None, Some(&token)));
        prop_assert!(matches!(answer, MISSING | REFUSED), "{answer:?}");
    }

    #[test]
    fn no_file_is_too_odd(content in prop::collection::vec(any::<u8>(), 0..200), cut in 0..120_usize) {
        let _ = key_set::KeySet::parse(&content);
        let der = BASE64_STANDARD
            .decode(text(&vectors(), "/pem/p384").lines().filter(|line| !line.starts_with('-')).collect::<String>())
            .unwrap();
        let mut odd = der[..cut.min(der.len())].to_vec();
        odd.extend_from_slice(&content);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(&odd));
        let file = TempFile::new(pem.as_bytes());
        let _ = pem::read(&file.0);
    }
}
