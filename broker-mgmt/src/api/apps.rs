//! `apps`: applications, who may use the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use crate::applications::{Application, ChangeError, Role};
use crate::auth::SECRET_MAX;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get, post, put};

pub(crate) const ROUTES: &[Route] = &[
    post("add_app", "/apps/", "Add Application", add).takes::<NewApp>().answers::<NewSecret>(),
    delete("del_app", "/apps/:appid", "Delete Application", remove),
    get("list_apps", "/apps/", "List Applications", list).lists::<AppInfo>(),
    get("lookup_app", "/apps/:appid", "Lookup Application", one).answers::<FoundApp>(),
    put("update_app", "/apps/:appid", "Update Application", update).takes::<ChangedApp>(),
];

/// An application to be made.
#[derive(Deserialize, ToSchema)]
struct NewApp {
    /// Names it in the Basic authentication: 1 to 256 bytes, no colon, no control characters.
    app_id: String,
    name: String,
    /// 1 to 1024 bytes; without one it is made up, or `management.application.default_secret`.
    secret: Option<String>,
    desc: Option<String>,
    /// False refuses it; true by default.
    status: Option<bool>,
    /// Unix seconds, or `undefined` for never, which is the default.
    #[serde(default, deserialize_with = "expiry")]
    #[schema(value_type = Option<u64>)]
    expired: Option<Expiry>,
    /// `admin`, the default, or `viewer`, which may only read.
    role: Option<Role>,
}

/// What changes; the rest stays.
#[derive(Deserialize, ToSchema)]
struct ChangedApp {
    name: Option<String>,
    desc: Option<String>,
    status: Option<bool>,
    /// Unix seconds, or `undefined` for never.
    #[serde(default, deserialize_with = "expiry")]
    #[schema(value_type = Option<u64>)]
    expired: Option<Expiry>,
    role: Option<Role>,
    /// 1 to 1024 bytes.
    secret: Option<String>,
}

/// The secret of an application that was made, shown this once.
#[derive(Serialize, ToSchema)]
struct NewSecret {
    secret: String,
}

/// An application.
#[derive(Serialize, ToSchema)]
struct AppInfo {
    app_id: String,
    name: String,
    /// `******` where one was asked for; left out of the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'static str>,
    desc: String,
    status: bool,
    /// Unix seconds, or the text `undefined`.
    expired: Expires,
    role: Role,
}

/// An application; an empty list where there is none of the id, as the original has it.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum FoundApp {
    One(AppInfo),
    None(Vec<AppInfo>),
}

/// Unix seconds, or the text `undefined`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Expires {
    At(u64),
    Never(&'static str),
}

/// When an application expires, as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expiry(Option<u64>);

fn add(api: &Api, request: &Request) -> Answer {
    let new: NewApp = request.body()?;
    check_id(&new.app_id)?;
    let texts = [("name", Some(&new.name)), ("desc", new.desc.as_ref())];
    check_texts(texts)?;
    let secret = match new.secret {
        Some(secret) => {
            check_secret(&secret)?;
            secret
        }
        None => api.applications.new_secret()?,
    };
    let mut app = Application::new(&new.name, &secret)?;
    app.desc = new.desc.unwrap_or_default();
    app.status = new.status.unwrap_or(true);
    app.expired = new.expired.and_then(|Expiry(at)| at);
    app.role = new.role.unwrap_or_default();
    api.applications.add(&new.app_id, app)?;
    Reply::data(NewSecret { secret })
}

fn remove(api: &Api, request: &Request) -> Answer {
    api.applications.remove(request.segment("appid"))?;
    Reply::ok()
}

fn list(api: &Api, _: &Request) -> Answer {
    let rows = api.applications.list().into_iter().map(|(id, app)| info(id, app));
    Reply::data(rows.collect::<Vec<_>>())
}

fn one(api: &Api, request: &Request) -> Answer {
    let app_id = request.segment("appid");
    Reply::data(match api.applications.one(app_id) {
        Some(app) => FoundApp::One(AppInfo { secret: Some("******"), ..info(app_id.into(), app) }),
        None => FoundApp::None(Vec::new()),
    })
}

fn update(api: &Api, request: &Request) -> Answer {
    let changed: ChangedApp = request.body()?;
    check_texts([("name", changed.name.as_ref()), ("desc", changed.desc.as_ref())])?;
    if let Some(secret) = &changed.secret {
        check_secret(secret)?;
    }
    api.applications.update(request.segment("appid"), |app| {
        if let Some(secret) = &changed.secret {
            app.set_secret(secret)?;
        }
        app.name = changed.name.unwrap_or_else(|| std::mem::take(&mut app.name));
        app.desc = changed.desc.unwrap_or_else(|| std::mem::take(&mut app.desc));
        app.status = changed.status.unwrap_or(app.status);
        app.expired = changed.expired.map_or(app.expired, |Expiry(at)| at);
        app.role = changed.role.unwrap_or(app.role);
        Ok(())
    })?;
    Reply::ok()
}

fn info(app_id: String, app: Application) -> AppInfo {
    AppInfo {
        app_id,
        name: app.name,
        secret: None,
        desc: app.desc,
        status: app.status,
        expired: app.expired.map_or(Expires::Never("undefined"), Expires::At),
        role: app.role,
    }
}

/// A colon would end it in the header, a control character cannot be sent there.
fn check_id(app_id: &str) -> Result<(), ApiError> {
    let fits = (1..=ID_MAX).contains(&app_id.len());
    if fits && !app_id.chars().any(|c| c == ':' || c.is_control()) {
        return Ok(());
    }
    let problem = format!("must be 1 to {ID_MAX} bytes without colon and control characters");
    Err(ApiError::bad("app_id", problem))
}

fn check_texts(texts: [(&str, Option<&String>); 2]) -> Result<(), ApiError> {
    match texts.iter().find(|(_, text)| text.is_some_and(|text| text.len() > TEXT_MAX)) {
        Some((name, _)) => Err(ApiError::bad(name, format!("must be at most {TEXT_MAX} bytes"))),
        None => Ok(()),
    }
}

fn check_secret(secret: &str) -> Result<(), ApiError> {
    if (1..=SECRET_MAX).contains(&secret.len()) {
        return Ok(());
    }
    Err(ApiError::bad("secret", format!("must be 1 to {SECRET_MAX} bytes")))
}

/// A number or the text that the list shows for none.
fn expiry<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Expiry>, D::Error> {
    match serde_json::Value::deserialize(from)? {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(text) if text == "undefined" => Ok(Some(Expiry(None))),
        value => match value.as_u64() {
            Some(at) => Ok(Some(Expiry(Some(at)))),
            None => Err(serde::de::Error::custom("must be Unix seconds or \"undefined\"")),
        },
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        Self::new(Code::Unknown, error)
    }
}

const ID_MAX: usize = 256;
const TEXT_MAX: usize = 1_024;
