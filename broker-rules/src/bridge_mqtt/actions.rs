//! The action of a bridge: `data_to_mqtt_broker`.

use std::sync::Arc;

use super::{APP, BRIDGE_MQTT, Bridge};
use crate::action::{Action, ActionError, ActionType, Catalogue, Progress, Run, Setup};
use crate::params::{self, ParamKind, ParamSpec};
use crate::remote::seal;
use crate::sink::{Owner, RemoteSink};
use crate::template::Template;
use crate::text;
use crate::value::Value;

/// Puts it into the catalogue.
pub(super) fn register(catalogue: &mut Catalogue) {
    let params = vec![
        ParamSpec::required(
            "$resource",
            ParamKind::String,
            "Resource ID",
            "Bind a resource to this action",
        ),
        ParamSpec::optional(
            "forward_topic",
            ParamKind::String,
            "Forward Topic",
            "The topic behind the mountpoint; may have ${…}; that of the message if it is empty",
        )
        .or(""),
        ParamSpec::optional(
            "payload_tmpl",
            ParamKind::String,
            "Payload Template",
            "The payload; may have ${…}; all of the output as JSON if it is empty",
        )
        .or(""),
    ];
    catalogue.add_action(Arc::new(DataToMqttBroker { params }));
}

struct DataToMqttBroker {
    params: Vec<ParamSpec>,
}

impl ActionType for DataToMqttBroker {
    fn name(&self) -> &'static str {
        "data_to_mqtt_broker"
    }

    fn app(&self) -> &'static str {
        APP
    }

    fn hook(&self) -> &'static str {
        "message.publish"
    }

    fn resource_type(&self) -> &'static str {
        BRIDGE_MQTT
    }

    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn description(&self) -> &'static str {
        "Bridge Messages to MQTT Broker"
    }

    fn is_queued(&self) -> bool {
        true
    }

    fn create(&self, setup: Setup<'_>) -> Result<Box<dyn Action>, String> {
        let bridge = setup.resource.and_then(|resource| resource.as_a::<Bridge>());
        let bridge = bridge.ok_or("$resource: a resource of type bridge_mqtt is expected")?;
        let template = |name| Template::new(params::text(&self.params, setup.params, name));
        let topic = template("forward_topic");
        if !topic.is_empty() {
            topic.check_topic().map_err(|error| format!("forward_topic: {error}"))?;
        }
        let owner = bridge.sink.add_owner(setup.counters);
        let (sink, payload) = (Arc::clone(&bridge.sink), template("payload_tmpl"));
        Ok(Box::new(Forwarding { sink, owner, topic, payload }))
    }
}

/// One action of a rule.
struct Forwarding {
    sink: Arc<RemoteSink>,
    owner: Owner,
    /// Empty for that of the message.
    topic: Template,
    /// Empty for all of the output.
    payload: Template,
}

impl Action for Forwarding {
    fn run(&self, run: &mut Run<'_, '_>) -> Result<Progress, ActionError> {
        let topic = if self.topic.is_empty() {
            match (run.message, run.output.get("topic")) {
                (Some(message), _) => Arc::clone(&message.topic),
                (None, Some(Value::Str(topic))) => {
                    String::from_utf8_lossy(topic).into_owned().into()
                }
                (None, _) => return Err(ActionError("forward_topic: the event has none".into())),
            }
        } else {
            self.topic.render_topic(run.output).map_err(|error| ActionError(error.to_string()))?
        };
        let payload = if self.payload.is_empty() {
            text::json_of_map(run.output).into_bytes()
        } else {
            self.payload.render(run.output).into()
        };
        let retain = run.message.is_some_and(|message| message.retain);
        let now = run.reactions.now();
        self.sink
            .push(self.owner, seal(payload, &topic, retain), now.wall_ms)
            .map_err(|error| ActionError(error.to_string()))?;
        Ok(Progress::Queued)
    }
}
