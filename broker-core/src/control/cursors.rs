//! Cursors: where the pages ended that somebody has just fetched, so that the next one goes on from there.
//!
//! A page asked for by number alone begins behind so many entries. When entries go between two pages, the
//! second one would skip as many, and when they come, repeat some. Whoever fetches pages in order is spared
//! that: page 3 begins behind the last entry that page 2 has shown, be it still there or not.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::pages::PageRequest;
use crate::directory::Start;

/// A list that is read in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum List {
    Connections,
    Sessions,
    Subscriptions,
    Routes,
    Bans,
}

/// An entry that was shown, or passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// Its number in its list.
    pub(crate) number: u64,
    /// Of the subscriptions of session `number`, the last that was shown; `None` if all were.
    pub(crate) filter: Option<Arc<str>>,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Begin {
    Rank(usize),
    Behind(Position),
}

/// Ends of pages, by who fetched them: bounded, whatever is asked for.
#[derive(Default)]
pub(crate) struct Cursors(Mutex<HashMap<Reader, Reading>>);

/// One that goes through a list.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Reader {
    caller: u64,
    list: List,
    limit: usize,
}

#[derive(Default)]
struct Reading {
    /// The last pages fetched, the latest last.
    ends: VecDeque<End>,
    used_ms: u64,
}

struct End {
    page: usize,
    position: Position,
    at_ms: u64,
}

/// Readers remembered; the one that has been away the longest makes room.
const READERS_MAX: usize = 256;
/// Pages remembered of each: some to go back by.
const PAGES_MAX: usize = 8;
/// How long the end of a page is of use. Afterwards a page is again what its number says: who looks at the
/// fifth page of a list every few minutes wants it as it is.
const KEPT_MS: u64 = 5 * 60_000;

impl Position {
    pub(crate) const fn of(number: u64) -> Self {
        Self { number, filter: None }
    }
}

impl Begin {
    /// The same, where entries have numbers and nothing else.
    pub(crate) const fn start(&self) -> Start<'_, u64> {
        match self {
            Self::Rank(n) => Start::Rank(*n),
            Self::Behind(position) => Start::Behind(&position.number),
        }
    }
}

impl Cursors {
    /// Where a page begins. `now_ms` is monotonic.
    pub(crate) fn begin(&self, list: List, request: &PageRequest, now_ms: u64) -> Begin {
        let before = request.page() - 1;
        let rank = Begin::Rank(before.saturating_mul(request.limit()));
        if before == 0 {
            return rank;
        }
        let mut readings = self.0.lock();
        let Some(reading) = readings.get_mut(&Reader::of(list, request)) else { return rank };
        reading.used_ms = now_ms;
        let is_it = |end: &&End| end.page == before && now_ms < end.at_ms + KEPT_MS;
        let end = reading.ends.iter().rev().find(is_it);
        end.map_or(rank, |end| Begin::Behind(end.position.clone()))
    }

    /// A page has ended at `position`.
    pub(crate) fn end(&self, list: List, request: &PageRequest, position: Position, now_ms: u64) {
        let mut readings = self.0.lock();
        let reader = Reader::of(list, request);
        if readings.len() >= READERS_MAX && !readings.contains_key(&reader) {
            let oldest = readings.iter().min_by_key(|(_, reading)| reading.used_ms);
            if let Some(oldest) = oldest.map(|(reader, _)| reader.clone()) {
                readings.remove(&oldest);
            }
        }
        let reading = readings.entry(reader).or_default();
        reading.used_ms = now_ms;
        let page = request.page();
        reading.ends.retain(|end| end.page != page);
        if reading.ends.len() >= PAGES_MAX {
            reading.ends.pop_front();
        }
        reading.ends.push_back(End { page, position, at_ms: now_ms });
    }
}

impl Reader {
    fn of(list: List, request: &PageRequest) -> Self {
        Self { caller: request.caller, list, limit: request.limit() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(caller: u64, page: usize, limit: usize) -> PageRequest {
        PageRequest { page, limit, caller }
    }

    fn behind(number: u64) -> Begin {
        Begin::Behind(Position::of(number))
    }

    const LIST: List = List::Sessions;

    #[test]
    fn a_page_begins_behind_the_one_before_it() {
        let cursors = Cursors::default();
        assert_eq!(cursors.begin(LIST, &request(1, 3, 10), 0), Begin::Rank(20));
        cursors.end(LIST, &request(1, 2, 10), Position::of(77), 0);
        assert_eq!(cursors.begin(LIST, &request(1, 3, 10), 1), behind(77));
        // The same page again, as often as one likes.
        assert_eq!(cursors.begin(LIST, &request(1, 3, 10), 2), behind(77));
        for (list, other) in [
            (LIST, request(2, 3, 10)),
            (LIST, request(1, 3, 11)),
            (LIST, request(1, 2, 10)),
            (LIST, request(1, 4, 10)),
            (List::Connections, request(1, 3, 10)),
        ] {
            assert!(matches!(cursors.begin(list, &other, 2), Begin::Rank(_)), "{other:?}");
        }
        cursors.end(LIST, &request(1, 1, 10), Position::of(5), 3);
        assert_eq!(cursors.begin(LIST, &request(1, 2, 10), 3), behind(5));
        assert_eq!(cursors.begin(LIST, &request(1, 1, 10), 3), Begin::Rank(0));
        cursors.end(LIST, &request(1, 2, 10), Position::of(80), 4);
        assert_eq!(cursors.begin(LIST, &request(1, 3, 10), 4), behind(80), "the later one counts");
    }

    #[test]
    fn what_was_read_long_ago_counts_no_more() {
        let cursors = Cursors::default();
        cursors.end(LIST, &request(1, 1, 10), Position::of(5), 1_000);
        assert_eq!(cursors.begin(LIST, &request(1, 2, 10), 1_000 + KEPT_MS - 1), behind(5));
        assert_eq!(cursors.begin(LIST, &request(1, 2, 10), 1_000 + KEPT_MS), Begin::Rank(10));
    }

    #[test]
    fn memory_is_bounded_in_readers_and_in_pages() {
        let cursors = Cursors::default();
        for page in 1..=1_000 {
            cursors.end(LIST, &request(7, page, 1), Position::of(page as u64), page as u64);
        }
        assert_eq!(cursors.begin(LIST, &request(7, 1_001, 1), 1_000), behind(1_000));
        assert_eq!(cursors.begin(LIST, &request(7, 994, 1), 1_000), behind(993));
        assert_eq!(cursors.begin(LIST, &request(7, 993, 1), 1_000), Begin::Rank(992));
        for caller in 1_000..1_000 + 2 * READERS_MAX as u64 {
            // A reader that goes on stays, however many others come by.
            cursors.end(LIST, &request(7, 1, 1), Position::of(1), caller);
            cursors.end(LIST, &request(caller, 1, 1), Position::of(caller), caller);
        }
        assert_eq!(cursors.0.lock().len(), READERS_MAX);
        let now_ms = 1_000 + 2 * READERS_MAX as u64;
        assert_eq!(cursors.begin(LIST, &request(7, 2, 1), now_ms), behind(1));
        assert_eq!(cursors.begin(LIST, &request(1_000, 2, 1), now_ms), Begin::Rank(1));
    }

    #[test]
    fn numbers_beyond_measure_are_no_harm() {
        let cursors = Cursors::default();
        let begin = |page, limit| cursors.begin(LIST, &request(1, page, limit), 0);
        assert_eq!(begin(0, 0), Begin::Rank(0));
        assert_eq!(begin(usize::MAX, usize::MAX), Begin::Rank(usize::MAX));
    }
}
