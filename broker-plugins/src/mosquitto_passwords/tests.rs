//! Lines that the real `mosquitto_passwd` has written, and others.

use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use broker_core::config::ZoneConfig;
use broker_core::{Peer, ProtocolVersion};

use super::*;

/// By mosquitto_passwd 2.0.11: `-H sha512`, as it is called, and `-I 5000`.
const FILE: &str = "\
alice:$6$2kh/bXwGDtjdfiSc$AgEvdrjMjmNGLuoztrhVIpBc8jYFCy3zYHp11VOowHnjWNLAeslOVB9oiZioN9MFOomJyIW5nGghZ1/MSh8bKw==
bob:$7$101$KRHJazUyGG/9uAA/$+CRNZBRtHS7rG8o/6BWjbs42Ixs6LeMl/XffzU0WyUAN7OXFb2DYqsofem0EkNU/bMe0L0vKs2sJ9LgxSRTZVg==
eve:$7$5000$PZrIiakNQNPDaML0$Dfbtt7SIG0GV/CCWMtAopIcx8RVlQddTXnjQ4bP3+lrNT5eslz+OxdUI6r6iK2cJSdHVltO0H1YxdkLEPXuimg==
";

fn ask(source: &MosquittoPasswords, name: Option<&str>, password: Option<&str>) -> Authentication {
    let credentials = Arc::new(Credentials {
        client_id: "c".into(),
        username: name.map(Into::into),
        password: password.map(|it| it.as_bytes().into()),
        version: ProtocolVersion::V5,
        peer: Peer::new("test", Arc::new(ZoneConfig::default())),
    });
    match source.authenticate(&credentials) {
        Answer::Now(answer) => answer,
        Answer::Later(mut answer) => {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut context = Context::from_waker(&waker);
            loop {
                if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
                    return answer;
                }
                thread::park();
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn users_come_in_with_their_passwords() {
    let path = std::env::temp_dir().join(format!("passwd-{}", std::process::id()));
    std::fs::write(&path, FILE).unwrap();
    let source = MosquittoPasswords::load(&path).unwrap();
    assert_eq!(source.n_users(), 3);
    let allow = || Authentication::Allow { superuser: false };
    let deny = || Authentication::Deny(ReasonCode::BadUserNameOrPassword);
    for (name, password) in [("alice", "secret"), ("bob", "hunter2"), ("eve", "pass word")] {
        assert_eq!(ask(&source, Some(name), Some(password)), allow(), "{name}");
        for wrong in [Some("wrong"), Some(""), None] {
            assert_eq!(ask(&source, Some(name), wrong), deny(), "{name} {wrong:?}");
        }
    }
    for (name, password) in [("mallory", "secret"), ("", "secret"), ("alice", "hunter2")] {
        assert_eq!(ask(&source, Some(name), Some(password)), deny(), "{name}");
    }
    assert_eq!(ask(&source, None, Some("secret")), Authentication::Ignore);
    // A bad line changes nothing.
    std::fs::write(&path, format!("{FILE}mallory:\n")).unwrap();
    let error = source.reload().unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:4: the password is not hashed", path.display())));
    assert_eq!(ask(&source, Some("alice"), Some("secret")), allow());
    std::fs::write(&path, "# nobody\n").unwrap();
    assert_eq!(source.reload(), Ok(0));
    assert_eq!(ask(&source, Some("alice"), Some("secret")), deny());
    std::fs::remove_file(&path).unwrap();
    let gone = source.reload().unwrap_err().to_string();
    assert!(gone.starts_with(&format!("{}: ", path.display())), "{gone}");
}

/// Attack case 22: CVE-2018-12551, a line that is malformed let its user in without a password.
#[test]
fn a_malformed_line_is_refused_with_its_number() {
    let hash = FILE.lines().next().unwrap().rsplit('$').next().unwrap();
    for (line, problem) in [
        ("alice", "a line is NAME:PASSWORD as mosquitto_passwd writes it"),
        (":$6$YQ==$YQ==", "a line is NAME:PASSWORD as mosquitto_passwd writes it"),
        ("alice:", "the password is not hashed: mosquitto_passwd sets one that is"),
        ("alice:secret", "the password is not hashed: mosquitto_passwd sets one that is"),
        (
            "alice:$5$YQ==$YQ==",
            "the hash is of another kind than $6$ and $7$: mosquitto_passwd sets it anew",
        ),
        ("alice:$6$YQ==", "salt or hash is malformed"),
        ("alice:$6$YQ==$", "salt or hash is malformed"),
        ("alice:$6$YQ==$YQ==", "salt or hash is malformed"),
        ("alice:$6$!$YQ==", "salt or hash is malformed"),
        ("alice:$7$YQ==$YQ==", "the number of rounds is malformed"),
        ("alice:$7$0$YQ==$YQ==", "the number of rounds is malformed"),
        ("alice:$7$1000001$YQ==$YQ==", "the number of rounds is malformed"),
    ] {
        assert_eq!(parse(&format!("# users\n{line}\n")), Err((2, problem)), "{line}");
    }
    let no_salt = format!("alice:$6$${hash}");
    assert_eq!(parse(&no_salt), Err((1, "salt or hash is malformed")));
    assert_eq!(parse(&format!("{FILE}{FILE}")), Err((4, "the name is there already")));
}
