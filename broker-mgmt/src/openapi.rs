//! OpenAPI 3.1 of the API, made of the table of routes and the types of their bodies and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::api;
use crate::route::{Data, Method, Route, Shape};

/// The description as JSON, indented.
pub(crate) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));
    &TEXT
}

fn document() -> Value {
    let mut types = Types::default();
    let mut ids = BTreeSet::new();
    let mut tags = Vec::new();
    let mut paths = BTreeMap::<String, Map<String, Value>>::new();
    for route in api::routes() {
        let tag = tag(route);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        // The document's list has a name twice.
        let again = (2..).map(|n| format!("{}_{n}", route.name));
        let mut candidates = std::iter::once(route.name.to_owned()).chain(again);
        let id = candidates.find(|id| ids.insert(id.clone())).unwrap_or_default();
        let operation = operation(route, &id, tag, &mut types);
        let methods = paths.entry(template(route)).or_default();
        methods.insert(route.method.word().to_lowercase(), operation);
    }
    let mut paths: Map<String, Value> =
        paths.into_iter().map(|(path, methods)| (path, methods.into())).collect();
    paths.insert("/status".into(), status());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Management API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/api/v3" }],
        "security": [{ "basic": [] }],
        "tags": tags.iter().map(|tag| json!({ "name": tag })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "securitySchemes": { "basic": {
                "type": "http",
                "scheme": "basic",
                "description": "Id of an application and its secret.",
            } },
            "parameters": {
                "page": {
                    "name": "_page", "in": "query", "description": "Which page, from 1.",
                    "schema": { "type": "integer", "minimum": 1, "default": 1 },
                },
                "limit": {
                    "name": "_limit", "in": "query",
                    "description": "Rows of a page; by default and at most `management.max_row_limit`.",
                    "schema": { "type": "integer", "minimum": 1 },
                },
            },
            "responses": failures(),
            "schemas": types.0,
        },
    })
}

/// What is served beside the API. `GET /metrics` is as well, but there can be one path of a name only.
fn status() -> Value {
    let text = json!({ "text/plain": { "schema": { "type": "string" } } });
    json!({ "servers": [{ "url": "/" }], "get": {
        "operationId": "status",
        "tags": ["api"],
        "summary": "Whether the node runs, for whoever asks",
        "security": [],
        "responses": { "200": { "description": "Two lines.", "content": text } },
    } })
}

fn operation(route: &Route, id: &str, tag: &str, types: &mut Types) -> Value {
    let mut parameters: Vec<_> = placeholders(route).map(path_parameter).collect();
    parameters.extend(route.query.iter().map(|(name, text)| {
        json!({ "name": name, "in": "query", "description": text, "schema": { "type": "string" } })
    }));
    if matches!(route.answer, Data::Page(_)) {
        for name in ["page", "limit"] {
            parameters.push(json!({ "$ref": format!("#/components/parameters/{name}") }));
        }
    }
    let mut operation = json!({
        "operationId": id,
        "tags": [tag],
        "summary": route.descr.trim(),
        "parameters": parameters,
        "responses": responses(route, types),
    });
    if let Some(body) = route.body {
        let schema = types.refer(body);
        operation["requestBody"] =
            json!({ "required": route.needs_body, "content": { JSON: { "schema": schema } } });
    }
    if !route.is_listed {
        operation["x-addition"] = json!(true);
    }
    operation
}

fn responses(route: &Route, types: &mut Types) -> Value {
    let done = if let Data::File(content_type) = route.answer {
        json!({ "description": "The file.", "content": { content_type: {} } })
    } else {
        let failure = json!({ "$ref": "#/components/schemas/Failure" });
        let schema = json!({ "oneOf": [envelope(route.answer, types), failure] });
        json!({
            "description": "Done with the code 0; refused with another one, and the reason.",
            "content": { JSON: { "schema": schema } },
        })
    };
    let mut responses = BTreeMap::from([("200", done)]);
    let mut refer = |status, name| {
        let answer = json!({ "$ref": format!("#/components/responses/{name}") });
        responses.insert(status, answer);
    };
    refer("401", "Unauthorized");
    refer("429", "TooManyFailures");
    refer("503", "Busy");
    if placeholders(route).next().is_some() || matches!(route.answer, Data::Page(_)) {
        refer("400", "BadRequest");
    }
    if route.method != Method::Get {
        refer("403", "ReadOnly");
    }
    if placeholders(route).any(|name| name == "node") {
        refer("404", "UnknownNode");
    }
    if route.body.is_some() {
        refer("400", "BadRequest");
        refer("408", "SlowBody");
        refer("413", "LargeBody");
    }
    json!(responses)
}

/// `{"code":0,"data":…}`
fn envelope(answer: Data, types: &mut Types) -> Value {
    let mut properties = json!({ "code": { "const": 0 } });
    let mut required = vec!["code"];
    let data = match answer {
        Data::None | Data::File(_) => None,
        Data::One(shape) => Some(types.refer(shape)),
        Data::List(shape) | Data::Page(shape) => {
            Some(json!({ "type": "array", "items": types.refer(shape) }))
        }
    };
    if let Some(data) = data {
        properties["data"] = data;
        required.push("data");
    }
    if matches!(answer, Data::Page(_)) {
        properties["meta"] = json!({ "$ref": "#/components/schemas/Meta" });
        required.push("meta");
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

fn failures() -> Value {
    let failure = |description| {
        let schema = json!({ "$ref": "#/components/schemas/Failure" });
        json!({ "description": description, "content": { JSON: { "schema": schema } } })
    };
    let text = |description| {
        let content = json!({ "text/plain": { "schema": { "type": "string" } } });
        json!({ "description": description, "content": content })
    };
    json!({
        "BadRequest": failure("The body is no JSON or no object, or the path or query is wrong."),
        "Unauthorized": text("Credentials are missing or wrong."),
        "ReadOnly": failure("The application may only read."),
        "UnknownNode": failure("There is no such node."),
        "SlowBody": text("The body took too long to come."),
        "LargeBody": failure("The body has too many bytes."),
        "TooManyFailures": text("Too many failed logins from this address; `Retry-After` says when to come again."),
        "Busy": text("Too many logins at once; `Retry-After` says when to come again."),
    })
}

/// Schemas of named types.
struct Types(BTreeMap<String, Value>);

impl Default for Types {
    fn default() -> Self {
        let whole = json!({ "type": "integer", "minimum": 0 });
        let meta = json!({
            "type": "object",
            "description": "Of a list in pages.",
            "properties": { "page": whole, "limit": whole, "count": whole },
            "required": ["page", "limit", "count"],
        });
        let failure = json!({
            "type": "object",
            "description": "What was not done, and why.",
            "properties": {
                "code": { "type": "integer", "minimum": 1, "description": "docs/api.md lists the codes." },
                "message": { "type": "string", "description": "Names the field, where one is wrong." },
            },
            "required": ["code", "message"],
        });
        Self(BTreeMap::from([("Meta".into(), meta), ("Failure".into(), failure)]))
    }
}

impl Types {
    /// The schema of a type: a reference if it has a name of its own.
    fn refer(&mut self, shape: Shape) -> Value {
        let mut inner = Vec::new();
        (shape.schemas)(&mut inner);
        for (name, schema) in inner {
            self.add(&name, &json!(schema));
        }
        let (name, schema) = ((shape.name)().into_owned(), json!((shape.schema)()));
        if schema.get("properties").is_none() && schema.get("oneOf").is_none() {
            return schema;
        }
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        self.add(&name, &schema);
        reference
    }

    fn add(&mut self, name: &str, schema: &Value) {
        let known = self.0.entry(name.to_owned()).or_insert_with(|| schema.clone());
        // Two types of one name would be told as one.
        assert_eq!(known, schema, "there are two types {name}");
    }
}

/// `/nodes/{node}/listeners`
fn template(route: &Route) -> String {
    let parts = parts(route).map(|part| match part.strip_prefix(':') {
        Some(name) => format!("/{{{name}}}"),
        None => format!("/{part}"),
    });
    let path: String = parts.collect();
    if path.is_empty() { "/".into() } else { path }
}

/// What an operation is about: the first part of the path that is not the node.
fn tag(route: &Route) -> &'static str {
    let mut literals = parts(route).filter(|part| !part.starts_with(':'));
    match (literals.next(), literals.next()) {
        (None | Some("openapi.json" | "docs"), _) => "api",
        (Some("nodes"), Some(part)) | (Some(part), _) => match part {
            "connection" => "connections",
            "auth" | "change_pwd" => "users",
            part => part,
        },
    }
}

fn placeholders(route: &Route) -> impl Iterator<Item = &'static str> {
    parts(route).filter_map(|part| part.strip_prefix(':'))
}

fn parts(route: &Route) -> impl Iterator<Item = &'static str> + use<> {
    route.path.split('/').filter(|part| !part.is_empty())
}

fn path_parameter(name: &str) -> Value {
    let mut parameter =
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    if let Some((_, text)) = PARAMETERS.iter().find(|(its_name, _)| *its_name == name) {
        parameter["description"] = json!(text);
    }
    parameter
}

const JSON: &str = "application/json";

const DESCRIPTION: &str = "The management API of EMQ X 3.1, and what this broker adds to it (`x-addition`). \
    Each part of a path is percent-encoded: the topic `a/b` is `a%2Fb`. \
    Outside of it are `/status` and, for Prometheus, `/metrics`.";

/// Places in paths, by their names.
const PARAMETERS: &[(&str, &str)] = &[
    ("app", "First part of the key: `mqtt`, `zone`, `log`."),
    ("appid", "Id of an application."),
    ("clientid", "Client Identifier."),
    ("id", "The `id` that the list shows."),
    ("kind", "`client_id`, `topic` or `ip_address`."),
    ("name", "The `name` that the list shows."),
    ("node", "Name of the node, such as `emqx@127.0.0.1`."),
    ("plugin", "The `name` that the list shows."),
    ("topic", "Topic or Topic Filter."),
    ("type", "The `name` that the list shows."),
    ("username", "User name."),
    ("value", "The `value` that the list shows."),
    ("who", "Client Identifier, user name or address, as `as` says."),
];

#[cfg(test)]
mod tests;
