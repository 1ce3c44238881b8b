//! The actions of a web hook: `web_hook:publish_action`, `web_hook:event_action` and, as it came to be,
//! `data_to_webserver`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map as Object, Value as Json};

use super::{APP, WEB_HOOK, WebHook};
use crate::action::{Action, ActionError, ActionType, Catalogue, Progress, Run, Setup};
use crate::object_template::ObjectTemplate;
use crate::params::{self, ParamKind, ParamSpec};
use crate::remote::seal;
use crate::sink::{Owner, RemoteSink};
use crate::template::Template;
use crate::text;
use crate::value::Map;

/// Puts them into the catalogue.
pub(super) fn register(catalogue: &mut Catalogue) {
    let resource = || {
        let (title, description) = ("Resource ID", "Bind a resource to this action");
        ParamSpec::required("$resource", ParamKind::String, title, description)
    };
    let template = ParamSpec::optional(
        "template",
        ParamKind::Object,
        "Payload Template",
        "The payload template to be filled with variables before sending messages",
    );
    let path = ParamSpec::optional(
        "path",
        ParamKind::String,
        "Path",
        "What is appended to the path of the URL; may have ${…}",
    );
    let payload = ParamSpec::optional(
        "payload_tmpl",
        ParamKind::String,
        "Payload Template",
        "The body of the request; may have ${…}; all of the output as JSON if it is empty",
    );
    for kind in [
        WebHookAction {
            name: "web_hook:publish_action",
            hook: "message.publish",
            description: "Forward Messages to Web Server",
            params: vec![resource()],
            body: BodyKind::Output,
        },
        WebHookAction {
            name: "web_hook:event_action",
            hook: "$events",
            description: "Forward Events to Web Server",
            params: vec![resource(), template],
            body: BodyKind::Object,
        },
        WebHookAction {
            name: "data_to_webserver",
            hook: "$any",
            description: "Forward Messages to Web Server",
            params: vec![resource(), path.or(""), payload.or("")],
            body: BodyKind::Text,
        },
    ] {
        catalogue.add_action(Arc::new(kind));
    }
}

/// One of the three.
struct WebHookAction {
    name: &'static str,
    hook: &'static str,
    description: &'static str,
    params: Vec<ParamSpec>,
    body: BodyKind,
}

#[derive(Clone, Copy)]
enum BodyKind {
    /// All of the output.
    Output,
    /// An object whose strings are filled.
    Object,
    /// A text that is filled.
    Text,
}

impl ActionType for WebHookAction {
    fn name(&self) -> &'static str {
        self.name
    }

    fn app(&self) -> &'static str {
        APP
    }

    fn hook(&self) -> &'static str {
        self.hook
    }

    fn resource_type(&self) -> &'static str {
        WEB_HOOK
    }

    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn description(&self) -> &'static str {
        self.description
    }

    fn is_queued(&self) -> bool {
        true
    }

    fn create(&self, setup: Setup<'_>) -> Result<Box<dyn Action>, String> {
        let web_hook = setup.resource.and_then(|resource| resource.as_a::<WebHook>());
        let web_hook = web_hook.ok_or("$resource: a resource of type web_hook is expected")?;
        let owner = web_hook.sink.add_owner(setup.counters);
        let (sink, request) = (Arc::clone(&web_hook.sink), self.request(setup.params));
        Ok(Box::new(Forwarding { sink, owner, request }))
    }
}

impl WebHookAction {
    fn request(&self, params: &Object<String, Json>) -> RequestTemplate {
        let text = |name| params::text(&self.params, params, name);
        let body = match self.body {
            BodyKind::Output => Body::Output,
            BodyKind::Object => {
                // An empty one is what a form sends that nobody has filled in.
                let template = params.get("template").and_then(Json::as_object);
                match template.filter(|object| !object.is_empty()) {
                    Some(object) => Body::Object(ObjectTemplate::new(object)),
                    None => Body::Event,
                }
            }
            BodyKind::Text if text("payload_tmpl").is_empty() => Body::Output,
            BodyKind::Text => Body::Text(Template::new(text("payload_tmpl"))),
        };
        RequestTemplate { body, path: Template::new(text("path")) }
    }
}

/// One action of a rule.
struct Forwarding {
    sink: Arc<RemoteSink>,
    owner: Owner,
    request: RequestTemplate,
}

/// What its requests are made from.
struct RequestTemplate {
    body: Body,
    path: Template,
}

enum Body {
    Output,
    /// What 3.1 sends of an event without a template.
    Event,
    Object(ObjectTemplate),
    Text(Template),
}

impl Action for Forwarding {
    fn run(&self, run: &mut Run<'_, '_>) -> Result<Progress, ActionError> {
        let item = self.request.seal(run.output)?;
        let now = run.reactions.now();
        self.sink
            .push(self.owner, item, now.wall_ms)
            .map_err(|error| ActionError(error.to_string()))?;
        Ok(Progress::Queued)
    }
}

impl RequestTemplate {
    fn seal(&self, output: &Map) -> Result<Bytes, ActionError> {
        let path = self.path.render_path(output);
        if path.split(['/', '?']).any(|segment| matches!(segment, "." | "..")) {
            return Err(ActionError("path: . and .. are no names".to_owned()));
        }
        let body = match &self.body {
            Body::Output => text::json_of_map(output).into_bytes(),
            Body::Event => text::json_of_map(&output.only(&EVENT_KEYS)).into_bytes(),
            Body::Object(template) => text::json_of_map(&template.render(output)).into_bytes(),
            Body::Text(template) => template.render(output).into(),
        };
        Ok(seal(body, &path, false))
    }
}

const EVENT_KEYS: [&str; 3] = ["event", "client_id", "username"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::remote::Envelope;

    fn types() -> Catalogue {
        let mut catalogue = Catalogue::default();
        register(&mut catalogue);
        catalogue
    }

    /// The document's examples.
    #[test]
    fn actions_are_shown_as_in_the_document() {
        let catalogue = types();
        let shown = |name: &str| {
            let kind = catalogue.action(name).unwrap();
            json!({
                "app": kind.app(), "description": kind.description(), "for": kind.hook(),
                "name": kind.name(), "params": params::describe(kind.params()),
                "type": kind.resource_type(),
            })
        };
        let resource = json!({
            "description": "Bind a resource to this action", "required": true,
            "title": "Resource ID", "type": "string",
        });
        let template = json!({
            "description":
                "The payload template to be filled with variables before sending messages",
            "required": false, "schema": {}, "title": "Payload Template", "type": "object",
        });
        assert_eq!(
            shown("web_hook:event_action"),
            json!({
                "app": "emqx_web_hook", "description": "Forward Events to Web Server",
                "for": "$events", "name": "web_hook:event_action",
                "params": {"$resource": resource, "template": template}, "type": "web_hook",
            })
        );
        assert_eq!(
            shown("web_hook:publish_action"),
            json!({
                "app": "emqx_web_hook", "description": "Forward Messages to Web Server",
                "for": "message.publish", "name": "web_hook:publish_action",
                "params": {"$resource": resource}, "type": "web_hook",
            })
        );
    }

    fn check(body: BodyKind, params: &Json, expected: Result<(&str, &str), &str>) {
        let catalogue = types();
        let specs = catalogue.action("data_to_webserver").unwrap().params().to_vec();
        let kind = WebHookAction { name: "", hook: "", description: "", params: specs, body };
        let request = kind.request(params.as_object().unwrap());
        let output = json!({
            "event": "client_connected", "client_id": "c/1", "username": null, "connack": 0,
            "up": "..",
        });
        let crate::value::Value::Map(output) = text::from_json(output) else { panic!() };
        let sealed = request.seal(&output).map_err(|error| error.0);
        let shown = sealed.as_ref().map(|bytes| {
            let envelope = Envelope::open(bytes).unwrap();
            (std::str::from_utf8(envelope.body).unwrap(), envelope.label)
        });
        assert_eq!(shown.map_err(String::as_str), expected, "{params}");
    }

    #[test]
    fn requests_are_made_from_the_output() {
        let all = "{\"client_id\":\"c/1\",\"connack\":0,\"event\":\"client_connected\",\
                   \"up\":\"..\",\"username\":null}";
        let event = "{\"client_id\":\"c/1\",\"event\":\"client_connected\",\"username\":null}";
        check(BodyKind::Output, &json!({}), Ok((all, "")));
        check(BodyKind::Object, &json!({}), Ok((event, "")));
        check(BodyKind::Object, &json!({"template": {}}), Ok((event, "")));
        let template = json!({"template": {"code": "${connack}", "who": "${none}"}});
        check(BodyKind::Object, &template, Ok(("{\"code\":0,\"who\":null}", "")));
        check(BodyKind::Text, &json!({"payload_tmpl": ""}), Ok((all, "")));
        let text = json!({"payload_tmpl": "<${connack}>", "path": "d/${client_id}?x=${connack}"});
        check(BodyKind::Text, &text, Ok(("<0>", "d/c%2F1?x=0")));
        let climbing = json!({"path": "d/${up}/x"});
        check(BodyKind::Text, &climbing, Err("path: . and .. are no names"));
    }
}
