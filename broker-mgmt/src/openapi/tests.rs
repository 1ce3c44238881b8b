//! The description is committed, and whole in itself.

use std::fs;
use std::path::Path;

use super::*;

#[test]
fn the_committed_description_is_this_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(&path, text()).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(
        committed == text(),
        "docs/openapi.json is another: write it anew with UPDATE_OPENAPI=1"
    );
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref") {
                    let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                fields.values().for_each(|value| check(value, document));
            }
            Value::Array(items) => items.iter().for_each(|value| check(value, document)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
}

#[test]
fn every_route_is_there_once() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let described: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
    // `/status` is no route, and has servers of its own.
    assert_eq!(described - 2, api::routes().count());
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(parameters) = operation["parameters"].as_array() else { continue };
            let of_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let names = of_path.filter_map(|parameter| parameter["name"].as_str());
            let named: Vec<_> = names.map(|name| format!("{{{name}}}")).collect();
            let places: Vec<_> = path.split('/').filter(|part| part.starts_with('{')).collect();
            assert_eq!(named, places, "{method} {path}");
        }
    }
}

#[test]
fn every_place_in_a_path_is_explained() {
    for route in api::routes() {
        for name in placeholders(route) {
            let is_known = PARAMETERS.iter().any(|(known, _)| *known == name);
            assert!(is_known, "{}: say in PARAMETERS what :{name} is", route.path);
        }
    }
}
