//! Writing records.

use broker_codec::PacketId;

use super::{Body, BodyAt, Record, RefTerms, Removal, SessionStart, WillRecord, kind};

pub(crate) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn number_len(n: u64) -> usize {
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
pub(crate) fn put_ref(out: &mut Vec<u8>, (session, step): (u64, u64), terms: &RefTerms<'_>) {
    let RefTerms { qos, retain, is_copy, identifiers, group } = *terms;
    put_number(out, session);
    put_number(out, step);
    out.push(
        qos as u8
            | u8::from(retain) << 2
            | u8::from(!identifiers.is_empty()) << 3
            | u8::from(group.is_some()) << 4
            | u8::from(is_copy) << 5,
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
                    | u8::from(self.will.is_some()) << 2
                    | u8::from(self.is_bridge) << 3,
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
            Self::Retained { step, body, expires_at_ms, topic } => {
                put_record(out, kind::RETAINED, |out| {
                    put_number(out, *step);
                    put_body_at(out, *body);
                    put_number(out, *expires_at_ms);
                    put_bytes(out, topic.as_bytes());
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

/// Appends one message in flight to those of a Detached record.
pub(crate) fn put_inflight(out: &mut Vec<u8>, step: u64, packet_id: PacketId) {
    put_number(out, step);
    put_number(out, id(packet_id));
}
