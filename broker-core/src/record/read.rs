//! Reading records. Nothing that is read makes it panic, or take more memory than the bytes have.

use std::fmt;

use broker_codec::{PacketId, QoS, SubscriptionOptions};

use super::{
    Body, BodyAt, OPTIONAL_FROM, Record, RecordError, Ref, Removal, SessionStart, WillRecord, kind,
};

pub(super) type Read<T> = Result<T, RecordError>;

#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.0.split_first().ok_or(RecordError::Malformed("ends early"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Read<u64> {
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
    pub(super) raw: &'a [u8],
}

impl fmt::Debug for Refs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> Refs<'a> {
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
            is_copy: flags & 32 > 0,
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
pub struct Steps<'a>(pub(super) &'a [u8]);

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
pub struct Inflight<'a>(pub(super) &'a [u8]);

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
            fields.number()?;
            fields.packet_id()?;
        }
        Ok(Self(raw))
    }
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
            kind::RETAINED => Self::Retained {
                step: f.number()?,
                body: f.body_at()?,
                expires_at_ms: f.number()?,
                topic: f.text()?,
            },
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
        is_bridge: flags & 8 > 0,
        expiry_s: f.small()?,
        created_at_ms: f.number()?,
        connected_at_ms: f.number()?,
        will: if flags & 4 > 0 { Some(f.will()?) } else { None },
    })
}
