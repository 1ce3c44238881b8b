//! Who the client of a session's last connection was, as its record says.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::client::ClientId;
use crate::record::SessionStart;

/// Who is connected, or was.
pub(in super::super) struct Start {
    pub(in super::super) client_id: ClientId,
    pub(in super::super) username: Option<Arc<str>>,
    pub(in super::super) peer: Option<SocketAddr>,
    pub(in super::super) version: u8,
    pub(in super::super) listener: Arc<str>,
    pub(in super::super) zone: Arc<str>,
    pub(in super::super) mountpoint: Box<str>,
    pub(in super::super) keep_alive_s: u16,
    pub(in super::super) clean_start: bool,
    pub(in super::super) is_superuser: bool,
    pub(in super::super) is_bridge: bool,
    pub(in super::super) expiry_s: u32,
    pub(in super::super) created_at_ms: u64,
    pub(in super::super) connected_at_ms: u64,
}

/// Names that many sessions have in common, each held once.
#[derive(Default)]
pub(super) struct Names(HashSet<Arc<str>, RandomState>);

impl Names {
    fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

impl Start {
    pub(super) fn of(start: &SessionStart<'_>, names: &mut Names) -> Self {
        Self {
            client_id: start.client_id.into(),
            username: start.username.map(Into::into),
            peer: start.peer.and_then(|peer| peer.parse().ok()),
            version: start.version,
            listener: names.get(start.listener),
            zone: names.get(start.zone),
            mountpoint: start.mountpoint.into(),
            keep_alive_s: start.keep_alive_s,
            clean_start: start.clean_start,
            is_superuser: start.is_superuser,
            is_bridge: start.is_bridge,
            expiry_s: start.expiry_s,
            created_at_ms: start.created_at_ms,
            connected_at_ms: start.connected_at_ms,
        }
    }
}
