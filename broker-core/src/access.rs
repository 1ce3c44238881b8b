//! Access: who may come in and what they may do; runs the chains of extensions.

pub(crate) mod banned;
pub(crate) mod flapping;
mod kept_bans;
pub(crate) mod network;
pub(crate) mod recheck;

use std::collections::HashMap;
use std::sync::Arc;

use broker_codec::ReasonCode;
use foldhash::fast::RandomState;

use crate::channel::{Admission, Answered, AnsweredKind, Channel, Close, Flow};
use crate::client::ClientInfo;
use crate::config::ZoneConfig;
use crate::extension::{
    Action, Answer, Authentication, Authenticator, Authorizer, Credentials, Later, Verdict,
};
use crate::turn::Turn;

/// Verdicts of one connection; the oldest goes first.
#[derive(Default)]
pub(crate) struct AclCache {
    verdicts: HashMap<(Action, Box<str>), Remembered, RandomState>,
    generation: u64,
    /// Verdicts so far.
    n_verdicts: u64,
    /// Bytes of their topics.
    text_bytes: usize,
    /// What was said last of a topic to publish to: most publishers have one, which is compared, not looked up.
    last: Option<Last>,
    /// Number of the verdict that was looked up last.
    looked_up: u64,
}

struct Last {
    topic: String,
    allowed: bool,
    until_ms: u64,
}

/// Longer topics are looked up: what is remembered twice must be little.
const LAST_TOPIC_MAX: usize = 256;

struct Remembered {
    allowed: bool,
    until_ms: u64,
    number: u64,
}

impl AclCache {
    /// Bytes it takes.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.verdicts.capacity() * size_of::<((Action, Box<str>), Remembered)>()
            + self.text_bytes
            + self.last.as_ref().map_or(0, |last| last.topic.capacity())
    }

    /// What is remembered of a topic, if it counts still.
    fn look_up(&mut self, action: Action, topic: &str, now_ms: u64) -> Option<bool> {
        let verdict = self.verdicts.get(&(action, topic) as &dyn Key)?;
        let (allowed, until_ms) = (verdict.allowed, verdict.until_ms);
        if until_ms <= now_ms {
            return None;
        }
        // Not at once: who has two topics in turn would have both copied without end.
        let is_again = std::mem::replace(&mut self.looked_up, verdict.number) == verdict.number;
        if is_again && action == Action::Publish && topic.len() <= LAST_TOPIC_MAX {
            let last =
                self.last.get_or_insert_with(|| Last { topic: String::new(), allowed, until_ms });
            last.topic.clear();
            last.topic.push_str(topic);
            (last.allowed, last.until_ms) = (allowed, until_ms);
        }
        Some(allowed)
    }

    fn clear(&mut self) {
        self.verdicts.clear();
        self.text_bytes = 0;
        self.last = None;
    }

    fn insert(
        &mut self,
        action: Action,
        topic: &str,
        (allowed, until_ms): (bool, u64),
        size_max: usize,
    ) {
        if self.verdicts.len() >= size_max {
            let oldest = self.verdicts.iter().min_by_key(|(_, verdict)| verdict.number);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.verdicts.remove(&oldest);
                self.last = self.last.take().filter(|last| *last.topic != *oldest.1);
                self.text_bytes -= oldest.1.len();
            }
        }
        self.n_verdicts += 1;
        let verdict = Remembered { allowed, until_ms, number: self.n_verdicts };
        if self.verdicts.insert((action, topic.into()), verdict).is_none() {
            self.text_bytes += topic.len();
        }
    }
}

/// What extensions have answered to the packet at work, by what they were asked.
#[derive(Default)]
pub(crate) struct Verdicts(HashMap<(Action, Box<str>), Late, RandomState>);

/// A verdict that was waited for, and the generation of rights it was asked for in: once that has passed it counts no
/// more.
pub(crate) struct Late {
    pub(crate) verdict: Verdict,
    pub(crate) generation: u64,
}

impl Verdicts {
    pub(crate) fn add(&mut self, action: Action, topic: Box<str>, late: Late) {
        self.0.insert((action, topic), late);
    }

    pub(crate) fn look_up(&self, action: Action, topic: &str, generation: u64) -> Option<Verdict> {
        let late = self.0.get(&(action, topic) as &dyn Key)?;
        (late.generation == generation).then_some(late.verdict)
    }
}

/// What is to be done about a wish.
pub(crate) enum Decision {
    Allow,
    Deny,
    /// An authoriser must be waited for.
    Wait(Flow),
}

impl Channel {
    /// Whether the client may do `action` on `topic`.
    pub(crate) fn authorize(
        &mut self,
        action: Action,
        topic: &str,
        turn: &mut Turn,
    ) -> Result<Decision, Close> {
        if let Some(allowed) = self.said_last(action, topic, turn) {
            return Ok(if allowed { Decision::Allow } else { Decision::Deny });
        }
        let authorizers = &turn.extensions.authorizers;
        let Some(client) = self.client() else {
            return Err(Close::protocol_error("not connected"));
        };
        if nobody_decides(authorizers, client).is_some() {
            return Ok(Decision::Allow);
        }
        // The answer counts for what it was asked about: a SUBSCRIBE asks for many filters.
        let answered = self.verdict(action, topic, turn.rights_generation);
        if answered.is_none()
            && let Some(allowed) = self.cached(action, topic, turn)
        {
            if turn.out.tracer.is_on() {
                self.trace_right(action, topic, allowed, "cached", turn);
            }
            return Ok(if allowed { Decision::Allow } else { Decision::Deny });
        }
        let Some(client) = self.client().cloned() else {
            return Err(Close::protocol_error("not connected"));
        };
        if let Some(verdict) = answered {
            return Ok(self.conclude(action, topic, verdict, &client.zone, turn));
        }
        match run_authorizers(authorizers, 0, &client, action, topic) {
            Answer::Now(verdict) => Ok(self.conclude(action, topic, verdict, &client.zone, turn)),
            Answer::Later(verdict) => Ok(wait_for(verdict, action, topic, turn)),
        }
    }

    /// Whether a client that is about to connect may publish its Will.
    pub(crate) fn authorize_will(
        &self,
        client: &Arc<ClientInfo>,
        topic: &str,
        turn: &Turn,
    ) -> Decision {
        let authorizers = &turn.extensions.authorizers;
        if nobody_decides(authorizers, client).is_some() {
            return Decision::Allow;
        }
        let action = Action::Publish;
        let verdict = match self.verdict(action, topic, turn.rights_generation) {
            Some(verdict) => verdict,
            None => match run_authorizers(authorizers, 0, client, action, topic) {
                Answer::Now(verdict) => verdict,
                Answer::Later(verdict) => return wait_for(verdict, action, topic, turn),
            },
        };
        match stands(verdict, &client.zone) {
            Some(true) => Decision::Allow,
            Some(false) | None => Decision::Deny,
        }
    }

    fn conclude(
        &mut self,
        action: Action,
        topic: &str,
        verdict: Verdict,
        zone: &ZoneConfig,
        turn: &Turn,
    ) -> Decision {
        let Some(allowed) = stands(verdict, zone) else {
            if turn.out.tracer.is_on() {
                self.trace_right(action, topic, false, "cannot be told now", turn);
            }
            return Decision::Deny;
        };
        if turn.out.tracer.is_on() {
            let by = if verdict == Verdict::Ignore { "acl_nomatch" } else { "rule" };
            self.trace_right(action, topic, allowed, by, turn);
        }
        if zone.enable_acl_cache {
            self.remember(action, topic, allowed, zone, turn);
        }
        if allowed { Decision::Allow } else { Decision::Deny }
    }

    /// What was said of this topic last, if it was of this one and counts still. Of superusers, and where there are no
    /// rules, nothing is remembered; a change of that is a change of rights.
    fn said_last(&self, action: Action, topic: &str, turn: &Turn) -> Option<bool> {
        let cache = self.acl_cache()?;
        let last = cache.last.as_ref()?;
        let counts = action == Action::Publish
            && cache.generation == turn.rights_generation
            && last.until_ms > turn.now.mono_ms
            && last.topic == topic
            && !turn.out.tracer.is_on();
        counts.then_some(last.allowed)
    }

    fn cached(&mut self, action: Action, topic: &str, turn: &Turn) -> Option<bool> {
        let cache = self.acl_cache_mut().as_mut()?;
        if cache.generation != turn.rights_generation {
            cache.clear();
            return None;
        }
        cache.look_up(action, topic, turn.now.mono_ms)
    }

    fn remember(
        &mut self,
        action: Action,
        topic: &str,
        allowed: bool,
        zone: &ZoneConfig,
        turn: &Turn,
    ) {
        let cache = self.acl_cache_mut().get_or_insert_default();
        if cache.generation != turn.rights_generation {
            cache.clear();
            cache.generation = turn.rights_generation;
        }
        let until_ms = turn.now.mono_ms + zone.acl_cache_ttl_ms;
        cache.insert(action, topic, (allowed, until_ms), zone.acl_cache_max_size);
    }
}

fn wait_for(verdict: Later<Verdict>, action: Action, topic: &str, turn: &Turn) -> Decision {
    let (topic, generation) = (topic.into(), turn.rights_generation);
    Decision::Wait(Flow::Wait(Box::pin(async move {
        let late = Late { verdict: verdict.await, generation };
        Answered(AnsweredKind::Verdict(action, topic, late))
    })))
}

/// Looks a verdict up without making an owned key.
trait Key {
    fn parts(&self) -> (Action, &str);
}

impl Key for (Action, &str) {
    fn parts(&self) -> (Action, &str) {
        *self
    }
}

impl Key for (Action, Box<str>) {
    fn parts(&self) -> (Action, &str) {
        (self.0, &self.1)
    }
}

impl std::hash::Hash for dyn Key + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Key + '_ {}

impl<'a> std::borrow::Borrow<dyn Key + 'a> for (Action, Box<str>) {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

/// Why a client may do everything: no rule applies to it.
pub(crate) fn nobody_decides(
    authorizers: &[Arc<dyn Authorizer>],
    client: &ClientInfo,
) -> Option<&'static str> {
    if client.is_superuser {
        Some("the client is a superuser")
    } else if !client.zone.asks_rules() {
        Some("the zone has no access rules")
    } else if authorizers.is_empty() {
        Some("there are no access rules")
    } else {
        None
    }
}

/// What a verdict means; `None` if the source cannot tell now, which denies and is not remembered.
fn stands(verdict: Verdict, zone: &ZoneConfig) -> Option<bool> {
    match verdict {
        Verdict::Allow => Some(true),
        Verdict::Deny => Some(false),
        Verdict::Ignore => Some(zone.allows_without_match()),
        Verdict::Failed => None,
    }
}

/// Whether a client may do something, as far as it can be said at once, and who says so. Nothing is remembered.
pub(crate) fn right_now(
    authorizers: &[Arc<dyn Authorizer>],
    client: &Arc<ClientInfo>,
    action: Action,
    topic: &str,
) -> (Option<bool>, &'static str) {
    if let Some(why) = nobody_decides(authorizers, client) {
        return (Some(true), why);
    }
    match run_authorizers(authorizers, 0, client, action, topic) {
        Answer::Now(Verdict::Failed) => (Some(false), "the source of rights cannot tell now"),
        Answer::Now(Verdict::Ignore) => {
            (stands(Verdict::Ignore, &client.zone), "no rule applies, acl_nomatch decides")
        }
        Answer::Now(verdict) => (stands(verdict, &client.zone), "a rule says so"),
        Answer::Later(_) => {
            (None, "the source of rights would have to be asked, and takes its time")
        }
    }
}

/// Asks the authorisers from `first` on; what comes after one that must be waited for is asked then.
fn run_authorizers(
    authorizers: &[Arc<dyn Authorizer>],
    first: usize,
    client: &Arc<ClientInfo>,
    action: Action,
    topic: &str,
) -> Answer<Verdict> {
    for (at, authorizer) in authorizers.iter().enumerate().skip(first) {
        match authorizer.authorize(client, action, topic) {
            Answer::Now(Verdict::Ignore) => {}
            Answer::Now(verdict) => return Answer::Now(verdict),
            Answer::Later(verdict) => {
                let (rest, client) = (authorizers.to_vec(), Arc::clone(client));
                let topic = topic.to_owned();
                return Answer::Later(Box::pin(async move {
                    match verdict.await {
                        Verdict::Ignore => {
                            match run_authorizers(&rest, at + 1, &client, action, &topic) {
                                Answer::Now(verdict) => verdict,
                                Answer::Later(verdict) => verdict.await,
                            }
                        }
                        verdict => verdict,
                    }
                }));
            }
        }
    }
    Answer::Now(Verdict::Ignore)
}

/// Decides on a CONNECT: asks the authenticators in order. `allow_anonymous` stands when none decides.
pub(crate) fn run_authenticators(
    authenticators: &[Arc<dyn Authenticator>],
    credentials: &Arc<Credentials>,
) -> Answer<Admission> {
    let otherwise = if !credentials.peer.zone.allow_anonymous.admits(&credentials.peer) {
        Admission::Refused(ReasonCode::NotAuthorized)
    } else if credentials.username.is_none() && credentials.password.is_none() {
        return Answer::Now(Admission::admitted(false));
    } else {
        Admission::admitted(false)
    };
    ask_authenticators(authenticators, 0, credentials, otherwise)
}

/// Asks the authenticators from `first` on; `otherwise` stands when none decides.
fn ask_authenticators(
    authenticators: &[Arc<dyn Authenticator>],
    first: usize,
    credentials: &Arc<Credentials>,
    mut otherwise: Admission,
) -> Answer<Admission> {
    for (at, authenticator) in authenticators.iter().enumerate().skip(first) {
        match authenticator.authenticate(credentials) {
            Answer::Now(answer) => match after(answer, otherwise) {
                Stand::Decided(admission) => return Answer::Now(admission),
                Stand::Open(still) => otherwise = still,
            },
            Answer::Later(answer) => {
                let (rest, credentials) = (authenticators.to_vec(), Arc::clone(credentials));
                return Answer::Later(Box::pin(async move {
                    let otherwise = match after(answer.await, otherwise) {
                        Stand::Decided(admission) => return admission,
                        Stand::Open(still) => still,
                    };
                    match ask_authenticators(&rest, at + 1, &credentials, otherwise) {
                        Answer::Now(admission) => admission,
                        Answer::Later(admission) => admission.await,
                    }
                }));
            }
        }
    }
    Answer::Now(otherwise)
}

/// How things stand after an answer.
enum Stand {
    Decided(Admission),
    /// This will be the answer if nobody decides.
    Open(Admission),
}

fn after(answer: Authentication, otherwise: Admission) -> Stand {
    match answer {
        Authentication::Allow { superuser } => Stand::Decided(Admission::admitted(superuser)),
        Authentication::AllowUntil { superuser, until_ms } => {
            Stand::Decided(Admission::admitted_until(superuser, until_ms))
        }
        Authentication::AllowAs { username, superuser, until_ms } => {
            let (username, auth_data) = (Some(username), Vec::new());
            Stand::Decided(Admission::Admitted { superuser, username, auth_data, until_ms })
        }
        Authentication::Deny(reason_code) => Stand::Decided(Admission::Refused(reason_code)),
        Authentication::Missing(reason_code) => Stand::Open(Admission::Refused(reason_code)),
        Authentication::Unknown(reason_code) => Stand::Open(match otherwise {
            Admission::Refused(_) => Admission::Refused(reason_code),
            admitted @ Admission::Admitted { .. } => admitted,
        }),
        Authentication::Ignore => Stand::Open(otherwise),
    }
}
