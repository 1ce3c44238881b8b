//! Opening: the session that a client gets, its own of before or a new one.

use std::sync::Arc;

use super::Broker;
use super::ending::route_will;
use crate::channel::{CloseCause, SessionEnd};
use crate::client::ClientInfo;
use crate::config::WillsKeep;
use crate::session::subscriptions::Subscription;
use crate::session::{Connection, Session, State};
use crate::sessions::NotInserted;
use crate::store::{Dependency, Store};
use crate::turn::Turn;
use crate::will::Will;

impl Broker {
    /// The client that a session of that identifier is connected to.
    pub(crate) fn connected_client(&self, client_id: &str) -> Option<Arc<ClientInfo>> {
        let session = self.sessions.get(client_id).filter(|session| session.is_connected())?;
        let state = session.lock();
        state.connection.is_some().then(|| Arc::clone(&state.client))
    }

    /// True if there is a session of this Client Identifier that the client does not get.
    pub(crate) fn is_session_of_another(&self, client: &ClientInfo, now_ms: u64) -> bool {
        let session = self.sessions.get(client.client_id.as_str());
        session.is_some_and(|session| check_user(&session.lock(), client, now_ms).is_err())
    }

    /// Opens a session for a client that was let in. Returns it and whether it was there before.
    pub(crate) fn open_session(
        &self,
        request: &SessionRequest<'_>,
        turn: &mut Turn,
    ) -> Result<(Arc<Session>, bool), NoSession> {
        let client = request.client;
        // Whoever gives up a session of his own may have another in its place, even if he has too many by now.
        let mut gives_one_up = false;
        loop {
            match self.sessions.get(client.client_id.as_str()) {
                Some(session) if client.clean_start => {
                    gives_one_up |= self.discard_for(client, &session, turn)?;
                }
                Some(session) => {
                    if self.resume(request, &session, turn)? {
                        return Ok((session, true));
                    }
                }
                None => {
                    if let Some(session) = self.create(request, gives_one_up, turn)? {
                        return Ok((session, false));
                    }
                }
            }
        }
    }

    /// Ends what there was [MQTT-3.1.2-4], and tells its connection. Returns true if it was the same user's.
    fn discard_for(
        &self,
        client: &ClientInfo,
        session: &Arc<Session>,
        turn: &mut Turn,
    ) -> Result<bool, NoSession> {
        let now_ms = turn.now.mono_ms;
        let (mut old_client, mut is_of_user) = (None, false);
        self.end_session_if(session, SessionEnd::Discarded, turn, |state| {
            old_client = state.connection.as_ref().map(|_| Arc::clone(&state.client));
            is_of_user = !state.ended && state.client.username == client.username;
            check_user(state, client, now_ms)
        })?;
        if let Some(old_client) = old_client {
            turn.trace_takeover(&old_client, client);
        }
        Ok(is_of_user)
    }

    /// Connects the client to its session. Returns false if the session is not there any more.
    fn resume(
        &self,
        request: &SessionRequest<'_>,
        session: &Arc<Session>,
        turn: &mut Turn,
    ) -> Result<bool, NoSession> {
        let client = request.client;
        let mut state = session.lock();
        if state.ended {
            let owner = Arc::clone(&state.client);
            drop(state);
            self.sessions.remove(session, owner.username.as_deref());
            return Ok(false);
        }
        if state.is_expired(turn.now.mono_ms) {
            drop(state);
            self.end_session(session, SessionEnd::Expired, turn);
            return Ok(false);
        }
        check_user(&state, client, turn.now.mono_ms)?;
        let old_client = Arc::clone(&state.client);
        let taken_over = state.connection.is_some();
        // A Will that waits is cancelled by the new connection [MQTT-3.1.3-9]; one without delay
        // belongs to the connection that ends here.
        let is_due = state.will_due_ms().is_some_and(|due_ms| due_ms <= turn.now.mono_ms);
        let old_will = state.will.take().filter(|w| is_due || (taken_over && w.delay_s == 0));
        session.expel(&mut state, CloseCause::TakenOver, &mut turn.out);
        state.expiry_s = request.expiry_s;
        state.client = Arc::clone(client);
        if old_will.is_some() {
            state.record_will_done(&mut turn.out);
        }
        state.close_to_rights(client, turn);
        if taken_over {
            self.sessions.note_disconnected(session.number(), &old_client);
        }
        self.give_connection(request, session, &mut state, true, turn);
        let shared: Vec<_> =
            state.subscriptions.iter().filter(|s| s.share().is_some()).cloned().collect();
        drop(state);
        self.wake_member(session, &shared);
        if taken_over {
            turn.trace_takeover(&old_client, client);
            turn.client_disconnected(&old_client, "takeovered");
        }
        if let Some(old_will) = old_will {
            route_will(&old_client, &old_will, turn);
        }
        Ok(true)
    }

    /// Makes a session for the client, instead of another of its user's where that is given up. Returns none if one has
    /// come into being meanwhile.
    fn create(
        &self,
        request: &SessionRequest<'_>,
        gives_one_up: bool,
        turn: &mut Turn,
    ) -> Result<Option<Arc<Session>>, NoSession> {
        let client = request.client;
        let (max_sessions, max_of_user) = {
            let config = self.config.read();
            (config.max_sessions, config.user_max_sessions)
        };
        if self.sessions.len() >= max_sessions {
            return Err(NoSession::TooMany);
        }
        let max_of_user = if gives_one_up { 0 } else { max_of_user };
        let number = self.sessions.next_number();
        let session = Session::new(number, Arc::clone(client), request.expiry_s, turn.now.wall_ms);
        let session = Arc::new(session);
        let mut state = session.lock();
        match self.sessions.insert(&session, &state, max_of_user) {
            Ok(()) => {}
            Err(NotInserted::Exists) => return Ok(None),
            Err(NotInserted::TooManyOfUser) => return Err(NoSession::TooMany),
        }
        state.rights_generation = turn.rights_generation;
        self.give_connection(request, &session, &mut state, false, turn);
        drop(state);
        turn.session_created(client);
        Ok(Some(session))
    }

    /// Gives the session its new connection, and the connection its CONNACK.
    fn give_connection(
        &self,
        request: &SessionRequest<'_>,
        session: &Arc<Session>,
        state: &mut State,
        is_present: bool,
        turn: &mut Turn,
    ) {
        let client = request.client;
        state.will = request.will.cloned().map(Box::new);
        self.record_connect(state, turn);
        self.sessions.note_connected(session.number(), client);
        let (connack, held) = ((request.connack)(is_present), self.ends_of(client));
        let connection = (request.connection)();
        session.attach(state, Arc::clone(client), connection, &connack, held, &mut turn.out);
    }

    /// What a CONNACK must wait for: else a session might come back that its client knows to be gone.
    fn ends_of(&self, client: &ClientInfo) -> Vec<Dependency> {
        let ends = |store: &Arc<dyn Store>| self.ends.of(&client.client_id, &**store);
        self.store.as_ref().map(ends).unwrap_or_default()
    }

    /// True if the Will of a session is recorded.
    pub(crate) fn keeps_will(&self, state: &State) -> bool {
        let is_durable = state.expiry_s > 0;
        state.will.as_ref().is_some_and(|will| match self.durability.wills_keep {
            WillsKeep::Nobody => false,
            WillsKeep::Durable => is_durable,
            WillsKeep::Retained => is_durable || will.retain,
            WillsKeep::All => true,
        })
    }

    /// Records that a client connects to a session, as far as anything of it survives.
    fn record_connect(&self, state: &mut State, turn: &mut Turn) {
        if self.store.is_none() {
            return;
        }
        let was_durable = state.is_durable;
        let is_durable = state.expiry_s > 0;
        let keeps_will = self.keeps_will(state);
        if !is_durable {
            // Its connection is all that keeps it: a crash ends it.
            let end = self.announce_end(state, turn);
            if was_durable || !keeps_will {
                state.record_end(&mut turn.out);
            }
            end.into_iter().for_each(|end| turn.out.records.bind(end));
            if !keeps_will {
                return;
            }
        }
        state.is_durable = is_durable;
        state.is_will_recorded = !is_durable;
        state.record_start(keeps_will, &mut turn.out);
        if is_durable && !was_durable {
            state.record_contents(&mut turn.out);
        }
    }

    /// Tells the groups of a session that it has a connection again.
    fn wake_member(&self, session: &Session, shared: &[Subscription]) {
        for subscription in shared {
            let name = subscription.share().unwrap_or_default();
            self.router.wake(subscription.route(), name, session.number());
        }
    }
}

/// What a client that was let in is to have.
pub(crate) struct SessionRequest<'a> {
    pub(crate) client: &'a Arc<ClientInfo>,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<&'a Will>,
    pub(crate) connection: &'a dyn Fn() -> Box<Connection>,
    /// Writes the CONNACK once Session Present is known: it must precede everything else.
    pub(crate) connack: &'a dyn Fn(bool) -> Vec<u8>,
}

/// Why a client that was let in gets no session.
pub(crate) enum NoSession {
    /// `broker.max_sessions` is reached, or `limits.user.max_sessions`.
    TooMany,
    /// Its Client Identifier has a session that another user has made.
    OfAnotherUser,
}

/// A session is its user's: whoever else knows the Client Identifier neither gets nor ends it.
fn check_user(state: &State, client: &ClientInfo, now_ms: u64) -> Result<(), NoSession> {
    let is_over = state.ended || state.is_expired(now_ms);
    if is_over || state.client.username == client.username {
        return Ok(());
    }
    log::debug!("refused: another user has the session client_id={:?}", client.client_id);
    Err(NoSession::OfAnotherUser)
}
