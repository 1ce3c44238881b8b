//! `rule_events`: what rules can be about.

use broker_rules::event;

use super::rule_shapes::RuleEvent;
use super::rules::PLUGIN;
use crate::reply::Reply;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] =
    &[get("list_events", "/rule_events/", "List all events with detailed info", |_, _| {
        let events = event::descriptions();
        Reply::data(events.iter().map(event::EventDescription::to_json).collect::<Vec<_>>())
    })
    .of_plugin(PLUGIN)
    .lists::<RuleEvent>()];
