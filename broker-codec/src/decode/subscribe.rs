//! SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.

use nom::Parser;
use nom::number::complete::be_u8;

use super::{Context, reason_code};
use crate::error::DecodeError;
use crate::packet::{
    PacketId, PacketKind, SubAck, Subscribe, SubscriptionOptions, SubscriptionRequest, UnsubAck,
    Unsubscribe,
};
use crate::primitive::{packet_id, string};
use crate::property::{Place, Properties, properties};
use crate::reason_code::ReasonCode;
use crate::topic;

/// Reads a SUBSCRIBE. Whether its Topic Filters are valid is answered per filter, not here.
pub(super) fn subscribe(context: Context, body: &[u8]) -> Result<Subscribe<'_>, DecodeError> {
    let kind = PacketKind::Subscribe;
    let (mut input, packet_id, properties) = head(context, kind, body)?;
    if input.is_empty() {
        return Err(DecodeError::NoTopicFilter { kind });
    }
    let mut filters = Vec::with_capacity(1);
    while !input.is_empty() {
        let (rest, (filter, bits)) = (string(context.utf8), be_u8).parse(input)?;
        let options = options(context, bits)?;
        if options.no_local && topic::is_shared(filter) {
            return Err(DecodeError::NoLocalOnShared);
        }
        filters.push(SubscriptionRequest { filter, options });
        input = rest;
    }
    Ok(Subscribe { packet_id, properties, filters })
}

fn options(context: Context, bits: u8) -> Result<SubscriptionOptions, DecodeError> {
    // Before 5.0 there is nothing but the QoS.
    let reserved = if context.version.is_v5() { 0xC0 } else { 0xFC };
    if bits & reserved != 0 {
        return Err(DecodeError::ReservedSubscriptionOptions { bits });
    }
    SubscriptionOptions::from_bits(bits).ok_or(DecodeError::SubscriptionOptions { bits })
}

pub(super) fn unsubscribe(context: Context, body: &[u8]) -> Result<Unsubscribe<'_>, DecodeError> {
    let kind = PacketKind::Unsubscribe;
    let (mut input, packet_id, properties) = head(context, kind, body)?;
    if input.is_empty() {
        return Err(DecodeError::NoTopicFilter { kind });
    }
    let mut filters = Vec::with_capacity(1);
    while !input.is_empty() {
        let (rest, filter) = string(context.utf8)(input)?;
        filters.push(filter);
        input = rest;
    }
    Ok(Unsubscribe { packet_id, properties, filters })
}

pub(super) fn suback(context: Context, body: &[u8]) -> Result<SubAck<'_>, DecodeError> {
    let kind = PacketKind::SubAck;
    let (input, packet_id, properties) = head(context, kind, body)?;
    let reason_codes = input
        .iter()
        .map(|&byte| match byte {
            3..=0x7F | 0x81.. if !context.version.is_v5() => {
                Err(DecodeError::InvalidReasonCode { kind, byte })
            }
            _ => reason_code(kind, byte),
        })
        .collect::<Result<Vec<ReasonCode>, _>>()?;
    Ok(SubAck { packet_id, properties, reason_codes })
}

pub(super) fn unsuback(context: Context, body: &[u8]) -> Result<UnsubAck<'_>, DecodeError> {
    let kind = PacketKind::UnsubAck;
    let (input, packet_id, properties) = head(context, kind, body)?;
    let reason_codes = if context.version.is_v5() {
        input.iter().map(|&byte| reason_code(kind, byte)).collect::<Result<_, _>>()?
    } else {
        crate::primitive::end(input)?;
        Vec::new()
    };
    Ok(UnsubAck { packet_id, properties, reason_codes })
}

/// Packet Identifier and properties, which all four start with.
fn head(
    context: Context,
    kind: PacketKind,
    body: &[u8],
) -> Result<(&[u8], PacketId, Properties<'_>), DecodeError> {
    let (input, packet_id) = packet_id(body)?;
    if !context.version.is_v5() {
        return Ok((input, packet_id, Properties::EMPTY));
    }
    let (input, properties) = properties(Place::Packet(kind), context.utf8)(input)?;
    Ok((input, packet_id, properties))
}
