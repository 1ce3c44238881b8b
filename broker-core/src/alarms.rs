//! Alarms: named conditions that stay up until they are over, and a bounded history.

pub(crate) mod clients;
mod episode;
mod kept;
mod report;
mod watermark;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::settings::Saved;

pub use report::{Report, Severity};
pub use watermark::{Judgement, Watermark};

/// Name of the alarm about a listener that does not accept or cannot be opened, before `/` and the listener's name.
pub const LISTENER_FAILED: &str = "listener_failed";

/// An alarm that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Name, `too_many_open_files`; of one client also which, `queue_overflow/c1`.
    pub id: String,
    /// What is the matter.
    pub report: Report,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// An alarm that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAlarm {
    /// The alarm.
    pub alarm: Alarm,
    /// When it was cleared, milliseconds since the Unix epoch.
    pub cleared_ms: u64,
}

impl Alarm {
    /// The name without the client: one of a few.
    #[must_use]
    pub fn kind(&self) -> &str {
        kind(&self.id)
    }
}

fn kind(id: &str) -> &str {
    id.split_once('/').filter(|(kind, _)| !kind.starts_with('{')).map_or(id, |(kind, _)| kind)
}

/// The alarms of a broker.
pub struct Alarms {
    board: Mutex<Board>,
    /// Something has yet to be told or kept.
    has_news: AtomicBool,
    /// Held by who keeps alarms, so that an older state never follows a newer one: what was kept last.
    keeping: Mutex<Saved>,
    history_max: usize,
}

#[derive(Default)]
struct Board {
    up: BTreeMap<String, (u64, Alarm)>,
    history: VecDeque<(u64, PastAlarm)>,
    /// Number of the alarm that was raised last.
    last_number: u64,
    /// What subscribers have yet to be told, oldest first.
    news: VecDeque<News>,
    /// Numbers of alarms that are kept, perhaps as they were.
    kept: BTreeSet<u64>,
    /// Numbers of alarms whose kept form, if any, is out of date.
    stale: BTreeSet<u64>,
}

/// Something that subscribers are told.
pub(crate) enum News {
    Raised(Alarm),
    /// By name.
    Cleared(String),
}

/// An alarm as it is kept: over, if there is a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptAlarm {
    alarm: Alarm,
    cleared_ms: Option<u64>,
}

impl Alarms {
    pub(crate) fn new(history_max: usize) -> Self {
        Self {
            board: Mutex::default(),
            has_news: AtomicBool::new(false),
            keeping: Mutex::default(),
            history_max,
        }
    }

    /// Raises an alarm, or refreshes what one says that is up. Returns true if it is new.
    pub fn raise(&self, id: &str, report: impl Into<Report>, now_ms: u64) -> bool {
        let mut report = report.into();
        if report.title.is_empty() {
            report.title = kind(id).replace('_', " ").into();
        }
        let mut board = self.board.lock();
        if let Some((_, alarm)) = board.up.get_mut(id) {
            alarm.report = report;
            return false;
        }
        let alarm = Alarm { id: id.to_owned(), report, since_ms: now_ms };
        board.last_number += 1;
        let number = board.last_number;
        board.stale.insert(number);
        board.tell(News::Raised(alarm.clone()));
        board.up.insert(id.to_owned(), (number, alarm.clone()));
        self.has_news.store(true, Ordering::Release);
        drop(board);
        let Report { severity, summary, .. } = alarm.report;
        let (id, severity, summary) =
            (id.escape_debug(), severity.as_str(), summary.escape_debug());
        log::warn!("alarm raised: {summary} id={id} severity={severity}");
        true
    }

    /// Clears an alarm. Returns true if it was up.
    pub fn clear(&self, id: &str, now_ms: u64) -> bool {
        let mut board = self.board.lock();
        let Some((number, alarm)) = board.up.remove(id) else { return false };
        board.tell(News::Cleared(alarm.id.clone()));
        board.add_past(number, PastAlarm { alarm, cleared_ms: now_ms }, self.history_max);
        self.has_news.store(true, Ordering::Release);
        drop(board);
        log::info!("alarm cleared id={}", id.escape_debug());
        true
    }

    /// Alarms that are up, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Alarm> {
        self.board.lock().up.values().map(|(_, alarm)| alarm.clone()).collect()
    }

    /// Alarms that are over, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<PastAlarm> {
        self.board.lock().history.iter().map(|(_, past)| past.clone()).collect()
    }

    /// Forgets the alarms that are over.
    pub fn forget_history(&self) {
        let mut board = self.board.lock();
        while board.forget_oldest() {}
        self.has_news.store(true, Ordering::Release);
    }

    /// True if something has yet to be told or kept.
    pub(crate) fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Acquire)
    }

    /// What has yet to be told. After this, [`take_unkept`](Self::take_unkept) has all that it belongs to.
    pub(crate) fn take_news(&self) -> VecDeque<News> {
        let mut board = self.board.lock();
        self.has_news.store(false, Ordering::Release);
        std::mem::take(&mut board.news)
    }

    /// Alarms that have to be kept, or forgotten, by number.
    fn take_unkept(&self) -> Vec<(u64, Option<KeptAlarm>)> {
        let mut board = self.board.lock();
        let board = &mut *board;
        let stale = std::mem::take(&mut board.stale);
        let up = board.up.values().map(|(number, alarm)| (*number, alarm, None));
        let past = board.history.iter();
        let past = past.map(|(number, past)| (*number, &past.alarm, Some(past.cleared_ms)));
        let (mut unkept, mut gone) = (Vec::new(), std::mem::take(&mut board.kept));
        for (number, alarm, cleared_ms) in up.chain(past) {
            gone.remove(&number);
            board.kept.insert(number);
            if stale.contains(&number) {
                let alarm = alarm.clone();
                unkept.push((number, Some(KeptAlarm { alarm, cleared_ms })));
            }
        }
        unkept.extend(gone.into_iter().map(|number| (number, None)));
        unkept
    }

    /// Puts what was kept into the history; what was up then ends now.
    fn restore(&self, kept: Vec<(u64, KeptAlarm)>, now_ms: u64) {
        if kept.is_empty() {
            return;
        }
        let mut board = self.board.lock();
        let mut past = Vec::new();
        for (number, KeptAlarm { alarm, cleared_ms }) in kept {
            board.last_number = board.last_number.max(number);
            board.kept.insert(number);
            past.push((number, PastAlarm { alarm, cleared_ms: cleared_ms.unwrap_or(now_ms) }));
            if cleared_ms.is_none() {
                board.stale.insert(number);
            }
        }
        past.sort_by_key(|(number, past)| (past.cleared_ms, *number));
        for (number, past) in past {
            let is_stale = board.stale.contains(&number);
            board.add_past(number, past, self.history_max);
            if !is_stale {
                board.stale.remove(&number);
            }
        }
        self.has_news.store(true, Ordering::Release);
    }
}

impl Board {
    fn tell(&mut self, news: News) {
        if self.news.len() >= NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back(news);
    }

    fn add_past(&mut self, number: u64, past: PastAlarm, max: usize) {
        self.stale.insert(number);
        self.history.push_back((number, past));
        while self.history.len() > max {
            self.forget_oldest();
        }
    }

    /// Returns false if there is none.
    fn forget_oldest(&mut self) -> bool {
        let Some((number, _)) = self.history.pop_front() else { return false };
        self.stale.remove(&number);
        true
    }
}

/// What has yet to be told, if nobody calls `handle_timeout`.
const NEWS_MAX: usize = 1_000;

#[cfg(test)]
mod tests;
