//! Secrets in parameters and configurations: shown as stars, and stars that come back stand for what was there.

use serde_json::{Map as Object, Value as Json};

use super::spec::ActionSpec;

/// What a secret is shown as.
const STARS: &str = "******";

/// The object with stars in place of secrets.
pub(super) fn masked(object: &Object<String, Json>) -> Object<String, Json> {
    object.iter().map(|(key, value)| (key.clone(), mask(key, value))).collect()
}

fn mask(key: &str, value: &Json) -> Json {
    match value {
        Json::Object(object) => masked(object).into(),
        Json::Array(list) => list.iter().map(|item| mask(key, item)).collect(),
        Json::Null => Json::Null,
        _ if is_secret(key) => STARS.into(),
        Json::String(text) => without_userinfo(text).map_or_else(|| value.clone(), Json::String),
        _ => value.clone(),
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "token", "authorization"].iter().any(|word| key.contains(word))
}

/// The URL with stars in place of name and password; `None` if it has none.
fn without_userinfo(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let at = rest[..end].rfind('@')?;
    Some(format!("{scheme}://{STARS}{}", &rest[at..]))
}

/// Puts secrets back where the new object has what the old one is shown as.
pub(super) fn restore(new: &mut Object<String, Json>, old: &Object<String, Json>) {
    for (key, value) in new {
        let Some(old) = old.get(key) else { continue };
        match (value, old) {
            (Json::Object(value), Json::Object(old)) => restore(value, old),
            (value, old) if *value == mask(key, old) => *value = old.clone(),
            _ => {}
        }
    }
}

/// The same for actions: each has the secrets of the one that stood in its place, if that was of its type.
pub(super) fn restore_actions(new: &mut [ActionSpec], old: &[ActionSpec]) {
    for (new, old) in new.iter_mut().zip(old).filter(|(new, old)| new.name == old.name) {
        restore(&mut new.params, &old.params);
        restore_actions(&mut new.fallbacks, &old.fallbacks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(json: Json) -> Object<String, Json> {
        let Json::Object(object) = json else { panic!() };
        object
    }

    #[test]
    fn secrets_are_stars_and_stars_are_secrets() {
        let old = object(json!({
            "url": "https://u:p@host:1/a@b", "password": "p", "clientSecret": 7, "plain": "x",
            "headers": {"Authorization": "Basic x", "accept": "y"}, "tokens": ["a", "b"], "token": null,
        }));
        let shown = json!({
            "url": "https://******@host:1/a@b", "password": "******", "clientSecret": "******", "plain": "x",
            "headers": {"Authorization": "******", "accept": "y"}, "tokens": ["******", "******"], "token": null,
        });
        assert_eq!(Json::Object(masked(&old)), shown);
        let mut new = object(shown);
        new["plain"] = json!("changed");
        restore(&mut new, &old);
        assert_eq!(new["plain"], "changed");
        new["plain"] = json!("x");
        assert_eq!(new, old);
        let mut new = object(json!({"url": "https://******@other", "password": "new"}));
        restore(&mut new, &old);
        assert_eq!(Json::Object(new), json!({"url": "https://******@other", "password": "new"}));
    }
}
