//! Keys of who may connect: `[auth]`.

use broker_plugins::{AccountHash, JwtConfig, Subject};

use super::super::accounts::Account;
use super::super::field::{Field, refuse};
use super::super::settings::Settings;
use super::super::value::{Kind, Value};
use super::root::key;
use super::{Access, Goes, Key, checked, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "auth.scram_sha_256.users",
        Kind::Map(
            "a password, or the stored form \"SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>\"",
        ),
        field!(scram_users),
        "Users of the authentication method SCRAM-SHA-256 of MQTT 5.0 by name; without any it is not offered.",
    ),
    Key {
        name: "auth.mosquitto.password_file",
        kind: Kind::Text("the path of a file"),
        unset: Some("none"),
        goes: Goes::Root(field!(password_file)),
        help: "Users and passwords as mosquitto_passwd writes them; asked when no plugin knows the client. Who has a user name that is not in it is refused. Read at the start and at SIGHUP.",
    },
    key(
        "auth.scram_sha_512.users",
        Kind::Map(
            "a password, or the stored form \"SCRAM-SHA-512$<iterations>:<salt>$<StoredKey>:<ServerKey>\"",
        ),
        field!(scram_512_users),
        "The same for SCRAM-SHA-512; who is to have the choice stands in both.",
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
    key(
        "auth.jwt.secret",
        Kind::Text("a text that is not empty"),
        checked!(JwtConfig::check_secret, jwt.secret),
        "Key of HS256, HS384 and HS512. The default is the original's, which everybody knows: it does not count where another key is set.",
    ),
    key(
        "auth.jwt.from",
        Kind::Word(&["password", "username"]),
        field!(jwt.from),
        "Where clients send their token.",
    ),
    optional(
        "auth.jwt.pubkey",
        Kind::Text("a path"),
        "none",
        field!(jwt.pubkey),
        "PEM file with the public key, of RSA for RS and PS, of EC for ES256, ES384 and ES512.",
    ),
    optional(
        "auth.jwt.jwks",
        Kind::Text("a path or an http or https URL"),
        "none",
        field!(jwt.jwks),
        "JSON Web Key Set with public keys, a file or where it is fetched.",
    ),
    key(
        "auth.jwt.jwks_refresh_interval",
        Kind::Duration(1_000, 86_400_000),
        field!(jwt.jwks_refresh_interval_ms),
        "How often it is read again; sooner, once in 10 s at most, for a token whose key is not in it.",
    ),
    optional(
        "auth.jwt.jwks_cacertfile",
        Kind::Text("a path"),
        "none",
        field!(jwt.jwks_cacertfile),
        "CA certificates that its server is held against; those of the system without it.",
    ),
    optional(
        "auth.jwt.verify_claims",
        Kind::Map("a text that the claim must be, where %u is the user name and %c the client id"),
        "off",
        CLAIMS,
        "What else a token must say, by claim.",
    ),
    key(
        "auth.jwt.leeway",
        Kind::Seconds(0, 3_600),
        field!(jwt.leeway_s),
        "How far the clocks of issuer and broker may be apart, for exp, nbf and iat.",
    ),
];

const fn optional(
    name: &'static str,
    kind: Kind,
    unset: &'static str,
    access: Access<Settings>,
    help: &'static str,
) -> Key {
    Key { name, kind, unset: Some(unset), goes: Goes::Root(access), help }
}

const CLAIMS: Access<Settings> = Access {
    read: |settings| Field::show(&settings.jwt.verify_claims),
    write: |settings, value| {
        let claims = if value == Value::Unset { Value::Map(Vec::new()) } else { value };
        settings.jwt.verify_claims = Field::parse(claims)?;
        Ok(())
    },
};

const fn account(
    name: &'static str,
    subject: Subject,
    access: Access<Account>,
    help: &'static str,
) -> Key {
    let kind = Kind::Text("a text of 1 to 65535 bytes");
    Key { name, kind, unset: None, goes: Goes::Account { subject, access }, help }
}
