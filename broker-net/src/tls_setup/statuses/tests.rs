//! Answers of a responder that is made up, to questions about certificates that are.

use std::sync::atomic::AtomicUsize;
use std::thread;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};

use super::*;
use crate::tls_setup::OcspError;
use crate::tls_setup::ocsp::tests::{GOOD, authority, response};

const REVOKED: &[u8] = &[0xa1, 0];
const PAST: &[u8] = b"20240101000000Z";
const FUTURE: &[u8] = b"20990101000000Z";
const HOUR_MS: u64 = 3_600_000;

struct World {
    ca: CertifiedIssuer<'static, KeyPair>,
    statuses: Arc<Statuses>,
    n_heard: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        Self { ca: authority("ca"), statuses: Arc::default(), n_heard: Arc::default() }
    }

    fn question(&self, serial: u64) -> OcspQuestion {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial.into());
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &self.ca).unwrap();
        OcspQuestion::of(certificate.der().clone(), self.ca.der().clone())
    }

    fn look_up(&self, question: &OcspQuestion, url: &str, timeout_ms: u64) -> (Look, Holder) {
        let subject = || {
            Some(Subject {
                question: question.clone(),
                url: url.into(),
                is_url_of_certificate: false,
                timeout_ms,
            })
        };
        let n_heard = Arc::clone(&self.n_heard);
        let waiter = Box::new(move |_| {
            n_heard.fetch_add(1, Ordering::Relaxed);
        });
        let key = Key::of(question.certificate(), url);
        self.statuses.look_up(key, HOUR_MS, subject, waiter).unwrap()
    }

    fn answer(&self, question: &OcspQuestion, status: &[u8]) -> Vec<u8> {
        response(question, status, &[PAST, FUTURE], self.ca.key(), &[])
    }

    /// Has it asked and answered.
    fn ask(&self, question: &OcspQuestion, answer: Result<Vec<u8>, String>) -> Concluded {
        let (look, _holder) = self.look_up(question, "u", 60_000);
        assert!(matches!(look, Look::Asked));
        let inquiry = self.statuses.next().unwrap();
        self.statuses.conclude(&inquiry, answer)
    }

    fn standing(&self, question: &OcspQuestion) -> Option<Standing> {
        match self.look_up(question, "u", 60_000).0 {
            Look::Known(standing) => Some(standing),
            Look::Asked => None,
        }
    }

    fn n_heard(&self) -> usize {
        self.n_heard.load(Ordering::Relaxed)
    }
}

#[test]
fn an_answer_is_kept_and_shared_by_all_who_wait() {
    let world = World::new();
    let question = world.question(1);
    let waiting: Vec<_> = (0..5).map(|_| world.look_up(&question, "u", 60_000)).collect();
    let inquiry = world.statuses.next().unwrap();
    assert!(world.statuses.book.lock().waiting.is_empty(), "one inquiry for all");
    let good = world.answer(&question, GOOD);
    let concluded = world.statuses.conclude(&inquiry, Ok(good));
    assert_eq!(concluded, Concluded { problem: None, cuts_off: false });
    assert_eq!(world.n_heard(), 5);
    drop(waiting);
    assert_eq!(world.standing(&question), Some(Standing::Good));
}

#[test]
fn who_holds_a_certificate_hears_that_it_is_revoked() {
    let world = World::new();
    let question = world.question(1);
    let (_, holder) = world.look_up(&question, "u", 60_000);
    let inquiry = world.statuses.next().unwrap();
    world.statuses.conclude(&inquiry, Ok(world.answer(&question, GOOD)));
    assert!(!holder.is_revoked());
    world.statuses.hurry();
    let inquiry = world.statuses.next().unwrap();
    let revoked = world.answer(&question, REVOKED);
    assert!(world.statuses.conclude(&inquiry, Ok(revoked)).cuts_off);
    assert!(holder.is_revoked());
    // No answer is no better one.
    world.statuses.hurry();
    let inquiry = world.statuses.next().unwrap();
    assert!(!world.statuses.conclude(&inquiry, Err("hangs".into())).cuts_off);
    assert!(holder.is_revoked());
    drop(holder);
    assert_eq!(world.statuses.book.lock().due.len(), 0, "nobody is there to be asked about");
}

#[test]
fn who_hurries_has_all_asked_again_and_keeps_what_was_said() {
    let world = World::new();
    let question = world.question(1);
    assert_eq!(world.ask(&question, Ok(world.answer(&question, GOOD))).problem, None);
    assert_eq!(world.standing(&question), Some(Standing::Good));
    world.statuses.hurry();
    assert!(world.ask(&question, Err("hangs".into())).problem.is_some());
    let entry = &world.statuses.book.lock().entries[&Key::of(question.certificate(), "u")];
    assert_eq!(entry.fall_back(), Standing::Good, "it is in date");
}

#[test]
fn an_older_answer_takes_nothing_back() {
    let world = World::new();
    let question = world.question(1);
    let at = |status, from| response(&question, status, &[from, FUTURE], world.ca.key(), &[]);
    let (earlier, later) = (b"20230101000000Z", b"20250101000000Z");
    assert_eq!(world.ask(&question, Ok(at(REVOKED, PAST))).problem, None);
    world.statuses.hurry();
    let problem = world.ask(&question, Ok(at(GOOD, earlier))).problem;
    assert_eq!(problem.as_deref(), Some("older than what was said against the certificate"));
    // Its issuer has thought better of it.
    assert_eq!(world.ask(&question, Ok(at(GOOD, later))).problem, None);
    assert_eq!(world.standing(&question), Some(Standing::Good));
}

#[test]
fn what_cannot_be_believed_is_no_answer() {
    let world = World::new();
    let question = world.question(1);
    let problem = |answer| world.ask(&question, answer).problem.unwrap();
    assert_eq!(problem(Err("hangs".into())), "hangs");
    assert_eq!(problem(Ok(b"<html>".to_vec())), OcspError::Malformed.to_string());
    let other = World::new();
    let forged = response(&question, GOOD, &[PAST, FUTURE], other.ca.key(), &[]);
    assert_eq!(problem(Ok(forged)), OcspError::Signature.to_string());
    let stale = response(&question, GOOD, &[PAST, PAST], world.ca.key(), &[]);
    assert_eq!(problem(Ok(stale)), OcspError::OutOfDate.to_string());
    let kept_from_before = response(&question, GOOD, &[PAST], world.ca.key(), &[]);
    assert_eq!(problem(Ok(kept_from_before)), OcspError::OutOfDate.to_string());
    assert!(world.statuses.book.lock().entries.is_empty(), "nothing is kept of it");
}

#[test]
fn one_responder_keeps_no_more_busy_than_it_may() {
    let world = World::new();
    let questions: Vec<_> = (0..10).map(|serial| world.question(serial)).collect();
    let _held: Vec<_> = questions.iter().map(|it| world.look_up(it, "hangs", 60_000)).collect();
    let other = world.question(99);
    let _other = world.look_up(&other, "u", 60_000);
    let inquiries: Vec<_> = (0..=AT_ONCE_MAX).map(|_| world.statuses.next().unwrap()).collect();
    let urls: Vec<_> = inquiries.iter().map(Inquiry::url).collect();
    assert_eq!(urls, ["hangs", "hangs", "hangs", "hangs", "u"]);
    // One that is given up makes room for the next.
    thread::scope(|scope| {
        let next = scope.spawn(|| world.statuses.next().unwrap());
        world.statuses.conclude(&inquiries[0], Err("hangs".into()));
        assert_eq!(next.join().unwrap().url(), "hangs");
    });
}

#[test]
fn who_waits_too_long_is_told() {
    let world = World::new();
    let (one, other) = (world.question(1), world.question(2));
    let _one = world.look_up(&one, "u", 0);
    let _other = world.look_up(&other, "u", 60_000);
    let inquiry = world.statuses.next().unwrap();
    assert_eq!(world.n_heard(), 1, "the first will not be asked about");
    world.statuses.conclude(&inquiry, Ok(world.answer(&other, GOOD)));
    assert_eq!(world.standing(&other), Some(Standing::Good));
}

#[test]
fn of_those_who_are_gone_no_more_is_kept_than_fits() {
    let world = World::new();
    let question = world.question(1);
    assert_eq!(world.ask(&question, Ok(world.answer(&question, GOOD))).problem, None);
    let mut book = world.statuses.book.lock();
    let bytes = book.idle_bytes;
    assert!(bytes > question.held_bytes());
    let template = Arc::clone(&book.entries.values().next().unwrap().subject);
    let known = book.entries.values().next().unwrap().known;
    for n in 0..IDLE_MAX as u64 + 10 {
        let mut key = [0xff; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        let mut entry = Entry::new(Arc::clone(&template), HOUR_MS);
        entry.known = known;
        book.entries.insert(Key(key), entry);
        book.settle(Key(key), 0, false);
    }
    assert!(book.idle.len() <= IDLE_MAX && book.idle_bytes <= IDLE_BYTES_MAX);
    assert_eq!(book.entries.len(), book.idle.len());
    assert_eq!(book.idle_bytes, book.idle.len() * bytes);
    drop(book);
    assert_eq!(world.standing(&question), None, "the oldest was forgotten");
}

#[test]
fn so_many_wait_at_a_time_and_no_more() {
    let world = World::new();
    let question = world.question(1);
    let mut held = Vec::new();
    for n in 0..WAITING_MAX {
        let (look, holder) = world.look_up(&question, &format!("u{n}"), 60_000);
        assert!(matches!(look, Look::Asked));
        held.push(holder);
    }
    let (look, _holder) = world.look_up(&question, "one more", 60_000);
    assert!(matches!(look, Look::Known(Standing::Unanswered)));
}

#[test]
fn the_end_wakes_who_waits_for_something_to_ask() {
    let statuses = Statuses::default();
    thread::scope(|scope| {
        let next = scope.spawn(|| statuses.next().is_none());
        statuses.close();
        assert!(next.join().unwrap());
    });
}

#[test]
fn a_nonce_is_asked_for_and_must_be_that_of_the_question() {
    let world = World::new();
    let question = world.question(1);
    let (_, _holder) = world.look_up(&question, "u", 60_000);
    let inquiry = world.statuses.next().unwrap();
    let request = inquiry.request().unwrap();
    assert!(request.windows(NONCE_BYTES).any(|bytes| bytes == inquiry.nonce));
    assert!(inquiry.nonce != [0; NONCE_BYTES]);
    assert!(request.len() > question.encode().unwrap().len() + NONCE_BYTES);
}
