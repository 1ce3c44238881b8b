//! `users`, `auth`, `change_pwd`: users of the dashboard, which are kept whether or not there is one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use crate::auth::SECRET_MAX;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get, post, put};
use crate::users::UserError;

pub(crate) const ROUTES: &[Route] = &[
    post("auth_user", "/auth", "Authenticate an user", authenticate).takes::<Login>(),
    post("create_user", "/users/", "Create an user", create).takes::<NewUser>(),
    get("list_users", "/users/", "List users", list).lists::<UserRow>(),
    put("update_user", "/users/:name", "Update an user", update).takes::<ChangedUser>(),
    delete("delete_user", "/users/:name", "Delete an user", remove),
    put("change_pwd", "/change_pwd/:username", "Change password for an user", change_password)
        .takes::<NewUserPassword>(),
];

/// Who wants to be let in.
#[derive(Deserialize, ToSchema)]
struct Login {
    username: Option<String>,
    password: Option<String>,
}

/// A user to be made.
#[derive(Deserialize, ToSchema)]
struct NewUser {
    /// 1 to 256 bytes, no colon, no control characters.
    username: Option<String>,
    /// 1 to 1024 bytes.
    password: Option<String>,
    tags: Option<String>,
}

/// What changes; one of them at least.
#[derive(Deserialize, ToSchema)]
struct ChangedUser {
    tags: Option<String>,
    /// 1 to 1024 bytes.
    password: Option<String>,
}

/// A user's own password.
#[derive(Deserialize, ToSchema)]
struct NewUserPassword {
    old_pwd: String,
    /// 1 to 1024 bytes.
    new_pwd: String,
}

/// A user.
#[derive(Serialize, ToSchema)]
struct UserRow {
    username: String,
    tags: String,
}

fn authenticate(api: &Api, request: &Request) -> Answer {
    let login: Login = request.body()?;
    let username = given(login.username, "Username undefined")?;
    let password = given(login.password, "Password undefined")?;
    api.users.check(&username, &password, request.from)?;
    Reply::ok()
}

fn create(api: &Api, request: &Request) -> Answer {
    let new: NewUser = request.body()?;
    let undefined = "Username or password undefined";
    let username = given(new.username, undefined)?;
    let password = given(new.password, undefined)?;
    let tags = new.tags.unwrap_or_default();
    check_name(&username)?;
    check_password("password", &password)?;
    check_tags(&tags)?;
    api.users.add(&username, &password, &tags)?;
    Reply::ok()
}

fn list(api: &Api, _: &Request) -> Answer {
    let row = |(username, tags)| UserRow { username, tags };
    Reply::data(api.users.list().into_iter().map(row).collect::<Vec<_>>())
}

fn update(api: &Api, request: &Request) -> Answer {
    let ChangedUser { tags, password } = request.body()?;
    if tags.is_none() && password.is_none() {
        return Err(ApiError::new(Code::Missing, "tags or password: must be there"));
    }
    tags.as_deref().map_or(Ok(()), check_tags)?;
    password.as_deref().map_or(Ok(()), |password| check_password("password", password))?;
    let name = request.segment("name");
    match api.users.update(name, tags.as_deref(), password.as_deref()) {
        Ok(()) => Reply::ok(),
        // The original has another text here.
        Err(UserError::Unknown) => Err(ApiError::new(Code::Unknown, "username_not_found")),
        Err(error) => Err(error.into()),
    }
}

fn remove(api: &Api, request: &Request) -> Answer {
    api.users.remove(request.segment("name"))?;
    Reply::ok()
}

fn change_password(api: &Api, request: &Request) -> Answer {
    let NewUserPassword { old_pwd, new_pwd } = request.body()?;
    check_password("new_pwd", &new_pwd)?;
    let name = request.segment("username");
    api.users.check(name, &old_pwd, request.from)?;
    api.users.update(name, None, Some(&new_pwd))?;
    Reply::ok()
}

/// A text that is there and not empty, or the original's complaint.
fn given(text: Option<String>, problem: &str) -> Result<String, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    text.ok_or_else(|| ApiError::new(Code::Unknown, problem))
}

/// As the id of an application: both are names of HTTP's Basic authentication.
fn check_name(name: &str) -> Result<(), ApiError> {
    if name.len() <= NAME_MAX && !name.chars().any(|c| c == ':' || c.is_control()) {
        return Ok(());
    }
    let problem = format!("must be 1 to {NAME_MAX} bytes without colon and control characters");
    Err(ApiError::bad("username", problem))
}

fn check_password(name: &str, password: &str) -> Result<(), ApiError> {
    if (1..=SECRET_MAX).contains(&password.len()) {
        return Ok(());
    }
    Err(ApiError::bad(name, format!("must be 1 to {SECRET_MAX} bytes")))
}

fn check_tags(tags: &str) -> Result<(), ApiError> {
    if tags.len() <= TAGS_MAX {
        return Ok(());
    }
    Err(ApiError::bad("tags", format!("must be at most {TAGS_MAX} bytes")))
}

impl From<UserError> for ApiError {
    fn from(error: UserError) -> Self {
        let status = if matches!(error, UserError::TooMany(_)) { 429 } else { 200 };
        Self::new(Code::Unknown, error).with_status(status)
    }
}

const NAME_MAX: usize = 256;
const TAGS_MAX: usize = 1_024;
