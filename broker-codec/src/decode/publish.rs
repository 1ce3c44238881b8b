//! PUBLISH, the packet that all the others are for.

use super::{Context, Sender};
use crate::error::DecodeError;
use crate::packet::{PacketKind, Publish, QoS};
use crate::primitive::{packet_id, topic_name};
use crate::property::{Place, Properties, properties};

/// Reads a PUBLISH; `first` is the first byte of its fixed header.
#[inline]
pub(super) fn publish(
    context: Context,
    first: u8,
    body: &[u8],
) -> Result<Publish<'_>, DecodeError> {
    let dup = first & DUP != 0;
    let retain = first & RETAIN != 0;
    let qos = QoS::from_bits((first >> 1) & 3).ok_or(DecodeError::InvalidQoS)?;
    if dup && qos == QoS::AtMostOnce {
        return Err(DecodeError::DupWithoutQoS);
    }
    let (input, topic) = topic_name(context.utf8)(body)?;
    let (input, packet_id) = if qos == QoS::AtMostOnce {
        (input, None)
    } else {
        let (input, id) = packet_id(input)?;
        (input, Some(id))
    };
    let (payload, properties) = if context.version.is_v5() {
        publish_properties(context, input)?
    } else {
        (input, Properties::EMPTY)
    };
    if topic.is_empty() && properties.topic_alias().is_none() {
        return Err(DecodeError::EmptyTopicName);
    }
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload })
}

#[inline]
fn publish_properties(
    context: Context,
    input: &[u8],
) -> Result<(&[u8], Properties<'_>), DecodeError> {
    let (rest, properties) = properties(Place::Packet(PacketKind::Publish), context.utf8)(input)?;
    if !properties.is_empty()
        && context.sender == Sender::Client
        && properties.subscription_identifiers().next().is_some()
    {
        return Err(DecodeError::SubscriptionIdentifierFromClient);
    }
    Ok((rest, properties))
}

/// Bits of the fixed header of a PUBLISH (MQTT 5.0, 3.3.1).
const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;
