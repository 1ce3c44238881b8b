//! Functions of the event: its message and its client.

use broker_codec::topic;

use super::{Call, Function, Reads, maps};
use crate::error::RowError;
use crate::value::{Map, Value};

pub(super) fn list() -> Vec<Function> {
    let f = |name, arity, signature, help, examples, call| {
        Function::new(name, arity, signature, help, examples, call).reads(Reads::Row)
    };
    vec![
        f("msgid", 0..=0, "msgid()", "The message's id: column `id`.", &[("msgid()", "\"0005F8\"")], |c| Ok(c.row.column("id"))),
        f("qos", 0..=0, "qos()", "The message's QoS.", &[("qos()", "1")], |c| Ok(c.row.column("qos"))),
        f("topic", 0..=1, "topic([n])", "The topic, or its level `n`, from 1 on. Empty levels count.", &[("topic()", "\"t/a//b\""), ("topic(2)", "\"a\""), ("topic(3)", "\"\""), ("topic(5)", "error: topic: argument 1: the topic has 4 levels")], topic_level),
        f("clientid", 0..=0, "clientid()", "The Client Identifier.", &[("clientid()", "\"c1\"")], |c| Ok(c.row.column("clientid"))),
        f("username", 0..=0, "username()", "The user name; undefined without one.", &[("username()", "\"u1\"")], |c| Ok(c.row.column("username"))),
        f("clientip", 0..=0, "clientip()", "The client's IP address: column `peerhost`.", &[("clientip()", "\"127.0.0.1\"")], |c| Ok(c.row.column("peerhost"))),
        f("peerhost", 0..=0, "peerhost()", "The same as `clientip()`.", &[("peerhost()", "\"127.0.0.1\"")], |c| Ok(c.row.column("peerhost"))),
        f("peername", 0..=0, "peername()", "The client's address and port.", &[("peername()", "\"127.0.0.1:5000\"")], |c| Ok(c.row.column("peername"))),
        f("flags", 0..=0, "flags()", "The message's flags as a map; without any an empty one.", &[("flags()", "{\"dup\":false,\"retain\":true}")], |c| Ok(flags(c))),
        f("flag", 1..=1, "flag(name)", "One of the message's flags; undefined if it is not there.", &[("flag('retain')", "true"), ("flag('x')", "undefined")], |c| entry(c, flags)),
        f("headers", 0..=0, "headers()", "The message's headers as a map; without any an empty one.", &[("headers()", "{\"peername\":\"127.0.0.1:5000\",\"username\":\"u1\"}")], |c| Ok(headers(c))),
        f("header", 1..=1, "header(name)", "One of the message's headers; undefined if it is not there.", &[("header('username')", "\"u1\"")], |c| entry(c, headers)),
        f("payload", 0..=1, "payload([path])", "The payload as it came; or what is at a path of keys with dots between them in the decoded payload, as `payload.a.b` is.", &[("payload()", "\"{\\\"a\\\":{\\\"b\\\":1}}\""), ("payload('a.b')", "1"), ("payload('a.c')", "undefined")], payload),
        f("timestamp", 0..=0, "timestamp()", "The event's time in milliseconds since 1970.", &[("timestamp()", "1700000000123")], timestamp).reads(Reads::World),
        f("contains_topic", 2..=3, "contains_topic(filters, t[, qos])", "Whether one of `filters`, maps with `topic` and `qos`, has just this topic, and this QoS.", &[("contains_topic(map_get('f', json_decode('{\"f\":[{\"topic\":\"a\",\"qos\":1}]}')), 'a')", "true"), ("contains_topic(json_decode('[{\"topic\":\"a\",\"qos\":1}]'), 'a', 0)", "false")], |c| contains(c, |element, wanted| element == wanted)).reads(Reads::Arguments),
        f("contains_topic_match", 2..=3, "contains_topic_match(filters, t[, qos])", "Whether the topic filter `t` matches the topic of one of `filters`, maps with `topic` and `qos`, and that has this QoS.", &[("contains_topic_match(json_decode('[{\"topic\":\"t/1\",\"qos\":1}]'), 't/#')", "true"), ("contains_topic_match(json_decode('[{\"topic\":\"x\",\"qos\":1}]'), 't/#')", "false")], contains_match).reads(Reads::Arguments),
    ]
}

fn topic_level(call: &mut Call<'_>) -> Result<Value, RowError> {
    let topic = call.row.column("topic");
    if !call.has(0) {
        return Ok(topic);
    }
    let level = call.int(0)?;
    let Value::Str(text) = topic else { return Ok(Value::Undefined) };
    let at = usize::try_from(level).ok().and_then(|level| level.checked_sub(1));
    match at.and_then(|at| text.split(|&byte| byte == b'/').nth(at)) {
        Some(level) => Ok(Value::Str(text.slice_ref(level))),
        None => {
            let levels = text.split(|&byte| byte == b'/').count();
            Err(RowError::new(format!("argument 1: the topic has {levels} levels")))
        }
    }
}

fn flags(call: &Call<'_>) -> Value {
    match call.row.column("flags") {
        flags @ Value::Map(_) => flags,
        _ => Value::Map(Map::default().into()),
    }
}

/// The column, or what the older dialects have in columns of their own.
fn headers(call: &Call<'_>) -> Value {
    if let headers @ Value::Map(_) = call.row.column("headers") {
        return headers;
    }
    let column = |name: &str| (name.into(), call.row.column(name));
    Value::Map(Map::from_entries(["peername", "username"].map(column).into()).into())
}

fn entry(call: &Call<'_>, map: fn(&Call<'_>) -> Value) -> Result<Value, RowError> {
    let name = call.utf8(0)?;
    let Value::Map(map) = map(call) else { return Ok(Value::Undefined) };
    Ok(map.get(name).cloned().unwrap_or_default())
}

fn payload(call: &mut Call<'_>) -> Result<Value, RowError> {
    if !call.has(0) {
        return Ok(call.row.column("payload"));
    }
    let path = call.utf8(0)?;
    Ok(match call.row.decoded_payload() {
        Some(payload) => maps::walk(payload, path, call.env),
        None => Value::Undefined,
    })
}

fn timestamp(call: &mut Call<'_>) -> Result<Value, RowError> {
    Ok(match call.row.column("timestamp") {
        Value::Undefined => Value::Int(call.env.wall_ns.div_euclid(1_000_000)),
        column => column,
    })
}

fn contains_match(call: &mut Call<'_>) -> Result<Value, RowError> {
    if let Value::Str(_) = call.arg(1)
        && topic::validate_filter(call.utf8(1)?).is_err()
    {
        return Err(RowError::new("argument 2: expected a topic filter"));
    }
    contains(call, |name, filter| topic::matches(filter, name))
}

fn contains(call: &Call<'_>, is_it: fn(&str, &str) -> bool) -> Result<Value, RowError> {
    let (elements, wanted) = (call.array(0)?, call.utf8(1)?);
    let qos = if call.has(2) { Some(Value::Int(call.int(2)?)) } else { None };
    call.env.charge_steps(elements.len() as u64)?;
    Ok(Value::Bool(elements.iter().any(|element| {
        let Value::Map(element) = element else { return false };
        let Some(Value::Str(topic)) = element.get("topic") else { return false };
        std::str::from_utf8(topic).is_ok_and(|topic| is_it(topic, wanted))
            && qos.as_ref().is_none_or(|qos| element.get("qos") == Some(qos))
    })))
}

#[cfg(test)]
mod tests;
