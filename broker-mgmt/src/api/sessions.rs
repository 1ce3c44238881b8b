//! `sessions`: Session States, with or without a connection.

use broker_core::{RemoveSessionError, SessionView};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get};
use crate::text::{self, UNDEFINED, or_undefined};

pub(crate) const ROUTES: &[Route] = &[
    get("list_sessions", "/sessions/", "A list of sessions in the cluster", list)
        .pages::<SessionInfo>(),
    get("list_node_sessions", "nodes/:node/sessions/", "A list of sessions on a node", list)
        .pages::<SessionInfo>(),
    get("lookup_session", "/sessions/:clientid", "Lookup a session in the cluster", one)
        .lists::<SessionInfo>(),
    get(
        "lookup_node_session",
        "nodes/:node/sessions/:clientid",
        "Lookup a session on the node",
        one,
    )
    .lists::<SessionInfo>(),
    delete(
        "clean_presisent_session",
        "/sessions/persistent/:clientid",
        "Clean a persistent session in the cluster",
        clean,
    ),
    delete(
        "clean_node_presisent_session",
        "nodes/:node/sessions/persistent/:clientid",
        "Clean a persistent session on the node",
        clean,
    ),
];

/// A session.
#[derive(Serialize, ToSchema)]
struct SessionInfo {
    /// QoS 2 messages of the client that await their release.
    awaiting_rel_len: usize,
    /// `local` while the client is connected, else `undefined`.
    binding: &'static str,
    /// Clean Start of the CONNECT that made it.
    clean_start: bool,
    client_id: String,
    /// Local time, `2019-04-29 11:28:04`.
    created_at: String,
    /// PUBLISH packets written for the client, repeated ones included.
    deliver_msg: u64,
    /// Messages that went through the queue.
    enqueue_msg: u64,
    /// Seconds that it outlives its connection; 4294967295 for ever.
    expiry_interval: u32,
    /// Bytes of memory held for it, messages it shares with others included.
    heap_size: usize,
    /// Messages on their way to the client and not acknowledged.
    inflight_len: usize,
    /// New subscriptions whose retained messages are still to be sent.
    mailbox_len: usize,
    /// Limits are 0 where there is none.
    max_awaiting_rel: u16,
    /// The client's Receive Maximum, if that is less than the zone's limit.
    max_inflight: u16,
    max_mqueue: u32,
    max_subscriptions: u32,
    /// Messages that the queue had no room for.
    mqueue_dropped: u64,
    mqueue_len: usize,
    node: String,
    /// PUBLISH packets written for it, and messages that went into its queue.
    reductions: u64,
    subscriptions_count: usize,
    /// `undefined` if the client has sent none.
    username: String,
}

fn list(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let page = request.page(api)?;
    let sessions = api.broker.sessions_page(&request.page_of_list(page), api.now());
    let rows: Vec<_> = sessions.rows.iter().map(|view| info(api, view)).collect();
    Reply::page(&rows, page, sessions.count)
}

fn one(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let session = api.broker.session(request.segment("clientid"));
    Reply::data(session.iter().map(|view| info(api, view)).collect::<Vec<_>>())
}

fn clean(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let client_id = request.segment("clientid");
    api.order_saved(|turn| api.broker.remove_session(client_id, turn))?;
    Reply::ok()
}

fn info(api: &Api, view: &SessionView) -> SessionInfo {
    let counts = &view.counts;
    SessionInfo {
        awaiting_rel_len: view.awaiting_rel,
        binding: if view.is_connected { "local" } else { UNDEFINED },
        clean_start: counts.created_clean,
        client_id: view.client.client_id.to_string(),
        created_at: text::local_time(view.created_at_ms),
        deliver_msg: counts.delivered,
        enqueue_msg: counts.enqueued,
        expiry_interval: view.expiry_s,
        heap_size: counts.heap_bytes,
        inflight_len: view.inflight,
        mailbox_len: counts.waiting,
        max_awaiting_rel: counts.max_awaiting_rel,
        max_inflight: counts.max_inflight,
        max_mqueue: counts.max_queued,
        max_subscriptions: counts.max_subscriptions,
        mqueue_dropped: view.dropped,
        mqueue_len: view.queued,
        node: api.node.name().to_owned(),
        reductions: counts.work(),
        subscriptions_count: view.subscriptions,
        username: or_undefined(view.client.username.as_deref()),
    }
}

impl From<RemoveSessionError> for ApiError {
    fn from(error: RemoveSessionError) -> Self {
        let message = match error {
            RemoveSessionError::Running => "running_session",
            RemoveSessionError::NotFound => "not_found",
        };
        Self::new(Code::Unknown, message)
    }
}
