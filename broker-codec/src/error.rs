//! DecodeError: why bytes are not a Control Packet, and the Reason Code the peer is told.

use nom::error::{ErrorKind, ParseError};

use crate::packet::PacketKind;
use crate::property::PropertyId;
use crate::reason_code::ReasonCode;
use crate::topic::TopicError;

/// Why a packet was refused. The fault is always the sender's; the Network Connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The packet type is 0, which is forbidden (MQTT 5.0, 2.1.2).
    #[error("packet type 0 is forbidden")]
    ReservedPacketType,
    /// The flags of the fixed header are not those of the packet type [MQTT-2.1.3-1].
    #[error("flags {flags:#06b} in the fixed header of {kind}")]
    FixedHeaderFlags {
        /// Type of the packet.
        kind: PacketKind,
        /// The low half of the first byte.
        flags: u8,
    },
    /// A Variable Byte Integer of more than four bytes, or of more bytes than needed [MQTT-1.5.5-1].
    #[error("malformed Variable Byte Integer")]
    VariableByteInteger,
    /// The packet announces more bytes than the receiver takes [MQTT-3.1.2-24].
    #[error("packet of {len} bytes exceeds the maximum of {max}")]
    PacketTooLarge {
        /// Bytes of the whole packet.
        len: u32,
        /// Maximum Packet Size in force.
        max: u32,
    },
    /// A field runs past the end of the packet.
    #[error("packet ends inside a field")]
    Truncated,
    /// Bytes are left after the last field.
    #[error("{bytes} bytes after the last field")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A string is not UTF-8 [MQTT-1.5.4-1].
    #[error("string is not valid UTF-8")]
    InvalidUtf8,
    /// A string has U+0000 [MQTT-1.5.4-2], or in strict mode a control or non-character (MQTT 5.0, 1.5.4).
    #[error("character U+{character:04X} in a string")]
    ForbiddenCharacter {
        /// The code point.
        character: u32,
    },
    /// The packet type is never sent by the peer, or does not exist in its protocol version.
    #[error("{kind} is not expected from the peer")]
    UnexpectedPacket {
        /// Type of the packet.
        kind: PacketKind,
    },
    /// The first packet of a client is not CONNECT [MQTT-3.1.0-1].
    #[error("{kind} before CONNECT")]
    NotConnected {
        /// Type of the packet.
        kind: PacketKind,
    },
    /// The Protocol Name is neither "MQTT" nor "MQIsdp" [MQTT-3.1.2-1].
    #[error("unknown protocol name")]
    ProtocolName,
    /// The Protocol Version is not supported [MQTT-3.1.2-2].
    #[error("unsupported protocol version {level}")]
    UnsupportedProtocolVersion {
        /// The protocol level byte, bridge bit included.
        level: u8,
    },
    /// The reserved Connect Flag is set [MQTT-3.1.2-3].
    #[error("reserved connect flag is set")]
    ReservedConnectFlag,
    /// Will QoS or Will Retain without Will Flag [MQTT-3.1.2-11] [MQTT-3.1.2-13], or Will QoS 3 [MQTT-3.1.2-12].
    #[error("inconsistent will flags")]
    WillFlags,
    /// A password without a user name before MQTT 5.0 [MQTT311-3.1.2-22].
    #[error("password without user name")]
    PasswordWithoutUserName,
    /// A reserved bit of the Connect Acknowledge Flags is set [MQTT-3.2.2-1].
    #[error("reserved connect acknowledge flag is set")]
    ConnectAcknowledgeFlags,
    /// Both QoS bits of a PUBLISH are set [MQTT-3.3.1-4].
    #[error("QoS 3")]
    InvalidQoS,
    /// DUP on a QoS 0 PUBLISH [MQTT-3.3.1-2].
    #[error("DUP on a QoS 0 PUBLISH")]
    DupWithoutQoS,
    /// A Packet Identifier of zero [MQTT-2.2.1-3].
    #[error("packet identifier 0")]
    ZeroPacketId,
    /// A Topic Name has a wildcard [MQTT-3.3.2-2] or, in a Will, is empty [MQTT-4.7.3-1].
    #[error("topic name: {0}")]
    TopicName(TopicError),
    /// An empty Topic Name without Topic Alias (MQTT 5.0, 3.3.2.1).
    #[error("empty topic name without topic alias")]
    EmptyTopicName,
    /// A Response Topic is not a Topic Name [MQTT-3.3.2-14].
    #[error("response topic: {0}")]
    ResponseTopic(TopicError),
    /// No Topic Filter in a SUBSCRIBE [MQTT-3.8.3-2] or UNSUBSCRIBE [MQTT-3.10.3-2].
    #[error("{kind} without topic filter")]
    NoTopicFilter {
        /// Type of the packet.
        kind: PacketKind,
    },
    /// A reserved bit of the Subscription Options is set [MQTT-3.8.3-5] [MQTT311-3.8.3-4].
    #[error("reserved bits in subscription options {bits:#04x}")]
    ReservedSubscriptionOptions {
        /// The options byte.
        bits: u8,
    },
    /// Maximum QoS or Retain Handling is 3 (MQTT 5.0, 3.8.3.1).
    #[error("subscription options {bits:#04x}")]
    SubscriptionOptions {
        /// The options byte.
        bits: u8,
    },
    /// No Local on a Shared Subscription [MQTT-3.8.3-4].
    #[error("No Local on a shared subscription")]
    NoLocalOnShared,
    /// A Reason Code that the packet type does not have, such as [MQTT-3.4.2-1].
    #[error("reason code {byte:#04x} in {kind}")]
    InvalidReasonCode {
        /// Type of the packet.
        kind: PacketKind,
        /// The Reason Code byte.
        byte: u8,
    },
    /// A property identifier that does not exist (MQTT 5.0, 2.2.2.2).
    #[error("unknown property {id}")]
    UnknownProperty {
        /// The identifier.
        id: u32,
    },
    /// A property in a packet that cannot carry it (MQTT 5.0, 2.2.2.2).
    #[error("property {id} does not belong there")]
    MisplacedProperty {
        /// The property.
        id: PropertyId,
    },
    /// A property more than once (MQTT 5.0, 2.2.2.2).
    #[error("property {id} twice")]
    DuplicateProperty {
        /// The property.
        id: PropertyId,
    },
    /// A property value out of its range.
    #[error("value of property {id} out of range")]
    PropertyValue {
        /// The property.
        id: PropertyId,
    },
    /// A Topic Alias of 0 [MQTT-3.3.2-8].
    #[error("topic alias 0")]
    ZeroTopicAlias,
    /// Authentication Data without Authentication Method (MQTT 5.0, 3.1.2.11.10).
    #[error("authentication data without authentication method")]
    AuthenticationDataWithoutMethod,
    /// A client sent a Subscription Identifier in a PUBLISH [MQTT-3.3.4-6].
    #[error("subscription identifier in a PUBLISH of a client")]
    SubscriptionIdentifierFromClient,
}

impl DecodeError {
    /// The Reason Code to send in CONNACK or DISCONNECT.
    #[must_use]
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::ReservedPacketType
            | Self::FixedHeaderFlags { .. }
            | Self::VariableByteInteger
            | Self::Truncated
            | Self::TrailingBytes { .. }
            | Self::InvalidUtf8
            | Self::ForbiddenCharacter { .. }
            | Self::ReservedConnectFlag
            | Self::WillFlags
            | Self::PasswordWithoutUserName
            | Self::ConnectAcknowledgeFlags
            | Self::InvalidQoS
            | Self::DupWithoutQoS
            | Self::ReservedSubscriptionOptions { .. }
            | Self::UnknownProperty { .. }
            | Self::MisplacedProperty { .. } => ReasonCode::MalformedPacket,
            Self::UnexpectedPacket { .. }
            | Self::NotConnected { .. }
            | Self::ZeroPacketId
            | Self::EmptyTopicName
            | Self::ResponseTopic(_)
            | Self::NoTopicFilter { .. }
            | Self::SubscriptionOptions { .. }
            | Self::NoLocalOnShared
            | Self::InvalidReasonCode { .. }
            | Self::DuplicateProperty { .. }
            | Self::PropertyValue { .. }
            | Self::AuthenticationDataWithoutMethod
            | Self::SubscriptionIdentifierFromClient => ReasonCode::ProtocolError,
            Self::ProtocolName | Self::UnsupportedProtocolVersion { .. } => {
                ReasonCode::UnsupportedProtocolVersion
            }
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::TopicName(_) => ReasonCode::TopicNameInvalid,
            Self::ZeroTopicAlias => ReasonCode::TopicAliasInvalid,
        }
    }
}

/// nom's own parsers fail for one reason only here: the input is too short.
impl ParseError<&[u8]> for DecodeError {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::Truncated
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

impl From<nom::Err<Self>> for DecodeError {
    fn from(error: nom::Err<Self>) -> Self {
        match error {
            nom::Err::Incomplete(_) => Self::Truncated,
            nom::Err::Error(error) | nom::Err::Failure(error) => error,
        }
    }
}
