//! Keys of the dashboard: `[dashboard]`.

use super::super::dashboard::check_login;
use super::super::field::{Field, refuse};
use super::super::value::{Kind, Value};
use super::root::key;
use super::{Access, Key, checked, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "dashboard.default_user.login",
        Kind::Text("a name of 1 to 256 bytes without colon"),
        checked!(check_login, dashboard.login),
        "Name of the user of the dashboard that is made at a start that finds none of this name.",
    ),
    key(
        "dashboard.default_user.password",
        Kind::Text("a text of 1 to 1024 bytes"),
        field!(dashboard.password),
        "Its password.",
    ),
];
