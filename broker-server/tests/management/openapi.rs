//! `openapi.json` and `docs`: what they say is what the program does.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::broker::{Broker, NODE};

#[test]
fn the_program_serves_the_committed_description() {
    let broker = Broker::start();
    let api = broker.api();
    let answer = api.call("GET", "openapi.json", "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    assert!(answer.body == std::fs::read_to_string(path).unwrap(), "docs/openapi.json is another");
    assert_eq!(api.raw("GET", "/api/v3/openapi.json", "", "").status, 401);
}

#[test]
fn real_answers_are_as_described() {
    let broker = Broker::start();
    let api = broker.api();
    for plugin in ["emqx_auth_clientid", "emqx_auth_username"] {
        api.put(&format!("nodes/{NODE}/plugins/{plugin}/load"), &serde_json::json!({}));
    }
    let document = api.call("GET", "openapi.json", "").json();
    let mut looked_at = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let get = &item["get"];
        let content = &get["responses"]["200"]["content"]["application/json"];
        // Those that need no name but the node's; the description itself is no envelope.
        let path = path.replace("{node}", NODE);
        if content["schema"].is_null() || path.contains('{') {
            continue;
        }
        let answer = api.call("GET", &path[1..], "").json();
        if let Err(problem) = check(&answer, &content["schema"], &document) {
            panic!("{path}: {problem}\n{answer:#}");
        }
        looked_at += 1;
    }
    assert!(looked_at >= 15, "{looked_at}");
    // Of rules there are none at first, so nothing was looked at.
    let rule = serde_json::json!({
        "name": "r", "rawsql": "SELECT 1 / 0 AS x FROM \"#\"",
        "actions": [{"name": "inspect", "fallbacks": [{"name": "do_nothing"}]}],
    });
    let rule = api.post("rules", &rule)["data"]["id"].as_str().unwrap().replace(':', "%3A");
    api.post(
        "resources",
        &serde_json::json!({"name": "r", "type": "built_in", "config": {"a": [1]}}),
    );
    crate::client::v5().open().publish(crate::wire::publish("t", 1, b""));
    crate::broker::wait_until(|| !api.data(&format!("rules/{rule}"))["last_error"].is_null());
    for (path, described) in [
        (&*format!("rules/{rule}"), "/rules/{id}"),
        ("rules", "/rules"),
        ("resources/built_in:r", "/resources/{id}"),
        ("resource_status/built_in:r", "/resource_status/{id}"),
        ("actions/republish", "/actions/{name}"),
        ("resource_types/web_hook", "/resource_types/{name}"),
        ("resource_types/built_in/resources", "/resource_types/{type}/resources"),
        ("resource_types/built_in/actions", "/resource_types/{type}/actions"),
    ] {
        let described = &document["paths"][described]["get"]["responses"]["200"]["content"];
        let answer = api.get(path);
        check(&answer, &described["application/json"]["schema"], &document)
            .unwrap_or_else(|problem| panic!("{path}: {problem}\n{answer:#}"));
    }
    // A failure, and one with a name that is not there.
    let failure = &document["components"]["schemas"]["Failure"];
    let answer = api.call("GET", "nodes/other@host", "").json();
    check(&answer, failure, &document).unwrap();
    let found = &document["paths"]["/apps/{appid}"]["get"]["responses"]["200"];
    let found = &found["content"]["application/json"]["schema"];
    for app_id in ["admin", "nobody"] {
        check(&api.get(&format!("apps/{app_id}")), found, &document).unwrap();
    }
    // The check itself finds what is wrong.
    assert!(check(&serde_json::json!({"code": 0}), failure, &document).is_err());
}

#[test]
fn the_page_is_whole_in_itself() {
    let broker = Broker::start();
    let api = broker.api();
    let page = api.call("GET", "docs", "");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    for outside in ["http://", "https://", "src=", "@import", " url("] {
        assert!(!page.body.contains(outside), "{outside}");
    }
    assert!(page.body.contains("default-src 'none'"));
    assert_eq!(api.raw("GET", "/api/v3/docs", "", "").status, 401, "like the rest of the API");
}

#[test]
fn a_browser_shows_every_route() {
    let Some(chromium) = chromium() else {
        eprintln!("not checked in a browser: there is no chromium");
        return;
    };
    let broker = Broker::start();
    let api = broker.api();
    let document = api.call("GET", "openapi.json", "").json();
    let profile = broker.folder().join("profile");
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("http://admin:public@{}/api/v3/docs#stop_listener", api.address))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let mut routes = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values().filter(|it| it.is_object()) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(dom.contains(&format!("id=\"{id}\"")), "{path} {id}:\n{dom}\n{errors}");
            routes += 1;
        }
    }
    assert!(dom.contains(&format!(">{routes} routes</p>")), "{dom}");
    // The one that was asked for is open, with its parameters and the whole path.
    let open =
        dom.split("<details ").find(|part| part.starts_with("id=\"stop_listener\"")).unwrap();
    assert!(open.split('>').next().unwrap().contains("open"), "{open}");
    assert!(open.contains("Name of the node, such as"), "{open}");
    assert!(open.contains("/api/v3/nodes/{node}/listeners/{id}/stop"), "{open}");
    // Fields of a body and of an answer.
    for field in ["app_id", "data[].listeners[].shutdown_count", "targets"] {
        assert!(dom.contains(&format!("<code>{field}</code>")), "{field}");
    }
}

/// Holds a value against a schema, as far as ours go.
fn check(value: &Value, schema: &Value, document: &Value) -> Result<(), String> {
    // Whatever it is.
    if schema.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(());
    }
    if let Some(reference) = schema["$ref"].as_str() {
        return check(value, document.pointer(&reference[1..]).unwrap(), document);
    }
    if let Some(alternatives) = schema["oneOf"].as_array() {
        let results: Vec<_> = alternatives.iter().map(|one| check(value, one, document)).collect();
        return match results.iter().filter(|result| result.is_ok()).count() {
            1 => Ok(()),
            n => Err(format!("{n} of oneOf fit {value}: {results:?}")),
        };
    }
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        return Err(format!("{value} is not {constant}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{value} is none of {words:?}"));
    }
    let types: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let is = |name: &&str| match *name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("a type {other}"),
    };
    if !types.is_empty() && !types.iter().any(is) {
        return Err(format!("{value} is not of {types:?}"));
    }
    if let Some(minimum) = schema["minimum"].as_f64()
        && value.as_f64().is_some_and(|number| number < minimum)
    {
        return Err(format!("{value} is less than {minimum}"));
    }
    for item in value.as_array().into_iter().flatten() {
        check(item, &schema["items"], document)?;
    }
    let Some(fields) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            return Err(format!("{name} is missing"));
        }
    }
    let others = &schema["additionalProperties"];
    for (name, field) in fields {
        match schema["properties"].get(name) {
            Some(described) => check(field, described, document),
            None if others.is_object() => check(field, others, document),
            // An answer has no more than is told of it.
            None => Err("not described".into()),
        }
        .map_err(|problem| format!("{name}: {problem}"))?;
    }
    Ok(())
}

fn chromium() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&paths).collect();
    ["chromium", "chromium-browser"]
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.exists())
}
