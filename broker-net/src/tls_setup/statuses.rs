//! Statuses: what OCSP responders have said of clients' certificates, and what is to be asked of them.
//!
//! Loops look a status up and are told later if it has to be asked for; threads that may wait take inquiries from here
//! and bring the answers. Who asks about the same certificate meanwhile shares the answer.

use std::collections::{BTreeSet, HashMap, VecDeque, hash_map};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;

use super::ocsp::{OcspQuestion, Said, Status};
use crate::clock;

/// All that is known, by certificate and responder.
#[derive(Default)]
pub(crate) struct Statuses {
    book: Mutex<Book>,
    /// There may be something to ask.
    is_wanted: Condvar,
}

#[derive(Default)]
struct Book {
    entries: HashMap<Key, Entry>,
    /// Somebody waits for them; the oldest first.
    waiting: VecDeque<(u64, Key)>,
    /// Of connected clients, by when they are asked about again.
    due: BTreeSet<(u64, Key)>,
    /// Those that nobody needs now, the oldest first, and their bytes.
    idle: BTreeSet<(u64, Key)>,
    idle_bytes: usize,
    /// Inquiries under way, by responder.
    at_work: HashMap<Arc<str>, usize>,
    n_used: u64,
    is_closed: bool,
}

/// SHA-256 of the certificate and who is asked about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key([u8; 32]);

/// What is asked, and of whom.
pub(crate) struct Subject {
    pub(crate) question: OcspQuestion,
    pub(crate) url: Arc<str>,
    /// Whether the certificate names the responder, and not the operator.
    pub(crate) is_url_of_certificate: bool,
    pub(crate) timeout_ms: u64,
}

struct Entry {
    subject: Arc<Subject>,
    known: Option<Known>,
    /// It is in `waiting` or at work.
    is_asked: bool,
    waiters: Vec<Waiter>,
    /// Connected clients with this certificate.
    n_held: usize,
    /// The shortest of those who look it up.
    refresh_ms: u64,
    /// Its place in `due`, and in `idle`.
    due_ms: Option<u64>,
    idle_at: Option<u64>,
    is_revoked: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
struct Known {
    said: Said,
    /// When, on the monotonic clock.
    asked_ms: u64,
    /// It counts until there is another, which is to be asked for.
    is_old: bool,
}

/// Hears the answer, from another thread.
pub(crate) type Waiter = Box<dyn FnOnce(Standing) + Send>;

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    Revoked,
    /// The responder does not know it.
    Unknown,
    /// Nobody has said anything that can be believed.
    Unanswered,
}

/// What a look brings.
pub(crate) enum Look {
    Known(Standing),
    /// The waiter will hear.
    Asked,
}

/// A client that came in with a certificate: as long as it is connected, the certificate is asked about.
pub(crate) struct Holder {
    statuses: Arc<Statuses>,
    key: Key,
    is_revoked: Arc<AtomicBool>,
}

/// One question that a responder is to be asked now.
pub struct Inquiry {
    key: Key,
    subject: Arc<Subject>,
    nonce: [u8; NONCE_BYTES],
}

/// What came of an inquiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concluded {
    /// Why the answer, or that there is none, tells nothing.
    pub problem: Option<String>,
    /// Whether clients that are connected have been revoked by it.
    pub cuts_off: bool,
}

impl Key {
    pub(crate) fn of(certificate: &CertificateDer<'_>, responder: &str) -> Self {
        let mut context = Context::new(&SHA256);
        // The certificate says how long it is: nothing of it can be taken for the other.
        context.update(certificate);
        context.update(responder.as_bytes());
        Self(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl Statuses {
    /// What is known and not older than `refresh_ms`, or else has it asked. `None` where `subject` finds nobody to ask.
    pub(crate) fn look_up(
        self: &Arc<Self>,
        key: Key,
        refresh_ms: u64,
        subject: impl Fn() -> Option<Subject>,
        waiter: Waiter,
    ) -> Option<(Look, Holder)> {
        let now_ms = clock::now().mono_ms;
        // Not under the lock, as a rule: it verifies signatures.
        let is_there = self.book.lock().entries.contains_key(&key);
        let made = if is_there { None } else { Some(subject()?) };
        let mut book = self.book.lock();
        if let hash_map::Entry::Vacant(place) = book.entries.entry(key) {
            // Unless it was there a moment ago, and is no more.
            let subject = made.or_else(subject)?;
            place.insert(Entry::new(Arc::new(subject), refresh_ms));
        }
        let is_full = book.waiting.len() >= WAITING_MAX;
        let entry = book.entries.get_mut(&key).expect("it was found or made");
        entry.refresh_ms = entry.refresh_ms.min(refresh_ms);
        let fresh = entry.known.filter(|known| known.is_fresh(refresh_ms, now_ms));
        let (look, due_ms) = match fresh {
            Some(known) => (Look::Known(known.standing()), Some(known.due_ms(entry.refresh_ms))),
            None if !entry.is_asked && is_full => {
                (Look::Known(entry.fall_back()), Some(now_ms + RETRY_MS))
            }
            None => {
                entry.waiters.push(waiter);
                if !std::mem::replace(&mut entry.is_asked, true) {
                    book.waiting.push_back((now_ms, key));
                }
                (Look::Asked, None)
            }
        };
        let holder = book.hold(self, key);
        book.set_due(key, due_ms);
        drop(book);
        self.is_wanted.notify_one();
        Some((look, holder))
    }

    /// Waits for something to ask; `None` at the end.
    pub(crate) fn next(&self) -> Option<Inquiry> {
        let mut late = Vec::new();
        loop {
            let mut book = self.book.lock();
            if book.is_closed {
                break None;
            }
            let now_ms = clock::now().mono_ms;
            late.append(&mut book.take_late(now_ms));
            if !late.is_empty() {
                drop(book);
                late.drain(..).for_each(|(waiter, standing): (Waiter, _)| waiter(standing));
                continue;
            }
            if let Some(key) = book.take_waiting().or_else(|| book.take_due(now_ms)) {
                let subject = Arc::clone(&book.entries[&key].subject);
                *book.at_work.entry(Arc::clone(&subject.url)).or_default() += 1;
                break Some(Inquiry::new(key, subject));
            }
            let pause = book.pause(now_ms);
            self.is_wanted.wait_for(&mut book, pause);
        }
    }

    /// Takes an answer, or why there is none, and tells those who wait.
    pub(crate) fn conclude(&self, inquiry: &Inquiry, answer: Result<Vec<u8>, String>) -> Concluded {
        let now = clock::now();
        let Inquiry { key, subject, nonce } = inquiry;
        let said = answer.and_then(|response| {
            let said = subject.question.judge_new(&response, now.wall_ms / 1_000, nonce);
            said.map_err(|error| error.to_string())
        });
        let mut book = self.book.lock();
        book.let_go(&subject.url);
        let mut concluded = Concluded { problem: None, cuts_off: false };
        let mut waiters = Vec::new();
        let mut standing = Standing::Unanswered;
        if let Some(entry) = book.entries.get_mut(key) {
            match said.and_then(|said| entry.take_no_older(said)) {
                Ok(said) => {
                    entry.known = Some(Known { said, asked_ms: now.mono_ms, is_old: false });
                    let is_revoked = said.status == Status::Revoked;
                    let was_revoked = entry.is_revoked.swap(is_revoked, Ordering::Relaxed);
                    concluded.cuts_off = is_revoked && !was_revoked && entry.n_held > 0;
                }
                Err(problem) => concluded.problem = Some(problem),
            }
            standing = entry.fall_back();
            entry.is_asked = false;
            waiters = std::mem::take(&mut entry.waiters);
            book.settle(*key, now.mono_ms, concluded.problem.is_some());
        }
        drop(book);
        // One place is free, and others may be allowed to it.
        self.is_wanted.notify_all();
        waiters.into_iter().for_each(|waiter| waiter(standing));
        concluded
    }

    /// Nothing that is known is fresh any more.
    pub(crate) fn hurry(&self) {
        let mut book = self.book.lock();
        for entry in book.entries.values_mut() {
            if let Some(known) = &mut entry.known {
                known.is_old = true;
            }
        }
        let held = std::mem::take(&mut book.due);
        for (_, key) in held {
            book.set_due(key, Some(0));
        }
        drop(book);
        self.is_wanted.notify_all();
    }

    /// Ends [`Self::next`] for whoever waits there.
    pub(crate) fn close(&self) {
        self.book.lock().is_closed = true;
        self.is_wanted.notify_all();
    }
}

impl Book {
    fn hold(&mut self, statuses: &Arc<Statuses>, key: Key) -> Holder {
        let entry = self.entries.get_mut(&key).expect("it was found or made");
        entry.n_held += 1;
        if let Some(at) = entry.idle_at.take() {
            self.idle.remove(&(at, key));
            self.idle_bytes -= entry.held_bytes();
        }
        let is_revoked = Arc::clone(&entry.is_revoked);
        Holder { statuses: Arc::clone(statuses), key, is_revoked }
    }

    /// Nobody asks about it now: it is put where it belongs.
    fn settle(&mut self, key: Key, now_ms: u64, has_failed: bool) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.n_held > 0 {
            let due_ms = match entry.known {
                Some(known) if !has_failed => known.due_ms(entry.refresh_ms),
                _ => now_ms + RETRY_MS,
            };
            return self.set_due(key, Some(due_ms));
        }
        if entry.known.is_none() {
            // That nobody has answered is no knowledge worth keeping.
            self.entries.remove(&key);
            return;
        }
        self.n_used += 1;
        entry.idle_at = Some(self.n_used);
        self.idle_bytes += entry.held_bytes();
        self.idle.insert((self.n_used, key));
        while self.idle.len() > IDLE_MAX || self.idle_bytes > IDLE_BYTES_MAX {
            let Some((_, oldest)) = self.idle.pop_first() else { return };
            let oldest = self.entries.remove(&oldest);
            self.idle_bytes -= oldest.map_or(0, |entry| entry.held_bytes());
        }
    }

    fn set_due(&mut self, key: Key, due_ms: Option<u64>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if let Some(before) = std::mem::replace(&mut entry.due_ms, due_ms) {
            self.due.remove(&(before, key));
        }
        self.due.extend(due_ms.map(|at| (at, key)));
    }

    /// Who has waited for so long that nobody waits any more, and what to tell them.
    fn take_late(&mut self, now_ms: u64) -> Vec<(Waiter, Standing)> {
        let mut late = Vec::new();
        while let Some((at_ms, key)) = self.waiting.front().copied() {
            let Some(entry) = self.entries.get_mut(&key) else {
                self.waiting.pop_front();
                continue;
            };
            if at_ms + entry.subject.timeout_ms > now_ms {
                break;
            }
            self.waiting.pop_front();
            entry.is_asked = false;
            let standing = entry.fall_back();
            late.extend(entry.waiters.drain(..).map(|waiter| (waiter, standing)));
            self.settle(key, now_ms, true);
        }
        late
    }

    fn take_waiting(&mut self) -> Option<Key> {
        let may = |(_, key): &(u64, Key)| self.may_ask(*key);
        let at = self.waiting.iter().position(may)?;
        let (_, key) = self.waiting.remove(at)?;
        self.set_due(key, None);
        Some(key)
    }

    fn take_due(&mut self, now_ms: u64) -> Option<Key> {
        let due = self.due.iter().take(DUE_LOOKED_AT).take_while(|(at_ms, _)| *at_ms <= now_ms);
        let key = due.map(|(_, key)| *key).find(|key| self.may_ask(*key))?;
        self.set_due(key, None);
        self.entries.get_mut(&key)?.is_asked = true;
        Some(key)
    }

    /// How long there is nothing to do, if nothing comes. Those that are due, or wait, and may not be asked about yet wait
    /// for one that is at work to be done, which wakes.
    fn pause(&self, now_ms: u64) -> Duration {
        let due = self.due.range((now_ms + 1, Key([0; 32]))..).next().map(|(at_ms, _)| *at_ms);
        let late = self
            .waiting
            .front()
            .and_then(|(at_ms, key)| Some(at_ms + self.entries.get(key)?.subject.timeout_ms));
        let first = [due, late].into_iter().flatten().min();
        first.map_or(PAUSE, |at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)).min(PAUSE))
    }

    /// Whether its responder has not enough to do: one that hangs leaves threads for the others.
    fn may_ask(&self, key: Key) -> bool {
        let n = self.entries.get(&key).and_then(|entry| self.at_work.get(&entry.subject.url));
        n.is_none_or(|n| *n < AT_ONCE_MAX)
    }

    fn let_go(&mut self, url: &str) {
        if let Some(n) = self.at_work.get_mut(url) {
            *n -= 1;
            if *n == 0 {
                self.at_work.remove(url);
            }
        }
    }
}

impl Entry {
    fn new(subject: Arc<Subject>, refresh_ms: u64) -> Self {
        Self {
            subject,
            known: None,
            is_asked: false,
            waiters: Vec::new(),
            n_held: 0,
            refresh_ms,
            due_ms: None,
            idle_at: None,
            is_revoked: Arc::default(),
        }
    }

    /// Whoever can keep an answer back, and send it later, must not undo a revocation by it.
    fn take_no_older(&self, said: Said) -> Result<Said, String> {
        match self.known {
            Some(Known { said: known, .. })
                if known.status != Status::Good
                    && said.status == Status::Good
                    && said.this_update_s < known.this_update_s =>
            {
                Err("older than what was said against the certificate".into())
            }
            _ => Ok(said),
        }
    }

    /// What the last answer is still good for: one against the certificate stands until there is another, one in its
    /// favour as long as it says.
    fn fall_back(&self) -> Standing {
        match self.known {
            Some(known) if known.said.status != Status::Good || known.is_in_date() => {
                known.standing()
            }
            _ => Standing::Unanswered,
        }
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + size_of::<Subject>() + self.subject.question.held_bytes()
    }
}

impl Known {
    fn is_fresh(&self, refresh_ms: u64, now_ms: u64) -> bool {
        !self.is_old && self.asked_ms.saturating_add(refresh_ms) > now_ms && self.is_in_date()
    }

    /// An answer that does not say how long it holds has said it for the moment it was asked for.
    fn is_in_date(&self) -> bool {
        let now = clock::now();
        match self.said.next_update_s {
            Some(at_s) => at_s > now.wall_ms / 1_000,
            None => self.asked_ms.saturating_add(MOMENT_MS) > now.mono_ms,
        }
    }

    /// When connected clients are asked about again, on the monotonic clock.
    fn due_ms(&self, refresh_ms: u64) -> u64 {
        let now = clock::now();
        let end_ms = match self.said.next_update_s {
            Some(at_s) => {
                now.mono_ms + at_s.saturating_mul(1_000).saturating_sub(now.wall_ms).max(1_000)
            }
            None => self.asked_ms + MOMENT_MS,
        };
        self.asked_ms.saturating_add(refresh_ms).min(end_ms)
    }

    const fn standing(&self) -> Standing {
        match self.said.status {
            Status::Good => Standing::Good,
            Status::Revoked => Standing::Revoked,
            Status::Unknown => Standing::Unknown,
        }
    }
}

impl Holder {
    /// Whether the certificate has been revoked by the last answer.
    pub(crate) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Relaxed)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let mut book = self.statuses.book.lock();
        let Some(entry) = book.entries.get_mut(&self.key) else { return };
        entry.n_held -= 1;
        if entry.n_held == 0 && !entry.is_asked {
            book.set_due(self.key, None);
            book.settle(self.key, 0, false);
        }
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("is_revoked", &self.is_revoked()).finish_non_exhaustive()
    }
}

impl Inquiry {
    fn new(key: Key, subject: Arc<Subject>) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        if SystemRandom::new().fill(&mut nonce).is_err() {
            log::error!(
                "the system gives no random numbers: OCSP is asked with a nonce that others may guess"
            );
        }
        Self { key, subject, nonce }
    }

    /// Who is to be asked.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.subject.url
    }

    /// Whether the certificate names the responder, and not the operator: it must not lead anywhere.
    #[must_use]
    pub fn is_url_of_certificate(&self) -> bool {
        self.subject.is_url_of_certificate
    }

    /// How long clients wait for the answer.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.subject.timeout_ms)
    }

    /// The question as a responder takes it, an `application/ocsp-request`.
    ///
    /// # Errors
    /// The certificate is no such.
    pub fn request(&self) -> Result<Vec<u8>, super::OcspError> {
        self.subject.question.encode_with(&self.nonce)
    }
}

/// RFC 9654, 2.1.
const NONCE_BYTES: usize = 32;
/// Certificates that nobody asks about yet; of further ones nothing is known.
const WAITING_MAX: usize = 1_024;
/// Inquiries at one responder at a time.
const AT_ONCE_MAX: usize = 4;
/// Of those that are due, so many are looked at for one whose responder has not enough to do.
const DUE_LOOKED_AT: usize = 64;
/// What is kept of clients that are gone.
const IDLE_MAX: usize = 10_000;
const IDLE_BYTES_MAX: usize = 16 << 20;
/// Until a responder that did not answer is asked again about a connected client.
const RETRY_MS: u64 = 10_000;
/// How long an answer holds that does not say so itself.
const MOMENT_MS: u64 = 60_000;
/// A clock that was set shows after so long.
const PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
