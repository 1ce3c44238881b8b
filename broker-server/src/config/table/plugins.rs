//! Keys of the plugins: `[plugins]`.

use super::super::field::Field;
use super::super::value::Kind;
use super::root::key;
use super::{Access, Key, field};

pub(super) static KEYS: &[Key] = &[key(
    "plugins.loaded",
    Kind::List("the name of a plugin, such as \"emqx_retainer\""),
    field!(plugins_loaded),
    "Plugins that are loaded until the API or broker-cli says otherwise, in the order in which they are asked.",
)];
