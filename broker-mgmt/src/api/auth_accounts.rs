//! `auth_clientid` and `auth_username`: accounts of clients; there only while their plugin is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiError, Code};
use crate::ports::{AccountError, Accounts};
use crate::reply::{Answer, Reply};
use crate::route::{Route, delete, get, post, put};

pub(crate) const ROUTES: &[Route] = &[
    get("list_clientid", "/auth_clientid", "List available clientid in the cluster", |api, _| {
        Reply::data(api.client_ids.names())
    })
    .of_plugin(CLIENT_ID)
    .lists::<String>(),
    get(
        "lookup_clientid",
        "/auth_clientid/:clientid",
        "Lookup clientid in the cluster",
        |api, it| {
            let clientid = known(&*api.client_ids, it.segment("clientid"))?;
            Reply::data(ClientIdAccount { clientid, password: HIDDEN })
        },
    )
    .of_plugin(CLIENT_ID)
    .answers::<ClientIdAccount<'_>>(),
    post("add_clientid", "/auth_clientid", "Add clientid in the cluster", |api, it| {
        let NewClientId { clientid, password } = it.body()?;
        done(api.client_ids.add(&clientid, &password))
    })
    .of_plugin(CLIENT_ID)
    .takes::<NewClientId>(),
    put(
        "update_clientid",
        "/auth_clientid/:clientid",
        "Update clientid in the cluster",
        |api, it| {
            let NewPassword { password } = it.body()?;
            done(api.client_ids.set_password(it.segment("clientid"), &password))
        },
    )
    .of_plugin(CLIENT_ID)
    .takes::<NewPassword>(),
    delete(
        "delete_clientid",
        "/auth_clientid/:clientid",
        "Delete clientid in the cluster",
        |api, it| done(api.client_ids.remove(it.segment("clientid"))),
    )
    .of_plugin(CLIENT_ID),
    get("list_username", "/auth_username", "List available username in the cluster", |api, _| {
        Reply::data(api.usernames.names())
    })
    .of_plugin(USERNAME)
    .lists::<String>(),
    get(
        "lookup_username",
        "/auth_username/:username",
        "Lookup username in the cluster",
        |api, it| {
            let username = known(&*api.usernames, it.segment("username"))?;
            Reply::data(UsernameAccount { username, password: HIDDEN })
        },
    )
    .of_plugin(USERNAME)
    .answers::<UsernameAccount<'_>>(),
    post("add_username", "/auth_username", "Add username in the cluster", |api, it| {
        let NewUsername { username, password } = it.body()?;
        done(api.usernames.add(&username, &password))
    })
    .of_plugin(USERNAME)
    .takes::<NewUsername>(),
    put(
        "update_username",
        "/auth_username/:username",
        "Update username in the cluster",
        |api, it| {
            let NewPassword { password } = it.body()?;
            done(api.usernames.set_password(it.segment("username"), &password))
        },
    )
    .of_plugin(USERNAME)
    .takes::<NewPassword>(),
    delete(
        "delete_username",
        "/auth_username/:username",
        "Delete username in the cluster",
        |api, it| done(api.usernames.remove(it.segment("username"))),
    )
    .of_plugin(USERNAME),
];

/// An account to be made.
#[derive(Deserialize, ToSchema)]
struct NewClientId {
    clientid: String,
    password: String,
}

/// An account to be made.
#[derive(Deserialize, ToSchema)]
struct NewUsername {
    username: String,
    password: String,
}

/// The password that an account gets.
#[derive(Deserialize, ToSchema)]
struct NewPassword {
    password: String,
}

/// An account.
#[derive(Serialize, ToSchema)]
struct ClientIdAccount<'a> {
    clientid: &'a str,
    /// Not told.
    password: &'static str,
}

/// An account.
#[derive(Serialize, ToSchema)]
struct UsernameAccount<'a> {
    username: &'a str,
    /// Not told.
    password: &'static str,
}

fn known<'a>(accounts: &dyn Accounts, name: &'a str) -> Result<&'a str, ApiError> {
    if accounts.has(name) { Ok(name) } else { Err(ApiError::new(Code::Unknown, "not_found")) }
}

fn done(result: Result<(), AccountError>) -> Answer {
    match result {
        Ok(()) => Reply::ok(),
        Err(AccountError::Parameter(problem)) => Err(ApiError::new(Code::BadParameter, problem)),
        Err(AccountError::Other(problem)) => Err(ApiError::new(Code::Unknown, problem)),
    }
}

const CLIENT_ID: &str = "emqx_auth_clientid";
const USERNAME: &str = "emqx_auth_username";
/// The original shows the hash.
const HIDDEN: &str = "******";
