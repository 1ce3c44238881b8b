//! Pages: lists of connections, sessions, subscriptions, routes and bans, a page at a time.
//!
//! Each list has an order that stays: entries stand where they first came in. A page costs what its rows cost; no
//! lock is held for longer than it takes to copy some hundred of them.

use std::sync::Arc;

use super::cursors::{Begin, List, Position};
use super::views::{ConnectedClient, RouteView, SessionView, SubscriptionView};
use crate::access::banned::{Ban, Who};
use crate::broker::Broker;
use crate::clock::Now;
use crate::directory::Start;
use crate::session::Session;
use crate::session::subscriptions::Subscription;
use crate::sessions::Of;

/// Which page of a list is wanted, and who wants it.
///
/// Whoever asks for the pages of a list one after another, within minutes and with the same `limit`, sees each
/// entry that is there all the while exactly once, whatever comes and goes. A page that is asked for without
/// the one before it begins behind as many entries as the pages before it would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Number of the page, from 1; 0 is taken for 1.
    pub page: usize,
    /// Rows of a page, from 1 to [`PAGE_ROWS_MAX`]; what lies outside is taken for the nearer end.
    pub limit: usize,
    /// Tells callers apart, say a hash of application and address.
    pub caller: u64,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Its rows; none, if the list ends before it.
    pub rows: Vec<T>,
    /// Rows of the whole list.
    pub count: usize,
}

/// Rows of a page at most.
pub const PAGE_ROWS_MAX: usize = 10_000;

/// Entries that are copied while a list is locked.
pub(super) const BATCH: usize = 256;
/// Batches of a page beyond those that its rows need: entries may go between a list and a look at them.
const EXTRA_BATCHES: usize = 64;

impl PageRequest {
    pub(crate) fn page(&self) -> usize {
        self.page.max(1)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.clamp(1, PAGE_ROWS_MAX)
    }
}

impl Broker {
    /// A page of the connections, in the order in which their sessions were created: a client that comes back
    /// to its session has its place again.
    #[must_use]
    pub fn connections_page(&self, request: &PageRequest, now: Now) -> Page<ConnectedClient> {
        let rows = self.rows(List::Connections, request, now, |begin, n, rows| {
            let first;
            let start = match begin {
                Begin::Rank(rank) => {
                    first = self.sessions.at(Of::Connections, *rank)?.0;
                    Start::At(&first)
                }
                Begin::Behind(position) => Start::Behind(&position.number),
            };
            let sessions = self.sessions.page_of(Of::Connections, start, n);
            rows.extend(sessions.iter().filter_map(|session| ConnectedClient::of(session)));
            sessions.last().map(|last| Position::of(last.number()))
        });
        Page { rows, count: self.sessions.count(Of::Connections) }
    }

    /// A page of the sessions, connected or not, in the order in which they were created.
    #[must_use]
    pub fn sessions_page(&self, request: &PageRequest, now: Now) -> Page<SessionView> {
        let rows = self.rows(List::Sessions, request, now, |begin, n, rows| {
            let sessions = self.sessions.page(begin.start(), n);
            rows.extend(sessions.iter().filter_map(|session| SessionView::of(session)));
            sessions.last().map(|last| Position::of(last.number()))
        });
        Page { rows, count: self.sessions.len() }
    }

    /// A page of the subscriptions of all sessions: in the order of the sessions, within one in the order of
    /// the filters.
    #[must_use]
    pub fn subscriptions_page(&self, request: &PageRequest, now: Now) -> Page<SubscriptionView> {
        let rows = self.rows(List::Subscriptions, request, now, |begin, n, rows| {
            self.subscriptions_from(begin, n, rows)
        });
        Page { rows, count: self.sessions.count(Of::Subscriptions) }
    }

    /// A page of the routes, in the order in which they came: a Topic Filter for those who subscribed to it,
    /// and once more for each group of a shared subscription.
    #[must_use]
    pub fn routes_page(&self, request: &PageRequest, now: Now) -> Page<RouteView> {
        let destinations = &self.router.destinations;
        let rows = self.rows(List::Routes, request, now, |begin, n, rows| {
            let found = destinations.page(begin.start(), n);
            let last = found.last().map(|last| Position::of(last.number));
            rows.extend(found.into_iter().map(|destination| RouteView::of(destination.to)));
            last
        });
        Page { rows, count: destinations.len() }
    }

    /// A page of the bans in force, in the order in which they were first pronounced.
    #[must_use]
    pub fn bans_page(&self, request: &PageRequest, now: Now) -> Page<(Who, Ban)> {
        while self.end_bans(now.wall_ms) {}
        let rows = self.rows(List::Bans, request, now, |begin, n, rows| {
            let found = self.banned.page(begin.start(), n);
            let last = found.last().map(|(number, ..)| Position::of(*number));
            rows.extend(found.into_iter().map(|(_, who, ban)| (Who::clone(&who), ban)));
            last
        });
        Page { rows, count: self.banned.len() }
    }

    /// Rows of a page. `read` adds at most so many that stand behind a place, and says how far it has come;
    /// `None` at the end of the list.
    fn rows<R>(
        &self,
        list: List,
        request: &PageRequest,
        now: Now,
        read: impl Fn(&Begin, usize, &mut Vec<R>) -> Option<Position>,
    ) -> Vec<R> {
        let limit = request.limit();
        let mut begin = self.cursors.begin(list, request, now.mono_ms);
        let mut rows = Vec::new();
        for _ in 0..limit.div_ceil(BATCH) + EXTRA_BATCHES {
            let Some(position) = read(&begin, (limit - rows.len()).min(BATCH), &mut rows) else {
                break;
            };
            begin = Begin::Behind(position);
            if rows.len() >= limit {
                break;
            }
        }
        if let Begin::Behind(position) = begin {
            self.cursors.end(list, request, position, now.mono_ms);
        }
        rows
    }

    /// Adds at most `n` subscriptions.
    fn subscriptions_from(
        &self,
        begin: &Begin,
        n: usize,
        rows: &mut Vec<SubscriptionView>,
    ) -> Option<Position> {
        let (number, within) = match begin {
            Begin::Rank(rank) => {
                let (number, row) = self.sessions.at(Of::Subscriptions, *rank)?;
                (number, Start::Rank(row))
            }
            Begin::Behind(Position { number, filter: Some(filter) }) => {
                (*number, Start::Behind(&**filter))
            }
            Begin::Behind(Position { number, filter: None }) => (number + 1, Start::Rank(0)),
        };
        let end = rows.len() + n;
        let mut last = None;
        for session in self.sessions.page_of(Of::Subscriptions, Start::At(&number), n) {
            let within = if session.number() == number { within } else { Start::Rank(0) };
            let wanted = end - rows.len();
            let state = session.lock();
            let client_id = &state.client.client_id;
            let found = state.subscriptions.from(within).take(wanted).cloned();
            let before = rows.len();
            rows.extend(found.map(|subscription| SubscriptionView {
                client_id: client_id.clone(),
                subscription,
            }));
            let is_cut = rows.len() - before == wanted;
            let filter = rows.last().filter(|_| is_cut).map(|row| &row.subscription.filter);
            last = Some(Position { number: session.number(), filter: filter.cloned() });
            if is_cut {
                break;
            }
        }
        last
    }

    /// The connection of a client.
    #[must_use]
    pub fn connection(&self, client_id: &str) -> Option<ConnectedClient> {
        ConnectedClient::of(&*self.sessions.get(client_id)?)
    }

    /// The connections of clients with a user name, at most `max`. Others cost nothing.
    #[must_use]
    pub fn connections_of(&self, username: &str, max: usize) -> Vec<ConnectedClient> {
        let mut rows = Vec::new();
        self.each_of_username(username, &mut |session| {
            let view = ConnectedClient::of(session);
            rows.extend(view.filter(|view| view.client.username.as_deref() == Some(username)));
            rows.len() < max
        });
        rows.truncate(max);
        rows
    }

    /// Shows sessions that are likely to be connected under a user name, in order, while `each` wants more.
    pub(super) fn each_of_username(
        &self,
        username: &str,
        each: &mut dyn FnMut(&Arc<Session>) -> bool,
    ) {
        let mut behind = 0;
        loop {
            let found = self.sessions.of_username(username, behind, BATCH);
            let Some(last) = found.last() else { return };
            behind = last.number();
            if !found.iter().all(&mut *each) {
                return;
            }
        }
    }

    /// The session of a client.
    #[must_use]
    pub fn session(&self, client_id: &str) -> Option<SessionView> {
        self.sessions.get(client_id).and_then(|session| SessionView::of(&session))
    }

    /// The subscriptions of a client, in the order of their filters.
    #[must_use]
    pub fn subscriptions(&self, client_id: &str) -> Option<Vec<Subscription>> {
        let session = self.sessions.get(client_id)?;
        let mut all: Vec<Subscription> = Vec::new();
        loop {
            let state = session.lock();
            let last = all.last().map(|last| Arc::clone(&last.filter));
            let start = last.as_deref().map_or(Start::Rank(0), Start::Behind);
            let before = all.len();
            all.extend(state.subscriptions.from(start).take(BATCH).cloned());
            if all.len() - before < BATCH {
                return Some(all);
            }
        }
    }

    /// The routes of exactly this filter, at most [`PAGE_ROWS_MAX`].
    #[must_use]
    pub fn route(&self, filter: &str) -> Vec<RouteView> {
        let destinations = self.router.destinations_of(filter, PAGE_ROWS_MAX);
        destinations.into_iter().map(RouteView::of).collect()
    }
}
