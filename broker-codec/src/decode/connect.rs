//! CONNECT and CONNACK.

use nom::Parser;
use nom::number::complete::{be_u8, be_u16};

use self::flags::{
    BRIDGE, CLEAN_START, PASSWORD, RESERVED, USER_NAME, WILL, WILL_QOS, WILL_RETAIN,
};
use super::{Context, reason_code};
use crate::error::DecodeError;
use crate::packet::{ConnAck, Connect, PacketKind, ProtocolVersion, QoS, Will};
use crate::primitive::{Utf8Rule, binary, end, string, topic_name};
use crate::property::{Place, Properties, properties};
use crate::reason_code::ReasonCode;
use crate::topic;

/// Protocol Name and Protocol Version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protocol {
    pub(super) version: ProtocolVersion,
    pub(super) is_bridge: bool,
}

/// Reads Protocol Name and Protocol Version, on which the rest depends.
pub(super) fn protocol(body: &[u8]) -> Result<(&[u8], Protocol), DecodeError> {
    let (rest, (name, level)) = (binary, be_u8).parse(body)?;
    let is_bridge = level & BRIDGE != 0;
    let version = match (name, level & !BRIDGE) {
        (b"MQTT", 4) => ProtocolVersion::V3_1_1,
        (b"MQTT", 5) if !is_bridge => ProtocolVersion::V5,
        (b"MQIsdp", 3) => ProtocolVersion::V3_1,
        (b"MQTT" | b"MQIsdp", _) => return Err(DecodeError::UnsupportedProtocolVersion { level }),
        _ => return Err(DecodeError::ProtocolName),
    };
    Ok((rest, Protocol { version, is_bridge }))
}

/// Reads what follows the Protocol Version.
pub(super) fn connect<'a>(
    utf8: Utf8Rule,
    protocol: Protocol,
    input: &'a [u8],
) -> Result<Connect<'a>, DecodeError> {
    let Protocol { version, is_bridge } = protocol;
    let (input, (flags, keep_alive_s)) = (be_u8, be_u16).parse(input)?;
    check_flags(version, flags)?;
    let (input, properties) =
        v5_properties(version, Place::Packet(PacketKind::Connect), utf8, input)?;
    let (input, client_id) = string(utf8)(input)?;
    let (input, will) = if flags & WILL == 0 {
        (input, None)
    } else {
        let (input, will) = will(version, utf8, flags, input)?;
        (input, Some(will))
    };
    // In MQTT 3.1 the end of the packet takes precedence over these flags.
    let is_there = |flag: u8, input: &[u8]| {
        flags & flag != 0 && !(input.is_empty() && version == ProtocolVersion::V3_1)
    };
    let (input, username) =
        nom::combinator::cond(is_there(USER_NAME, input), string(utf8)).parse(input)?;
    let (input, password) =
        nom::combinator::cond(is_there(PASSWORD, input), binary).parse(input)?;
    end(input)?;
    let clean_start = flags & CLEAN_START != 0;
    Ok(Connect {
        version,
        is_bridge,
        clean_start,
        keep_alive_s,
        properties,
        client_id,
        will,
        username,
        password,
    })
}

fn check_flags(version: ProtocolVersion, flags: u8) -> Result<(), DecodeError> {
    if flags & RESERVED != 0 && version != ProtocolVersion::V3_1 {
        return Err(DecodeError::ReservedConnectFlag);
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(DecodeError::WillFlags);
    }
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && !version.is_v5() {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(())
}

fn will<'a>(
    version: ProtocolVersion,
    utf8: Utf8Rule,
    flags: u8,
    input: &'a [u8],
) -> Result<(&'a [u8], Will<'a>), DecodeError> {
    let qos = QoS::from_bits((flags & WILL_QOS) >> 3).ok_or(DecodeError::WillFlags)?;
    let (input, properties) = v5_properties(version, Place::Will, utf8, input)?;
    let (input, (topic, payload)) = (topic_name(utf8), binary).parse(input)?;
    // topic_name lets an empty one pass.
    topic::validate_name(topic).map_err(DecodeError::TopicName)?;
    Ok((input, Will { qos, retain: flags & WILL_RETAIN != 0, properties, topic, payload }))
}

fn v5_properties<'a>(
    version: ProtocolVersion,
    place: Place,
    utf8: Utf8Rule,
    input: &'a [u8],
) -> Result<(&'a [u8], Properties<'a>), DecodeError> {
    if version.is_v5() {
        Ok(properties(place, utf8)(input)?)
    } else {
        Ok((input, Properties::EMPTY))
    }
}

pub(super) fn connack(context: Context, body: &[u8]) -> Result<ConnAck<'_>, DecodeError> {
    let (input, (flags, code)) = (be_u8, be_u8).parse(body)?;
    // MQTT 3.1 has no flags there.
    if flags > 1 && context.version != ProtocolVersion::V3_1 {
        return Err(DecodeError::ConnectAcknowledgeFlags);
    }
    let kind = PacketKind::ConnAck;
    let reason_code = if context.version.is_v5() {
        reason_code(kind, code)?
    } else {
        ReasonCode::from_connack_return_code(code)
            .ok_or(DecodeError::InvalidReasonCode { kind, byte: code })?
    };
    let (input, properties) =
        v5_properties(context.version, Place::Packet(kind), context.utf8, input)?;
    end(input)?;
    let session_present = flags & 1 != 0 && context.version != ProtocolVersion::V3_1;
    Ok(ConnAck { session_present, reason_code, properties })
}

/// Bits of the Connect Flags (MQTT 5.0, 3.1.2.3), and of the protocol level.
pub(crate) mod flags {
    /// High bit of the protocol level in a CONNECT of a bridge.
    pub(crate) const BRIDGE: u8 = 0x80;

    pub(crate) const RESERVED: u8 = 0x01;
    pub(crate) const CLEAN_START: u8 = 0x02;
    pub(crate) const WILL: u8 = 0x04;
    pub(crate) const WILL_QOS: u8 = 0x18;
    pub(crate) const WILL_RETAIN: u8 = 0x20;
    pub(crate) const PASSWORD: u8 = 0x40;
    pub(crate) const USER_NAME: u8 = 0x80;
}
