//! `acl`: the file of access rules, read again, and the answers that connections remember.

use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, put};

pub(crate) const ROUTES: &[Route] = &[
    put("reload_acl", "/nodes/:node/acl/reload", "Read the file of access rules again", reload)
        .unlisted()
        .answers::<Reloaded>(),
    delete("clean_acl_cache", "/nodes/:node/acl-cache", "Ask about all rights anew", clean)
        .unlisted(),
];

/// What was read.
#[derive(Serialize, ToSchema)]
struct Reloaded {
    /// Rules in the file.
    rules: usize,
}

fn reload(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let no_file = || ApiError::new(Code::Unknown, "no acl_file is configured");
    let acl = api.acl.as_ref().ok_or_else(no_file)?;
    let rules = acl.reload().map_err(|why| ApiError::new(Code::Unknown, why))?;
    log::info!("access rules read again rules={rules} by={:?}", request.principal.app_id);
    Reply::data(Reloaded { rules })
}

fn clean(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    api.broker.forget_rights();
    log::info!("rights are asked about anew by={:?}", request.principal.app_id);
    Reply::ok()
}
