//! Decoder: frames a packet by its Remaining Length, then hands the whole body to its family.

mod acks;
mod auth;
mod connect;
mod publish;
mod subscribe;

pub(crate) use connect::flags;

use crate::error::DecodeError;
use crate::packet::{Packet, PacketKind, ProtocolVersion};
use crate::primitive::{Utf8Rule, end, variable_byte_integer};
use crate::reason_code::ReasonCode;

/// Decodes what one peer sends; made for one Network Connection, which costs it 8 bytes.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_packet_size: u32,
    context: Context,
    /// True in a server until a CONNECT was decoded.
    awaits_connect: bool,
}

/// What the meaning of a body depends on.
#[derive(Debug, Clone, Copy)]
struct Context {
    version: ProtocolVersion,
    sender: Sender,
    utf8: Utf8Rule,
}

/// Which end sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
}

impl Decoder {
    /// A decoder for what clients send.
    ///
    /// The version is learnt from CONNECT, the only packet that is taken before it [MQTT-3.1.0-1].
    #[must_use]
    pub const fn for_server(max_packet_size: u32) -> Self {
        let version = ProtocolVersion::V3_1_1;
        let context = Context { version, sender: Sender::Client, utf8: Utf8Rule::Lenient };
        Self { max_packet_size, context, awaits_connect: true }
    }

    /// A decoder for what servers send to a client of `version`.
    #[must_use]
    pub const fn for_client(version: ProtocolVersion, max_packet_size: u32) -> Self {
        let context = Context { version, sender: Sender::Server, utf8: Utf8Rule::Lenient };
        Self { max_packet_size, context, awaits_connect: false }
    }

    /// The protocol version: of the first CONNECT whose level was understood, 3.1.1 before.
    ///
    /// It is known even if the rest of the CONNECT is malformed, for the sake of the CONNACK.
    #[must_use]
    pub const fn version(&self) -> ProtocolVersion {
        self.context.version
    }

    /// Sets the most bytes that a packet may have, fixed header included.
    pub const fn set_max_packet_size(&mut self, bytes: u32) {
        self.max_packet_size = bytes;
    }

    /// Refuses also the characters that strings SHOULD NOT have: control and non-characters (MQTT 5.0, 1.5.4).
    pub const fn set_strict(&mut self, strict: bool) {
        self.context.utf8 = if strict { Utf8Rule::Strict } else { Utf8Rule::Lenient };
    }

    /// The first packet in `buf` and the bytes it takes; `None` while the packet is incomplete.
    #[inline]
    pub fn decode<'a>(
        &mut self,
        buf: &'a [u8],
    ) -> Result<Option<(Packet<'a>, usize)>, DecodeError> {
        let Some((kind, body_at, len)) = self.fixed_header(buf)? else { return Ok(None) };
        let Some(body) = buf.get(body_at..len) else { return Ok(None) };
        let packet = if kind == PacketKind::Publish {
            Packet::Publish(publish::publish(self.context, buf[0], body)?)
        } else {
            self.body(kind, body)?
        };
        Ok(Some((packet, len)))
    }

    /// Bytes of the packet at the start of `buf` as soon as its fixed header is there.
    ///
    /// Refuses what [`decode`](Self::decode) would refuse by the fixed header alone.
    pub fn frame_len(&self, buf: &[u8]) -> Result<Option<usize>, DecodeError> {
        Ok(self.fixed_header(buf)?.map(|(_, _, len)| len))
    }

    /// Packet type, where the body starts, and where it ends.
    #[inline]
    fn fixed_header(&self, buf: &[u8]) -> Result<Option<(PacketKind, usize, usize)>, DecodeError> {
        let Some((&first, rest)) = buf.split_first() else { return Ok(None) };
        let kind = self.kind(first)?;
        let (body, body_len) = match variable_byte_integer(rest) {
            Ok(parsed) => parsed,
            Err(nom::Err::Error(DecodeError::Truncated)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let body_at = buf.len() - body.len();
        // At most 5 + 268,435,455 bytes.
        let len = body_at as u32 + body_len;
        let max = match self.awaits_connect {
            true => self.max_packet_size.min(CONNECT_BYTES_MAX),
            false => self.max_packet_size,
        };
        if len > max {
            return Err(DecodeError::PacketTooLarge { len, max });
        }
        Ok(Some((kind, body_at, len as usize)))
    }

    /// Packet type of the first byte, if the peer may send it now and its flags are right.
    #[inline]
    fn kind(&self, first: u8) -> Result<PacketKind, DecodeError> {
        let kind = PacketKind::from_bits(first >> 4).ok_or(DecodeError::ReservedPacketType)?;
        if self.awaits_connect && kind != PacketKind::Connect {
            return Err(DecodeError::NotConnected { kind });
        }
        let flags = first & 0x0F;
        if kind == PacketKind::Publish {
            return Ok(kind);
        }
        if !self.context.takes(kind) {
            return Err(DecodeError::UnexpectedPacket { kind });
        }
        // MQTT 3.1 leaves unused flags open and sends DUP with SUBSCRIBE, UNSUBSCRIBE and PUBREL.
        if flags != kind.fixed_flags() && self.context.version != ProtocolVersion::V3_1 {
            return Err(DecodeError::FixedHeaderFlags { kind, flags });
        }
        Ok(kind)
    }

    fn body<'a>(&mut self, kind: PacketKind, body: &'a [u8]) -> Result<Packet<'a>, DecodeError> {
        let context = self.context;
        Ok(match kind {
            PacketKind::Connect => Packet::Connect(self.connect(body)?),
            PacketKind::ConnAck => Packet::ConnAck(connect::connack(context, body)?),
            PacketKind::Publish => unreachable!("decode handles PUBLISH; its flags are needed"),
            PacketKind::PubAck => Packet::PubAck(acks::ack(context, kind, body)?),
            PacketKind::PubRec => Packet::PubRec(acks::ack(context, kind, body)?),
            PacketKind::PubRel => Packet::PubRel(acks::ack(context, kind, body)?),
            PacketKind::PubComp => Packet::PubComp(acks::ack(context, kind, body)?),
            PacketKind::Subscribe => Packet::Subscribe(subscribe::subscribe(context, body)?),
            PacketKind::SubAck => Packet::SubAck(subscribe::suback(context, body)?),
            PacketKind::Unsubscribe => Packet::Unsubscribe(subscribe::unsubscribe(context, body)?),
            PacketKind::UnsubAck => Packet::UnsubAck(subscribe::unsuback(context, body)?),
            PacketKind::PingReq => end(body).map(|()| Packet::PingReq)?,
            PacketKind::PingResp => end(body).map(|()| Packet::PingResp)?,
            PacketKind::Disconnect => Packet::Disconnect(auth::disconnect(context, body)?),
            PacketKind::Auth => Packet::Auth(auth::auth(context, body)?),
        })
    }

    /// A second CONNECT is decoded too, by its own version; refusing it is up to the caller [MQTT-3.1.0-2].
    fn connect<'a>(&mut self, body: &'a [u8]) -> Result<crate::packet::Connect<'a>, DecodeError> {
        let (rest, protocol) = connect::protocol(body)?;
        if self.awaits_connect {
            self.context.version = protocol.version;
        }
        let connect = connect::connect(self.context.utf8, protocol, rest)?;
        self.awaits_connect = false;
        Ok(connect)
    }
}

impl Context {
    /// Whether the sender may send such a packet at all.
    const fn takes(self, kind: PacketKind) -> bool {
        match kind {
            PacketKind::Connect
            | PacketKind::Subscribe
            | PacketKind::Unsubscribe
            | PacketKind::PingReq => matches!(self.sender, Sender::Client),
            PacketKind::ConnAck
            | PacketKind::SubAck
            | PacketKind::UnsubAck
            | PacketKind::PingResp => matches!(self.sender, Sender::Server),
            PacketKind::Publish
            | PacketKind::PubAck
            | PacketKind::PubRec
            | PacketKind::PubRel
            | PacketKind::PubComp => true,
            PacketKind::Disconnect => self.version.is_v5() || matches!(self.sender, Sender::Client),
            PacketKind::Auth => self.version.is_v5(),
        }
    }
}

/// The Reason Code of `byte`, if packets of `kind` have it.
fn reason_code(kind: PacketKind, byte: u8) -> Result<ReasonCode, DecodeError> {
    match ReasonCode::from_byte(byte) {
        Some(code) if code.is_valid_for(kind) => Ok(code),
        _ => Err(DecodeError::InvalidReasonCode { kind, byte }),
    }
}

/// What a first packet may have, from somebody of whom nothing is known: five fields of 64 KiB each (Client Identifier,
/// Will Topic, Will Payload, User Name, Password), and what is left for properties.
const CONNECT_BYTES_MAX: u32 = 512 * 1024;

#[cfg(test)]
mod tests;
