//! PUBACK, PUBREC, PUBREL and PUBCOMP, which have one shape.

use super::{Context, reason_code};
use crate::error::DecodeError;
use crate::packet::{Ack, PacketKind};
use crate::primitive::{end, packet_id};
use crate::property::{Place, Properties, properties};
use crate::reason_code::ReasonCode;

/// Reads an acknowledgement; MQTT 5.0 may leave out properties and Reason Code (MQTT 5.0, 3.4.2.1).
pub(super) fn ack(context: Context, kind: PacketKind, body: &[u8]) -> Result<Ack<'_>, DecodeError> {
    let (input, packet_id) = packet_id(body)?;
    let (reason_code, properties) = if context.version.is_v5() {
        reason(context, kind, input)?
    } else {
        end(input)?;
        (ReasonCode::Success, Properties::EMPTY)
    };
    Ok(Ack { packet_id, reason_code, properties })
}

/// Reason Code and properties at the end of a packet, either of which may be missing.
pub(super) fn reason(
    context: Context,
    kind: PacketKind,
    input: &[u8],
) -> Result<(ReasonCode, Properties<'_>), DecodeError> {
    let Some((&byte, input)) = input.split_first() else {
        return Ok((ReasonCode::Success, Properties::EMPTY));
    };
    let reason_code = reason_code(kind, byte)?;
    if input.is_empty() {
        return Ok((reason_code, Properties::EMPTY));
    }
    let (input, properties) = properties(Place::Packet(kind), context.utf8)(input)?;
    end(input)?;
    Ok((reason_code, properties))
}
