//! DISCONNECT and AUTH, which are a Reason Code and properties.

use super::acks::reason;
use super::{Context, Sender};
use crate::error::DecodeError;
use crate::packet::{Auth, Disconnect, PacketKind};
use crate::primitive::end;
use crate::property::{Properties, PropertyId};
use crate::reason_code::ReasonCode;

pub(super) fn disconnect(context: Context, body: &[u8]) -> Result<Disconnect<'_>, DecodeError> {
    if !context.version.is_v5() {
        end(body)?;
        let reason_code = ReasonCode::Success;
        return Ok(Disconnect { reason_code, properties: Properties::EMPTY });
    }
    let (reason_code, properties) = reason(context, PacketKind::Disconnect, body)?;
    // Only clients change the Session Expiry Interval [MQTT-3.14.2-2].
    if context.sender == Sender::Server && properties.session_expiry_interval().is_some() {
        return Err(DecodeError::MisplacedProperty { id: PropertyId::SessionExpiryInterval });
    }
    Ok(Disconnect { reason_code, properties })
}

pub(super) fn auth(context: Context, body: &[u8]) -> Result<Auth<'_>, DecodeError> {
    let (reason_code, properties) = reason(context, PacketKind::Auth, body)?;
    Ok(Auth { reason_code, properties })
}
