//! Rights that have changed: what clients were granted before is asked about again, and taken back.
//!
//! Each session knows the generation of rights up to which all it holds was asked about. A sweep of the thread that keeps
//! house goes over those that are connected, a bounded number of questions in each pass, so that no message waits for it.
//! What must be waited for is left to the session's channel, which is woken; and so is a session that is resumed, which
//! is sent nothing of what it holds until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use broker_codec::{ReasonCode, topic};
use parking_lot::Mutex;

use super::{nobody_decides, right_now, run_authorizers, stands};
use crate::broker::Broker;
use crate::channel::{
    Answered, AnsweredKind, Channel, Close, CloseCause, Flow, plain_filter, revoke_one,
};
use crate::client::ClientInfo;
use crate::directory::Start;
use crate::extension::{Action, Answer, Authorizer, Verdict};
use crate::message::{Message, Publisher};
use crate::metrics::Metric;
use crate::session::{Session, State, unmounted};
use crate::sessions::Of;
use crate::turn::Turn;

/// Questions of one pass of the sweep, a fraction of a millisecond to some ten with a thousand rules.
const QUESTIONS_PER_PASS: usize = 5_000;
/// What a session counts for whose channel has to ask, so that a server of rights is not asked for all at once.
const QUESTIONS_OF_A_CHANNEL: usize = 50;
/// Things that one session was granted and that are asked about together.
const PAGE: usize = 64;
/// When those are asked about again of whom a source could not tell.
const AGAIN_MS: u64 = 5_000;
/// Subscriptions of a session up to which it is looked whether another one brings a message as well.
const OTHERS_MAX: usize = 1_024;

/// The sweep over the sessions that are connected.
#[derive(Default)]
pub(crate) struct RightsSweep {
    /// It is to begin anew.
    is_due: AtomicBool,
    /// When it goes on, on the monotonic clock; 0 for not at all.
    next_ms: AtomicU64,
    place: Mutex<Place>,
    /// A source could not tell of all that was asked about: it is asked again once the sweep is over.
    has_failed: AtomicBool,
    /// When rights were last noticed to have changed, on the wall clock.
    changed_at_ms: AtomicU64,
}

/// How far a sweep has come.
#[derive(Default)]
struct Place {
    /// Number of the session that was looked at last, or that is at work.
    session: u64,
    /// Its last filter that was asked about.
    filter: Option<Arc<str>>,
    /// A source could not tell of that session.
    has_failed: bool,
}

impl RightsSweep {
    /// Rights are others from now on.
    pub(crate) fn begin(&self) {
        self.is_due.store(true, Ordering::Release);
    }

    /// A thread has noticed that, and gives nothing by the old ones any more.
    pub(crate) fn note_change(&self, wall_ms: u64) {
        self.changed_at_ms.fetch_max(wall_ms, Ordering::AcqRel);
        self.begin();
    }

    /// A source could not tell of what a channel has asked.
    fn note_failure(&self, now_ms: u64) {
        self.has_failed.store(true, Ordering::Release);
        // A sweep that is under way finds that at its end.
        self.try_again(now_ms);
    }

    /// It begins anew in a while, unless it is under way.
    fn try_again(&self, now_ms: u64) {
        let _ = self.next_ms.compare_exchange(
            0,
            now_ms + AGAIN_MS,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }

    /// When there is something to do.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let next_ms = self.next_ms.load(Ordering::Acquire);
        if self.is_due.load(Ordering::Acquire) {
            Some(0)
        } else {
            Some(next_ms).filter(|ms| *ms > 0)
        }
    }

    /// True if a message that was published then may have been so by rights that are gone.
    fn may_be_outdated(&self, published_at_ms: u64) -> bool {
        published_at_ms <= self.changed_at_ms.load(Ordering::Acquire)
    }
}

/// One thing that a client was granted: to subscribe to a filter, or to publish its Will.
pub(crate) type Grant = (Action, Arc<str>);

/// Some of what a session was granted.
struct Grants {
    client: Arc<ClientInfo>,
    grants: Vec<Grant>,
    is_last: bool,
}

/// A channel asks about what its session holds.
#[derive(Default)]
pub(crate) struct Recheck {
    generation: u64,
    /// The last filter that was asked about.
    after: Option<Arc<str>>,
    has_failed: bool,
    answered: Option<Vec<(Grant, Verdict)>>,
}

impl Recheck {
    pub(crate) fn answer(&mut self, answered: Vec<(Grant, Verdict)>) {
        self.answered = Some(answered);
    }
}

impl Broker {
    /// Asks about what connected clients were granted before rights changed.
    pub(crate) fn sweep_rights(self: &Arc<Self>, turn: &mut Turn) {
        let (sweep, now_ms) = (&self.rights, turn.now.mono_ms);
        if sweep.next_due_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        // Another thread may keep house as well: one of them will do.
        let Some(mut place) = sweep.place.try_lock() else { return };
        if sweep.is_due.swap(false, Ordering::AcqRel) {
            *place = Place::default();
        }
        if place.session == 0 {
            sweep.has_failed.store(false, Ordering::Release);
        }
        let mut left = QUESTIONS_PER_PASS;
        while left > 0 {
            let start = match place.filter {
                Some(_) => Start::At(&place.session),
                None => Start::Behind(&place.session),
            };
            let Some(session) = self.sessions.page_of(Of::Connections, start, 1).pop() else {
                // In this order: what fails meanwhile finds either the flag looked at later, or no sweep under way.
                sweep.next_ms.store(0, Ordering::Release);
                if sweep.has_failed.swap(false, Ordering::AcqRel) {
                    sweep.try_again(now_ms);
                }
                *place = Place::default();
                return;
            };
            if session.number() != place.session {
                *place = Place { session: session.number(), ..Place::default() };
            }
            let spent = self.look_at_rights(&session, &mut place, turn);
            if place.has_failed {
                sweep.has_failed.store(true, Ordering::Release);
            }
            left = left.saturating_sub(spent);
        }
        sweep.next_ms.store(now_ms.max(1), Ordering::Release);
    }

    /// Asks about the next things that a session was granted. Returns what that has cost.
    fn look_at_rights(
        self: &Arc<Self>,
        session: &Arc<Session>,
        place: &mut Place,
        turn: &mut Turn,
    ) -> usize {
        let after = place.filter.take();
        let Some(page) = session.grants(after.as_deref(), turn) else { return 1 };
        if nobody_decides(&turn.extensions.authorizers, &page.client).is_some() {
            session.note_checked(&page.client, turn);
            return 1;
        }
        let Some(answered) = ask_now(&turn.extensions.authorizers, &page) else {
            session.wake();
            return QUESTIONS_OF_A_CHANNEL;
        };
        let (n_asked, last) = (answered.len(), last_filter(page.grants.iter()));
        let outcome = session.settle_grants(&page.client, answered, turn);
        if outcome.is_denied && page.client.zone.acl_deny_disconnect {
            let cause = CloseCause::Violation(ReasonCode::NotAuthorized);
            session.close_if(cause, |client| std::ptr::eq(client, &*page.client));
        }
        place.has_failed |= outcome.has_failed;
        if !page.is_last {
            place.filter = last;
        } else if !place.has_failed {
            session.note_checked(&page.client, turn);
        }
        n_asked + 1
    }

    /// False for a retained message that its publisher would not be allowed to publish now, as far as that can be said
    /// at once. Who published in an earlier run of the broker is not known well enough to be asked about.
    pub(crate) fn may_stay_published(&self, message: &Message) -> bool {
        if !self.rights.may_be_outdated(message.published_at_ms) {
            return true;
        }
        let Publisher::Client(client) = &message.publisher else { return true };
        // The topic that was asked about is not known if it was rewritten.
        self.rewrite().0.is_some()
            || may_still_publish(&self.extensions().0.authorizers, client, &message.topic)
    }
}

/// False if a client would not be allowed now to publish to a topic behind its mountpoint. Where somebody else would have
/// to be asked, what was said before counts.
pub(crate) fn may_still_publish(
    authorizers: &[Arc<dyn Authorizer>],
    client: &Arc<ClientInfo>,
    topic: &str,
) -> bool {
    let topic = unmounted(topic, &client.mountpoint);
    authorizers.iter().any(|source| source.asks_others())
        || right_now(authorizers, client, Action::Publish, topic).0 != Some(false)
}

/// What became of a page of grants.
struct Outcome {
    is_denied: bool,
    has_failed: bool,
}

impl Session {
    /// The next things behind the filter `after` that the session was granted; `None` if it has nobody or nothing
    /// to ask about.
    fn grants(&self, after: Option<&str>, turn: &Turn) -> Option<Grants> {
        let mut state = self.lock();
        if state.rights_generation >= turn.rights_generation || state.connection.is_none() {
            return None;
        }
        if after.is_none() {
            state.oldest_grant = u64::MAX;
        }
        let client = Arc::clone(&state.client);
        let will = state.will.as_ref().filter(|_| after.is_none());
        let will =
            will.map(|will| (Action::Publish, unmounted(&will.topic, &client.mountpoint).into()));
        let start = after.map_or(Start::Rank(0), Start::Behind);
        let mut filters = state.subscriptions.from(start);
        let page = filters.by_ref().take(PAGE);
        let page = page.map(|subscription| (Action::Subscribe, Arc::clone(&subscription.filter)));
        let grants: Vec<Grant> = will.into_iter().chain(page).collect();
        let is_last = filters.next().is_none();
        drop(filters);
        drop(state);
        Some(Grants { client, grants, is_last })
    }

    /// Takes back what is no longer granted to a client, if the session is still its.
    fn settle_grants(
        self: &Arc<Self>,
        client: &Arc<ClientInfo>,
        answered: Vec<(Grant, Verdict)>,
        turn: &mut Turn,
    ) -> Outcome {
        let mut outcome = Outcome { is_denied: false, has_failed: false };
        for ((action, topic), verdict) in answered {
            match (stands(verdict, &client.zone), action) {
                (Some(true), Action::Subscribe) => {}
                (Some(true), Action::Publish) => {
                    let mut state = self.lock();
                    if state.has_will_of(client, &topic) {
                        state.note_will_right(turn);
                    }
                }
                (None, _) => outcome.has_failed = true,
                (Some(false), Action::Subscribe) => {
                    // What the operator's configuration subscribes a client to, it has not asked for.
                    if !turn.broker.is_subscribed_automatically(client, &topic) {
                        outcome.is_denied = true;
                        revoke_one(self, client, &topic, turn);
                    }
                }
                (Some(false), Action::Publish) => {
                    outcome.is_denied = true;
                    let mut state = self.lock();
                    if state.has_will_of(client, &topic) {
                        state.will = None;
                        state.record_will_done(&mut turn.out);
                        turn.out.counters.inc(Metric::PublishDenied);
                    }
                }
            }
        }
        outcome
    }

    /// All that the session was granted holds by the rights of this turn, if it is still that client's.
    fn note_checked(self: &Arc<Self>, client: &Arc<ClientInfo>, turn: &mut Turn) {
        self.open_to_rights(client, turn.rights_generation, &mut turn.out);
    }
}

impl State {
    /// True if a client that was asked about has the session still, with a Will to that topic of its.
    fn has_will_of(&self, client: &Arc<ClientInfo>, topic: &str) -> bool {
        let will = self.will.as_ref().map(|will| unmounted(&will.topic, &client.mountpoint));
        Arc::ptr_eq(&self.client, client) && will == Some(topic)
    }

    /// True if a message came by a subscription whose right was taken back, and by no other.
    pub(crate) fn has_lost_right(&self, revoked: &[Arc<str>], message_topic: &str) -> bool {
        revoked.iter().any(|route| topic::matches(route, message_topic))
            && !(self.subscriptions.len() <= OTHERS_MAX
                && self.subscriptions.iter().any(|other| {
                    other.share().is_none() && topic::matches(other.route(), message_topic)
                }))
    }
}

impl Channel {
    /// Asks about what the session holds, if that is due since rights have changed. To be called before packets are
    /// read in each pass over the connection: input rests while the answer is waited for.
    ///
    /// # Errors
    /// A right is gone, and the zone ends the connection for that.
    pub fn recheck_rights(&mut self, turn: &mut Turn) -> Result<Option<Flow>, Close> {
        if self.is_waiting() {
            return Ok(None);
        }
        let Some(mut recheck) = self.recheck().take() else { return Ok(None) };
        let Some((session, client)) = self.session_and_client() else { return Ok(None) };
        let generation = turn.rights_generation;
        if recheck.generation != generation {
            // Nothing was asked yet, or by rights that are gone.
            *recheck = Recheck { generation, ..Recheck::default() };
        }
        let answered = match recheck.answered.take() {
            Some(answered) => Some(answered),
            None => {
                let Some(page) = session.grants(recheck.after.as_deref(), turn) else {
                    return Ok(None);
                };
                let authorizers = &turn.extensions.authorizers;
                if nobody_decides(authorizers, &page.client).is_some() || page.grants.is_empty() {
                    None
                } else {
                    match ask(authorizers, page) {
                        Answer::Now(answered) => Some(answered),
                        Answer::Later(answered) => {
                            *self.recheck() = Some(recheck);
                            self.wait();
                            return Ok(Some(Flow::Wait(Box::pin(async move {
                                Answered(AnsweredKind::Grants(answered.await))
                            }))));
                        }
                    }
                }
            }
        };
        let n_answered = answered.as_ref().map_or(0, Vec::len);
        if let Some(answered) = answered {
            recheck.after = last_filter(answered.iter().map(|(grant, _)| grant));
            let outcome = session.settle_grants(&client, answered, turn);
            recheck.has_failed |= outcome.has_failed;
            if outcome.is_denied && client.zone.acl_deny_disconnect {
                return Err(Close::violation(ReasonCode::NotAuthorized, "a right was taken back"));
            }
        }
        if n_answered >= PAGE {
            // Others have their turn first.
            *self.recheck() = Some(recheck);
            session.wake();
        } else if recheck.has_failed {
            turn.broker.rights.note_failure(turn.now.mono_ms);
        } else {
            session.note_checked(&client, turn);
        }
        Ok(None)
    }
}

fn last_filter<'a>(grants: impl DoubleEndedIterator<Item = &'a Grant>) -> Option<Arc<str>> {
    let mut filters = grants.filter(|(action, _)| *action == Action::Subscribe);
    filters.next_back().map(|(_, filter)| Arc::clone(filter))
}

/// What is asked about a grant: of a shared subscription the filter behind its prefix.
fn topic_of((action, topic): &Grant) -> &str {
    match action {
        Action::Publish => topic,
        Action::Subscribe => plain_filter(topic),
    }
}

/// What all sources say of a page, if none of them must be waited for.
fn ask_now(authorizers: &[Arc<dyn Authorizer>], page: &Grants) -> Option<Vec<(Grant, Verdict)>> {
    if authorizers.iter().any(|source| source.asks_others()) {
        return None;
    }
    let ask = |grant: &Grant| {
        let asked = run_authorizers(authorizers, 0, &page.client, grant.0, topic_of(grant));
        match asked {
            Answer::Now(verdict) => Some((grant.clone(), verdict)),
            Answer::Later(_) => None,
        }
    };
    page.grants.iter().map(ask).collect()
}

/// The same, one after the other where they must be waited for: a session has one question open at a time.
fn ask(authorizers: &[Arc<dyn Authorizer>], page: Grants) -> Answer<Vec<(Grant, Verdict)>> {
    let Grants { client, grants, .. } = page;
    let mut answered = Vec::with_capacity(grants.len());
    let mut grants = grants.into_iter();
    while let Some(grant) = grants.next() {
        match run_authorizers(authorizers, 0, &client, grant.0, topic_of(&grant)) {
            Answer::Now(verdict) => answered.push((grant, verdict)),
            Answer::Later(verdict) => {
                let authorizers = authorizers.to_vec();
                return Answer::later(async move {
                    answered.push((grant, verdict.await));
                    for grant in grants {
                        let asked =
                            run_authorizers(&authorizers, 0, &client, grant.0, topic_of(&grant));
                        let verdict = match asked {
                            Answer::Now(verdict) => verdict,
                            Answer::Later(verdict) => verdict.await,
                        };
                        answered.push((grant, verdict));
                    }
                    answered
                });
            }
        }
    }
    Answer::Now(answered)
}
