//! `users`, `auth` and `change_pwd`: users of the dashboard.

use serde_json::{Value, json};

use crate::broker::{Broker, NODE};
use crate::http::{Api, keys};

/// Code and message of a login.
fn login(api: &Api, username: &str, password: &str) -> String {
    let body = json!({"username": username, "password": password});
    let answer = api.call("POST", "auth", &body.to_string()).json();
    match answer["message"].as_str() {
        Some(message) => format!("{} {message}", answer["code"]),
        None => answer["code"].to_string(),
    }
}

#[test]
fn a_user_lives_from_post_to_delete() {
    let broker = Broker::start();
    let api = broker.api();
    assert_eq!(api.data("users/"), json!([{"username": "admin", "tags": "administrator"}]));
    assert_eq!(login(&api, "admin", "public"), "0");

    let eve = json!({"username": "eve", "password": "first", "tags": "viewer"});
    assert_eq!(api.post("users/", &eve), json!({"code": 0}));
    assert_eq!(api.data("users")[1], json!({"username": "eve", "tags": "viewer"}));
    assert!(
        api.data("users").as_array().unwrap().iter().all(|it| keys(it) == ["tags", "username"])
    );
    assert_eq!(login(&api, "eve", "first"), "0");

    api.put("users/eve", &json!({"tags": "editor"}));
    assert_eq!(api.data("users")[1]["tags"], "editor");
    assert_eq!(login(&api, "eve", "first"), "0", "the password stays");
    api.put("change_pwd/eve", &json!({"old_pwd": "first", "new_pwd": "second"}));
    assert_eq!(login(&api, "eve", "second"), "0");
    assert_eq!(login(&api, "eve", "first"), "102 Password Error");
    api.put("users/eve", &json!({"password": "third"}));
    assert_eq!(login(&api, "eve", "third"), "0");
    assert_eq!(api.data("users")[1]["tags"], "editor", "the tags stay");

    api.delete("users/eve");
    assert_eq!(login(&api, "eve", "third"), "102 Password Error", "as for a wrong password");
}

#[test]
fn what_cannot_be_done_says_why() {
    let broker = Broker::start();
    let api = broker.api();
    let check = |method: &str, path: &str, body: &Value, code: u64, message: &str| {
        let failure = api.call(method, path, &body.to_string()).failure();
        assert_eq!(failure, (200, code, message.to_owned()), "{method} {path} {body}");
    };
    let undefined = "Username or password undefined";
    check("POST", "users", &json!({}), 102, undefined);
    check("POST", "users", &json!({"username": "x"}), 102, undefined);
    check("POST", "users", &json!({"username": "", "password": "x"}), 102, undefined);
    let admin = json!({"username": "admin", "password": "x"});
    check("POST", "users", &admin, 102, "Username Already Exist");
    check(
        "POST",
        "users",
        &json!({"username": "a:b", "password": "x"}),
        108,
        "username: must be 1 to 256 bytes without colon and control characters",
    );
    check(
        "POST",
        "users",
        &json!({"username": "x", "password": "p".repeat(1_025)}),
        108,
        "password: must be 1 to 1024 bytes",
    );
    check(
        "POST",
        "users",
        &json!({"username": "x", "password": "p", "tags": 7}),
        108,
        "tags: invalid type: integer `7`, expected a string",
    );
    check("PUT", "users/none", &json!({"tags": "x"}), 102, "username_not_found");
    check("PUT", "users/admin", &json!({}), 107, "tags or password: must be there");
    check("PUT", "users/admin", &json!({"password": ""}), 108, "password: must be 1 to 1024 bytes");
    check("DELETE", "users/admin", &json!({}), 102, "Cannot delete admin");
    check("DELETE", "users/none", &json!({}), 102, "Username Not Found");
    check("POST", "auth", &json!({"password": "x"}), 102, "Username undefined");
    check("POST", "auth", &json!({"username": "admin"}), 102, "Password undefined");
    check("PUT", "change_pwd/admin", &json!({"new_pwd": "x"}), 107, "old_pwd: must be there");
    check("PUT", "change_pwd/admin", &json!({"old_pwd": "public"}), 107, "new_pwd: must be there");
    let empty = json!({"old_pwd": "public", "new_pwd": ""});
    check("PUT", "change_pwd/admin", &empty, 108, "new_pwd: must be 1 to 1024 bytes");
    let wrong = json!({"old_pwd": "wrong", "new_pwd": "x"});
    check("PUT", "change_pwd/admin", &wrong, 102, "Password Error");
    check("PUT", "change_pwd/none", &wrong, 102, "Password Error");
    assert_eq!(api.data("users"), json!([{"username": "admin", "tags": "administrator"}]));
    assert_eq!(login(&api, "admin", "public"), "0");
}

/// The third failure in a row has the next attempt refused for a while, right or wrong.
#[test]
fn failed_logins_are_slowed_down() {
    let broker = Broker::start();
    let api = broker.api();
    for name in ["admin", "nobody", "admin"] {
        assert_eq!(login(&api, name, "wrong"), "102 Password Error");
    }
    let body = json!({"username": "admin", "password": "public"}).to_string();
    let mut refused = 0;
    let until = std::time::Instant::now() + crate::broker::DEADLINE;
    loop {
        let answer = api.call("POST", "auth", &body);
        if answer.status == 200 {
            assert_eq!(answer.json(), json!({"code": 0}));
            break;
        }
        let message = "too many failed logins from this address; come again in 1 s";
        assert_eq!(answer.failure(), (429, 102, message.into()));
        refused += 1;
        assert!(std::time::Instant::now() < until);
    }
    assert!(refused > 0, "100 ms pass with the first look");
    let metrics = api.raw("GET", "/metrics", &api.authorization(), "");
    assert!(metrics.body.contains("\ndashboard_login_failures_total 3\n"), "{}", metrics.body);
    let (_, log) = broker.stop();
    assert!(log.contains("login of a dashboard user failed"), "{log}");
    assert!(!log.contains("wrong"), "{log}");
}

#[test]
fn users_outlive_the_process_and_go_with_the_plugin() {
    let default = [
        ("dashboard.default_user.login", r#""boss""#),
        ("dashboard.default_user.password", r#""correct horse""#),
    ];
    let broker = Broker::start_with(&default);
    let api = broker.api();
    assert_eq!(api.data("users"), json!([{"username": "boss", "tags": "administrator"}]));
    assert_eq!(login(&api, "boss", "correct horse"), "0");
    api.put("users/boss", &json!({"password": "battery staple", "tags": "x"}));
    let (folder, _) = broker.stop();
    let found = std::process::Command::new("grep")
        .args(["-r", "--text", "-l", "-e", "battery staple"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");

    let broker = Broker::start_in(folder, &default);
    let api = broker.api();
    assert_eq!(api.data("users"), json!([{"username": "boss", "tags": "x"}]));
    assert_eq!(login(&api, "boss", "battery staple"), "0");
}

/// There is no page yet, so the plugin is not said to be there; its users are kept all the same.
#[test]
fn users_are_there_without_the_plugin_that_has_the_page() {
    let broker = Broker::start_with(&[(
        "plugins.loaded",
        r#"["emqx_management", "emqx_dashboard", "emqx_retainer"]"#,
    )]);
    let api = broker.api();
    let plugins = api.data(&format!("nodes/{NODE}/plugins"));
    let of_dashboard = plugins.as_array().unwrap().iter().find(|it| it["name"] == "emqx_dashboard");
    assert_eq!(of_dashboard.unwrap()["active"], false);
    let path = format!("nodes/{NODE}/plugins/emqx_dashboard");
    let refused = "emqx_dashboard is not in this build of the broker".to_owned();
    assert_eq!(api.refused("PUT", &format!("{path}/load"), &json!({})), (200, 102, refused));
    api.post("users", &json!({"username": "boss", "password": "correct horse", "tags": "x"}));
    assert_eq!(login(&api, "boss", "correct horse"), "0");
    let (_, log) = broker.stop();
    assert!(log.contains("not in this build, so not loaded: emqx_dashboard"), "{log}");
}
