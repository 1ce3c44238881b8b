//! `retained`: messages that are kept for later subscribers. The original has them on its command line only.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use broker_core::Message;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get};
use crate::text::{self, or_undefined};

pub(crate) const ROUTES: &[Route] = &[
    get("list_retained", "/retained", "A list of retained messages", list)
        .pages::<RetainedInfo>()
        .of_plugin(PLUGIN)
        .unlisted(),
    get("lookup_retained", "/retained/:topic", "Lookup the retained message of a topic", one)
        .lists::<RetainedMessage>()
        .of_plugin(PLUGIN)
        .unlisted(),
    delete("delete_retained", "/retained/:topic", "Delete the retained message of a topic", remove)
        .of_plugin(PLUGIN)
        .unlisted(),
    delete("clean_retained", "/retained", "Delete all retained messages", clean)
        .answers::<Cleaned>()
        .of_plugin(PLUGIN)
        .unlisted(),
];

const PLUGIN: &str = "emqx_retainer";

/// A retained message without its payload.
#[derive(Serialize, ToSchema)]
struct RetainedInfo {
    topic: String,
    qos: u8,
    payload_bytes: usize,
    /// Who published it.
    client_id: String,
    /// Local time, `2019-04-29 10:56:41`.
    stored_at: String,
    /// Local time, or `undefined`.
    expires_at: String,
}

/// A retained message.
#[derive(Serialize, ToSchema)]
struct RetainedMessage {
    #[serde(flatten)]
    info: RetainedInfo,
    payload: String,
    encoding: Encoding,
}

/// What `payload` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// The text itself.
    Plain,
    /// Bytes that are no UTF-8.
    Base64,
}

/// How many retained messages were deleted. Those of the broker itself, `$SYS/…`, stay.
#[derive(Serialize, ToSchema)]
struct Cleaned {
    cleaned: usize,
}

fn list(api: &Api, request: &Request) -> Answer {
    let page = request.page(api)?;
    let wanted = request.page_of_list(page);
    let (messages, _) = api.order(|turn| api.broker.retained_page(&wanted, turn));
    let rows: Vec<_> = messages.rows.iter().map(info).collect();
    Reply::page(&rows, page, messages.count)
}

fn one(api: &Api, request: &Request) -> Answer {
    let found = api.broker.retained_message(request.segment("topic"), api.now());
    let row = |message: &Arc<Message>| {
        let (payload, encoding) = encode(&message.payload);
        RetainedMessage { info: info(message), payload, encoding }
    };
    Reply::data(found.iter().map(row).collect::<Vec<_>>())
}

fn remove(api: &Api, request: &Request) -> Answer {
    let clear = |turn: &mut _| api.broker.clear_retained(request.segment("topic"), turn);
    // That there is nothing must not be undone by a restart either.
    if api.order_saved(|turn| Ok::<_, ApiError>(clear(turn)))? {
        return Reply::ok();
    }
    Err(ApiError::new(Code::Unknown, "not_found"))
}

fn clean(api: &Api, _: &Request) -> Answer {
    let cleaned = api.order_saved(|turn| Ok::<_, ApiError>(api.broker.clear_all_retained(turn)))?;
    Reply::data(Cleaned { cleaned })
}

fn info(message: &Arc<Message>) -> RetainedInfo {
    RetainedInfo {
        topic: message.topic.to_string(),
        qos: message.qos as u8,
        payload_bytes: message.payload.len(),
        client_id: message.publisher.client_id().to_string(),
        stored_at: text::local_time(message.published_at_ms),
        expires_at: or_undefined(message.expires_at_ms.map(text::local_time)),
    }
}

fn encode(payload: &[u8]) -> (String, Encoding) {
    match str::from_utf8(payload) {
        Ok(text) => (text.to_owned(), Encoding::Plain),
        Err(_) => (BASE64_STANDARD.encode(payload), Encoding::Base64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_if_it_can_be() {
        assert_eq!(encode("21 °C".as_bytes()), ("21 °C".into(), Encoding::Plain));
        assert_eq!(encode(b""), (String::new(), Encoding::Plain));
        assert_eq!(encode(&[0xFF, 0]), ("/wA=".into(), Encoding::Base64));
    }
}
