//! Close: why a connection ends, and what the client is told.

use std::borrow::Cow;

use broker_codec::{DecodeError, Disconnect, Packet, PacketKind, Properties, ReasonCode};

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// The client said goodbye with Reason Code 0x00: its Will is forgotten [MQTT-3.1.2-10].
    ClientDisconnected,
    /// The client disconnected with another Reason Code: its Will stands.
    ClientDisconnectedWithWill,
    /// The socket was closed or failed.
    ConnectionLost,
    /// Nothing came for one and a half times the Keep Alive [MQTT-3.1.2-22].
    KeepAliveTimeout,
    /// No CONNECT came in time.
    ConnectTimeout,
    /// The socket took no byte for too long.
    SendTimeout,
    /// The CONNECT was refused; CONNACK says why.
    Refused(ReasonCode),
    /// Another connection took the session over [MQTT-3.1.4-3].
    TakenOver,
    /// An operator closed it.
    Kicked,
    /// The client was banned.
    Banned,
    /// What it came in with is not valid any more.
    CredentialsExpired,
    /// The certificate it came in with has been revoked.
    CertificateRevoked,
    /// The broker stops.
    ServerShuttingDown,
    /// The client broke the protocol or a limit.
    Violation(ReasonCode),
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// Its client began anew, with Clean Start.
    Discarded,
    /// Nobody came back in time.
    Expired,
    /// An operator ended it.
    Kicked,
    /// It was to last no longer than its connection, which has ended so.
    Closed(CloseCause),
}

impl SessionEnd {
    /// What a connection that still serves it is closed with.
    pub(crate) const fn cause(self) -> CloseCause {
        match self {
            Self::Discarded | Self::Expired => CloseCause::TakenOver,
            Self::Kicked => CloseCause::Kicked,
            Self::Closed(cause) => cause,
        }
    }

    /// A word for events, as EMQ X 3.1 has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Discarded => "discarded",
            Self::Expired => "expired",
            Self::Kicked => "kicked",
            Self::Closed(cause) => cause.name(),
        }
    }
}

/// The end of a connection: cause, and words for a log or a Reason String.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Why.
    pub cause: CloseCause,
    /// What exactly, if there is more to say.
    pub detail: Cow<'static, str>,
}

impl From<CloseCause> for Close {
    fn from(cause: CloseCause) -> Self {
        Self { cause, detail: Cow::Borrowed("") }
    }
}

impl Close {
    pub(crate) const fn violation(reason_code: ReasonCode, detail: &'static str) -> Self {
        Self { cause: CloseCause::Violation(reason_code), detail: Cow::Borrowed(detail) }
    }

    pub(crate) const fn protocol_error(detail: &'static str) -> Self {
        Self::violation(ReasonCode::ProtocolError, detail)
    }

    pub(crate) fn malformed(error: &DecodeError) -> Self {
        Self {
            cause: CloseCause::Violation(error.reason_code()),
            detail: Cow::Owned(error.to_string()),
        }
    }

    /// The DISCONNECT that tells a client.
    pub(crate) fn disconnect(&self) -> Packet<'static> {
        Packet::Disconnect(Disconnect {
            reason_code: match self.cause.reason_code() {
                // Codes that only CONNACK has (MQTT 5.0, table 2-6), of ours or of an extension's.
                ReasonCode::Banned => ReasonCode::AdministrativeAction,
                code if code.is_valid_for(PacketKind::Disconnect) => code,
                _ => ReasonCode::NotAuthorized,
            },
            properties: Properties::EMPTY,
        })
    }
}

impl CloseCause {
    /// The Reason Code of the cause.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::ClientDisconnected | Self::ConnectionLost | Self::SendTimeout => {
                ReasonCode::Success
            }
            Self::ClientDisconnectedWithWill => ReasonCode::DisconnectWithWill,
            Self::KeepAliveTimeout => ReasonCode::KeepAliveTimeout,
            // "The maximum connection time authorized for this connection has been exceeded."
            Self::ConnectTimeout | Self::CredentialsExpired => ReasonCode::MaximumConnectTime,
            Self::TakenOver => ReasonCode::SessionTakenOver,
            Self::Kicked => ReasonCode::AdministrativeAction,
            Self::Banned => ReasonCode::Banned,
            Self::CertificateRevoked => ReasonCode::NotAuthorized,
            Self::ServerShuttingDown => ReasonCode::ServerShuttingDown,
            Self::Refused(reason_code) | Self::Violation(reason_code) => reason_code,
        }
    }

    /// True if the client is still there to be told with a DISCONNECT.
    pub(crate) const fn is_told(self) -> bool {
        !matches!(
            self,
            Self::ClientDisconnected
                | Self::ClientDisconnectedWithWill
                | Self::ConnectionLost
                | Self::ConnectTimeout
                | Self::SendTimeout
                | Self::Refused(_)
        )
    }

    /// True if the Will is published. An operator's kick publishes it, as any loss of the client does.
    pub(crate) const fn publishes_will(self) -> bool {
        !matches!(self, Self::ClientDisconnected)
    }

    /// A word for events and logs, as EMQ X 3.1 has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientDisconnected | Self::ClientDisconnectedWithWill => "normal",
            Self::ConnectionLost => "closed",
            Self::KeepAliveTimeout => "keepalive_timeout",
            Self::ConnectTimeout => "idle_timeout",
            Self::SendTimeout => "send_timeout",
            Self::Refused(_) => "refused",
            Self::TakenOver => "takeovered",
            Self::Kicked => "kicked",
            Self::Banned => "banned",
            Self::CredentialsExpired => "expired",
            Self::CertificateRevoked => "certificate_revoked",
            Self::ServerShuttingDown => "shutdown",
            Self::Violation(_) => "protocol_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_client_is_told_so_by_a_cause_of_its_own() {
        let close = Close::from(CloseCause::CertificateRevoked);
        let Packet::Disconnect(told) = close.disconnect() else { panic!("{close:?}") };
        assert_eq!(told.reason_code, ReasonCode::NotAuthorized);
        assert_eq!(close.cause.name(), "certificate_revoked");
        assert!(close.cause.is_told() && close.cause.publishes_will());
    }
}
