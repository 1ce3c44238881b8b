//! `apps`: made, looked at, changed, deleted, and kept over a restart.

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::http::keys;

#[test]
fn an_application_lives_from_post_to_delete() {
    let broker = Broker::start();
    let api = broker.api();
    let made = api.post("apps/", &json!({"app_id": "ops", "name": "Operations"}));
    assert_eq!(keys(&made["data"]), ["secret"]);
    let secret = made["data"]["secret"].as_str().unwrap();
    assert!(secret.len() >= 22 && secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    broker.api_as("ops", secret).get("brokers");

    let row = &api.data("apps/")[1];
    assert_eq!(
        *row,
        json!({
            "app_id": "ops", "name": "Operations", "desc": "", "status": true,
            "expired": "undefined", "role": "admin",
        })
    );
    let mut one = row.clone();
    one["secret"] = json!("******");
    assert_eq!(api.data("apps/ops"), one);
    assert_eq!(api.data("apps/none"), json!([]));

    let again = api.call("POST", "apps", &json!({"app_id": "ops", "name": "x"}).to_string());
    assert_eq!(again.failure(), (200, 102, "alread_existed".into()));

    api.put("apps/ops", &json!({"desc": "night shift"}));
    assert_eq!(api.data("apps/ops")["desc"], "night shift");
    assert_eq!(api.data("apps/ops")["name"], "Operations", "what is left out stays");
    let unknown = api.call("PUT", "apps/none", "{}");
    assert_eq!(unknown.failure(), (200, 102, "ont_found".into()));

    api.delete("apps/ops");
    api.delete("apps/ops");
    assert_eq!(broker.api_as("ops", secret).call("GET", "brokers", "").status, 401);
}

#[test]
fn a_refused_or_expired_application_gets_nothing_at_once() {
    let broker = Broker::start();
    let api = broker.api();
    api.post("apps", &json!({"app_id": "ops", "name": "", "secret": "s"}));
    let ops = broker.api_as("ops", "s");
    let status = || ops.call("GET", "brokers", "").status;
    assert_eq!(status(), 200);
    api.put("apps/ops", &json!({"status": false}));
    assert_eq!(status(), 401);
    api.put("apps/ops", &json!({"status": true, "expired": 1_556_506_601}));
    assert_eq!(status(), 401);
    assert_eq!(api.data("apps/ops")["expired"], 1_556_506_601);
    api.put("apps/ops", &json!({"expired": "undefined"}));
    assert_eq!(status(), 200);
    api.put("apps/ops", &json!({"secret": "t"}));
    assert_eq!(status(), 401);
    broker.api_as("ops", "t").get("brokers");
}

#[test]
fn what_is_wrong_is_named() {
    let broker = Broker::start();
    let api = broker.api();
    let check = |body: Value, code: u64, message: &str| {
        let failure = api.call("POST", "apps", &body.to_string()).failure();
        assert_eq!(failure, (200, code, message.to_owned()), "{body}");
    };
    check(json!({}), 107, "app_id: must be there");
    check(json!({"app_id": "x"}), 107, "name: must be there");
    check(
        json!({"app_id": 1, "name": ""}),
        108,
        "app_id: invalid type: integer `1`, expected a string",
    );
    check(
        json!({"app_id": "a:b", "name": ""}),
        108,
        "app_id: must be 1 to 256 bytes without colon and control characters",
    );
    check(json!({"app_id": "x", "name": "", "secret": ""}), 108, "secret: must be 1 to 1024 bytes");
    check(
        json!({"app_id": "x", "name": "", "expired": "soon"}),
        108,
        "expired: must be Unix seconds or \"undefined\"",
    );
    check(
        json!({"app_id": "x", "name": "", "role": "god"}),
        108,
        "role: unknown variant `god`, expected `admin` or `viewer`",
    );
    check(
        json!({"app_id": "x", "name": "n".repeat(1_025)}),
        108,
        "name: must be at most 1024 bytes",
    );
    assert_eq!(api.data("apps").as_array().unwrap().len(), 1, "nothing was made");
}

#[test]
fn the_last_admin_stays() {
    let broker = Broker::start();
    let api = broker.api();
    let message = "the last application with the role admin that is not refused must stay so";
    for (method, body) in
        [("DELETE", ""), ("PUT", r#"{"status":false}"#), ("PUT", r#"{"role":"viewer"}"#)]
    {
        let failure = api.call(method, "apps/admin", body).failure();
        assert_eq!(failure, (200, 102, message.into()));
    }
    api.post("apps", &json!({"app_id": "二", "name": "", "secret": "s"}));
    api.delete("apps/admin");
    broker.api_as("二", "s").get("brokers");
}

#[test]
fn applications_outlive_the_process_and_no_secret_is_on_disk() {
    let broker = Broker::start();
    let api = broker.api();
    api.post("apps", &json!({"app_id": "ops", "name": "", "secret": "correct horse battery"}));
    api.delete("apps/admin");
    let (folder, log) = broker.stop();
    assert!(!log.contains("battery"), "{log}");
    let files = std::process::Command::new("grep")
        .args(["-r", "--text", "-l", "correct horse"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&files.stdout), "");

    let broker = Broker::start_in(folder, &[]);
    let api = broker.api_as("ops", "correct horse battery");
    let rows = api.data("apps");
    assert_eq!(rows.as_array().unwrap().len(), 1, "what was deleted does not come back: {rows}");
}
