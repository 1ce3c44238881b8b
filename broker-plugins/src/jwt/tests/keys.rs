//! Where keys come from: files, key sets, a web server that is away or has newer ones.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use super::*;

#[test]
fn a_key_that_cannot_be_used_is_refused_by_name() {
    let vectors = vectors();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let private = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        BASE64_STANDARD.encode(key.unwrap())
    );
    let good = text(&vectors, "/pem/p256");
    let cut = good.replacen("MFkw", "MFow", 1);
    let compressed = "-----BEGIN PUBLIC KEY-----\nMDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADXIPhdunf3AfWNDYERQyFRq3Sct33\nkJ+f0WfTxPOrNhQ=\n-----END PUBLIC KEY-----\n";
    for (content, why) in [
        (private.as_str(), "a private key; give its public key (openssl pkey -pubout)"),
        ("", "no public key in PEM format (BEGIN PUBLIC KEY)"),
        ("emqxsecret", "no public key in PEM format (BEGIN PUBLIC KEY)"),
        (compressed, "an EC key that is not of P-256, P-384 or P-521, or compressed"),
        (&text(&vectors, "/pem/ed"), "neither an RSA nor an EC key"),
        (&text(&vectors, "/pem/rsa1024"), "an RSA key of 1024 bits; it must have 2048 to 8192"),
        (&cut, "a malformed public key"),
    ] {
        let file = TempFile::new(content.as_bytes());
        let config = JwtConfig { pubkey: Some(file.0.clone()), ..JwtConfig::default() };
        let error = prepared(config).err().unwrap();
        assert_eq!(error, format!("auth.jwt.pubkey: {}: {why}", file.text()));
    }
    let config = JwtConfig { pubkey: Some("/no/such/file".into()), ..JwtConfig::default() };
    let error = prepared(config).err().unwrap();
    assert!(error.starts_with("auth.jwt.pubkey: /no/such/file: No such file"), "{error}");
    let config = JwtConfig { secret: String::new(), ..JwtConfig::default() };
    assert_eq!(prepared(config).err().unwrap(), "auth.jwt.secret: is empty");
}

fn set(place: String) -> JwtConfig {
    JwtConfig { jwks: Some(place), ..JwtConfig::default() }
}

#[test]
fn keys_of_a_set_are_found_by_name_and_kind() {
    let vectors = vectors();
    let file = TempFile::new(vectors["jwks"].to_string().as_bytes());
    let login = begin(set(file.text()));
    for algorithm in PUBLIC {
        let token = text(&vectors, &format!("/tokens/{algorithm}"));
        assert_eq!(ask(&login, &token), ALLOWED, "{algorithm}");
    }
    for name in ["/tokens/HS256", "/none", "/of_another_key", "/hs256_of_pem"] {
        assert_eq!(ask(&login, &text(&vectors, name)), REFUSED, "{name}");
    }
    let keys = |change: &dyn Fn(&mut Value)| {
        let mut document = vectors["jwks"].clone();
        document["keys"].as_array_mut().unwrap().iter_mut().for_each(change);
        key_set::KeySet::parse(document.to_string().as_bytes()).map_err(|why| {
            assert!(why.starts_with("no key in it that can check tokens: key 1: "), "{why}");
            why.rsplit("key 4: ").next().unwrap_or_default().to_owned()
        })
    };
    let [rs256, es256] = [token::Algorithm::Rs256, token::Algorithm::Es256];
    let all = keys(&|_| {}).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(all.len(), 4);
    assert!(all.find(Some("rsa"), rs256).is_some());
    assert!(all.find(Some("rsa"), es256).is_none(), "another kind");
    assert!(all.find(Some("RSA"), rs256).is_none());
    assert!(all.find(None, rs256).is_some(), "the only one of its kind");
    let bound = keys(&|key| {
        if key["kty"] == "RSA" {
            key["alg"] = json!("RS512");
        }
    });
    assert!(bound.unwrap_or_else(|why| panic!("{why}")).find(Some("rsa"), rs256).is_none());
    let refusal = |change: &dyn Fn(&mut Value)| keys(change).err().unwrap();
    assert_eq!(refusal(&|key| key["use"] = json!("enc")), "is not for signatures");
    assert_eq!(refusal(&|key| key["key_ops"] = json!(["sign"])), "is not to verify");
    assert_eq!(refusal(&|key| key["kty"] = json!("oct")), "is a secret, no public key");
    let two = json!({"keys": [vectors["jwks"]["keys"][0], vectors["jwks"]["keys"][0]]});
    let two =
        key_set::KeySet::parse(two.to_string().as_bytes()).unwrap_or_else(|why| panic!("{why}"));
    assert!(two.find(None, rs256).is_none(), "it must not be left to chance");
}

#[test]
fn a_set_that_cannot_be_used_is_refused_by_name() {
    let many = json!({"keys": vec![json!({}); 257]}).to_string();
    for (content, why) in [
        ("{}", "no JSON Web Key Set: missing field `keys`"),
        ("x", "no JSON Web Key Set: expected value"),
        (r#"{"keys":[]}"#, "no key in it that can check tokens: no keys"),
        (r#"{"keys":[{"kty":"RSA"}]}"#, "no key in it that can check tokens: key 1: has no n"),
        (&many, "more than 256 keys"),
        (&" ".repeat(600 << 10), "longer than 524288 bytes"),
    ] {
        let file = TempFile::new(content.as_bytes());
        let error = prepared(set(file.text())).err().unwrap();
        let expected = format!("auth.jwt.jwks: {}: {why}", file.text());
        assert!(error.starts_with(&expected), "{error}");
    }
    for (place, why) in [
        ("ftp://host/keys", "neither a file nor an http or https URL"),
        ("http://bob:secret@host/keys", "a URL must not hold a user name or password"),
        ("https:///keys", "no host and port"),
    ] {
        let error = prepared(set(place.to_owned())).err().unwrap();
        assert_eq!(error, format!("auth.jwt.jwks: {why}"));
    }
    let both = JwtConfig { pubkey: Some("x".into()), ..set("y".to_owned()) };
    let expected = "auth.jwt.pubkey and auth.jwt.jwks: only one of them can be set";
    assert_eq!(prepared(both).err().unwrap(), expected);
    let ca = JwtConfig { jwks_cacertfile: Some("/no/ca".into()), ..set("https://host/k".into()) };
    let error = prepared(ca).err().unwrap();
    assert!(error.starts_with("auth.jwt.jwks_cacertfile: /no/ca: "), "{error}");
}

/// A server that gives what `document` says at the time, and counts.
struct KeyServer {
    address: std::net::SocketAddr,
    document: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    fn new(document: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let document = Arc::new(Mutex::new(document.into_bytes()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (given, count) = (Arc::clone(&document), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request);
                count.fetch_add(1, Ordering::SeqCst);
                let body = given.lock().clone();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            }
        });
        Self { address, document, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/keys?x=1", self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[test]
fn a_new_key_is_fetched_for_the_first_token_that_names_it() {
    let vectors = vectors();
    let keys = vectors["jwks"]["keys"].as_array().unwrap();
    let server = KeyServer::new(json!({"keys": [keys[0]]}).to_string());
    let login = begin(JwtConfig { jwks_refresh_interval_ms: 300, ..set(server.url()) });
    let [rsa, ec] = ["/tokens/RS256", "/tokens/ES256"].map(|path| text(&vectors, path));
    assert_eq!(ask(&login, &rsa), ALLOWED, "the first reading is waited for");
    *server.document.lock() = vectors["jwks"].to_string().into_bytes();
    let begun = Instant::now();
    while ask(&login, &ec) != ALLOWED {
        assert!(begun.elapsed() < Duration::from_secs(10), "the new key never counts");
    }
    // A server that fails takes no key away.
    *server.document.lock() = b"out of order".to_vec();
    let asked = server.asked();
    while server.asked() < asked + 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not asked again");
        thread::yield_now();
    }
    assert_eq!(ask(&login, &rsa), ALLOWED);
}

/// Attack: tokens with made-up names of keys must not become requests to the server of the keys.
#[test]
fn unknown_keys_have_the_server_asked_once() {
    let vectors = vectors();
    let server = KeyServer::new(vectors["jwks"].to_string());
    let login = begin(set(server.url()));
    assert_eq!(ask(&login, &text(&vectors, "/tokens/RS256")), ALLOWED);
    for n in 0..50 {
        let token = signed(&format!(r#"{{"alg":"RS256","kid":"{n}"}}"#), "{}", b"");
        assert_eq!(ask(&login, &token), REFUSED);
    }
    assert_eq!(server.asked(), 1, "just read is new enough");
}

#[test]
fn a_server_that_is_away_refuses_and_the_thread_ends_with_the_plugin() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    drop(listener);
    let login = begin(set(url));
    let token = text(&vectors(), "/tokens/RS256");
    for _ in 0..3 {
        let unavailable = Authentication::Deny(ReasonCode::ServerUnavailable);
        assert_eq!(ask(&login, &token), unavailable);
    }
    let file = TempFile::new(vectors()["jwks"].to_string().as_bytes());
    let source = Source::new(&file.text(), None).unwrap_or_else(|(_, why)| panic!("{why}"));
    let jwks = Jwks::begin(source, Duration::from_secs(3_600)).unwrap();
    let shared = jwks.weak();
    assert_eq!(shared.strong_count(), 2, "its thread has it too");
    jwks.stop();
    let begun = Instant::now();
    while shared.strong_count() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the thread goes on");
        thread::yield_now();
    }
}
