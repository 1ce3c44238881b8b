//! `resources`: what actions of rules are bound to, and whether it is there.

use broker_rules::engine::ResourceSpec;
use serde_json::{Map, Value};

use super::Api;
use super::rule_shapes::{NewResource, Resource, ResourceStatus};
use super::rules::{PLUGIN, is_test, not_found, now_ns};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get, post};
use crate::saving;

pub(crate) const ROUTES: &[Route] = &[
    get("list_resources", "/resources/", "A list of all resources", |api, _| {
        Reply::data(api.rules.resources(None))
    })
    .of_plugin(PLUGIN)
    .lists::<Resource>(),
    post("create_resource", "/resources/", "Create a resource", create)
        .of_plugin(PLUGIN)
        .waits()
        .asks(&[("test", "`true`: tries whether it could be reached and creates nothing.")])
        .takes::<NewResource>()
        .answers::<Resource>(),
    get("show_resource", "/resources/:id", "Show a resource", |api, request| {
        show(api, request.segment("id"))
    })
    .of_plugin(PLUGIN)
    .answers::<Resource>(),
    get("get_resource_status", "/resource_status/:id", "Get status of a resource", status)
        .of_plugin(PLUGIN)
        .waits()
        .answers::<ResourceStatus>(),
    post("start_resource", "/resources/:id", "Start a resource", |api, request| {
        api.rules.start_resource(request.segment("id"))?;
        Reply::ok()
    })
    .of_plugin(PLUGIN)
    .waits(),
    delete("delete_resource", "/resources/:id", "Delete a resource", remove).of_plugin(PLUGIN),
];

fn create(api: &Api, request: &Request) -> Answer {
    let body: Map<String, Value> = request.body()?;
    let spec = ResourceSpec::from_json(&body)?;
    if is_test(request, &body) {
        api.rules.test_resource(&spec)?;
        return Reply::ok();
    }
    let (id, saved) = api.rules.create_resource(spec, now_ns())?;
    saving::wait(&api.broker, saved)?;
    show(api, &id)
}

fn show(api: &Api, id: &str) -> Answer {
    Reply::data(api.rules.resource(id).ok_or_else(not_found)?)
}

fn status(api: &Api, request: &Request) -> Answer {
    Reply::data(api.rules.resource_status(request.segment("id"))?)
}

fn remove(api: &Api, request: &Request) -> Answer {
    // One that is not there is as good as deleted.
    if let Some(saved) = api.rules.delete_resource(request.segment("id"))? {
        saving::wait(&api.broker, saved)?;
    }
    Reply::ok()
}
