//! Erlang's terms, as `~0p` prints them.

use std::fmt::Write as _;

use serde_json::Value;

use super::atom;

/// What keys of maps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Binaries, as in JSON that was decoded.
    Binaries,
    /// Atoms, as in a specification of parameters, where types and formats are atoms too.
    Atoms,
}

/// `#{<<"url">> => <<"http://h">>}` of `{"url": "http://h"}`.
pub(crate) fn term(value: &Value, keys: Keys) -> String {
    let mut text = String::new();
    write(&mut text, value, keys);
    text
}

fn write(to: &mut String, value: &Value, keys: Keys) {
    match value {
        Value::Null => to.push_str("null"),
        Value::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => {
            let _ = write!(to, "{number}");
        }
        Value::String(text) => to.push_str(&binary(text)),
        Value::Array(list) => {
            to.push('[');
            for (at, item) in list.iter().enumerate() {
                to.push_str(if at == 0 { "" } else { "," });
                write(to, item, keys);
            }
            to.push(']');
        }
        Value::Object(map) => {
            to.push_str("#{");
            for (at, (key, value)) in map.iter().enumerate() {
                to.push_str(if at == 0 { "" } else { "," });
                match keys {
                    Keys::Binaries => to.push_str(&binary(key)),
                    Keys::Atoms => to.push_str(&atom(key)),
                }
                to.push_str(" => ");
                match value {
                    Value::String(word) if keys == Keys::Atoms && is_word(key) => {
                        to.push_str(&atom(word));
                    }
                    value => write(to, value, keys),
                }
            }
            to.push('}');
        }
    }
}

/// Whether a key of a specification has an atom.
fn is_word(key: &str) -> bool {
    key == "type" || key == "format"
}

/// A binary: as a string if all of it is printable in Latin-1, else byte by byte.
fn binary(text: &str) -> String {
    let is_printable = |c: char| matches!(c, ' '..='~' | '\n' | '\r' | '\t');
    if !text.chars().all(is_printable) {
        let bytes: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
        return format!("<<{}>>", bytes.join(","));
    }
    let mut quoted = String::with_capacity(text.len() + 6);
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    if quoted.is_empty() { "<<>>".to_owned() } else { format!("<<\"{quoted}\">>") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_shown_as_erlang_has_it() {
        for (value, expected) in [
            (json!({}), "#{}"),
            (
                json!({"url": "http://h/\"x\"", "headers": {}, "n": 5, "f": 1.5, "list": [true, null, ""]}),
                r#"#{<<"f">> => 1.5,<<"headers">> => #{},<<"list">> => [true,null,<<>>],<<"n">> => 5,<<"url">> => <<"http://h/\"x\"">>}"#,
            ),
            (json!("ä\n"), "<<195,164,10>>"),
            (json!("a\\\n"), r#"<<"a\\\n">>"#),
        ] {
            assert_eq!(term(&value, Keys::Binaries), expected);
        }
    }

    #[test]
    fn a_specification_has_atoms() {
        let spec = json!({"$resource": {"type": "string", "required": true, "title": "Id", "format": "url"}});
        let expected = r#"#{'$resource' => #{format => url,required => true,title => <<"Id">>,type => string}}"#;
        assert_eq!(term(&spec, Keys::Atoms), expected);
    }
}
