//! Keys of who may connect: `[auth]`.

use broker_plugins::{AccountHash, Subject};

use super::super::accounts::Account;
use super::super::field::Field;
use super::super::value::Kind;
use super::root::key;
use super::{Access, Goes, Key, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "auth.scram_sha_256.users",
        Kind::Map(
            "a password, or the stored form \"SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>\"",
        ),
        field!(scram_users),
        "Users of the authentication method SCRAM-SHA-256 of MQTT 5.0 by name; without any it is not offered.",
    ),
    key(
        "auth.client.password_hash",
        Kind::Word(&AccountHash::WORDS),
        field!(client_hash),
        "How emqx_auth_clientid keeps new passwords; those that are kept stay as they are. argon2id, bcrypt and pbkdf2 cost a login tens of milliseconds, the first time after a start.",
    ),
    account(
        "clientid",
        Subject::ClientId,
        field!(name),
        "Client id of an account that is made when emqx_auth_clientid is loaded and has none of this name.",
    ),
    account("password", Subject::ClientId, field!(password), "Its password."),
    key(
        "auth.user.password_hash",
        Kind::Word(&AccountHash::WORDS),
        field!(user_hash),
        "The same for emqx_auth_username.",
    ),
    account(
        "username",
        Subject::Username,
        field!(name),
        "User name of an account that is made when emqx_auth_username is loaded and has none of this name.",
    ),
    account("password", Subject::Username, field!(password), "Its password."),
];

const fn account(
    name: &'static str,
    subject: Subject,
    access: Access<Account>,
    help: &'static str,
) -> Key {
    let kind = Kind::Text("a text of 1 to 65535 bytes");
    Key { name, kind, unset: None, goes: Goes::Account { subject, access }, help }
}
