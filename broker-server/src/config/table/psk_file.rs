//! Keys of `emqx_psk_file`: `[psk.file]`.

use super::super::field::{Field, refuse};
use super::super::value::{Kind, Value};
use super::listener::PATH;
use super::root::key;
use super::{Access, Goes, Key, checked, field};

pub(super) static KEYS: &[Key] = &[
    Key {
        name: "psk.file.path",
        kind: Kind::Text(PATH),
        unset: Some("none"),
        goes: Goes::Root(field!(psk_file.path)),
        help: "The file with identities and secrets of TLS-PSK, one identity:secret in a line; emqx_psk_file cannot be loaded without.",
    },
    key(
        "psk.file.delimiter",
        Kind::Text("a text of 1 to 16 bytes"),
        checked!(check_delimiter, psk_file.delimiter),
        "What stands between the two.",
    ),
];

fn check_delimiter(text: &str) -> Result<(), String> {
    let is_one = (1..=16).contains(&text.len()) && !text.contains('\n');
    if is_one { Ok(()) } else { Err("parts no line".into()) }
}
