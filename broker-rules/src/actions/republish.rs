//! `built_in:republish_action`, and `republish` as it came to be: a message made of what a rule has selected.

use std::sync::Arc;

use broker_codec::PropertiesBuf;
use broker_core::{Message, QoS};
use bytes::Bytes;
use serde_json::Value as Json;

use super::{APP, BUILT_IN};
use crate::action::{Action, ActionError, ActionType, Progress, Run, Setup};
use crate::params::{self, ParamKind, ParamSpec};
use crate::template::{Template, check_topic};
use crate::text;

/// The two types.
pub(super) fn types() -> [Republish; 2] {
    let first = ParamSpec::required(
        "target_topic",
        ParamKind::Topic,
        "To Which Topic",
        "Repubilsh the message to which topic",
    );
    let later = [
        ParamSpec::optional(
            "target_topic",
            ParamKind::String,
            "Target Topic",
            "To which topic the message will be republished; may have ${…}",
        )
        .or("repub/to/${clientid}"),
        ParamSpec::optional(
            "target_qos",
            ParamKind::Integer(&[-1, 0, 1, 2]),
            "Target QoS",
            "The QoS of the republished message; -1 for that of the original one",
        )
        .or(0),
        ParamSpec::optional(
            "target_retain",
            ParamKind::Boolean,
            "Target Retain",
            "Whether the republished message is retained",
        )
        .or(false),
        ParamSpec::optional(
            "payload_tmpl",
            ParamKind::String,
            "Payload Template",
            "The payload of the republished message; may have ${…}",
        )
        .or("${payload}"),
    ];
    [
        Republish { name: "built_in:republish_action", params: vec![first], is_first: true },
        Republish { name: "republish", params: later.into(), is_first: false },
    ]
}

/// The type under one of its names.
pub(super) struct Republish {
    name: &'static str,
    params: Vec<ParamSpec>,
    /// As 3.1 has it: a fixed topic, all of the output as payload, QoS and RETAIN of the message.
    is_first: bool,
}

struct Republication {
    topic: Target,
    /// `None` for all of the output as JSON.
    payload: Option<Template>,
    /// `None` for that of the message.
    qos: Option<QoS>,
    retain: Option<bool>,
    max_hops: usize,
}

enum Target {
    /// A Topic Name, which was checked when the rule was made.
    Fixed(Arc<str>),
    Made(Template),
}

impl ActionType for Republish {
    fn name(&self) -> &'static str {
        self.name
    }

    fn app(&self) -> &'static str {
        APP
    }

    fn hook(&self) -> &'static str {
        "message.publish"
    }

    fn resource_type(&self) -> &'static str {
        BUILT_IN
    }

    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn description(&self) -> &'static str {
        "Republish a MQTT message to a another topic"
    }

    fn create(&self, setup: Setup<'_>) -> Result<Box<dyn Action>, String> {
        let text = |name| params::text(&self.params, setup.params, name);
        let topic = text("target_topic");
        let max_hops = setup.max_hops;
        if self.is_first {
            check_topic(topic).map_err(|error| format!("target_topic: {error}"))?;
            let topic = Target::Fixed(topic.into());
            return Ok(Box::new(Republication {
                topic,
                payload: None,
                qos: None,
                retain: None,
                max_hops,
            }));
        }
        let topic = Template::new(topic);
        topic.check_topic().map_err(|error| format!("target_topic: {error}"))?;
        let topic = match topic.as_literal() {
            Some(name) => Target::Fixed(name.into()),
            None => Target::Made(topic),
        };
        let value = |name| params::value(&self.params, setup.params, name);
        let qos = value("target_qos").and_then(Json::as_i64).unwrap_or(0);
        Ok(Box::new(Republication {
            topic,
            payload: Some(Template::new(text("payload_tmpl"))),
            qos: u8::try_from(qos).ok().and_then(QoS::from_bits),
            retain: Some(value("target_retain").and_then(Json::as_bool).unwrap_or(false)),
            max_hops,
        }))
    }
}

impl Action for Republication {
    fn run(&self, run: &mut Run<'_, '_>) -> Result<Progress, ActionError> {
        let trail = || run.publisher.trail();
        if trail().any(|rule| rule == run.rule) {
            return Err(ActionError(format!("republish loop: rule {} already ran", run.rule)));
        }
        if trail().count() >= self.max_hops {
            let max_hops = self.max_hops;
            return Err(ActionError(format!(
                "rules.max_hops: message went through {max_hops} rules"
            )));
        }
        let topic = match &self.topic {
            Target::Fixed(name) => Arc::clone(name),
            Target::Made(template) => {
                template.render_topic(run.output).map_err(|error| ActionError(error.to_string()))?
            }
        };
        let payload = match &self.payload {
            Some(template) => template.render(run.output),
            None => Bytes::from(text::json_of_map(run.output)),
        };
        let message = Message {
            topic,
            payload,
            qos: self
                .qos
                .unwrap_or_else(|| run.message.map_or(QoS::AtMostOnce, |message| message.qos)),
            retain: self
                .retain
                .unwrap_or_else(|| run.message.is_some_and(|message| message.retain)),
            properties: PropertiesBuf::new(),
            expires_at_ms: None,
            published_at_ms: run.reactions.now().wall_ms,
            publisher: run.publisher.relayed_by(run.rule),
            stored: Default::default(),
            number: Default::default(),
        };
        run.reactions.publish(message).map_err(|error| ActionError(error.to_string()))?;
        Ok(Progress::Done)
    }
}
