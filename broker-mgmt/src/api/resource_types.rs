//! `resource_types`: kinds of resources, with the resources and the actions of each.

use super::Api;
use super::rule_shapes::{ActionType, Resource, ResourceType};
use super::rules::{PLUGIN, not_found};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] = &[
    // Deviates: the document's sample shows resources; its text, and its sample of one type, say types.
    get("list_resource_types", "/resource_types/", "List all resource types", |api, _| {
        Reply::data(api.rules.resource_types())
    })
    .of_plugin(PLUGIN)
    .lists::<ResourceType>(),
    get("show_resource_type", "/resource_types/:name", "Show a resource type", one)
        .of_plugin(PLUGIN)
        .answers::<ResourceType>(),
    get(
        "list_resources_by_type",
        "/resource_types/:type/resources",
        "List all resources of a resource type",
        |api, request| Reply::data(api.rules.resources(Some(request.segment("type")))),
    )
    .of_plugin(PLUGIN)
    .lists::<Resource>(),
    get(
        "list_actions_by_type",
        "/resource_types/:type/actions",
        "List all actions of a resource type",
        |api, request| Reply::data(api.rules.action_types_of(request.segment("type"))),
    )
    .of_plugin(PLUGIN)
    // The document shows it, and its list of the API does not.
    .unlisted()
    .lists::<ActionType>(),
];

fn one(api: &Api, request: &Request) -> Answer {
    Reply::data(api.rules.resource_type(request.segment("name")).ok_or_else(not_found)?)
}
