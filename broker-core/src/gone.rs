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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn who_is_over_is_kept_for_a_snapshot_on_its_way_and_while_others_may_hold_records() {
        let gone = Gone::default();
        let gate = Arc::new(AtomicU64::new(1));
        let add = |number| {
            gone.add(number, 7, TurnsUnderWay::of(std::iter::once(Arc::clone(&gate))));
        };
        let numbers = || gone.list().iter().map(|(number, _)| *number).collect::<Vec<_>>();
        add(1);
        add(2);
        assert_eq!(numbers(), [1, 2]);
        gone.hold();
        gate.store(2, Ordering::SeqCst);
        add(3);
        assert_eq!(
            numbers(),
            [1, 2, 3],
            "they may have ended behind the place the log is read from"
        );
        gone.release();
        add(4);
        assert_eq!(numbers(), [4]);
        gone.hold();
        assert_eq!(numbers(), [0; 0], "it ended before that place");
    }
}
