//! Ends: durable sessions that are over while the store does not have that yet.
//!
//! A crash would bring them back. Their clients must not learn before that they are gone: a Packet Identifier
//! that a client takes for free would be in use again, and its next message be taken for a duplicate.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::client::ClientId;
use crate::store::{Dependency, Store};

#[derive(Default)]
pub(crate) struct Ends {
    /// Mirrors the number of clients, for those who look without locking.
    len: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_client: HashMap<ClientId, Vec<Dependency>, RandomState>,
    /// Clients at which those whose ends are safe are let go.
    trim_at: usize,
}

/// Clients below which nothing is let go.
const TRIM_FROM: usize = 64;

impl Ends {
    /// A session of the client is over once `end` is safe.
    pub(crate) fn add(&self, client_id: &ClientId, end: Dependency, store: &dyn Store) {
        let mut table = self.table.lock();
        let Table { by_client, trim_at } = &mut *table;
        by_client.entry(client_id.clone()).or_default().push(end);
        if by_client.len() > *trim_at {
            by_client.retain(|_, ends| {
                ends.retain(|end| !end.is_safe(store));
                !ends.is_empty()
            });
            *trim_at = (2 * by_client.len()).max(TRIM_FROM);
        }
        self.len.store(by_client.len(), Ordering::Release);
    }

    /// What must be safe before the client is told of its session.
    pub(crate) fn of(&self, client_id: &ClientId, store: &dyn Store) -> Vec<Dependency> {
        if self.len.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut table = self.table.lock();
        let Some(ends) = table.by_client.get_mut(client_id) else { return Vec::new() };
        ends.retain(|end| !end.is_safe(store));
        let ends = ends.clone();
        if ends.is_empty() {
            table.by_client.remove(client_id);
            self.len.store(table.by_client.len(), Ordering::Release);
        }
        ends
    }
}
