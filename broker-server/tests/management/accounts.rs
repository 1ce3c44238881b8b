//! `auth_clientid` and `auth_username`: accounts made over the API, and who gets in with them.

use serde_json::{Value, json};

use crate::broker::{Broker, Keys, NODE};
use crate::http::Api;
use crate::mosquitto::Mosquitto;

/// What differs between the two.
struct Kind {
    path: &'static str,
    plugin: &'static str,
    name: &'static str,
    exists: &'static str,
    unknown: &'static str,
}

const CLIENT_ID: Kind = Kind {
    path: "auth_clientid",
    plugin: "emqx_auth_clientid",
    name: "clientid",
    exists: "exitsted",
    unknown: "noexitsted",
};

const USERNAME: Kind = Kind {
    path: "auth_username",
    plugin: "emqx_auth_username",
    name: "username",
    exists: "existed",
    unknown: "noexisted",
};

impl Kind {
    fn account(&self, name: &str, password: &str) -> Value {
        json!({ self.name: name, "password": password })
    }

    /// CONNACK's return code for a client with this name and password.
    fn login(&self, clients: &Mosquitto, name: &str, password: &str) -> u8 {
        match self.name {
            "clientid" => clients.login(&["-i", name, "-u", "whoever", "-P", password]),
            _ => clients.login(&["-i", "whoever", "-u", name, "-P", password]),
        }
    }
}

fn order(api: &Api, plugin: &str, order: &str) {
    api.put(&format!("nodes/{NODE}/plugins/{plugin}/{order}"), &json!({}));
}

/// No one gets in unless somebody says so.
const CLOSED: Keys<'_> = &[("allow_anonymous", "false")];

#[test]
fn accounts_are_made_used_changed_and_removed() {
    for kind in [CLIENT_ID, USERNAME] {
        let broker = Broker::start_with(CLOSED);
        let (api, clients) = (broker.api(), Mosquitto::of(&broker));
        let one = format!("{}/d1", kind.path);
        order(&api, kind.plugin, "load");
        assert_eq!(api.data(kind.path), json!([]));
        assert_eq!(kind.login(&clients, "d1", "secret"), 4, "unknown, as if it were wrong");

        assert_eq!(api.post(kind.path, &kind.account("d1", "secret")), json!({"code": 0}));
        assert_eq!(api.data(kind.path), json!(["d1"]));
        assert_eq!(api.data(&one), json!({ kind.name: "d1", "password": "******" }));
        assert_eq!(kind.login(&clients, "d1", "secret"), 0);
        assert_eq!(kind.login(&clients, "d1", "wrong"), 4);
        assert_eq!(kind.login(&clients, "d1", "secret"), 0);
        assert_eq!(kind.login(&clients, "d2", "secret"), 4);

        api.put(&one, &json!({"password": "other"}));
        assert_eq!(kind.login(&clients, "d1", "secret"), 4);
        assert_eq!(kind.login(&clients, "d1", "other"), 0);

        api.delete(&one);
        api.delete(&one);
        assert_eq!(kind.login(&clients, "d1", "other"), 4);
    }
}

#[test]
fn what_cannot_be_done_says_why() {
    for kind in [CLIENT_ID, USERNAME] {
        let broker = Broker::start();
        let api = broker.api();
        order(&api, kind.plugin, "load");
        api.post(kind.path, &kind.account("d/1 #+ü", "secret"));
        let check = |method: &str, path: &str, body: &Value, code: u64, message: &str| {
            let failure = api.call(method, path, &body.to_string()).failure();
            assert_eq!(failure, (200, code, message.to_owned()), "{method} {path} {body}");
        };
        let (path, name) = (kind.path, kind.name);
        let one = format!("{path}/d%2F1%20%23%2B%C3%BC");
        assert_eq!(api.data(&one)[name], "d/1 #+ü");
        let none = format!("{path}/none");
        check("POST", path, &kind.account("d/1 #+ü", "x"), 102, kind.exists);
        check("PUT", &none, &json!({"password": "x"}), 102, kind.unknown);
        check("GET", &none, &json!({}), 102, "not_found");
        check("POST", path, &json!({"password": "x"}), 107, &format!("{name}: must be there"));
        check("POST", path, &json!({ name: "x" }), 107, "password: must be there");
        check("PUT", &one, &json!({}), 107, "password: must be there");
        let problem = "must be 1 to 65535 bytes";
        check("POST", path, &kind.account("", "x"), 108, &format!("{name}: {problem}"));
        check("POST", path, &kind.account("x", ""), 108, &format!("password: {problem}"));
        check("PUT", &one, &json!({"password": ""}), 108, &format!("password: {problem}"));
        let wrong = "password: invalid type: integer `1`, expected a string";
        check("PUT", &one, &json!({"password": 1}), 108, wrong);
        assert_eq!(api.data(path).as_array().unwrap().len(), 1);
    }
}

/// The paths are listed all the same.
#[test]
fn without_the_plugin_its_paths_lead_nowhere_and_its_accounts_count_for_nothing() {
    let broker = Broker::start_with(CLOSED);
    let (api, clients) = (broker.api(), Mosquitto::of(&broker));
    let gone = |method: &str, path: &str| {
        let answer = api.call(method, path, r#"{"username":"u","password":"p"}"#);
        (answer.status, answer.body.as_str()) == (404, "Not found.")
    };
    for (method, path) in [
        ("GET", "auth_username"),
        ("POST", "auth_username"),
        ("GET", "auth_username/u"),
        ("PUT", "auth_username/u"),
        ("DELETE", "auth_username/u"),
        ("GET", "auth_clientid"),
    ] {
        assert!(gone(method, path), "{method} {path}");
    }
    order(&api, "emqx_auth_username", "load");
    api.post("auth_username", &USERNAME.account("u", "p"));
    assert_eq!(USERNAME.login(&clients, "u", "p"), 0);
    order(&api, "emqx_auth_username", "unload");
    assert_eq!(USERNAME.login(&clients, "u", "p"), 5);
    assert!(gone("GET", "auth_username"));
    order(&api, "emqx_auth_username", "load");
    assert_eq!(USERNAME.login(&clients, "u", "p"), 0, "what was made is kept");
}

/// Who does not send what an account is found by may be let in by the next source, or by nobody.
#[test]
fn the_chain_is_that_of_the_original() {
    let broker = Broker::start_with(&[("allow_anonymous", "true")]);
    let (api, clients) = (broker.api(), Mosquitto::of(&broker));
    for kind in [CLIENT_ID, USERNAME] {
        order(&api, kind.plugin, "load");
        api.post(kind.path, &kind.account("known", "secret"));
    }
    assert_eq!(clients.login(&["-i", "known"]), 0, "neither name nor password: nobody is asked");
    assert_eq!(clients.login(&["-i", "x", "-u", "x", "-P", "x"]), 0, "nobody knows either");
    assert_eq!(clients.login(&["-i", "known", "-u", "x", "-P", "wrong"]), 4);
    assert_eq!(clients.login(&["-i", "x", "-u", "known", "-P", "wrong"]), 4);
    assert_eq!(clients.login(&["-i", "x", "-u", "known"]), 4, "a password is missing");
    assert_eq!(clients.login(&["-i", "known", "-u", "known", "-P", "secret"]), 0);
    let (_, log) = broker.stop();
    for kind in [CLIENT_ID, USERNAME] {
        let warning = format!("allow_anonymous = true plugin={} zones=", kind.plugin);
        assert!(log.contains(&warning), "{log}");
    }
}

/// Loaded plugins, their order and their accounts are there after a restart; no password is in any file or log.
#[test]
fn accounts_outlive_the_process_and_no_password_is_on_disk() {
    let broker = Broker::start_with(CLOSED);
    let api = broker.api();
    order(&api, "emqx_auth_username", "load");
    api.post("auth_username", &USERNAME.account("u", "correct horse battery"));
    let (folder, log) = broker.stop();
    assert!(!log.contains("battery"), "{log}");
    let found = std::process::Command::new("grep")
        .args(["-r", "--text", "-l", "correct horse"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");

    let broker = Broker::start_in(folder, CLOSED);
    let clients = Mosquitto::of(&broker);
    assert_eq!(USERNAME.login(&clients, "u", "correct horse battery"), 0);
    assert_eq!(USERNAME.login(&clients, "u", "wrong"), 4);
    assert_eq!(broker.api().data("auth_username"), json!(["u"]));
}

/// Every way to keep passwords, and accounts that stand in the configuration.
#[test]
fn accounts_of_the_configuration_are_there_from_the_start() {
    for hash in ["argon2id", "bcrypt", "pbkdf2", "sha512", "sha256", "sha", "md5", "plain"] {
        let hash = format!("{hash:?}");
        let broker = Broker::start_with(&[
            ("allow_anonymous", "false"),
            ("plugins.loaded", r#"["emqx_auth_clientid", "emqx_auth_username"]"#),
            ("auth.client.password_hash", &hash),
            ("auth.user.password_hash", &hash),
            ("auth.client.1.clientid", r#""dev/1""#),
            ("auth.client.1.password", r#""first""#),
            ("auth.user.1.username", r#""eve""#),
            ("auth.user.1.password", r#""second""#),
            ("auth.user.2.username", r#""bob""#),
            ("auth.user.2.password", r#""third""#),
        ]);
        let clients = Mosquitto::of(&broker);
        assert_eq!(broker.api().data("auth_username"), json!(["bob", "eve"]));
        assert_eq!(CLIENT_ID.login(&clients, "dev/1", "first"), 0, "{hash}");
        assert_eq!(USERNAME.login(&clients, "eve", "second"), 0, "{hash}");
        assert_eq!(USERNAME.login(&clients, "bob", "third"), 0, "{hash}");
        assert_eq!(USERNAME.login(&clients, "bob", "second"), 4, "{hash}");
        let (folder, log) = broker.stop();
        assert!(!log.contains("second"), "{log}");
        drop(folder);
    }
}

/// A wrong key is told of by name and nothing of the password.
#[test]
fn wrong_accounts_of_the_configuration_are_refused() {
    for (keys, said) in [
        (&[("auth.user.1.username", r#""a""#)][..], "auth.user.1.password: must be there"),
        (&[("auth.client.x.password", r#""secret""#)], "auth.client.x.clientid: must be there"),
        (
            &[("auth.user.password_hash", r#""sha3""#)],
            "auth.user.password_hash = \"sha3\": must be one of argon2id, bcrypt, pbkdf2, sha512, sha256, sha, md5, plain",
        ),
        (
            &[("auth.user.1.username", r#""a""#), ("auth.user.1.password", "7")],
            "auth.user.1.password = ***: must be a text of 1 to 65535 bytes",
        ),
    ] {
        let refused = Broker::try_start(crate::broker::Folder::new(), keys);
        let log = refused.err().expect("it does not start");
        assert!(log.contains(said), "{said}\n{log}");
        assert!(!log.contains("\"secret\""), "{log}");
    }
}

/// Slow hashes are made beside the loops, each for its own client.
#[test]
fn many_logins_at_once_get_each_its_own_answer() {
    let broker = Broker::start_with(CLOSED);
    let (api, clients) = (broker.api(), Mosquitto::of(&broker));
    order(&api, "emqx_auth_username", "load");
    api.post("auth_username", &USERNAME.account("u", "secret"));
    let codes: Vec<_> = std::thread::scope(|scope| {
        let login = |password: &'static str| {
            let clients = &clients;
            scope.spawn(move || clients.login(&["-u", "u", "-P", password]))
        };
        let logins: Vec<_> =
            (0..20).map(|n| login(if n % 2 == 0 { "secret" } else { "wrong" })).collect();
        logins.into_iter().map(|login| login.join().unwrap()).collect()
    });
    assert!(codes.iter().enumerate().all(|(n, code)| *code == [0, 4][n % 2]), "{codes:?}");
}
