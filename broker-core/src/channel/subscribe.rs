//! SUBSCRIBE and UNSUBSCRIBE.

use std::borrow::Cow;
use std::sync::Arc;

use broker_codec::topic::{self, Share};
use broker_codec::{
    Packet, PacketId, PacketKind, Properties, QoS, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscriptionOptions, SubscriptionRequest, UnsubAck, Unsubscribe,
};

use super::acks::{Answer, WaitingPacket};
use super::{Channel, Close, CloseCause, Flow, code_for, too_large_for_client};
use crate::access::Decision;
use crate::broker::Broker;
use crate::client::ClientInfo;
use crate::config::ZoneConfig;
use crate::extension::{Action, SubscribeDraft};
use crate::memory::subscription_bytes;
use crate::metrics::Metric;
use crate::modules::rewrite::Rewrite;
use crate::observer::{Event, EventKind};
use crate::record::Record;
use crate::retained::Cursor;
use crate::router::Subscriber;
use crate::session::Session;
use crate::session::replay::{REPLAYS_MAX, Replay};
use crate::session::subscriptions::Subscription;
use crate::turn::Turn;

impl Channel {
    pub(super) fn handle_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        turn: &mut Turn,
    ) -> Result<Flow, Close> {
        // Rights first, for all filters: a filter that must wait makes the whole packet wait.
        self.connected()?;
        let mut verdicts = Vec::with_capacity(subscribe.filters.len());
        for request in &subscribe.filters {
            match self.authorize(Action::Subscribe, plain_filter(request.filter), turn)? {
                Decision::Wait(flow) => return Ok(flow),
                Decision::Allow => verdicts.push(true),
                Decision::Deny => verdicts.push(false),
            }
        }
        self.check_answer_size(subscribe.filters.len())?;
        let connected = self.connected()?;
        if turn.is_observed(EventKind::Subscribing) {
            observe_subscribing(&connected.client, &subscribe.filters, &verdicts, turn);
        }
        let zone = Arc::clone(&connected.client.zone);
        let identifier = subscribe.properties.subscription_identifiers().next().unwrap_or(0);
        turn.note_properties(EventKind::Subscribed, subscribe.properties);
        let mut replays = Vec::new();
        let mut reason_codes = Vec::with_capacity(subscribe.filters.len());
        for (request, allowed) in subscribe.filters.iter().zip(verdicts) {
            if !allowed && zone.acl_deny_disconnect {
                turn.observed_properties.clear();
                return Err(Close::violation(
                    ReasonCode::NotAuthorized,
                    "subscribe not authorised",
                ));
            }
            let options = connected.client.adapt(request.options);
            let result = if allowed {
                let wish = Wish { filter: request.filter, options, identifier };
                subscribe_one(&connected.session, &connected.client, &wish, turn)
            } else {
                Err(ReasonCode::NotAuthorized)
            };
            reason_codes.push(match result {
                Ok((granted, replay)) => {
                    replays.extend(replay);
                    ReasonCode::granted(granted)
                }
                Err(reason_code) => reason_code,
            });
        }
        turn.observed_properties.clear();
        let suback =
            SubAck { packet_id: subscribe.packet_id, properties: Properties::EMPTY, reason_codes };
        match turn.out.records.dependency() {
            None => {
                self.reply(&Packet::SubAck(suback), turn);
                self.start_replays(replays, turn)?;
            }
            Some(dependency) => {
                let packet = self.answer_later(&Packet::SubAck(suback), replays);
                self.owe(packet, Some(dependency), turn);
            }
        }
        Ok(Flow::Next)
    }

    /// A packet that waits, and what is sent after it.
    fn answer_later(&self, packet: &Packet<'_>, replays: Vec<Replay>) -> Answer {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        Answer::Packet(Box::new(WaitingPacket { bytes, metric: Metric::sent(packet), replays }))
    }

    /// Refuses a request before any of it is done, if the client does not take the SUBACK or UNSUBACK that
    /// `n` filters ask for [MQTT-3.1.2-24]. There is nothing in it that could be left out.
    fn check_answer_size(&self, n: usize) -> Result<(), Close> {
        let answer = Packet::UnsubAck(UnsubAck {
            packet_id: PacketId::MIN,
            properties: Properties::EMPTY,
            reason_codes: vec![ReasonCode::Success; n],
        });
        if self.takes(&answer) { Ok(()) } else { Err(too_large_for_client()) }
    }

    /// Sends retained messages, after the SUBACK.
    pub(super) fn start_replays(
        &mut self,
        replays: Vec<Replay>,
        turn: &mut Turn,
    ) -> Result<(), Close> {
        if replays.is_empty() {
            return Ok(());
        }
        // What was answered so far goes before them.
        let session = Arc::clone(&self.connected()?.session);
        let is_congested = session.reply(self.id, &turn.reply, &mut turn.out);
        turn.reply.clear();
        let Some(is_congested) = is_congested else {
            return Err(Close::from(CloseCause::TakenOver));
        };
        self.is_congested = is_congested;
        session.start_replays(replays, &mut turn.out);
        Ok(())
    }

    /// `module.subscription.*`: subscriptions the client gets without asking.
    pub(super) fn subscribe_automatically(&mut self, turn: &mut Turn) {
        let config = turn.broker.config();
        let Ok(connected) = self.connected() else { return };
        let (session, client) = (Arc::clone(&connected.session), Arc::clone(&connected.client));
        for wanted in &config.auto_subscriptions {
            let Some(filter) = automatic_filter(&wanted.filter, &client) else { continue };
            let options = SubscriptionOptions { qos: wanted.qos, ..SubscriptionOptions::default() };
            let wish = Wish { filter: &filter, options, identifier: 0 };
            if let Ok((_, Some(replay))) = subscribe_one(&session, &client, &wish, turn) {
                session.start_replays(vec![replay], &mut turn.out);
            }
        }
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        turn: &mut Turn,
    ) -> Result<Flow, Close> {
        let connected = self.connected()?;
        self.check_answer_size(unsubscribe.filters.len())?;
        turn.observe(EventKind::Unsubscribing, || Event::Unsubscribing {
            client: &connected.client,
            filters: &unsubscribe.filters,
        });
        turn.note_properties(EventKind::Unsubscribed, unsubscribe.properties);
        let reason_codes = unsubscribe
            .filters
            .iter()
            .map(|filter| unsubscribe_one(&connected.session, &connected.client, filter, turn))
            .collect();
        turn.observed_properties.clear();
        let unsuback = UnsubAck {
            packet_id: unsubscribe.packet_id,
            properties: Properties::EMPTY,
            reason_codes,
        };
        match turn.out.records.dependency() {
            None => self.reply(&Packet::UnsubAck(unsuback), turn),
            Some(dependency) => {
                let packet = self.answer_later(&Packet::UnsubAck(unsuback), Vec::new());
                self.owe(packet, Some(dependency), turn);
            }
        }
        Ok(Flow::Next)
    }
}

/// The filter that an automatic subscription has for a client; `None` if its names are no levels of their own.
fn automatic_filter(wanted: &str, client: &ClientInfo) -> Option<String> {
    let (id, name) = (client.client_id.as_str(), client.username.as_deref());
    ClientInfo::fill_levels(wanted, id, name)
}

impl Broker {
    /// True if the configuration subscribes the client to that filter.
    pub(crate) fn is_subscribed_automatically(&self, client: &ClientInfo, filter: &str) -> bool {
        let config = self.config();
        let mut wanted = config.auto_subscriptions.iter();
        wanted.any(|wanted| automatic_filter(&wanted.filter, client).as_deref() == Some(filter))
    }
}

#[cold]
fn observe_subscribing(
    client: &Arc<ClientInfo>,
    filters: &[SubscriptionRequest<'_>],
    verdicts: &[bool],
    turn: &mut Turn,
) {
    let allowed = filters.iter().zip(verdicts).filter(|(_, allowed)| **allowed);
    let filters: Vec<_> = allowed.map(|(request, _)| *request).collect();
    if !filters.is_empty() {
        turn.observe(EventKind::Subscribing, || Event::Subscribing { client, filters: &filters });
    }
}

/// One subscription as it is asked for.
pub(crate) struct Wish<'a> {
    pub(crate) filter: &'a str,
    pub(crate) options: SubscriptionOptions,
    pub(crate) identifier: u32,
}

/// Makes or replaces one subscription. Returns the QoS granted and the retained messages that are owed.
pub(crate) fn subscribe_one(
    session: &Arc<Session>,
    client: &Arc<ClientInfo>,
    wish: &Wish<'_>,
    turn: &mut Turn,
) -> Result<(QoS, Option<Replay>), ReasonCode> {
    let zone = &client.zone;
    let mut draft = SubscribeDraft { filter: Cow::Borrowed(wish.filter), options: wish.options };
    for interceptor in &turn.extensions.interceptors {
        let answer = interceptor.subscribe(client, &mut draft);
        answer.map_err(|code| code_for(PacketKind::SubAck, code))?;
    }
    let filter: Arc<str> = draft.filter.as_ref().into();
    let mut options = draft.options;
    options.qos = options.qos.min(zone.max_qos_allowed);
    let (share, plain) = check_filter(&filter, zone)?;
    let route = route_of(plain, client, turn.rewrite.as_deref());
    if route.len() > topic::TOPIC_BYTES_MAX {
        return Err(ReasonCode::TopicFilterInvalid);
    }
    let subscription =
        Subscription::new(Arc::clone(&filter), &route, share, options, wish.identifier);
    let old = {
        let mut state = session.lock();
        let is_full = turn.out.pressure.is_over()
            || (zone.max_subscriptions > 0
                && state.subscriptions.len() >= zone.max_subscriptions as usize);
        let has_replays = state.replays.as_ref().is_some_and(|r| r.len() >= REPLAYS_MAX);
        let is_new = state.subscriptions.get(&filter).is_none();
        let is_refused = state.ended
            || has_replays
            || (is_full && is_new)
            || (state.is_durable && turn.broker.refuses_records())
            || (is_new && !state.take_subscription());
        if is_refused {
            return Err(ReasonCode::QuotaExceeded);
        }
        if state.is_durable {
            state.record_subscription(&subscription, &mut turn.out);
        }
        state.forget_revocation(&route);
        // The rights of this pass may be older than those by which the session was looked at, or is this very moment.
        state.rights_generation = state.rights_generation.min(turn.rights_generation);
        state.oldest_grant = state.oldest_grant.min(turn.rights_generation);
        let old = state.subscriptions.insert(subscription.clone());
        if old.is_none() {
            turn.broker.sessions.note_subscriptions(&state);
            state.subscription_bytes += subscription_bytes(&filter);
            session.charge(&mut state, &mut turn.out);
        }
        old
    };
    // A packet may bring thousands.
    turn.settle_memory();
    // The client may have come back behind another mountpoint.
    if let Some(old) = old.as_ref().filter(|old| !old.has_route_of(&subscription)) {
        turn.broker.unroute(session, old);
    }
    route_subscription(session, &subscription, &turn.broker);
    turn.session_subscribed(client, &subscription);
    let sends_retained = share.is_none()
        && match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => old.is_none(),
            RetainHandling::DoNotSend => false,
        };
    let replay = (sends_retained && turn.broker.retained.len() > 0).then(|| Replay {
        filter: Arc::clone(subscription.route()),
        qos: options.qos,
        no_local: options.no_local,
        identifiers: (wish.identifier > 0).then(|| [wish.identifier].into()),
        cursor: Cursor::default(),
        page: Vec::new(),
    });
    Ok((options.qos, replay))
}

/// Whether a client could subscribe to all of `filters`, as far as its zone and its session say.
pub(crate) fn check_subscriptions(
    session: &Session,
    client: &ClientInfo,
    filters: &[&str],
    broker: &Broker,
) -> Result<(), ReasonCode> {
    let zone = &client.zone;
    for filter in filters {
        check_filter(filter, zone)?;
    }
    let state = session.lock();
    let n_new = filters.iter().filter(|filter| state.subscriptions.get(filter).is_none()).count();
    let is_full = zone.max_subscriptions > 0
        && state.subscriptions.len() + n_new > zone.max_subscriptions as usize;
    let is_full = n_new > 0 && (is_full || n_new > state.room_for_subscriptions());
    if is_full || (state.is_durable && broker.refuses_records()) {
        return Err(ReasonCode::QuotaExceeded);
    }
    Ok(())
}

/// Puts a subscription of the session into the router.
fn route_subscription(session: &Arc<Session>, subscription: &Subscription, broker: &Broker) {
    route(session, subscription, broker);
    catch_up(session, &subscription.filter, Some(subscription.clone()), broker);
}

/// Has the router know a subscription of a session that nobody else knows yet.
pub(crate) fn route(session: &Arc<Session>, subscription: &Subscription, broker: &Broker) {
    let subscriber = Subscriber {
        session: Arc::clone(session),
        options: subscription.options,
        identifier: subscription.identifier,
    };
    match subscription.share() {
        Some(name) => broker.router.join(subscription.route(), name, subscriber),
        None => broker.router.subscribe(subscription.route(), subscriber),
    };
}

/// Has the router follow the session, for which this thread has just routed `routed`, or nothing any more.
///
/// The session's lock is not held meanwhile: another thread may have subscribed it anew, or ended the
/// subscription or the session, and been faster. Whoever comes to the router last looks again.
fn catch_up(
    session: &Arc<Session>,
    filter: &str,
    mut routed: Option<Subscription>,
    broker: &Broker,
) {
    loop {
        let wanted = {
            let state = session.lock();
            let wanted = state.subscriptions.get(filter);
            if wanted == routed.as_ref() {
                return;
            }
            wanted.cloned()
        };
        let is_elsewhere =
            |old: &Subscription| wanted.as_ref().is_none_or(|new| !new.has_route_of(old));
        if let Some(old) = routed.filter(is_elsewhere) {
            broker.unroute(session, &old);
        }
        if let Some(new) = &wanted {
            route(session, new, broker);
        }
        routed = wanted;
    }
}

/// Ends one subscription.
pub(crate) fn unsubscribe_one(
    session: &Arc<Session>,
    client: &Arc<ClientInfo>,
    filter: &str,
    turn: &mut Turn,
) -> ReasonCode {
    if topic::validate_filter(filter).is_err() {
        return ReasonCode::TopicFilterInvalid;
    }
    end_subscription(session, client, filter, Cause::Asked, turn)
}

/// Ends a subscription whose right is gone.
pub(crate) fn revoke_one(
    session: &Arc<Session>,
    client: &Arc<ClientInfo>,
    filter: &str,
    turn: &mut Turn,
) {
    let code = end_subscription(session, client, filter, Cause::Revoked, turn);
    if code == ReasonCode::Success {
        turn.out.counters.inc(Metric::SubscriptionsRevoked);
        let client_id = &client.client_id;
        log::debug!(
            "subscription ended: its right is gone client_id={client_id:?} filter={filter:?}"
        );
    }
}

/// Why a subscription ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Asked,
    /// Its right is gone.
    Revoked,
}

fn end_subscription(
    session: &Arc<Session>,
    client: &Arc<ClientInfo>,
    filter: &str,
    cause: Cause,
    turn: &mut Turn,
) -> ReasonCode {
    let mut state = session.lock();
    if cause == Cause::Revoked && !Arc::ptr_eq(&state.client, client) {
        // Whoever has taken the session over is asked about itself.
        return ReasonCode::NoSubscriptionExisted;
    }
    let subscription = state.subscriptions.remove(filter);
    if subscription.is_some() {
        turn.broker.sessions.note_subscriptions(&state);
        state.give_subscription();
        state.subscription_bytes -= subscription_bytes(filter);
    }
    // Even if there is none: the record of why may not be safe yet, if an earlier connection asked before.
    if state.is_durable {
        let (session, step) = (session.number(), state.next_step());
        turn.out.records.put_awaited(&Record::Unsubscribed { session, step, filter });
    }
    let Some(subscription) = subscription else { return ReasonCode::NoSubscriptionExisted };
    state.end_replay(subscription.route());
    if cause == Cause::Revoked {
        state.forget_revoked(&subscription, &mut turn.out);
    }
    drop(state);
    let broker = Arc::clone(&turn.broker);
    let left = broker.unroute(session, &subscription);
    catch_up(session, filter, None, &broker);
    if let Some(group) = left {
        let back = session.lock().give_back_unsent(&group);
        broker.deal_out_again(back, session, turn);
    }
    turn.session_unsubscribed(client, &subscription);
    ReasonCode::Success
}

/// Splits a share off a filter and holds both against what the zone allows.
fn check_filter<'a>(
    filter: &'a str,
    zone: &ZoneConfig,
) -> Result<(Option<&'a str>, &'a str), ReasonCode> {
    if topic::validate_filter(filter).is_err() {
        return Err(ReasonCode::TopicFilterInvalid);
    }
    let (share, plain) = match topic::parse_share(filter) {
        Some((Share::Group(name), plain)) => (Some(name), plain),
        Some((Share::Queue, plain)) => (Some(""), plain),
        None => (None, filter),
    };
    if share.is_some() && !zone.shared_subscription {
        return Err(ReasonCode::SharedSubscriptionsNotSupported);
    }
    if !zone.wildcard_subscription && topic::has_wildcard(plain) {
        return Err(ReasonCode::WildcardSubscriptionsNotSupported);
    }
    if zone.max_topic_levels > 0 && topic::levels(plain) > usize::from(zone.max_topic_levels) {
        return Err(ReasonCode::TopicFilterInvalid);
    }
    Ok((share, plain))
}

/// The filter behind a share prefix, which is what rights are about.
pub(crate) fn plain_filter(filter: &str) -> &str {
    topic::parse_share(filter).map_or(filter, |(_, plain)| plain)
}

/// The filter as the router knows it: rewritten, behind the client's mountpoint.
fn route_of<'a>(filter: &'a str, client: &ClientInfo, rewrite: Option<&Rewrite>) -> Cow<'a, str> {
    let mut route = Cow::Borrowed(filter);
    if let Some(rewritten) = rewrite.and_then(|rewrite| rewrite.apply(filter)) {
        route = Cow::Owned(rewritten);
    }
    if !client.mountpoint.is_empty() {
        route = Cow::Owned(format!("{}{route}", client.mountpoint));
    }
    route
}
