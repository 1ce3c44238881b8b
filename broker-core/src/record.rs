//! Records: what a store keeps of the broker, as bytes. docs/durability.md describes the format.
//!
//! A frame of the log and a block of a snapshot are both a row of records; a snapshot is the shortest log that
//! leads to the state. Numbers are LEB128, texts and byte strings carry their length in front.
//!
//! Each change of a session carries its *step*, the count of that session's changes, taken under the session's
//! lock: frames of several threads may reach the log in another order than the changes were made in, and
//! recovery puts them back into theirs. Retained and delayed messages and settings share a count of their own.

use std::fmt;

use broker_codec::{PacketId, QoS, SubscriptionOptions};

use crate::store::Lsn;

/// Bytes that are no records of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record of a body does not match its checksum.
    #[error("checksum of a message body does not match")]
    Checksum,
    /// A kind that this version does not know and may not skip.
    #[error("record of kind {0}: written by a newer version")]
    UnknownKind(u8),
    /// The record ends before its fields do, or a field has no valid value.
    #[error("malformed record: {0}")]
    Malformed(&'static str),
}

/// Why a session has no more to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Removal {
    /// PUBACK, or PUBREC with an error.
    Acked = 0,
    /// Its expiry interval has passed.
    Expired = 1,
    /// The queue was full.
    QueueFull = 2,
    /// Larger than the client takes.
    TooLarge = 3,
    /// Given to another member of its shared subscription.
    HandedOver = 4,
    /// Its body could not be read back.
    Damaged = 5,
}

impl Removal {
    const ALL: [Self; 6] = [
        Self::Acked,
        Self::Expired,
        Self::QueueFull,
        Self::TooLarge,
        Self::HandedOver,
        Self::Damaged,
    ];
}

/// A message as it was published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Body<'a> {
    /// QoS it was published with.
    pub qos: QoS,
    /// RETAIN flag it was published with.
    pub retain: bool,
    /// Milliseconds since the Unix epoch.
    pub published_at_ms: u64,
    /// Milliseconds since the Unix epoch; 0 for never.
    pub expires_at_ms: u64,
    /// Client Identifier of the publisher.
    pub publisher: &'a str,
    /// Topic Name.
    pub topic: &'a str,
    /// Forwarded properties in their encoded form.
    pub properties: &'a [u8],
    /// Application payload.
    pub payload: &'a [u8],
}

/// Where the body stands that a record speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyAt {
    /// In the same frame, at this offset of its payload.
    Here(u32),
    /// Earlier in the log.
    Log {
        /// Position of the record.
        at: Lsn,
        /// Its length in bytes.
        len: u32,
    },
}

/// One receiver of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref<'a> {
    /// Number of the session.
    pub session: u64,
    /// Step of the session; names the message within it from now on.
    pub step: u64,
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// Subscription Identifiers.
    pub identifiers: Vec<u32>,
    /// Name and route of the shared subscription it was dealt out by.
    pub group: Option<(&'a str, &'a str)>,
}

/// A Will, or what is left of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WillRecord<'a> {
    /// Topic Name, behind the client's mountpoint.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// QoS.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Forwarded properties in their encoded form.
    pub properties: &'a [u8],
    /// Message Expiry Interval in seconds.
    pub message_expiry_s: Option<u32>,
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
}

/// A client connects: a session begins or goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionStart<'a> {
    /// Number of the session.
    pub session: u64,
    /// Step of the session.
    pub step: u64,
    /// Client Identifier.
    pub client_id: &'a str,
    /// User Name.
    pub username: Option<&'a str>,
    /// Address of the client.
    pub peer: Option<&'a str>,
    /// Protocol level.
    pub version: u8,
    /// Name of the listener.
    pub listener: &'a str,
    /// Name of the zone.
    pub zone: &'a str,
    /// Prefix of the client's topics.
    pub mountpoint: &'a str,
    /// Keep Alive in seconds.
    pub keep_alive_s: u16,
    /// Clean Start.
    pub clean_start: bool,
    /// No access rule applies to the client.
    pub is_superuser: bool,
    /// Session Expiry Interval in seconds.
    pub expiry_s: u32,
    /// When the session was created, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Time of the CONNECT.
    pub connected_at_ms: u64,
    /// Will of the connection.
    pub will: Option<WillRecord<'a>>,
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// A message; others refer to it by its position.
    Body(Body<'a>),
    /// Sessions that owe a message to their clients.
    Refs {
        /// The message.
        body: BodyAt,
        /// The sessions.
        refs: Refs<'a>,
    },
    /// A session is through with messages.
    Removed {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// Why.
        why: Removal,
        /// Steps of the messages.
        refs: Steps<'a>,
    },
    /// A session begins or goes on.
    SessionStart(SessionStart<'a>),
    /// A session is over, with all it holds.
    SessionEnd {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
    },
    /// A subscription is made or replaced.
    Subscribed {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// Topic Filter as the client wrote it.
        filter: &'a str,
        /// What the router knows it by, if that differs.
        route: Option<&'a str>,
        /// Subscription Options.
        options: SubscriptionOptions,
        /// Subscription Identifier; 0 for none.
        identifier: u32,
    },
    /// A subscription is ended.
    Unsubscribed {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// Topic Filter as the client wrote it.
        filter: &'a str,
    },
    /// A message of QoS 2 is about to be sent under a Packet Identifier.
    Sent {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// Step of the message.
        of: u64,
        /// Packet Identifier.
        packet_id: PacketId,
    },
    /// PUBREC came: the message is the client's, PUBREL is owed.
    Released {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// Packet Identifier.
        packet_id: PacketId,
    },
    /// PUBCOMP came, or the exchange ended otherwise: the Packet Identifier is free.
    Completed {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// Packet Identifier.
        packet_id: PacketId,
    },
    /// A message of QoS 2 came in and was routed.
    Received {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// Packet Identifier.
        packet_id: PacketId,
    },
    /// It was released, or waited for that too long.
    ReceivedDone {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// Packet Identifier.
        packet_id: PacketId,
    },
    /// The connection of a session ended.
    Detached {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
        /// The Will is still to be published.
        keeps_will: bool,
        /// Messages sent and not acknowledged, in that order: step and Packet Identifier.
        inflight: Inflight<'a>,
    },
    /// The Will was published.
    WillDone {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
    },
    /// The Session Expiry Interval changed.
    Expiry {
        /// Number of the session.
        session: u64,
        /// Step of the session.
        step: u64,
        /// In seconds.
        expiry_s: u32,
    },
    /// Of a snapshot: what the session's records up to this step say is in it.
    StepsUntil {
        /// Number of the session.
        session: u64,
        /// The step.
        step: u64,
    },
    /// A message is retained for its topic.
    Retained {
        /// Step of what is kept.
        step: u64,
        /// The message.
        body: BodyAt,
        /// When it expires, milliseconds since the Unix epoch; 0 for never.
        expires_at_ms: u64,
    },
    /// Nothing is retained for a topic any more.
    RetainedClear {
        /// Step of what is kept.
        step: u64,
        /// Topic Name.
        topic: &'a str,
    },
    /// A message waits for its time.
    Delayed {
        /// Step of what is kept; names the message from now on.
        step: u64,
        /// The message.
        body: BodyAt,
        /// When it is due, milliseconds since the Unix epoch.
        due_at_ms: u64,
    },
    /// It was published, or dropped.
    DelayedDone {
        /// Step of what is kept.
        step: u64,
        /// Step of the message.
        of: u64,
    },
    /// A setting of the control plane; no value removes it.
    Setting {
        /// Step of what is kept.
        step: u64,
        /// Kind of setting, `ban`.
        kind: &'a str,
        /// Key within the kind.
        key: &'a str,
        /// Value.
        value: Option<&'a [u8]>,
    },
    /// Of a snapshot: what records up to this step of what is kept say is in it, and the next session number.
    KeptUntil {
        /// The step.
        step: u64,
        /// No session up to this number is made anew.
        session: u64,
    },
    /// A body was copied to the end of the log: it follows as the next record.
    Moved {
        /// Where it stood.
        from: Lsn,
    },
    /// The broker started: records before it belong to an earlier run.
    Opened {
        /// When, milliseconds since the Unix epoch.
        at_ms: u64,
    },
}

/// Kinds from here on may be skipped by a version that does not know them.
const OPTIONAL_FROM: u8 = 128;

mod kind {
    pub(super) const BODY: u8 = 1;
    pub(super) const REFS: u8 = 2;
    pub(super) const REMOVED: u8 = 3;
    pub(super) const SESSION_START: u8 = 4;
    pub(super) const SESSION_END: u8 = 5;
    pub(super) const SUBSCRIBED: u8 = 6;
    pub(super) const UNSUBSCRIBED: u8 = 7;
    pub(super) const SENT: u8 = 8;
    pub(super) const RELEASED: u8 = 9;
    pub(super) const COMPLETED: u8 = 10;
    pub(super) const RECEIVED: u8 = 11;
    pub(super) const RECEIVED_DONE: u8 = 12;
    pub(super) const DETACHED: u8 = 13;
    pub(super) const WILL_DONE: u8 = 14;
    pub(super) const EXPIRY: u8 = 15;
    pub(super) const STEPS_UNTIL: u8 = 16;
    pub(super) const RETAINED: u8 = 17;
    pub(super) const RETAINED_CLEAR: u8 = 18;
    pub(super) const DELAYED: u8 = 19;
    pub(super) const DELAYED_DONE: u8 = 20;
    pub(super) const SETTING: u8 = 21;
    pub(super) const KEPT_UNTIL: u8 = 22;
    pub(super) const MOVED: u8 = 23;
    pub(super) const OPENED: u8 = 24;
}

// ---- writing

pub(crate) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn number_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_number(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
        None => out.push(0),
    }
}

/// Writes kind, length, and what `fields` writes.
fn put_record(out: &mut Vec<u8>, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[kind, 0]);
    fields(out);
    let len = out.len() - start - 2;
    if len < 0x80 {
        out[start + 1] = len as u8;
        return;
    }
    // The length takes more than the byte it was given.
    let mut length = Vec::with_capacity(5);
    put_number(&mut length, len as u64);
    out.splice(start + 1..start + 2, length);
}

fn put_body_at(out: &mut Vec<u8>, body: BodyAt) {
    match body {
        BodyAt::Here(offset) => put_number(out, u64::from(offset) << 1),
        BodyAt::Log { at, len } => {
            put_number(out, u64::from(len) << 1 | 1);
            put_number(out, at);
        }
    }
}

impl Body<'_> {
    /// Bytes of the fields, checksum included.
    fn fields_len(&self) -> usize {
        let text = |len: usize| number_len(len as u64) + len;
        let expiry = if self.expires_at_ms > 0 { number_len(self.expires_at_ms) } else { 0 };
        1 + number_len(self.published_at_ms)
            + expiry
            + text(self.publisher.len())
            + text(self.topic.len())
            + text(self.properties.len())
            + self.payload.len()
            + 4
    }

    /// Bytes of the whole record.
    pub(crate) fn record_len(&self) -> usize {
        let fields = self.fields_len();
        1 + number_len(fields as u64) + fields
    }

    /// Appends the record.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let fields_len = self.fields_len();
        out.reserve(fields_len + 6);
        out.push(kind::BODY);
        put_number(out, fields_len as u64);
        let start = out.len();
        let has_expiry = self.expires_at_ms > 0;
        out.push(self.qos as u8 | u8::from(self.retain) << 2 | u8::from(has_expiry) << 3);
        put_number(out, self.published_at_ms);
        if has_expiry {
            put_number(out, self.expires_at_ms);
        }
        put_bytes(out, self.publisher.as_bytes());
        put_bytes(out, self.topic.as_bytes());
        put_bytes(out, self.properties);
        out.extend_from_slice(self.payload);
        let checksum = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }
}

/// Appends one receiver to the entries of a Refs record.
pub(crate) fn put_ref(
    out: &mut Vec<u8>,
    (session, step): (u64, u64),
    qos: QoS,
    retain: bool,
    identifiers: &[u32],
    group: Option<(&str, &str)>,
) {
    put_number(out, session);
    put_number(out, step);
    out.push(
        qos as u8
            | u8::from(retain) << 2
            | u8::from(!identifiers.is_empty()) << 3
            | u8::from(group.is_some()) << 4,
    );
    if !identifiers.is_empty() {
        put_number(out, identifiers.len() as u64);
        identifiers.iter().for_each(|id| put_number(out, u64::from(*id)));
    }
    if let Some((name, route)) = group {
        put_bytes(out, name.as_bytes());
        put_bytes(out, route.as_bytes());
    }
}

/// Appends a Refs record of entries that [`put_ref`] wrote.
pub(crate) fn put_refs(out: &mut Vec<u8>, body: BodyAt, entries: &[u8]) {
    put_record(out, kind::REFS, |out| {
        put_body_at(out, body);
        out.extend_from_slice(entries);
    });
}

/// Appends a Removed record of steps, each written by [`put_number`].
pub(crate) fn put_removed(
    out: &mut Vec<u8>,
    session: u64,
    step: u64,
    why: Removal,
    encoded_steps: &[u8],
) {
    put_record(out, kind::REMOVED, |out| {
        put_number(out, session);
        put_number(out, step);
        out.push(why as u8);
        out.extend_from_slice(encoded_steps);
    });
}

fn put_will(out: &mut Vec<u8>, will: &WillRecord<'_>) {
    out.push(will.qos as u8 | u8::from(will.retain) << 2);
    put_bytes(out, will.topic.as_bytes());
    put_bytes(out, will.payload);
    put_bytes(out, will.properties);
    put_number(out, will.message_expiry_s.map_or(0, |s| u64::from(s) + 1));
    put_number(out, u64::from(will.delay_s));
}

impl SessionStart<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_record(out, kind::SESSION_START, |out| {
            put_number(out, self.session);
            put_number(out, self.step);
            put_bytes(out, self.client_id.as_bytes());
            put_optional(out, self.username.map(str::as_bytes));
            put_optional(out, self.peer.map(str::as_bytes));
            out.push(self.version);
            put_bytes(out, self.listener.as_bytes());
            put_bytes(out, self.zone.as_bytes());
            put_bytes(out, self.mountpoint.as_bytes());
            put_number(out, u64::from(self.keep_alive_s));
            out.push(
                u8::from(self.clean_start)
                    | u8::from(self.is_superuser) << 1
                    | u8::from(self.will.is_some()) << 2,
            );
            put_number(out, u64::from(self.expiry_s));
            put_number(out, self.created_at_ms);
            put_number(out, self.connected_at_ms);
            if let Some(will) = &self.will {
                put_will(out, will);
            }
        });
    }
}

impl Record<'_> {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Body(body) => body.encode(out),
            Self::Refs { body, refs } => put_refs(out, *body, refs.raw),
            Self::Removed { session, step, why, refs } => {
                put_removed(out, *session, *step, *why, refs.0);
            }
            Self::SessionStart(start) => start.encode(out),
            Self::SessionEnd { session, step } => {
                put_numbers(out, kind::SESSION_END, &[*session, *step]);
            }
            Self::Subscribed { session, step, filter, route, options, identifier } => {
                put_record(out, kind::SUBSCRIBED, |out| {
                    put_number(out, *session);
                    put_number(out, *step);
                    put_bytes(out, filter.as_bytes());
                    put_optional(out, route.map(str::as_bytes));
                    out.push(options.bits());
                    put_number(out, u64::from(*identifier));
                });
            }
            Self::Unsubscribed { session, step, filter } => {
                put_record(out, kind::UNSUBSCRIBED, |out| {
                    put_number(out, *session);
                    put_number(out, *step);
                    put_bytes(out, filter.as_bytes());
                });
            }
            Self::Sent { session, step, of, packet_id } => {
                put_numbers(out, kind::SENT, &[*session, *step, *of, id(*packet_id)]);
            }
            Self::Released { session, step, packet_id } => {
                put_numbers(out, kind::RELEASED, &[*session, *step, id(*packet_id)]);
            }
            Self::Completed { session, step, packet_id } => {
                put_numbers(out, kind::COMPLETED, &[*session, *step, id(*packet_id)]);
            }
            Self::Received { session, step, packet_id } => {
                put_numbers(out, kind::RECEIVED, &[*session, *step, id(*packet_id)]);
            }
            Self::ReceivedDone { session, step, packet_id } => {
                put_numbers(out, kind::RECEIVED_DONE, &[*session, *step, id(*packet_id)]);
            }
            Self::Detached { session, step, at_ms, keeps_will, inflight } => {
                put_record(out, kind::DETACHED, |out| {
                    put_number(out, *session);
                    put_number(out, *step);
                    put_number(out, *at_ms);
                    out.push(u8::from(*keeps_will));
                    out.extend_from_slice(inflight.0);
                });
            }
            Self::WillDone { session, step } => {
                put_numbers(out, kind::WILL_DONE, &[*session, *step]);
            }
            Self::Expiry { session, step, expiry_s } => {
                put_numbers(out, kind::EXPIRY, &[*session, *step, u64::from(*expiry_s)]);
            }
            Self::StepsUntil { session, step } => {
                put_numbers(out, kind::STEPS_UNTIL, &[*session, *step]);
            }
            Self::Retained { step, body, expires_at_ms } => {
                put_record(out, kind::RETAINED, |out| {
                    put_number(out, *step);
                    put_body_at(out, *body);
                    put_number(out, *expires_at_ms);
                });
            }
            Self::RetainedClear { step, topic } => put_record(out, kind::RETAINED_CLEAR, |out| {
                put_number(out, *step);
                put_bytes(out, topic.as_bytes());
            }),
            Self::Delayed { step, body, due_at_ms } => put_record(out, kind::DELAYED, |out| {
                put_number(out, *step);
                put_body_at(out, *body);
                put_number(out, *due_at_ms);
            }),
            Self::DelayedDone { step, of } => put_numbers(out, kind::DELAYED_DONE, &[*step, *of]),
            Self::Setting { step, kind, key, value } => put_record(out, kind::SETTING, |out| {
                put_number(out, *step);
                put_bytes(out, kind.as_bytes());
                put_bytes(out, key.as_bytes());
                put_optional(out, *value);
            }),
            Self::KeptUntil { step, session } => {
                put_numbers(out, kind::KEPT_UNTIL, &[*step, *session]);
            }
            Self::Moved { from } => put_numbers(out, kind::MOVED, &[*from]),
            Self::Opened { at_ms } => put_numbers(out, kind::OPENED, &[*at_ms]),
        }
    }
}

fn put_numbers(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    put_record(out, kind, |out| numbers.iter().for_each(|n| put_number(out, *n)));
}

fn id(packet_id: PacketId) -> u64 {
    u64::from(packet_id.get())
}

// ---- reading

type Read<T> = Result<T, RecordError>;

#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.0.split_first().ok_or(RecordError::Malformed("ends early"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Read<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(RecordError::Malformed("number of more than 64 bits"))
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Read<T> {
        T::try_from(self.number()?).map_err(|_| RecordError::Malformed("number out of range"))
    }

    fn take(&mut self, len: u64) -> Read<&'a [u8]> {
        let len = usize::try_from(len).map_err(|_| RecordError::Malformed("length"))?;
        let (bytes, rest) =
            self.0.split_at_checked(len).ok_or(RecordError::Malformed("ends early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }

    fn text(&mut self) -> Read<&'a str> {
        text(self.bytes()?)
    }

    fn optional(&mut self) -> Read<Option<&'a [u8]>> {
        match self.number()? {
            0 => Ok(None),
            len => self.take(len - 1).map(Some),
        }
    }

    fn optional_text(&mut self) -> Read<Option<&'a str>> {
        self.optional()?.map(text).transpose()
    }

    fn packet_id(&mut self) -> Read<PacketId> {
        PacketId::new(self.small()?).ok_or(RecordError::Malformed("packet identifier 0"))
    }

    fn qos(bits: u8) -> Read<QoS> {
        QoS::from_bits(bits & 3).ok_or(RecordError::Malformed("QoS 3"))
    }

    fn body_at(&mut self) -> Read<BodyAt> {
        let first = self.number()?;
        let value = u32::try_from(first >> 1).map_err(|_| RecordError::Malformed("length"))?;
        Ok(match first & 1 {
            0 => BodyAt::Here(value),
            _ => BodyAt::Log { at: self.number()?, len: value },
        })
    }

    fn will(&mut self) -> Read<WillRecord<'a>> {
        let flags = self.byte()?;
        Ok(WillRecord {
            qos: Self::qos(flags)?,
            retain: flags & 4 > 0,
            topic: self.text()?,
            payload: self.bytes()?,
            properties: self.bytes()?,
            message_expiry_s: match self.number()? {
                0 => None,
                n => Some(u32::try_from(n - 1).map_err(|_| RecordError::Malformed("interval"))?),
            },
            delay_s: self.small()?,
        })
    }
}

fn text(bytes: &[u8]) -> Read<&str> {
    std::str::from_utf8(bytes).map_err(|_| RecordError::Malformed("text is not UTF-8"))
}

/// The receivers of a Refs record.
#[derive(Clone, PartialEq, Eq)]
pub struct Refs<'a> {
    raw: &'a [u8],
}

impl fmt::Debug for Refs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Refs<'a> {
    /// Entries that [`put_ref`] wrote.
    pub(crate) const fn of(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// One after the other; ends at the first that is malformed, which decoding a record rules out.
    pub fn iter(&self) -> impl Iterator<Item = Ref<'a>> + use<'a> {
        let mut fields = Fields(self.raw);
        std::iter::from_fn(
            move || {
                if fields.0.is_empty() { None } else { Self::one(&mut fields).ok() }
            },
        )
    }

    fn one(fields: &mut Fields<'a>) -> Read<Ref<'a>> {
        let (session, step) = (fields.number()?, fields.number()?);
        let flags = fields.byte()?;
        let mut identifiers = Vec::new();
        if flags & 8 > 0 {
            for _ in 0..fields.number()? {
                identifiers.push(fields.small()?);
            }
        }
        let group = if flags & 16 > 0 { Some((fields.text()?, fields.text()?)) } else { None };
        Ok(Ref {
            session,
            step,
            qos: Fields::qos(flags)?,
            retain: flags & 4 > 0,
            identifiers,
            group,
        })
    }

    fn check(raw: &'a [u8]) -> Read<Self> {
        let mut fields = Fields(raw);
        while !fields.0.is_empty() {
            Self::one(&mut fields)?;
        }
        Ok(Self { raw })
    }
}

/// Steps of messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Steps<'a>(&'a [u8]);

impl fmt::Debug for Steps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Steps<'a> {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        let mut fields = Fields(self.0);
        std::iter::from_fn(move || fields.number().ok())
    }

    fn check(raw: &'a [u8]) -> Read<Self> {
        let mut fields = Fields(raw);
        while !fields.0.is_empty() {
            fields.number()?;
        }
        Ok(Self(raw))
    }
}

/// Messages in flight when a connection ended: pairs of step and Packet Identifier.
#[derive(Clone, PartialEq, Eq)]
pub struct Inflight<'a>(&'a [u8]);

impl fmt::Debug for Inflight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Inflight<'a> {
    /// Pairs that [`put_inflight`] wrote.
    pub(crate) const fn of(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// One after the other, in the order they were sent in.
    pub fn iter(&self) -> impl Iterator<Item = (u64, PacketId)> + use<'a> {
        let mut fields = Fields(self.0);
        std::iter::from_fn(move || Some((fields.number().ok()?, fields.packet_id().ok()?)))
    }

    fn check(raw: &'a [u8]) -> Read<Self> {
        let mut fields = Fields(raw);
        while !fields.0.is_empty() {
            (fields.number()?, fields.packet_id()?);
        }
        Ok(Self(raw))
    }
}

/// Appends one message in flight to those of a Detached record.
pub(crate) fn put_inflight(out: &mut Vec<u8>, step: u64, packet_id: PacketId) {
    put_number(out, step);
    put_number(out, id(packet_id));
}

/// Records of a payload, one after the other, each with its offset.
pub struct Records<'a> {
    payload: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// The records of a frame's payload or of a snapshot's block.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { payload, at: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    /// Offset and length in the payload, and the record.
    type Item = Result<(u32, u32, Record<'a>), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.payload.len() {
            let start = self.at;
            let read = Record::decode(&self.payload[start..]);
            match read {
                Ok((len, record)) => {
                    self.at = start + len;
                    if let Some(record) = record {
                        return Some(Ok((start as u32, len as u32, record)));
                    }
                }
                Err(error) => {
                    self.at = self.payload.len();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl<'a> Record<'a> {
    /// Reads the record at the beginning of `bytes`: its length, and what it says unless it may be skipped.
    ///
    /// # Errors
    /// It is none, or of a kind that only a newer version knows.
    pub fn decode(bytes: &'a [u8]) -> Result<(usize, Option<Self>), RecordError> {
        let mut fields = Fields(bytes);
        let kind = fields.byte()?;
        let record = fields.bytes()?;
        let len = bytes.len() - fields.0.len();
        Ok((len, Self::fields(kind, Fields(record))?))
    }

    fn fields(kind: u8, mut f: Fields<'a>) -> Read<Option<Self>> {
        let f = &mut f;
        Ok(Some(match kind {
            kind::BODY => Self::Body(body(f.0)?),
            kind::REFS => Self::Refs { body: f.body_at()?, refs: Refs::check(f.0)? },
            kind::REMOVED => Self::Removed {
                session: f.number()?,
                step: f.number()?,
                why: Removal::ALL
                    .get(usize::from(f.byte()?))
                    .copied()
                    .ok_or(RecordError::Malformed("reason of a removal"))?,
                refs: Steps::check(f.0)?,
            },
            kind::SESSION_START => Self::SessionStart(session_start(f)?),
            kind::SESSION_END => Self::SessionEnd { session: f.number()?, step: f.number()? },
            kind::SUBSCRIBED => Self::Subscribed {
                session: f.number()?,
                step: f.number()?,
                filter: f.text()?,
                route: f.optional_text()?,
                options: SubscriptionOptions::from_bits(f.byte()?)
                    .ok_or(RecordError::Malformed("subscription options"))?,
                identifier: f.small()?,
            },
            kind::UNSUBSCRIBED => {
                Self::Unsubscribed { session: f.number()?, step: f.number()?, filter: f.text()? }
            }
            kind::SENT => Self::Sent {
                session: f.number()?,
                step: f.number()?,
                of: f.number()?,
                packet_id: f.packet_id()?,
            },
            kind::RELEASED => Self::Released {
                session: f.number()?,
                step: f.number()?,
                packet_id: f.packet_id()?,
            },
            kind::COMPLETED => Self::Completed {
                session: f.number()?,
                step: f.number()?,
                packet_id: f.packet_id()?,
            },
            kind::RECEIVED => Self::Received {
                session: f.number()?,
                step: f.number()?,
                packet_id: f.packet_id()?,
            },
            kind::RECEIVED_DONE => Self::ReceivedDone {
                session: f.number()?,
                step: f.number()?,
                packet_id: f.packet_id()?,
            },
            kind::DETACHED => Self::Detached {
                session: f.number()?,
                step: f.number()?,
                at_ms: f.number()?,
                keeps_will: f.byte()? > 0,
                inflight: Inflight::check(f.0)?,
            },
            kind::WILL_DONE => Self::WillDone { session: f.number()?, step: f.number()? },
            kind::EXPIRY => {
                Self::Expiry { session: f.number()?, step: f.number()?, expiry_s: f.small()? }
            }
            kind::STEPS_UNTIL => Self::StepsUntil { session: f.number()?, step: f.number()? },
            kind::RETAINED => {
                Self::Retained { step: f.number()?, body: f.body_at()?, expires_at_ms: f.number()? }
            }
            kind::RETAINED_CLEAR => Self::RetainedClear { step: f.number()?, topic: f.text()? },
            kind::DELAYED => {
                Self::Delayed { step: f.number()?, body: f.body_at()?, due_at_ms: f.number()? }
            }
            kind::DELAYED_DONE => Self::DelayedDone { step: f.number()?, of: f.number()? },
            kind::SETTING => Self::Setting {
                step: f.number()?,
                kind: f.text()?,
                key: f.text()?,
                value: f.optional()?,
            },
            kind::KEPT_UNTIL => Self::KeptUntil { step: f.number()?, session: f.number()? },
            kind::MOVED => Self::Moved { from: f.number()? },
            kind::OPENED => Self::Opened { at_ms: f.number()? },
            OPTIONAL_FROM.. => return Ok(None),
            _ => return Err(RecordError::UnknownKind(kind)),
        }))
    }
}

fn body(fields: &[u8]) -> Read<Body<'_>> {
    let (checked, checksum) =
        fields.split_last_chunk::<4>().ok_or(RecordError::Malformed("ends early"))?;
    if crc32fast::hash(checked) != u32::from_le_bytes(*checksum) {
        return Err(RecordError::Checksum);
    }
    let mut f = Fields(checked);
    let flags = f.byte()?;
    Ok(Body {
        qos: Fields::qos(flags)?,
        retain: flags & 4 > 0,
        published_at_ms: f.number()?,
        expires_at_ms: if flags & 8 > 0 { f.number()? } else { 0 },
        publisher: f.text()?,
        topic: f.text()?,
        properties: f.bytes()?,
        payload: f.0,
    })
}

fn session_start<'a>(f: &mut Fields<'a>) -> Read<SessionStart<'a>> {
    let session = f.number()?;
    let step = f.number()?;
    let client_id = f.text()?;
    let username = f.optional_text()?;
    let peer = f.optional_text()?;
    let version = f.byte()?;
    let (listener, zone, mountpoint) = (f.text()?, f.text()?, f.text()?);
    let keep_alive_s = f.small()?;
    let flags = f.byte()?;
    Ok(SessionStart {
        session,
        step,
        client_id,
        username,
        peer,
        version,
        listener,
        zone,
        mountpoint,
        keep_alive_s,
        clean_start: flags & 1 > 0,
        is_superuser: flags & 2 > 0,
        expiry_s: f.small()?,
        created_at_ms: f.number()?,
        connected_at_ms: f.number()?,
        will: if flags & 4 > 0 { Some(f.will()?) } else { None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    /// All kinds, with short and with long fields.
    fn each_kind(check: impl Fn(&Record<'_>)) {
        let long = "x".repeat(300);
        for text in ["", "a/b", &long] {
            let body = Body {
                qos: QoS::ExactlyOnce,
                retain: true,
                published_at_ms: 1_700_000_000_000,
                expires_at_ms: text.len() as u64,
                publisher: text,
                topic: text,
                properties: text.as_bytes(),
                payload: text.as_bytes(),
            };
            check(&Record::Body(body));
            let mut entries = Vec::new();
            put_ref(&mut entries, (7, 300), QoS::AtLeastOnce, true, &[], None);
            put_ref(
                &mut entries,
                (1 << 40, 1),
                QoS::ExactlyOnce,
                false,
                &[1, 70_000],
                Some((text, text)),
            );
            let refs = Refs::of(&entries);
            assert_eq!(refs.iter().count(), 2);
            check(&Record::Refs { body: BodyAt::Here(70_000), refs: refs.clone() });
            check(&Record::Refs { body: BodyAt::Log { at: 1 << 50, len: 77 }, refs });
            let mut steps = Vec::new();
            (1..200).for_each(|n| put_number(&mut steps, n * 1000));
            for why in Removal::ALL {
                check(&Record::Removed { session: 1, step: 2, why, refs: Steps(&steps) });
            }
            let will = WillRecord {
                topic: text,
                payload: text.as_bytes(),
                qos: QoS::AtLeastOnce,
                retain: true,
                properties: text.as_bytes(),
                message_expiry_s: Some(0),
                delay_s: u32::MAX,
            };
            let start = SessionStart {
                session: 1,
                step: 2,
                client_id: text,
                username: Some(text),
                peer: None,
                version: 5,
                listener: text,
                zone: text,
                mountpoint: text,
                keep_alive_s: u16::MAX,
                clean_start: true,
                is_superuser: false,
                expiry_s: u32::MAX,
                created_at_ms: 1,
                connected_at_ms: 2,
                will: Some(will),
            };
            check(&Record::SessionStart(start));
            check(&Record::SessionStart(SessionStart { will: None, username: None, ..start }));
            let options = SubscriptionOptions::from_bits(0b10_1110).unwrap();
            let (session, step, filter) = (3, u64::MAX, text);
            for route in [None, Some(text)] {
                check(&Record::Subscribed { session, step, filter, route, options, identifier: 9 });
            }
            check(&Record::Unsubscribed { session, step, filter });
            let mut inflight = Vec::new();
            put_inflight(&mut inflight, 5, id(1));
            put_inflight(&mut inflight, 500, id(u16::MAX));
            let inflight = Inflight(&inflight);
            check(&Record::Detached { session, step, at_ms: 1, keeps_will: true, inflight });
            check(&Record::RetainedClear { step, topic: text });
            for value in [None, Some(text.as_bytes())] {
                check(&Record::Setting { step, kind: text, key: text, value });
            }
        }
        let (session, step, packet_id) = (1, 2, id(u16::MAX));
        check(&Record::SessionEnd { session, step });
        check(&Record::Sent { session, step, of: 1, packet_id });
        check(&Record::Released { session, step, packet_id });
        check(&Record::Completed { session, step, packet_id });
        check(&Record::Received { session, step, packet_id });
        check(&Record::ReceivedDone { session, step, packet_id });
        check(&Record::WillDone { session, step });
        check(&Record::Expiry { session, step, expiry_s: u32::MAX });
        check(&Record::StepsUntil { session, step });
        check(&Record::Retained { step, body: BodyAt::Here(0), expires_at_ms: 0 });
        check(&Record::Delayed { step, body: BodyAt::Log { at: 9, len: 1 }, due_at_ms: u64::MAX });
        check(&Record::DelayedDone { step, of: 1 });
        check(&Record::KeptUntil { step, session });
        check(&Record::Moved { from: u64::MAX });
        check(&Record::Opened { at_ms: 1 });
    }

    #[test]
    fn every_record_reads_as_it_was_written() {
        each_kind(|record| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let (len, read) = Record::decode(&bytes).unwrap();
            assert_eq!((len, read.as_ref()), (bytes.len(), Some(record)));
            if let Record::Body(body) = record {
                assert_eq!(body.record_len(), bytes.len());
            }
        });
    }

    #[test]
    fn a_record_cut_short_is_refused() {
        each_kind(|record| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            for len in 0..bytes.len() {
                assert!(Record::decode(&bytes[..len]).is_err(), "{record:?} cut to {len}");
            }
        });
    }

    #[test]
    fn a_flipped_bit_of_a_body_is_found() {
        let body = Body {
            qos: QoS::AtLeastOnce,
            retain: false,
            published_at_ms: 1,
            expires_at_ms: 0,
            publisher: "p",
            topic: "t",
            properties: b"",
            payload: b"payload",
        };
        let mut bytes = Vec::new();
        body.encode(&mut bytes);
        for bit in 16..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&damaged), Err(RecordError::Checksum));
        }
    }

    #[test]
    fn an_unknown_kind_is_skipped_or_refused_by_its_range() {
        let mut bytes = vec![200, 3, 1, 2, 3];
        Record::Opened { at_ms: 5 }.encode(&mut bytes);
        let records: Vec<_> = Records::new(&bytes).collect();
        assert_eq!(records, [Ok((5, 3, Record::Opened { at_ms: 5 }))]);
        assert_eq!(Record::decode(&[99, 0]), Err(RecordError::UnknownKind(99)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for record in Records::new(&bytes).flatten() {
                let _ = format!("{record:?}");
            }
        }

        #[test]
        fn a_number_takes_the_bytes_that_are_reckoned(n in any::<u64>(), shift in 0u32..64) {
            let n = n >> shift;
            let mut bytes = Vec::new();
            put_number(&mut bytes, n);
            prop_assert_eq!(bytes.len(), number_len(n));
            prop_assert_eq!(Fields(&bytes).number(), Ok(n));
        }
    }
}
