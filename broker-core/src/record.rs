//! Records: what a store keeps of the broker, as bytes. docs/durability.md describes the format.
//!
//! A frame of the log and a block of a snapshot are both a row of records; a snapshot is the shortest log that
//! leads to the state. Numbers are LEB128, texts and byte strings carry their length in front.
//!
//! Each change of a session carries its *step*, the count of that session's changes, taken under the session's
//! lock: frames of several threads may reach the log in another order than the changes were made in, and
//! recovery puts them back into theirs. Retained and delayed messages and settings share a count of their own.

mod read;
mod write;

use broker_codec::{PacketId, QoS, SubscriptionOptions};

use crate::store::Lsn;
pub use read::{Inflight, Records, Refs, Steps};
pub(crate) use write::{put_inflight, put_number, put_ref, put_refs, put_removed};

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
    /// The right to the subscription it came by was taken back.
    Revoked = 6,
}

impl Removal {
    const ALL: [Self; 7] = [
        Self::Acked,
        Self::Expired,
        Self::QueueFull,
        Self::TooLarge,
        Self::HandedOver,
        Self::Damaged,
        Self::Revoked,
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
    /// A retained message for a new subscription: not to be sent once another has replaced it.
    pub is_copy: bool,
    /// Subscription Identifiers.
    pub identifiers: Vec<u32>,
    /// Name and route of the shared subscription it was dealt out by.
    pub group: Option<(&'a str, &'a str)>,
}

/// The terms of a [`Ref`], to be written.
#[derive(Default)]
pub(crate) struct RefTerms<'a> {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) is_copy: bool,
    pub(crate) identifiers: &'a [u32],
    pub(crate) group: Option<(&'a str, &'a str)>,
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
    /// Clean Start of the CONNECT that created the session.
    pub clean_start: bool,
    /// No access rule applies to the client.
    pub is_superuser: bool,
    /// The client says it is a bridge.
    pub is_bridge: bool,
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
        /// Topic Name.
        topic: &'a str,
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

#[cfg(test)]
mod tests {
    use super::read::Fields;
    use super::write::number_len;
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
            let copy = RefTerms {
                qos: QoS::AtLeastOnce,
                retain: true,
                is_copy: true,
                ..RefTerms::default()
            };
            put_ref(&mut entries, (7, 300), &copy);
            let shared = RefTerms {
                qos: QoS::ExactlyOnce,
                identifiers: &[1, 70_000],
                group: Some((text, text)),
                ..RefTerms::default()
            };
            put_ref(&mut entries, (1 << 40, 1), &shared);
            let refs = Refs { raw: &entries };
            let found: Vec<_> = refs.iter().map(|it| (it.retain, it.is_copy)).collect();
            assert_eq!(found, [(true, true), (false, false)]);
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
                is_bridge: true,
                expiry_s: u32::MAX,
                created_at_ms: 1,
                connected_at_ms: 2,
                will: Some(will),
            };
            check(&Record::SessionStart(start));
            check(&Record::SessionStart(SessionStart { will: None, username: None, ..start }));
            check(&Record::SessionStart(SessionStart { is_bridge: false, ..start }));
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
        check(&Record::Retained { step, body: BodyAt::Here(0), expires_at_ms: 0, topic: "t" });
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
