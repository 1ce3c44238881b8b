//! What must hold for whatever a client sends as its token, and an operator writes as rules; the fuzz target and `broker-plugins/tests/fuzz_smoke.rs`
//! share it.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use broker_core::config::ZoneConfig;
use broker_core::extension::{Action, Answer, Authentication, Authenticator, Credentials};
use broker_core::{Peer, ProtocolVersion};
use broker_plugins::{AclFile, Asker, Jwt, JwtConfig, Plugin, PluginsConfig};
use ring::hmac;

/// A token as it is; and header and claims, with U+0000 between, that are signed as they have to be.
pub(crate) fn jwt(data: &[u8]) {
    if is_let_in(data) {
        assert!(is_signed(data), "{}", String::from_utf8_lossy(data));
    }
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    let text = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
    let token = format!("{text}.{}", encode(tag.as_ref()));
    if is_let_in(token.as_bytes()) {
        assert_eq!(claims.trim_ascii().first(), Some(&b'{'), "{token}");
    }
}

/// Rules in each form. A client whose name has what means something in a topic may no more than any other stranger.
pub(crate) fn acl_file(data: &[u8]) {
    // Names that no rule has.
    let name = ring::digest::digest(&ring::digest::SHA256, data);
    let name = BASE64_URL_SAFE_NO_PAD.encode(name.as_ref());
    let hostile = [format!("{name}/+/#"), format!("${name}")];
    let stranger = Asker { client_id: &name, username: Some(&name), address: None };
    for form in ["acl.conf", "acl.toml", "aclfile"] {
        let Ok(rules) = AclFile::from_bytes(Path::new(form), data) else { continue };
        assert!(rules.n_rules() > 0);
        for topic in ["a", "a/b", "a/#", "#", "+/b", "$SYS/a", &hostile[0], &hostile[1]] {
            for action in [Action::Publish, Action::Subscribe] {
                let may = |who: &Asker<'_>| rules.decide(who, action, topic) == Some(true);
                for name in &hostile {
                    let hostile = Asker { client_id: name, username: Some(name), ..stranger };
                    assert!(!may(&hostile) || may(&stranger), "{form} {name} {action:?} {topic}");
                }
            }
        }
    }
}

fn is_let_in(token: &[u8]) -> bool {
    static LOGIN: LazyLock<Arc<dyn Authenticator>> = LazyLock::new(login);
    let credentials = Arc::new(Credentials {
        client_id: "c".into(),
        username: Some("bob".into()),
        password: Some(token.into()),
        version: ProtocolVersion::V5,
        peer: Peer::new("fuzz", Arc::new(ZoneConfig::default())),
    });
    let answer = match LOGIN.authenticate(&credentials) {
        Answer::Now(answer) => answer,
        Answer::Later(mut answer) => {
            let answer: Pin<&mut dyn Future<Output = Authentication>> = answer.as_mut();
            // Without public keys there is nothing to wait for.
            let Poll::Ready(answer) = answer.poll(&mut Context::from_waker(Waker::noop())) else {
                panic!("nobody is asked");
            };
            answer
        }
    };
    match answer {
        Authentication::AllowUntil { superuser, .. } => {
            assert!(!superuser);
            true
        }
        Authentication::Deny(_) | Authentication::Missing(_) => false,
        Authentication::Allow { .. }
        | Authentication::AllowAs { .. }
        | Authentication::Unknown(_)
        | Authentication::Ignore => panic!("{answer:?}"),
    }
}

/// Whether what stands behind the last dot is an HMAC of what stands before, said without looking inside.
fn is_signed(token: &[u8]) -> bool {
    let Some(dot) = token.iter().rposition(|byte| *byte == b'.') else { return false };
    let Ok(tag) = BASE64_URL_SAFE_NO_PAD.decode(&token[dot + 1..]) else { return false };
    [hmac::HMAC_SHA256, hmac::HMAC_SHA384, hmac::HMAC_SHA512]
        .iter()
        .any(|kind| hmac::verify(&hmac::Key::new(*kind, SECRET), &token[..dot], &tag).is_ok())
}

fn login() -> Arc<dyn Authenticator> {
    let secret = String::from_utf8(SECRET.to_vec()).expect("it is ASCII");
    let auth_jwt = JwtConfig { secret, leeway_s: 1, ..JwtConfig::default() };
    let config = PluginsConfig { auth_jwt, ..PluginsConfig::default() };
    let jwt = Jwt::new();
    let ready = jwt.prepare(&config).expect("nothing is read that could fail");
    ready().authenticator.expect("it checks clients")
}

const SECRET: &[u8] = b"fuzzing";
