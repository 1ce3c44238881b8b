//! `connections`: who is connected, and from where.

use broker_core::{ClientInfo, ConnectedClient, Transport};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get};
use crate::text::{self, UNDEFINED, or_undefined};

pub(crate) const ROUTES: &[Route] = &[
    get("list_connections", "/connections/", "A list of connections in the cluster", list)
        .pages::<ConnectionInfo>(),
    get(
        "list_node_connections",
        "nodes/:node/connections/",
        "A list of connections on a node",
        list,
    )
    .pages::<ConnectionInfo>(),
    get(
        "lookup_node_connections",
        "nodes/:node/connections/:clientid",
        "Lookup a connection on node",
        one,
    )
    .lists::<ConnectionInfo>(),
    get("lookup_connections", "/connections/:clientid", "Lookup a connection in the cluster", one)
        .lists::<ConnectionInfo>(),
    // Their descriptions are swapped in the document.
    get(
        "lookup_node_connection_via_username",
        "/nodes/:node/connection/username/:username",
        "Lookup a connection via username in the cluster ",
        of_user,
    )
    .lists::<ConnectionInfo>(),
    get(
        "lookup_connection_via_username",
        "/connection/username/:username",
        "Lookup a connection via username on a node ",
        of_user,
    )
    .lists::<ConnectionInfo>(),
    delete("kickout_connection", "/connections/:clientid", "Kick out a connection", kick),
];

/// A connection.
#[derive(Serialize, ToSchema)]
struct ConnectionInfo {
    /// Clean Session or Clean Start, as sent.
    clean_start: bool,
    client_id: String,
    /// `emqx_connection`, or `emqx_ws_connection` for WebSocket.
    conn_mod: &'static str,
    /// Local time, `2019-04-29 11:05:01`.
    connected_at: String,
    /// Bytes of memory held for it: its state and its buffers.
    heap_size: usize,
    /// Of the client; behind a proxy that says it, as the proxy says it. `undefined` on a Unix socket.
    ipaddress: String,
    is_bridge: bool,
    /// Keep Alive in seconds.
    keepalive: u16,
    /// Messages that wait for it: for its window, for room before its socket, or for the store.
    mailbox_len: usize,
    node: String,
    /// `nossl`, or the subject of the client's certificate, or `undefined` if TLS or WebSocket have none.
    peercert: String,
    /// 0 on a Unix socket.
    port: u16,
    /// `MQIsdp` or `MQTT`.
    proto_name: &'static str,
    /// 3, 4 or 5.
    proto_ver: u8,
    /// Reads of the socket that moved data.
    recv_cnt: u64,
    /// PUBLISH packets.
    recv_msg: u64,
    /// Bytes of MQTT: inside TLS, without the framing of WebSocket.
    recv_oct: u64,
    /// Control Packets.
    recv_pkt: u64,
    /// Turns in which it had something to do.
    reductions: u64,
    /// Writes of the socket that moved data.
    send_cnt: u64,
    /// PUBLISH packets.
    send_msg: u64,
    /// Bytes of MQTT.
    send_oct: u64,
    /// Bytes that wait for the socket.
    send_pend: usize,
    /// Control Packets.
    send_pkt: u64,
    /// `undefined` if the client has sent none.
    username: String,
    zone: String,
}

fn list(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let page = request.page(api)?;
    let connections = api.broker.connections_page(&request.page_of_list(page), api.now());
    Reply::page(&rows(api, &connections.rows), page, connections.count)
}

fn one(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let connection = api.broker.connection(request.segment("clientid"));
    Reply::data(rows(api, connection.as_slice()))
}

fn of_user(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let connections = api.broker.connections_of(request.segment("username"), api.max_row_limit);
    Reply::data(rows(api, &connections))
}

fn kick(api: &Api, request: &Request) -> Answer {
    if api.broker.kick(request.segment("clientid")) {
        return Reply::ok();
    }
    Err(ApiError::new(Code::NoClient, "not_found"))
}

fn rows(api: &Api, views: &[ConnectedClient]) -> Vec<ConnectionInfo> {
    views.iter().map(|view| info(api.node.name(), view)).collect()
}

fn info(node: &str, ConnectedClient { client, connection }: &ConnectedClient) -> ConnectionInfo {
    let (received, sent) = (connection.received, connection.sent);
    ConnectionInfo {
        clean_start: client.clean_start,
        client_id: client.client_id.to_string(),
        conn_mod: match client.transport() {
            Some(Transport::WebSocket | Transport::SecureWebSocket) => "emqx_ws_connection",
            _ => "emqx_connection",
        },
        connected_at: text::local_time(client.connected_at_ms),
        heap_size: connection.heap_bytes,
        ipaddress: or_undefined(client.peer.map(|peer| peer.ip().to_canonical().to_string())),
        is_bridge: client.is_bridge,
        keepalive: client.keep_alive_s,
        mailbox_len: connection.waiting,
        node: node.to_owned(),
        peercert: certificate(client),
        port: client.peer.map_or(0, |peer| peer.port()),
        proto_name: client.protocol_name(),
        proto_ver: client.version.level(),
        recv_cnt: received.calls,
        recv_msg: received.messages,
        recv_oct: received.bytes,
        recv_pkt: received.packets,
        reductions: connection.turns,
        send_cnt: sent.calls,
        send_msg: sent.messages,
        send_oct: sent.bytes,
        send_pend: connection.pending_bytes,
        send_pkt: sent.packets,
        username: or_undefined(client.username.as_deref()),
        zone: client.zone.name.clone(),
    }
}

/// Whose certificate the client has shown; `nossl` where none could be.
fn certificate(client: &ClientInfo) -> String {
    match (&client.certificate, client.transport()) {
        (Some(certificate), _) => or_undefined(certificate.subject.as_deref()),
        (None, Some(Transport::Tcp | Transport::Unix)) => "nossl".to_owned(),
        (None, _) => UNDEFINED.to_owned(),
    }
}
