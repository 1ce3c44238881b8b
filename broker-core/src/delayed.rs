//! Delayed messages: `$delayed/<seconds>/<topic>` is published to `<topic>` that much later.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::clock::Now;
use crate::config::DelayedConfig;
use crate::message::Message;

/// Seconds at and above this are a Unix time, as in the original.
const ABSOLUTE_FROM: u64 = 4_294_967;

/// Messages looked at with the lock held.
const PAGE: usize = 256;

/// Messages in the order they are due.
pub(crate) struct Delayed {
    config: RwLock<DelayedConfig>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// By due time on the monotonic clock and step, which is the order of arrival; with the due time since the
    /// Unix epoch.
    messages: BTreeMap<(u64, u64), (u64, Arc<Message>)>,
    bytes: usize,
}

/// The topic is no delayed one that can be read, or there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DelayedError {
    /// No number of seconds, too far away, or no topic behind it.
    Malformed,
    /// `delayed.max_delayed_messages` or `…_bytes` is reached.
    Full,
}

impl Delayed {
    pub(crate) fn new(config: DelayedConfig) -> Self {
        Self { config: RwLock::new(config), waiting: Mutex::default() }
    }

    pub(crate) fn configure(&self, config: DelayedConfig) {
        *self.config.write() = config;
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.config.read().enabled
    }

    /// Splits `$delayed/<seconds>/<topic>` into the monotonic due time and the topic.
    pub(crate) fn parse(topic: &str, now: Now) -> Result<(u64, &str), DelayedError> {
        let rest = topic.strip_prefix("$delayed/").ok_or(DelayedError::Malformed)?;
        let (seconds, topic) = rest.split_once('/').ok_or(DelayedError::Malformed)?;
        let is_number = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
        if !is_number || topic.is_empty() {
            return Err(DelayedError::Malformed);
        }
        let seconds: u64 = seconds.parse().map_err(|_| DelayedError::Malformed)?;
        let delay_ms = if seconds < ABSOLUTE_FROM {
            seconds * 1000
        } else {
            let at_ms = seconds.checked_mul(1000).ok_or(DelayedError::Malformed)?;
            at_ms.saturating_sub(now.wall_ms)
        };
        if delay_ms > ABSOLUTE_FROM * 1000 {
            return Err(DelayedError::Malformed);
        }
        Ok((now.mono_ms + delay_ms, topic))
    }

    /// True if there is room for messages of these weights.
    pub(crate) fn takes(&self, weights: impl Iterator<Item = usize>) -> bool {
        let waiting = self.waiting.lock();
        let (n, bytes) = weights.fold((0, 0), |(n, bytes), weight| (n + 1, bytes + weight));
        let DelayedConfig { max_messages, max_bytes, .. } = *self.config.read();
        n == 0
            || ((max_messages == 0 || waiting.messages.len() + n <= max_messages)
                && (max_bytes == 0 || waiting.bytes + bytes <= max_bytes))
    }

    /// Keeps a message until it is due. Returns the step that `next_step` gave it.
    pub(crate) fn add(
        &self,
        due_ms: u64,
        due_at_ms: u64,
        message: Arc<Message>,
        next_step: impl FnOnce() -> u64,
    ) -> Result<u64, DelayedError> {
        let mut waiting = self.waiting.lock();
        let Waiting { messages, bytes } = &mut *waiting;
        let weight = message.weight();
        let DelayedConfig { max_messages, max_bytes, .. } = *self.config.read();
        let is_full = (max_messages > 0 && messages.len() >= max_messages)
            || (max_bytes > 0 && *bytes + weight > max_bytes);
        if is_full {
            return Err(DelayedError::Full);
        }
        let step = next_step();
        *bytes += weight;
        messages.insert((due_ms, step), (due_at_ms, message));
        Ok(step)
    }

    /// Puts a message back that the store had.
    pub(crate) fn restore(&self, due_ms: u64, due_at_ms: u64, step: u64, message: Message) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += message.weight();
        waiting.messages.insert((due_ms, step), (due_at_ms, Arc::new(message)));
    }

    /// Calls `visit` with due time (since the Unix epoch), step and message of all, a page under one lock at
    /// a time.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(u64, u64, &Arc<Message>)) {
        let mut after = (0, 0);
        loop {
            let page: Vec<_> = {
                let behind = (Bound::Excluded(after), Bound::Unbounded);
                let waiting = self.waiting.lock();
                let page = waiting.messages.range(behind).take(PAGE);
                page.map(|(key, (at_ms, message))| (*key, *at_ms, Arc::clone(message))).collect()
            };
            let Some((last, ..)) = page.last() else { return };
            after = *last;
            page.iter().for_each(|((_, step), at_ms, message)| visit(*at_ms, *step, message));
        }
    }

    /// When the first message is due.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        if !self.is_enabled() {
            return None;
        }
        self.waiting.lock().messages.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    /// Takes the first message that is due, with its step.
    pub(crate) fn pop_due(&self, now: Now) -> Option<(u64, Arc<Message>)> {
        if !self.is_enabled() {
            return None;
        }
        let mut waiting = self.waiting.lock();
        let first = waiting.messages.first_entry().filter(|e| e.key().0 <= now.mono_ms)?;
        let (_, step) = *first.key();
        let (_, message) = first.remove();
        waiting.bytes -= message.weight();
        Some((step, message))
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().messages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_delay_or_a_unix_time() {
        let now = Now { mono_ms: 5_000, us: 0, wall_ms: 1_700_000_000_000 };
        let parse = |topic| Delayed::parse(topic, now);
        assert_eq!(parse("$delayed/15/x/y"), Ok((20_000, "x/y")));
        assert_eq!(parse("$delayed/60//a/b"), Ok((65_000, "/a/b")));
        assert_eq!(parse("$delayed/1700000010/x"), Ok((15_000, "x")));
        for bad in [
            "$delayed/-1/x",
            "$delayed/x/y",
            "$delayed/1",
            "$delayed/1/",
            "$delayed//x",
            "$delayed/99999999999/x",
            "$delayed/99999999999999999999999/x",
        ] {
            assert_eq!(parse(bad), Err(DelayedError::Malformed), "{bad}");
        }
    }
}
