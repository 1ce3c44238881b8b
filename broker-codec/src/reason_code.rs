//! Reason Codes of MQTT 5.0 and their counterparts in CONNACK and SUBACK of the older versions.

use std::fmt;

use crate::packet::{PacketKind, QoS};

/// Why something went as it did; one byte on the wire (MQTT 5.0, 2.4).
///
/// Values that share a byte share a variant: 0x00 is `Success`, Normal disconnection and Granted QoS 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names of the specification, section 2.4")]
pub enum ReasonCode {
    #[default]
    Success = 0x00,
    GrantedQoS1 = 0x01,
    GrantedQoS2 = 0x02,
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8A,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9A,
    QoSNotSupported = 0x9B,
    UseAnotherServer = 0x9C,
    ServerMoved = 0x9D,
    SharedSubscriptionsNotSupported = 0x9E,
    ConnectionRateExceeded = 0x9F,
    MaximumConnectTime = 0xA0,
    SubscriptionIdentifiersNotSupported = 0xA1,
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// The Reason Code of a byte, or `None` if the specification has none.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match ROW_OF_BYTE[byte as usize] {
            NO_ROW => None,
            row => Some(TABLE[row as usize].0),
        }
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        self as u8
    }

    /// True from 0x80 on: what was asked for did not happen.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.as_byte() >= 0x80
    }

    /// The name in MQTT 5.0, table 2-6.
    #[must_use]
    pub const fn name(self) -> &'static str {
        TABLE[ROW_OF_BYTE[self.as_byte() as usize] as usize].1
    }

    /// What SUBACK answers when `qos` is granted.
    #[must_use]
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::Success,
            QoS::AtLeastOnce => Self::GrantedQoS1,
            QoS::ExactlyOnce => Self::GrantedQoS2,
        }
    }

    /// Whether a packet of this kind may carry the code (MQTT 5.0, 2.4).
    #[must_use]
    pub const fn is_valid_for(self, kind: PacketKind) -> bool {
        match kind {
            PacketKind::ConnAck => matches!(
                self.as_byte(),
                0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F
            ),
            PacketKind::PubAck | PacketKind::PubRec => matches!(
                self.as_byte(),
                0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
            ),
            PacketKind::PubRel | PacketKind::PubComp => matches!(self.as_byte(), 0x00 | 0x92),
            PacketKind::SubAck => matches!(
                self.as_byte(),
                0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
            ),
            PacketKind::UnsubAck => {
                matches!(self.as_byte(), 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91)
            }
            PacketKind::Disconnect => matches!(
                self.as_byte(),
                0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2
            ),
            PacketKind::Auth => matches!(self.as_byte(), 0x00 | 0x18 | 0x19),
            _ => false,
        }
    }

    /// The return code of a CONNACK of MQTT 3.1 and 3.1.1 (MQTT 3.1.1, table 3.1).
    ///
    /// What those versions have no code for is 3 if trying again or elsewhere may help, else 5.
    #[must_use]
    pub const fn connack_return_code(self) -> u8 {
        match self {
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => 3,
            Self::BadUserNameOrPassword => 4,
            code if code.is_error() => 5,
            _ => 0,
        }
    }

    /// The Reason Code of a CONNACK return code of MQTT 3.1 and 3.1.1.
    #[must_use]
    pub const fn from_connack_return_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Success,
            1 => Self::UnsupportedProtocolVersion,
            2 => Self::ClientIdentifierNotValid,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }

    /// The return code of a SUBACK of MQTT 3.1 and 3.1.1: the granted QoS, or 0x80 [MQTT311-3.9.3-2].
    #[must_use]
    pub const fn suback_return_code(self) -> u8 {
        match self {
            Self::Success | Self::GrantedQoS1 | Self::GrantedQoS2 => self.as_byte(),
            _ => 0x80,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), self.as_byte())
    }
}

const TABLE: [(ReasonCode, &str); 43] = [
    (ReasonCode::Success, "Success"),
    (ReasonCode::GrantedQoS1, "Granted QoS 1"),
    (ReasonCode::GrantedQoS2, "Granted QoS 2"),
    (ReasonCode::DisconnectWithWill, "Disconnect with Will Message"),
    (ReasonCode::NoMatchingSubscribers, "No matching subscribers"),
    (ReasonCode::NoSubscriptionExisted, "No subscription existed"),
    (ReasonCode::ContinueAuthentication, "Continue authentication"),
    (ReasonCode::ReAuthenticate, "Re-authenticate"),
    (ReasonCode::UnspecifiedError, "Unspecified error"),
    (ReasonCode::MalformedPacket, "Malformed Packet"),
    (ReasonCode::ProtocolError, "Protocol Error"),
    (ReasonCode::ImplementationSpecificError, "Implementation specific error"),
    (ReasonCode::UnsupportedProtocolVersion, "Unsupported Protocol Version"),
    (ReasonCode::ClientIdentifierNotValid, "Client Identifier not valid"),
    (ReasonCode::BadUserNameOrPassword, "Bad User Name or Password"),
    (ReasonCode::NotAuthorized, "Not authorized"),
    (ReasonCode::ServerUnavailable, "Server unavailable"),
    (ReasonCode::ServerBusy, "Server busy"),
    (ReasonCode::Banned, "Banned"),
    (ReasonCode::ServerShuttingDown, "Server shutting down"),
    (ReasonCode::BadAuthenticationMethod, "Bad authentication method"),
    (ReasonCode::KeepAliveTimeout, "Keep Alive timeout"),
    (ReasonCode::SessionTakenOver, "Session taken over"),
    (ReasonCode::TopicFilterInvalid, "Topic Filter invalid"),
    (ReasonCode::TopicNameInvalid, "Topic Name invalid"),
    (ReasonCode::PacketIdentifierInUse, "Packet Identifier in use"),
    (ReasonCode::PacketIdentifierNotFound, "Packet Identifier not found"),
    (ReasonCode::ReceiveMaximumExceeded, "Receive Maximum exceeded"),
    (ReasonCode::TopicAliasInvalid, "Topic Alias invalid"),
    (ReasonCode::PacketTooLarge, "Packet too large"),
    (ReasonCode::MessageRateTooHigh, "Message rate too high"),
    (ReasonCode::QuotaExceeded, "Quota exceeded"),
    (ReasonCode::AdministrativeAction, "Administrative action"),
    (ReasonCode::PayloadFormatInvalid, "Payload format invalid"),
    (ReasonCode::RetainNotSupported, "Retain not supported"),
    (ReasonCode::QoSNotSupported, "QoS not supported"),
    (ReasonCode::UseAnotherServer, "Use another server"),
    (ReasonCode::ServerMoved, "Server moved"),
    (ReasonCode::SharedSubscriptionsNotSupported, "Shared Subscriptions not supported"),
    (ReasonCode::ConnectionRateExceeded, "Connection rate exceeded"),
    (ReasonCode::MaximumConnectTime, "Maximum connect time"),
    (ReasonCode::SubscriptionIdentifiersNotSupported, "Subscription Identifiers not supported"),
    (ReasonCode::WildcardSubscriptionsNotSupported, "Wildcard Subscriptions not supported"),
];

const NO_ROW: u8 = u8::MAX;

static ROW_OF_BYTE: [u8; 256] = {
    let mut rows = [NO_ROW; 256];
    let mut row = 0;
    while row < TABLE.len() {
        rows[TABLE[row].0.as_byte() as usize] = row as u8;
        row += 1;
    }
    rows
};

#[cfg(test)]
mod tests {
    use super::*;

    /// MQTT 5.0, 2.4
    #[test]
    fn byte_and_reason_code_are_one() {
        let codes: Vec<_> = (0..=u8::MAX).filter_map(ReasonCode::from_byte).collect();
        assert_eq!(codes.len(), TABLE.len());
        assert!(codes.iter().all(|code| ReasonCode::from_byte(code.as_byte()) == Some(*code)));
        assert_eq!(ReasonCode::TopicAliasInvalid.to_string(), "Topic Alias invalid (0x94)");
        assert!(ReasonCode::UnspecifiedError.is_error() && !ReasonCode::ReAuthenticate.is_error());
    }

    /// MQTT 3.1.1, table 3.1
    #[test]
    fn connack_return_codes_go_both_ways() {
        for code in 0..6 {
            let reason = ReasonCode::from_connack_return_code(code).unwrap();
            assert_eq!(reason.connack_return_code(), code);
        }
        assert_eq!(ReasonCode::from_connack_return_code(6), None);
        assert_eq!(ReasonCode::ServerBusy.connack_return_code(), 3);
        assert_eq!(ReasonCode::Banned.connack_return_code(), 5);
    }

    /// [MQTT311-3.9.3-2]
    #[test]
    fn suback_return_code_is_the_qos_or_0x80() {
        assert_eq!(ReasonCode::granted(QoS::ExactlyOnce).suback_return_code(), 2);
        assert_eq!(ReasonCode::NotAuthorized.suback_return_code(), 0x80);
    }
}
