//! Logins, and what is done to accounts.

use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use broker_core::config::ZoneConfig;
use broker_core::extension::{Answer, Authentication, Authenticator, Credentials};
use broker_core::{Peer, ProtocolVersion, ReasonCode};

use super::*;

struct World {
    accounts: Accounts,
    login: Arc<dyn Authenticator>,
}

fn config(subject: Subject, hash: AccountHash, accounts: &[(&str, &str)]) -> PluginsConfig {
    let account = |(name, password): &(&str, &str)| ConfiguredAccount {
        key: "auth.user.1".into(),
        name: (*name).into(),
        password: (*password).into(),
    };
    let ours = AccountsConfig { hash, accounts: accounts.iter().map(account).collect() };
    let (auth_clientid, auth_username) = match subject {
        Subject::ClientId => (ours, AccountsConfig::default()),
        Subject::Username => (AccountsConfig::default(), ours),
    };
    PluginsConfig { auth_clientid, auth_username, ..PluginsConfig::default() }
}

impl World {
    fn with(subject: Subject, hash: AccountHash, accounts: &[(&str, &str)]) -> Self {
        let broker = Broker::builder().build().unwrap();
        let workers = Arc::new(Workers::new());
        let plugin = Accounts::new(subject, &broker, &workers).unwrap();
        let login = begin(&plugin, &config(subject, hash, accounts));
        Self { accounts: plugin, login }
    }

    fn new(hash: AccountHash) -> Self {
        Self::with(Subject::Username, hash, &[])
    }

    /// The answer to a client `c` with this name and password, and whether it came at once.
    fn ask(&self, name: &str, password: &str) -> (Authentication, bool) {
        ask(&self.login, "c", Some(name), Some(password))
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a test reads better with values")]
    fn check(&self, name: &str, password: &str, expected: Authentication) {
        assert_eq!(self.ask(name, password).0, expected, "{name} {password}");
    }
}

fn begin(plugin: &Accounts, config: &PluginsConfig) -> Arc<dyn Authenticator> {
    plugin.prepare(config).unwrap()().authenticator.unwrap()
}

fn ask(
    login: &Arc<dyn Authenticator>,
    client_id: &str,
    username: Option<&str>,
    password: Option<&str>,
) -> (Authentication, bool) {
    let credentials = credentials_of(client_id, username, password);
    match login.authenticate(&credentials) {
        Answer::Now(answer) => (answer, true),
        Answer::Later(answer) => (wait(answer), false),
    }
}

fn credentials_of(
    client_id: &str,
    username: Option<&str>,
    password: Option<&str>,
) -> Arc<Credentials> {
    Arc::new(Credentials {
        client_id: client_id.into(),
        username: username.map(Into::into),
        password: password.map(|password| password.as_bytes().into()),
        version: ProtocolVersion::V5,
        peer: Peer::new("test", Arc::new(ZoneConfig::default())),
    })
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(mut future: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    for _ in 0..300 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park_timeout(Duration::from_millis(100));
    }
    panic!("no answer came");
}

/// Who guesses learns from the time of an answer neither that there is no such name, nor that there is.
#[test]
fn a_name_that_is_not_there_costs_what_a_wrong_password_does() {
    for word in AccountHash::WORDS {
        let hash = AccountHash::from_word(word).unwrap();
        let decoy = Stored::decoy(hash);
        assert!(Stored::from_bytes(decoy.as_bytes()).is_some(), "{word} is well formed");
        let made = Stored::make(hash, b"secret").unwrap();
        assert_eq!(decoy.is_slow(), made.is_slow(), "{word}");
        for password in ["", "secret", "\0", "UUUUUUUUUUUUUUUU"] {
            assert!(!decoy.fits(password.as_bytes()), "{word} {password:?}");
        }
        // The same rounds and memory; with a salt and a digest as long.
        let kind = |stored: &Stored| {
            let text = str::from_utf8(stored.as_bytes()).unwrap().to_owned();
            let parts: Vec<_> = text.split('$').collect();
            let lens: Vec<_> = parts.iter().map(|part| part.len()).collect();
            (parts[..parts.len() - 2].join("$"), lens)
        };
        if word != "plain" {
            assert_eq!(kind(&decoy), kind(&made), "{word}");
        }
        let world = World::with(Subject::Username, hash, &[("bob", "secret")]);
        let (unknown, was_quick) = world.ask("eve", "guess");
        assert_eq!(unknown, UNKNOWN, "{word}: the next source is asked");
        assert_eq!(
            (world.ask("bob", "guess").1, was_quick),
            (was_quick, !made.is_slow()),
            "{word}"
        );
    }
    // Without accounts there is nothing to be learnt, and nobody is kept waiting.
    assert_eq!(World::new(AccountHash::Argon2id).ask("eve", "guess"), (UNKNOWN, true));
}

const ALLOW: Authentication = Authentication::Allow { superuser: false };
const WRONG: Authentication = Authentication::Deny(ReasonCode::BadUserNameOrPassword);
const UNKNOWN: Authentication = Authentication::Unknown(ReasonCode::BadUserNameOrPassword);
const MISSING: Authentication = Authentication::Missing(ReasonCode::BadUserNameOrPassword);

#[test]
fn an_account_lets_its_client_in_with_its_password_only() {
    for word in AccountHash::WORDS {
        let world = World::new(AccountHash::from_word(word).unwrap());
        world.check("bob", "secret", UNKNOWN);
        world.accounts.add("bob", "secret").unwrap();
        world.check("bob", "secret", ALLOW);
        world.check("bob", "Secret", WRONG);
        world.check("eve", "secret", UNKNOWN);
        world.accounts.set_password("bob", "other").unwrap();
        world.check("bob", "secret", WRONG);
        world.check("bob", "other", ALLOW);
        world.accounts.remove("bob").unwrap();
        world.check("bob", "other", UNKNOWN);
    }
}

/// What is not sent, or empty, is for a later source to make up for.
#[test]
fn a_name_or_password_that_is_not_there_is_missing() {
    for (subject, name) in [(Subject::ClientId, "c"), (Subject::Username, "bob")] {
        let World { accounts, login } = World::with(subject, AccountHash::Sha256, &[]);
        accounts.add(name, "secret").unwrap();
        let ask = |user, password| ask(&login, "c", user, password).0;
        assert_eq!(ask(Some("bob"), Some("secret")), ALLOW);
        for password in [None, Some("")] {
            assert_eq!(ask(Some("bob"), password), MISSING);
        }
        let without_name = ask(None, Some("secret"));
        assert_eq!(without_name, if subject == Subject::ClientId { ALLOW } else { MISSING });
    }
}

/// A slow hash is made by others, and not again while nothing changes.
#[test]
fn a_slow_hash_is_made_once() {
    let world = World::new(AccountHash::Argon2id);
    world.accounts.add("bob", "secret").unwrap();
    assert_eq!(world.ask("bob", "secret"), (ALLOW, false));
    assert_eq!(world.ask("bob", "secret"), (ALLOW, true));
    assert_eq!(world.ask("bob", "wrong"), (WRONG, false), "a wrong one is never remembered");
    assert_eq!(world.ask("bob", "wrong"), (WRONG, false));
    world.accounts.set_password("bob", "secret").unwrap();
    assert_eq!(world.ask("bob", "secret"), (ALLOW, false), "it has another salt");
    let quick = World::new(AccountHash::Sha256);
    quick.accounts.add("bob", "secret").unwrap();
    assert_eq!(quick.ask("bob", "secret"), (ALLOW, true));
}

#[test]
fn names_are_listed_and_orders_that_make_no_sense_say_why() {
    let word = |subject| match subject {
        Subject::ClientId => ["exitsted", "noexitsted", "clientid: must be 1 to 65535 bytes"],
        Subject::Username => ["existed", "noexisted", "username: must be 1 to 65535 bytes"],
    };
    for subject in [Subject::ClientId, Subject::Username] {
        let World { accounts, .. } = World::with(subject, AccountHash::Sha256, &[]);
        let [exists, unknown, name] = word(subject);
        accounts.add("b", "1").unwrap();
        accounts.add("a/#+ü\0", "1").unwrap();
        assert_eq!(accounts.names(), ["a/#+ü\0", "b"]);
        let said = |result: Result<(), AccountError>| result.unwrap_err().to_string();
        assert_eq!(said(accounts.add("b", "2")), exists);
        assert_eq!(said(accounts.set_password("c", "2")), unknown);
        assert_eq!(said(accounts.add("", "2")), name);
        assert_eq!(said(accounts.add(&"x".repeat(65_536), "2")), name);
        for password in [String::new(), "x".repeat(65_536)] {
            assert_eq!(said(accounts.add("c", &password)), "password: must be 1 to 65535 bytes");
            let problem = said(accounts.set_password("b", &password));
            assert_eq!(problem, "password: must be 1 to 65535 bytes");
        }
        assert_eq!(accounts.remove("c"), Ok(()), "as the original answers");
        assert_eq!(accounts.names().len(), 2);
    }
}

/// Entries say how they were made, so a change of the setting is one for new passwords.
#[test]
fn old_entries_outlive_a_change_of_the_setting() {
    let world = World::new(AccountHash::Sha256);
    world.accounts.add("old", "secret").unwrap();
    let config = config(Subject::Username, AccountHash::Bcrypt, &[]);
    let world = World { login: begin(&world.accounts, &config), ..world };
    world.accounts.add("new", "secret").unwrap();
    assert_eq!(world.ask("old", "secret"), (ALLOW, true));
    assert_eq!(world.ask("new", "secret"), (ALLOW, false));
}

/// What the configuration has is put in where it is absent, and left alone from then on.
#[test]
fn accounts_of_the_configuration_are_made_once() {
    let seeds = [("bob", "secret"), ("bob", "twice"), ("eve", "x")];
    let world = World::with(Subject::Username, AccountHash::Sha256, &seeds);
    world.check("bob", "secret", ALLOW);
    world.check("eve", "x", ALLOW);
    world.accounts.set_password("bob", "changed").unwrap();
    world.accounts.remove("eve").unwrap();
    let config = config(Subject::Username, AccountHash::Sha256, &seeds);
    let world = World { login: begin(&world.accounts, &config), ..world };
    world.check("bob", "changed", ALLOW);
    world.check("eve", "x", ALLOW);
}

#[test]
fn an_account_of_the_configuration_that_cannot_be_kept_is_named() {
    let broker = Broker::builder().build().unwrap();
    let accounts = Accounts::new(Subject::Username, &broker, &Arc::new(Workers::new())).unwrap();
    let long = "x".repeat(73);
    let config = config(Subject::Username, AccountHash::Bcrypt, &[("a", "1"), ("b", &long)]);
    let error = accounts.prepare(&config).err().unwrap();
    assert_eq!(error, "auth.user.1.password: must be at most 72 bytes with bcrypt");
    assert!(accounts.names().is_empty(), "nothing was changed");
    assert!(!format!("{config:?}").contains(&long));
}

/// A broken store refuses: who is kept there must not come in as somebody unknown.
#[test]
fn an_unreadable_entry_refuses() {
    let world = World::new(AccountHash::Sha256);
    let _ = world.accounts.0.broker.put_setting("auth_username", "bob", b"\xff");
    world.check("bob", "secret", Authentication::Deny(ReasonCode::ServerUnavailable));
}

/// More logins than can be worked off are turned away, those that are in are not.
#[test]
fn too_many_logins_at_once_are_told_to_come_later() {
    let world = World::new(AccountHash::Argon2id);
    world.accounts.add("bob", "secret").unwrap();
    world.check("bob", "secret", ALLOW);
    let mut waiting = Vec::new();
    let busy = Authentication::Deny(ReasonCode::ServerBusy);
    for n in 0.. {
        assert!(n < 10_000, "there is no bound");
        let credentials = credentials_of("c", Some("bob"), Some(&n.to_string()));
        match world.login.authenticate(&credentials) {
            Answer::Later(answer) => waiting.push(answer),
            Answer::Now(answer) => {
                assert_eq!(answer, busy);
                break;
            }
        }
    }
    assert_eq!(world.ask("bob", "secret"), (ALLOW, true));
    assert!(waiting.len() >= 200);
}
