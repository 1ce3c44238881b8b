//! `actions`: what rules can do with what they select.

use super::Api;
use super::rule_shapes::ActionType;
use super::rules::{PLUGIN, not_found};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] = &[
    get("list_actions", "/actions/", "A list of all actions", list)
        .of_plugin(PLUGIN)
        .asks(&[("for", "Those for this event: `message.publish`; or for `$messages`, `$events`.")])
        .lists::<ActionType>(),
    get("show_action", "/actions/:name", "Show an action", one)
        .of_plugin(PLUGIN)
        .answers::<ActionType>(),
];

fn list(api: &Api, request: &Request) -> Answer {
    Reply::data(api.rules.action_types(request.query("for"))?)
}

fn one(api: &Api, request: &Request) -> Answer {
    Reply::data(api.rules.action_type(request.segment("name")).ok_or_else(not_found)?)
}
