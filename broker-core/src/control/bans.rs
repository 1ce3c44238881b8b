//! Bans, pronounced and lifted by an operator.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::pages::BATCH;
use crate::access::banned::{Ban, Who};
use crate::broker::Broker;
use crate::channel::CloseCause;
use crate::client::ClientInfo;
use crate::clock::Now;
use crate::directory::Start;
use crate::session::Session;
use crate::sessions::Of;
use crate::settings::Saved;

/// How long a ban that is over may still be held.
const SWEEP_MS: u64 = 60_000;

impl Broker {
    /// Bans a client, a user, an address or a block of addresses, or replaces that ban. Whoever is connected
    /// and concerned is closed, unless its zone knows no bans.
    ///
    /// A ban that is over at `now_ms`, milliseconds since the Unix epoch, lifts the one it replaces. A Client
    /// Identifier and a User Name cost what they concern, addresses a look at every connection.
    pub fn ban(&self, who: &Who, ban: Ban, now_ms: u64) -> Saved {
        if ban.until_ms <= now_ms {
            return self.lift_ban(who).unwrap_or_default();
        }
        let saved = self.add_ban(who.clone(), ban);
        // Whoever is not found here comes later than the ban, and is stopped by it.
        let is_concerned = |client: &ClientInfo| client.zone.enable_ban && who.concerns(client);
        let close = |session: &Arc<Session>| {
            session.close_if(CloseCause::Banned, is_concerned);
        };
        match who {
            Who::ClientId(id) => self.sessions.get(id).iter().for_each(close),
            Who::Username(name) => self.each_of_username(name, &mut |session| {
                close(session);
                true
            }),
            Who::Address(_) | Who::Network(_) => {
                let mut last = 0;
                loop {
                    let start = Start::Behind(&last);
                    let sessions = self.sessions.page_of(Of::Connections, start, BATCH);
                    sessions.iter().for_each(close);
                    let Some(session) = sessions.last() else { break };
                    last = session.number();
                }
            }
        }
        saved
    }

    /// Lifts a ban; `None` if there is none.
    pub fn unban(&self, who: &Who) -> Option<Saved> {
        self.lift_ban(who)
    }

    /// When the bans are next looked at for those that are over, on the monotonic clock.
    pub(crate) fn next_ban_sweep_ms(&self) -> Option<u64> {
        self.banned.first_end_ms().map(|_| self.ban_sweep_ms.load(Ordering::Relaxed))
    }

    /// Lifts bans that are over, now and then.
    pub(crate) fn sweep_bans(&self, now: Now) {
        if self.ban_sweep_ms.load(Ordering::Relaxed) <= now.mono_ms {
            let pause_ms = if self.end_bans(now.wall_ms) { 0 } else { SWEEP_MS };
            self.ban_sweep_ms.store(now.mono_ms + pause_ms, Ordering::Relaxed);
        }
    }
}
