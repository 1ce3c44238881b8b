//! CONNECT: checks, admission, session, CONNACK.

use std::sync::Arc;

use broker_codec::{
    ConnAck, Connect, Packet, Properties, PropertiesBuf, Property, ProtocolVersion, QoS,
    ReasonCode, topic,
};

use super::auth::Exchange;
use super::topic_alias::TopicAliases;
use super::{Channel, Close, CloseCause, Connected, EnhancedAuth, Flow, PACKET_MAX, State};
use crate::access::banned::{Ban, Who};
use crate::access::{Decision, run_authenticators};
use crate::broker::{Broker, NoSession, SessionRequest};
use crate::channel::{Answered, AnsweredKind};
use crate::client::{ClientId, ClientInfo, Peer};
use crate::clock::Now;
use crate::config::ZoneConfig;
use crate::extension::{Answer, Credentials};
use crate::limits::{Allowance, Newcomer};
use crate::message::Publisher;
use crate::metrics::Metric;
use crate::observer::{Claim, Event, EventKind};
use crate::session::{Connection, ConnectionLimits, Session};
use crate::traffic::Told;
use crate::turn::Turn;
use crate::will::Will;

/// How the question whether a client may come in was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Admitted {
        /// No access rule applies to it.
        superuser: bool,
        /// Who it proved to be, if that is not its User Name.
        username: Option<Arc<str>>,
        /// Authentication Data for CONNACK.
        auth_data: Vec<u8>,
        /// When its credentials expire, on the wall clock; `u64::MAX` for never.
        until_ms: u64,
    },
    /// It may not, and why.
    Refused(ReasonCode),
}

impl Admission {
    pub(crate) const fn admitted(superuser: bool) -> Self {
        Self::admitted_until(superuser, u64::MAX)
    }

    pub(crate) const fn admitted_until(superuser: bool, until_ms: u64) -> Self {
        Self::Admitted { superuser, username: None, auth_data: Vec::new(), until_ms }
    }
}

impl Channel {
    pub(super) fn handle_connect(
        &mut self,
        connect: &Connect<'_>,
        turn: &mut Turn,
    ) -> Result<Flow, Close> {
        let result = self.begin_connect(connect, turn);
        self.observe_refusal(connect, &result, turn);
        result
    }

    /// Lets observers see that a CONNECT was refused.
    pub(super) fn observe_refusal(
        &self,
        connect: &Connect<'_>,
        result: &Result<Flow, Close>,
        turn: &mut Turn,
    ) {
        let Err(Close { cause: CloseCause::Refused(reason_code), .. }) = *result else { return };
        let peer = match &self.state {
            State::AwaitConnect(waiting) => &waiting.peer,
            State::Authenticating(waiting) => &waiting.peer,
            State::Connected(_) | State::Closed => return,
        };
        let claim = Claim {
            client_id: connect.client_id,
            username: connect.username,
            peer,
            version: connect.version,
            clean_start: connect.clean_start,
            keep_alive_s: connect.keep_alive_s,
            is_bridge: connect.is_bridge,
        };
        turn.observe(EventKind::Refused, || Event::Refused { client: &claim, reason_code });
    }

    fn begin_connect(&mut self, connect: &Connect<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let waiting = match &mut self.state {
            State::AwaitConnect(waiting) => waiting,
            // An exchange of one step, whose CONNECT is fed again.
            State::Authenticating(waiting) => match waiting.admission.take() {
                Some(admission) => return self.conclude_exchange(admission, turn),
                None => return Err(second_connect()),
            },
            State::Connected(_) | State::Closed => return Err(second_connect()),
        };
        let peer = waiting.peer.clone();
        let admission = waiting.admission.take();
        self.version = connect.version;
        self.max_packet_size = max_packet_size(connect);
        if let Some(admission) = admission {
            return self.conclude_connect(connect, &peer, admission, turn);
        }
        let credentials = match self.identify(connect, &peer, turn) {
            Ok(credentials) => Arc::new(credentials),
            Err(reason_code) => return Err(self.refuse(reason_code, turn)),
        };
        if let State::AwaitConnect(waiting) = &mut self.state {
            waiting.client_id = Some(credentials.client_id.clone());
        }
        if let Some(method) = connect.properties.authentication_method() {
            let methods = &turn.extensions.auth_methods;
            let Some(method) = methods.iter().find(|m| m.name() == method).cloned() else {
                return Err(self.refuse(ReasonCode::BadAuthenticationMethod, turn));
            };
            let exchange = Exchange::for_connect(&*method, &credentials, connect);
            let data = connect.properties.authentication_data().unwrap_or_default();
            return self.begin_exchange(&credentials.client_id, exchange, data, turn);
        }
        match run_authenticators(&turn.extensions.authenticators, &credentials) {
            Answer::Now(admission) => self.conclude_connect(connect, &peer, admission, turn),
            Answer::Later(admission) => Ok(Flow::Wait(Box::pin(async move {
                Answered(AnsweredKind::Admission(admission.await))
            }))),
        }
    }

    /// Checks everything that needs nobody's answer. Returns who the client claims to be.
    fn identify(
        &self,
        connect: &Connect<'_>,
        peer: &Peer,
        turn: &mut Turn,
    ) -> Result<Credentials, ReasonCode> {
        if turn.out.pressure.is_over() {
            return Err(ReasonCode::QuotaExceeded);
        }
        let zone = &peer.zone;
        let username: Option<Arc<str>> =
            peer.certificate_username.clone().or_else(|| connect.username.map(Into::into));
        let client_id = match (&username, zone.use_username_as_client_id) {
            (Some(name), true) => name,
            _ => connect.client_id,
        };
        if client_id.len() > usize::from(zone.max_client_id_len) {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        let client_id = if client_id.is_empty() {
            assigned_client_id(connect, turn)?
        } else {
            ClientId::from(client_id)
        };
        if let Some(will) = &connect.will {
            check_will(will, zone)?;
        }
        let broker = &turn.broker;
        let address = peer.addr.map(|addr| addr.ip());
        // Before anybody is asked who that is: guessing passwords is limited by it too.
        if !broker.limits.let_in(address, &broker.config(), turn.now.mono_ms) {
            return Err(ReasonCode::ConnectionRateExceeded);
        }
        let wall_ms = turn.now.wall_ms;
        if zone.enable_ban
            && broker.banned.is_banned(client_id.as_str(), username.as_deref(), address, wall_ms)
        {
            return Err(ReasonCode::Banned);
        }
        Ok(Credentials {
            client_id,
            username,
            password: connect.password.map(Into::into),
            version: connect.version,
            peer: peer.clone(),
        })
    }

    /// The last step: opens the session and answers CONNACK.
    pub(super) fn conclude_connect(
        &mut self,
        connect: &Connect<'_>,
        peer: &Peer,
        admission: Admission,
        turn: &mut Turn,
    ) -> Result<Flow, Close> {
        let (superuser, proven_name, auth_data, until_ms) = match &admission {
            Admission::Refused(reason_code) => return Err(self.refuse(*reason_code, turn)),
            Admission::Admitted { superuser, username, auth_data, until_ms } => {
                (*superuser, username.clone(), auth_data, *until_ms)
            }
        };
        // On the wall clock it was said, on the monotonic one it is waited for.
        let expires_ms = match until_ms.checked_sub(turn.now.wall_ms) {
            _ if until_ms == u64::MAX => u64::MAX,
            Some(left_ms) if left_ms > 0 => turn.now.mono_ms.saturating_add(left_ms),
            _ => return Err(self.refuse(ReasonCode::NotAuthorized, turn)),
        };
        let zone = &peer.zone;
        let username = proven_name
            .or_else(|| peer.certificate_username.clone())
            .or_else(|| connect.username.map(Into::into));
        let chosen_id = match (&username, zone.use_username_as_client_id) {
            (Some(name), true) => name,
            _ => connect.client_id,
        };
        let client_id = match self.claimed_id() {
            Some(assigned) if chosen_id.is_empty() => assigned.clone(),
            _ => ClientId::from(chosen_id),
        };
        let keep_alive_s = match zone.server_keep_alive_s {
            Some(imposed) if connect.version.is_v5() => imposed,
            _ => connect.keep_alive_s,
        };
        let mountpoint = zone.mountpoint.as_deref().unwrap_or_default();
        let Some(mountpoint) =
            ClientInfo::fill_levels(mountpoint, client_id.as_str(), username.as_deref())
        else {
            return Err(self.refuse(ReasonCode::ClientIdentifierNotValid, turn));
        };
        let expiry_s = session_expiry_s(connect, zone);
        let early = self.early_traffic();
        let client = Arc::new(ClientInfo {
            client_id,
            username,
            peer: peer.addr,
            version: connect.version,
            zone: Arc::clone(zone),
            listener: Arc::clone(&peer.listener),
            clean_start: connect.clean_start,
            keep_alive_s,
            connected_at_ms: turn.now.wall_ms,
            is_superuser: superuser,
            mountpoint: mountpoint.into(),
            is_bridge: connect.is_bridge,
            certificate: peer.certificate.clone(),
            ws_cookies: peer.ws_cookies.clone(),
            local_addr: peer.local_addr,
            told: Told::new(early.received),
        });
        if turn.is_closing() {
            return Err(self.refuse(ReasonCode::ServerUnavailable, turn));
        }
        // It may have proved to be somebody else than it said, and been banned while that was found out.
        if is_banned(&client, turn) {
            return Err(self.refuse(ReasonCode::Banned, turn));
        }
        let will = connect
            .will
            .as_ref()
            .map(|will| Will::new(will, &client.mountpoint, turn.rights_generation));
        if will.as_ref().is_some_and(|will| will.topic.len() > topic::TOPIC_BYTES_MAX) {
            return Err(self.refuse(ReasonCode::TopicNameInvalid, turn));
        }
        if let Some(will) = &connect.will {
            match self.authorize_will(&client, will.topic, turn) {
                Decision::Allow => {}
                Decision::Deny => return Err(self.refuse(ReasonCode::NotAuthorized, turn)),
                Decision::Wait(flow) => {
                    self.keep_admission(admission);
                    return Ok(flow);
                }
            }
        }
        let limits = connection_limits(connect, zone);
        let broker = Arc::clone(&turn.broker);
        if is_flapping(&client, &broker, turn.now) {
            return Err(self.refuse(ReasonCode::Banned, turn));
        }
        let newcomer = Newcomer {
            client: &client,
            peer,
            predecessor: broker.connected_client(client.client_id.as_str()),
        };
        let allowance = match broker.limits.enter(&newcomer, &broker.config(), turn.now.mono_ms) {
            Ok(allowance) => allowance,
            Err(reason_code) => return Err(self.refuse(reason_code, turn)),
        };
        let (id, sink, version) = (self.id, Arc::clone(&self.sink), self.version);
        let Some(properties) = self.connack_properties(connect, &client, expiry_s, auth_data)
        else {
            // There is no session that could be told of with a DISCONNECT.
            let cause = CloseCause::Refused(ReasonCode::PacketTooLarge);
            let detail = "CONNACK above the Maximum Packet Size of the client".into();
            return Err(Close { cause, detail });
        };
        let connack = |session_present| {
            let mut bytes = Vec::new();
            accepting(session_present, &properties).encode(version, &mut bytes);
            bytes
        };
        let connection = || {
            let connection = Connection::new(id, Arc::clone(&sink), &client, &limits, early.sent);
            Box::new(connection.limited_by(allowance.as_ref()))
        };
        let request = SessionRequest {
            client: &client,
            expiry_s,
            will: will.as_ref(),
            connection: &connection,
            connack: &connack,
        };
        let opened = broker.open_session(&request, turn);
        let (session, session_present) = match opened {
            Ok(opened) => opened,
            Err(NoSession::TooMany) => return Err(self.refuse(ReasonCode::QuotaExceeded, turn)),
            Err(NoSession::OfAnotherUser) => {
                return Err(self.refuse(ReasonCode::ClientIdentifierNotValid, turn));
            }
        };
        turn.out.counters.inc(Metric::PacketsConnAck);
        if turn.out.tracer.is_on() {
            turn.trace_connected(&client, &session, session_present, expiry_s);
        }
        // This very moment: who pronounced it may have looked for the connection before it was there.
        if is_banned(&client, turn) {
            session.close(CloseCause::Banned);
        } else if turn.is_closing() {
            session.close(CloseCause::ServerShuttingDown);
        }
        let publisher = Publisher::Client(Arc::clone(&client));
        self.ends_ms = expires_ms;
        self.enter(connect, session, publisher, expiry_s, allowance, turn);
        if !session_present {
            self.subscribe_automatically(turn);
        }
        Ok(Flow::Next)
    }

    /// Who the client claims to be, while its CONNECT is at work.
    const fn claimed_id(&self) -> Option<&ClientId> {
        match &self.state {
            State::AwaitConnect(waiting) => waiting.client_id.as_ref(),
            State::Authenticating(waiting) => Some(&waiting.client_id),
            State::Connected(_) | State::Closed => None,
        }
    }

    /// The packet that let the client in is fed again, and then nobody is asked once more.
    fn keep_admission(&mut self, admission: Admission) {
        match &mut self.state {
            State::AwaitConnect(waiting) => waiting.admission = Some(admission),
            State::Authenticating(waiting) => waiting.admission = Some(admission),
            State::Connected(_) | State::Closed => {}
        }
    }

    /// The connection is accepted: from here on it is a session's.
    fn enter(
        &mut self,
        connect: &Connect<'_>,
        session: Arc<Session>,
        publisher: Publisher,
        expiry_s: u32,
        limits: Option<Arc<Allowance>>,
        turn: &mut Turn,
    ) {
        let Publisher::Client(client) = &publisher else { return };
        let client = &Arc::clone(client);
        let zone = Arc::clone(&client.zone);
        if client.keep_alive_s > 0 {
            let backoff = zone.keep_alive_backoff * 2.0;
            self.keep_alive_ms = (f64::from(client.keep_alive_s) * 1000.0 * backoff) as u64;
        }
        if zone.max_topic_alias > 0 && self.version.is_v5() {
            self.aliases = Some(Box::new(TopicAliases::new(zone.max_topic_alias)));
        }
        self.state = State::Connected(Connected {
            session,
            publisher,
            connect_expiry_s: connect.properties.session_expiry_interval().unwrap_or(0),
            receive_maximum: receive_maximum(&zone),
            limits,
            auth: connect
                .properties
                .authentication_method()
                .map(|method| Box::new(EnhancedAuth { method: method.into(), exchange: None })),
            client: Arc::clone(client),
        });
        self.schedule_check(turn.now.mono_ms);
        turn.client_connected(client, connect.properties, expiry_s);
    }

    /// Answers CONNACK with an error; the connection ends [MQTT-3.2.2-7].
    pub(super) fn refuse(&mut self, reason_code: ReasonCode, turn: &mut Turn) -> Close {
        let mut properties = PropertiesBuf::new();
        let is_told_why = reason_code == ReasonCode::Banned && self.version.is_v5();
        if is_told_why {
            properties.push(Property::ReasonString("banned"));
        }
        let refusing = |properties| {
            Packet::ConnAck(ConnAck { session_present: false, reason_code, properties })
        };
        // The Reason String gives way [MQTT-3.2.2-19]; a client that takes no CONNACK at all gets none.
        let long = refusing(properties.as_properties());
        let short = refusing(Properties::EMPTY);
        if let Some(connack) = [long, short].iter().find(|connack| self.takes(connack)) {
            self.reply(connack, turn);
        }
        Close::from(CloseCause::Refused(reason_code))
    }

    /// The properties of a successful CONNACK, or `None` if the client takes none that says what it must
    /// know [MQTT-3.1.2-24].
    fn connack_properties(
        &self,
        connect: &Connect<'_>,
        client: &ClientInfo,
        expiry_s: u32,
        auth_data: &[u8],
    ) -> Option<PropertiesBuf> {
        [Extras::Sent, Extras::Omitted].into_iter().find_map(|extras| {
            let properties = connack_properties(connect, client, expiry_s, auth_data, extras);
            self.takes(&accepting(false, &properties)).then_some(properties)
        })
    }

    /// The first bytes were a CONNECT that is malformed: it may be answered before the close.
    pub(super) fn refuse_malformed(
        &mut self,
        version: ProtocolVersion,
        close: Close,
        turn: &mut Turn,
    ) -> Close {
        self.version = version;
        turn.out.counters.inc(Metric::PacketsConnect);
        let refused = self.refuse(close.cause.reason_code(), turn);
        Close { detail: close.detail, ..refused }
    }
}

/// A Client Identifier for a client that sent none [MQTT-3.1.3-6] [MQTT311-3.1.3-7] [MQTT311-3.1.3-8].
fn assigned_client_id(connect: &Connect<'_>, turn: &Turn) -> Result<ClientId, ReasonCode> {
    let is_allowed = match connect.version {
        ProtocolVersion::V5 => true,
        ProtocolVersion::V3_1_1 => connect.clean_start,
        ProtocolVersion::V3_1 => false,
    };
    if !is_allowed {
        return Err(ReasonCode::ClientIdentifierNotValid);
    }
    Ok(turn.broker.new_client_id())
}

/// [MQTT-3.1.0-2]
const fn second_connect() -> Close {
    Close::protocol_error("second CONNECT")
}

fn is_banned(client: &ClientInfo, turn: &Turn) -> bool {
    let banned = &turn.broker.banned;
    client.zone.enable_ban && banned.is_client_banned(client, turn.now.wall_ms)
}

/// Counts that a client was let in, and bans it if that was once too often. Not earlier: who is refused must have nobody
/// banned whose Client Identifier he knows.
fn is_flapping(client: &ClientInfo, broker: &Broker, now: Now) -> bool {
    let Some(limits) = &client.zone.flapping else { return false };
    let is_flapping = !broker.is_session_of_another(client, now.mono_ms)
        && broker.flapping.count(client, limits, now.mono_ms);
    if is_flapping {
        let until_ms = now.wall_ms + limits.banned_ms;
        let (reason, by) = (Some("flapping".into()), Some("flapping_checker".into()));
        let ban = Ban { reason, by, ..Ban::until(until_ms) };
        let _ = broker.add_ban(Who::ClientId(client.client_id.as_str().into()), ban);
        log::warn!("client banned for flapping client_id={:?}", client.client_id);
    }
    is_flapping
}

fn check_will(will: &broker_codec::Will<'_>, zone: &ZoneConfig) -> Result<(), ReasonCode> {
    // [MQTT-3.2.2-12], [MQTT-3.2.2-13]
    if will.qos > zone.max_qos_allowed {
        return Err(ReasonCode::QoSNotSupported);
    }
    if will.retain && !zone.retain_available {
        return Err(ReasonCode::RetainNotSupported);
    }
    let levels_max = usize::from(zone.max_topic_levels);
    let is_reserved = will.topic.starts_with("$SYS/") || will.topic.starts_with("$events/");
    if is_reserved || (levels_max > 0 && topic::levels(will.topic) > levels_max) {
        return Err(ReasonCode::TopicNameInvalid);
    }
    Ok(())
}

/// Session Expiry Interval as it will be kept.
fn session_expiry_s(connect: &Connect<'_>, zone: &ZoneConfig) -> u32 {
    match connect.version {
        ProtocolVersion::V5 => {
            let asked = connect.properties.session_expiry_interval().unwrap_or(0);
            asked.min(zone.max_session_expiry_interval_s)
        }
        _ if connect.clean_start => 0,
        _ => zone.session_expiry_interval_s,
    }
}

fn connection_limits(connect: &Connect<'_>, zone: &ZoneConfig) -> ConnectionLimits {
    let unlimited = |n: u16| if n == 0 { u16::MAX } else { n };
    let properties = connect.properties;
    let window = properties.receive_maximum().unwrap_or(u16::MAX).min(unlimited(zone.max_inflight));
    let aliases = properties.topic_alias_maximum().unwrap_or(0);
    ConnectionLimits {
        window,
        max_packet_size: max_packet_size(connect),
        topic_alias_maximum: aliases.min(zone.max_topic_alias),
    }
}

fn max_packet_size(connect: &Connect<'_>) -> u32 {
    connect.properties.maximum_packet_size().unwrap_or(PACKET_MAX).min(PACKET_MAX)
}

fn accepting(session_present: bool, properties: &PropertiesBuf) -> Packet<'_> {
    Packet::ConnAck(ConnAck {
        session_present,
        reason_code: ReasonCode::Success,
        properties: properties.as_properties(),
    })
}

/// Properties of CONNACK that a client can do without: it gets no Response Information, and sends no Topic
/// Alias.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extras {
    Sent,
    Omitted,
}

/// What the client is told as Receive Maximum.
fn receive_maximum(zone: &ZoneConfig) -> u16 {
    if zone.max_awaiting_rel == 0 { u16::MAX } else { zone.max_awaiting_rel }
}

/// The properties of a successful CONNACK: only what differs from the client's wish or the default.
fn connack_properties(
    connect: &Connect<'_>,
    client: &ClientInfo,
    expiry_s: u32,
    auth_data: &[u8],
    extras: Extras,
) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    if !connect.version.is_v5() {
        return properties;
    }
    let zone = &client.zone;
    let asked = connect.properties;
    let mut push = |property| properties.push(property);
    if asked.session_expiry_interval().unwrap_or(0) != expiry_s {
        push(Property::SessionExpiryInterval(expiry_s));
    }
    if receive_maximum(zone) != u16::MAX {
        push(Property::ReceiveMaximum(receive_maximum(zone)));
    }
    if zone.max_qos_allowed < QoS::ExactlyOnce {
        push(Property::MaximumQoS(zone.max_qos_allowed as u8));
    }
    if !zone.retain_available {
        push(Property::RetainAvailable(0));
    }
    push(Property::MaximumPacketSize(zone.max_packet_size));
    if client.client_id.as_str() != connect.client_id {
        push(Property::AssignedClientIdentifier(client.client_id.as_str()));
    }
    if zone.max_topic_alias > 0 && extras == Extras::Sent {
        push(Property::TopicAliasMaximum(zone.max_topic_alias));
    }
    if !zone.wildcard_subscription {
        push(Property::WildcardSubscriptionAvailable(0));
    }
    if !zone.shared_subscription {
        push(Property::SharedSubscriptionAvailable(0));
    }
    if client.keep_alive_s != connect.keep_alive_s {
        push(Property::ServerKeepAlive(client.keep_alive_s));
    }
    let response_information = zone
        .response_information
        .as_ref()
        .filter(|_| asked.request_response_information() == Some(true) && extras == Extras::Sent)
        .map(|template| {
            let (id, name) = (client.client_id.as_str(), client.username.as_deref());
            ClientInfo::fill(template, id, name)
        });
    if let Some(information) = &response_information {
        push(Property::ResponseInformation(information));
    }
    if let Some(method) = asked.authentication_method() {
        push(Property::AuthenticationMethod(method));
        if !auth_data.is_empty() {
            push(Property::AuthenticationData(auth_data));
        }
    }
    properties
}
