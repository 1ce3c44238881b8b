//! `banned`: clients, users and addresses that may not connect.

use broker_core::{Ban, Who};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get, post};
use crate::saving;
use crate::text::{Maybe, or_undefined};

pub(crate) const ROUTES: &[Route] = &[
    get("list_banned", "/banned/", "List banned", list).pages::<BannedInfo>(),
    post("create_banned", "/banned/", "Create banned", add).takes::<NewBan>().answers::<NewBan>(),
    delete("delete_banned", "/banned/:who", "Delete banned", remove)
        .asks(&[("as", "`client_id`, `username` or `ip_address`; here or in the body.")])
        .may_take::<Lifted>(),
];

/// A ban to be made; answered as it was sent.
#[derive(Deserialize, Serialize, ToSchema)]
struct NewBan {
    /// A client id, a user name, an address or a block of addresses such as `10.0.0.0/8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<String>,
    /// `client_id`, `username` or `ip_address`.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    desc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// Unix seconds; without it the ban does not end.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

/// Which ban is lifted, if the query does not say it.
#[derive(Deserialize, Default, ToSchema)]
struct Lifted {
    /// `client_id`, `username` or `ip_address`.
    #[serde(rename = "as")]
    kind: Option<String>,
}

/// A ban. What was not said is the text `undefined`.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct BannedInfo {
    who: String,
    /// `client_id`, `username` or `ip_address`.
    #[serde(rename = "as")]
    kind: &'static str,
    reason: String,
    desc: String,
    by: String,
    /// Unix seconds, or the text `undefined`.
    until: Maybe<u64>,
}

fn list(api: &Api, request: &Request) -> Answer {
    let page = request.page(api)?;
    let bans = api.broker.bans_page(&request.page_of_list(page), api.now());
    let rows: Vec<_> = bans.rows.into_iter().map(info).collect();
    Reply::page(&rows, page, bans.count)
}

fn add(api: &Api, request: &Request) -> Answer {
    let new: NewBan = request.body()?;
    let (Some(who), Some(kind)) = (&new.who, &new.kind) else {
        return Err(missing("'who', 'as'"));
    };
    let who = parse(who, kind)?;
    let texts = [("reason", &new.reason), ("desc", &new.desc), ("by", &new.by)];
    for (name, text) in texts {
        if text.as_ref().is_some_and(|text| text.len() > TEXT_MAX) {
            return Err(ApiError::bad(name, format_args!("must be at most {TEXT_MAX} bytes")));
        }
    }
    let ban = Ban {
        reason: new.reason.clone(),
        desc: new.desc.clone(),
        by: new.by.clone(),
        // What no clock reaches is never.
        until_ms: new.until.map_or(u64::MAX, |until| until.saturating_mul(1_000)),
    };
    let saved = api.broker.ban(&who, ban, api.now().wall_ms);
    saving::wait(&api.broker, saved)?;
    Reply::data(new)
}

fn remove(api: &Api, request: &Request) -> Answer {
    let kind = match request.query("as") {
        Some(kind) => Some(kind.to_owned()),
        None => request.body_if_any::<Lifted>()?.kind,
    };
    let kind = kind.ok_or_else(|| missing("'as'"))?;
    let who = parse(request.segment("who"), &kind)?;
    if let Some(saved) = api.broker.unban(&who) {
        saving::wait(&api.broker, saved)?;
    }
    Reply::ok()
}

fn parse(who: &str, kind: &str) -> Result<Who, ApiError> {
    if who.len() > WHO_MAX {
        return Err(ApiError::bad("who", format_args!("must be at most {WHO_MAX} bytes")));
    }
    match kind {
        "client_id" => Ok(Who::ClientId(who.into())),
        "username" => Ok(Who::Username(who.into())),
        "ip_address" => Who::at(who).map_err(|error| ApiError::bad("who", error)),
        _ => {
            let message = "value of 'as' must be one of: ['client_id', 'username', 'ip_address']";
            Err(ApiError::new(Code::BadParameter, message))
        }
    }
}

fn info((who, ban): (Who, Ban)) -> BannedInfo {
    let (kind, who) = match who {
        Who::ClientId(id) => ("client_id", id.into()),
        Who::Username(name) => ("username", name.into()),
        Who::Address(address) => ("ip_address", address.to_string()),
        Who::Network(block) => ("ip_address", block.to_string()),
    };
    let until = (ban.until_ms < u64::MAX).then_some(ban.until_ms / 1_000);
    BannedInfo {
        who,
        kind,
        reason: or_undefined(ban.reason),
        desc: or_undefined(ban.desc),
        by: or_undefined(ban.by),
        until: until.into(),
    }
}

/// As the original says it, whichever of them is missing.
fn missing(names: &str) -> ApiError {
    ApiError::new(Code::Missing, format_args!("missing mandatory params: [{names}]"))
}

/// The longest Client Identifier or User Name that MQTT has.
const WHO_MAX: usize = 65_535;
const TEXT_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_said_of_a_ban_is_undefined() {
        let row = info((Who::at("10.1.2.3/8").unwrap(), Ban::until(u64::MAX)));
        let json = serde_json::to_value(row).unwrap();
        let expected = serde_json::json!({
            "who": "10.0.0.0/8", "as": "ip_address", "reason": "undefined", "desc": "undefined",
            "by": "undefined", "until": "undefined",
        });
        assert_eq!(json, expected);
        let ban = Ban { reason: Some(String::new()), by: Some("me".into()), ..Ban::until(7_999) };
        let row = info((Who::Username("u".into()), ban));
        assert_eq!((row.kind, &*row.reason, &*row.by), ("username", "", "me"));
        assert_eq!(row.until, Maybe::Some(7));
    }
}
