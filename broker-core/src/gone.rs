//! Gone: durable sessions that are over while threads may have yet to append records of them.
//!
//! A snapshot does not show them, and the log behind it may hold the beginning of such a session without its end,
//! which another thread had appended before: replay would take it for a new one. So a snapshot names them.

use parking_lot::Mutex;

use crate::store::TurnsUnderWay;

#[derive(Default)]
pub(crate) struct Gone(Mutex<List>);

#[derive(Default)]
struct List {
    sessions: Vec<Session>,
    /// A snapshot is on its way: nobody is let go before it has been written.
    is_held: bool,
}

struct Session {
    number: u64,
    /// Step of its end.
    step: u64,
    /// Those who may hold records of it.
    turns: TurnsUnderWay,
}

impl List {
    fn let_go(&mut self) {
        self.sessions.retain(|session| !session.turns.are_over());
    }
}

impl Gone {
    /// A session is over, as its record of that step says.
    pub(crate) fn add(&self, number: u64, step: u64, turns: TurnsUnderWay) {
        let mut list = self.0.lock();
        if !list.is_held {
            list.let_go();
        }
        list.sessions.push(Session { number, step, turns });
    }

    /// What is over by now has all its records before the place where the log is to lead on from a snapshot.
    pub(crate) fn hold(&self) {
        let mut list = self.0.lock();
        list.let_go();
        list.is_held = true;
    }

    /// Numbers and last steps.
    pub(crate) fn list(&self) -> Vec<(u64, u64)> {
        self.0.lock().sessions.iter().map(|session| (session.number, session.step)).collect()
    }

    /// The snapshot names them, or there is none.
    pub(crate) fn release(&self) {
        self.0.lock().is_held = false;
    }
}
