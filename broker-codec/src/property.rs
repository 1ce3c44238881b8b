//! MQTT 5.0 properties: one table of identifier, type and the packets that may carry it.

use std::fmt;

use nom::Parser;
use nom::number::complete::{be_u8, be_u16, be_u32};

use crate::error::DecodeError;
use crate::packet::{PacketKind, QoS};
use crate::primitive::{
    Parsed, Utf8Rule, binary, binary_len, put_binary, put_string, put_variable_byte_integer,
    string, string_len, string_pair, variable_byte_integer, variable_byte_integer_len,
};
use crate::topic;

/// A property with its value, as it stands in a packet (MQTT 5.0, 2.2.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the specification, table 2-4")]
pub enum Property<'a> {
    PayloadFormatIndicator(u8),
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(u8),
    WillDelayInterval(u32),
    RequestResponseInformation(u8),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQoS(u8),
    RetainAvailable(u8),
    UserProperty(&'a str, &'a str),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(u8),
    SubscriptionIdentifierAvailable(u8),
    SharedSubscriptionAvailable(u8),
}

/// The properties of one packet, checked when it was decoded.
///
/// Only the bytes are kept; [`iter`](Self::iter) and the getters read them again, which costs less than
/// building a map for a packet that mostly has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    pub(crate) raw: &'a [u8],
}

/// Properties under construction, owned; [`as_properties`](Self::as_properties) is what packets take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PropertiesBuf {
    raw: Vec<u8>,
}

/// Expands the table below: per row identifier, data type, and where the property may stand.
macro_rules! property_table {
    ($($name:ident = $id:literal, $type:tt, $places:expr;)*) => {
        /// The identifier of a property (MQTT 5.0, table 2-4).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "the names of the specification, table 2-4")]
        pub enum PropertyId {
            $($name = $id,)*
        }

        impl PropertyId {
            /// The identifier of a byte, or `None` if the specification has none.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            const fn places(self) -> u32 {
                match self {
                    $(Self::$name => $places,)*
                }
            }
        }

        impl<'a> Property<'a> {
            /// Its identifier.
            #[must_use]
            pub const fn id(&self) -> PropertyId {
                match self {
                    $(Self::$name(..) => PropertyId::$name,)*
                }
            }

            fn parse_value(id: PropertyId, rule: Utf8Rule, input: &'a [u8]) -> Parsed<'a, Self> {
                match id {
                    $(PropertyId::$name => property_table!(@parse $type, $name, rule, input),)*
                }
            }
        }
    };
    (@parse byte, $name:ident, $rule:ident, $input:ident) => {
        be_u8.map(Self::$name).parse($input)
    };
    (@parse u16, $name:ident, $rule:ident, $input:ident) => {
        be_u16.map(Self::$name).parse($input)
    };
    (@parse u32, $name:ident, $rule:ident, $input:ident) => {
        be_u32.map(Self::$name).parse($input)
    };
    (@parse var, $name:ident, $rule:ident, $input:ident) => {
        variable_byte_integer.map(Self::$name).parse($input)
    };
    (@parse bin, $name:ident, $rule:ident, $input:ident) => {
        binary.map(Self::$name).parse($input)
    };
    (@parse str, $name:ident, $rule:ident, $input:ident) => {
        string($rule).map(Self::$name).parse($input)
    };
    (@parse pair, $name:ident, $rule:ident, $input:ident) => {
        string_pair($rule).map(|(key, value)| Self::$name(key, value)).parse($input)
    };
}

property_table! {
    PayloadFormatIndicator          = 0x01, byte, PUBLISH | WILL;
    MessageExpiryInterval           = 0x02, u32,  PUBLISH | WILL;
    ContentType                     = 0x03, str,  PUBLISH | WILL;
    ResponseTopic                   = 0x08, str,  PUBLISH | WILL;
    CorrelationData                 = 0x09, bin,  PUBLISH | WILL;
    SubscriptionIdentifier          = 0x0B, var,  PUBLISH | SUBSCRIBE;
    SessionExpiryInterval           = 0x11, u32,  CONNECT | CONNACK | DISCONNECT;
    AssignedClientIdentifier        = 0x12, str,  CONNACK;
    ServerKeepAlive                 = 0x13, u16,  CONNACK;
    AuthenticationMethod            = 0x15, str,  CONNECT | CONNACK | AUTH;
    AuthenticationData              = 0x16, bin,  CONNECT | CONNACK | AUTH;
    RequestProblemInformation       = 0x17, byte, CONNECT;
    WillDelayInterval               = 0x18, u32,  WILL;
    RequestResponseInformation      = 0x19, byte, CONNECT;
    ResponseInformation             = 0x1A, str,  CONNACK;
    ServerReference                 = 0x1C, str,  CONNACK | DISCONNECT;
    ReasonString                    = 0x1F, str,  CONNACK | ACKS | DISCONNECT | AUTH;
    ReceiveMaximum                  = 0x21, u16,  CONNECT | CONNACK;
    TopicAliasMaximum               = 0x22, u16,  CONNECT | CONNACK;
    TopicAlias                      = 0x23, u16,  PUBLISH;
    MaximumQoS                      = 0x24, byte, CONNACK;
    RetainAvailable                 = 0x25, byte, CONNACK;
    UserProperty                    = 0x26, pair, ANYWHERE;
    MaximumPacketSize               = 0x27, u32,  CONNECT | CONNACK;
    WildcardSubscriptionAvailable   = 0x28, byte, CONNACK;
    SubscriptionIdentifierAvailable = 0x29, byte, CONNACK;
    SharedSubscriptionAvailable     = 0x2A, byte, CONNACK;
}

/// What carries properties: a packet, or the Will of a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Packet(PacketKind),
    Will,
}

impl Place {
    const fn bit(self) -> u32 {
        match self {
            Self::Packet(kind) => 1 << kind as u8,
            Self::Will => WILL,
        }
    }
}

const WILL: u32 = 1;
const CONNECT: u32 = Place::Packet(PacketKind::Connect).bit();
const CONNACK: u32 = Place::Packet(PacketKind::ConnAck).bit();
const PUBLISH: u32 = Place::Packet(PacketKind::Publish).bit();
const SUBSCRIBE: u32 = Place::Packet(PacketKind::Subscribe).bit();
const DISCONNECT: u32 = Place::Packet(PacketKind::Disconnect).bit();
const AUTH: u32 = Place::Packet(PacketKind::Auth).bit();
const ACKS: u32 = Place::Packet(PacketKind::PubAck).bit()
    | Place::Packet(PacketKind::PubRec).bit()
    | Place::Packet(PacketKind::PubRel).bit()
    | Place::Packet(PacketKind::PubComp).bit()
    | Place::Packet(PacketKind::SubAck).bit()
    | Place::Packet(PacketKind::UnsubAck).bit();
const ANYWHERE: u32 = u32::MAX;

impl PropertyId {
    /// The byte on the wire.
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        self as u8
    }

    pub(crate) const fn is_allowed_in(self, place: Place) -> bool {
        self.places() & place.bit() != 0
    }
}

impl fmt::Display for PropertyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<'a> Property<'a> {
    fn parse(rule: Utf8Rule) -> impl Fn(&'a [u8]) -> Parsed<'a, Self> {
        move |input| {
            // The identifier is a Variable Byte Integer, though all that exist take one byte.
            let (input, id) = variable_byte_integer(input)?;
            match u8::try_from(id).ok().and_then(PropertyId::from_byte) {
                Some(id) => Self::parse_value(id, rule, input),
                None => Err(nom::Err::Failure(DecodeError::UnknownProperty { id })),
            }
        }
    }

    /// Checks the values that the specification restricts.
    fn check_value(&self) -> Result<(), DecodeError> {
        let is_in_range = match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::MaximumQoS(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => value <= 1,
            Self::ReceiveMaximum(value) => value != 0,
            Self::MaximumPacketSize(value) | Self::SubscriptionIdentifier(value) => value != 0,
            Self::TopicAlias(0) => return Err(DecodeError::ZeroTopicAlias),
            Self::ResponseTopic(topic) => {
                return topic::validate_name(topic).map_err(DecodeError::ResponseTopic);
            }
            _ => true,
        };
        if is_in_range { Ok(()) } else { Err(DecodeError::PropertyValue { id: self.id() }) }
    }

    /// Writes identifier and value.
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.id().as_byte());
        match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::MaximumQoS(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => out.push(value),
            Self::ServerKeepAlive(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value)
            | Self::MaximumPacketSize(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::SubscriptionIdentifier(value) => put_variable_byte_integer(out, value as usize),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientIdentifier(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => put_string(out, text),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => {
                put_binary(out, bytes);
            }
            Self::UserProperty(key, value) => {
                put_string(out, key);
                put_string(out, value);
            }
        }
    }

    /// Bytes that identifier and value take.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        1 + match *self {
            Self::PayloadFormatIndicator(_)
            | Self::RequestProblemInformation(_)
            | Self::RequestResponseInformation(_)
            | Self::MaximumQoS(_)
            | Self::RetainAvailable(_)
            | Self::WildcardSubscriptionAvailable(_)
            | Self::SubscriptionIdentifierAvailable(_)
            | Self::SharedSubscriptionAvailable(_) => 1,
            Self::ServerKeepAlive(_)
            | Self::ReceiveMaximum(_)
            | Self::TopicAliasMaximum(_)
            | Self::TopicAlias(_) => 2,
            Self::MessageExpiryInterval(_)
            | Self::SessionExpiryInterval(_)
            | Self::WillDelayInterval(_)
            | Self::MaximumPacketSize(_) => 4,
            Self::SubscriptionIdentifier(value) => variable_byte_integer_len(value as usize),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientIdentifier(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => string_len(text),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => binary_len(bytes),
            Self::UserProperty(key, value) => string_len(key) + string_len(value),
        }
    }
}

/// The properties of `place`: their length, then each checked against the table (MQTT 5.0, 2.2.2).
#[inline]
pub(crate) fn properties<'a>(
    place: Place,
    rule: Utf8Rule,
) -> impl Fn(&'a [u8]) -> Parsed<'a, Properties<'a>> {
    move |input| {
        // Mostly there are none.
        if let [0, rest @ ..] = input {
            return Ok((rest, Properties::EMPTY));
        }
        let (input, len) = variable_byte_integer(input)?;
        let (rest, raw) = nom::bytes::complete::take(len)(input)?;
        check(raw, place, rule).map_err(nom::Err::Failure)?;
        Ok((rest, Properties { raw }))
    }
}

fn check(raw: &[u8], place: Place, rule: Utf8Rule) -> Result<(), DecodeError> {
    let mut rest = raw;
    let mut seen = 0_u64;
    while !rest.is_empty() {
        let (after, property) = Property::parse(rule)(rest)?;
        rest = after;
        let id = property.id();
        if !id.is_allowed_in(place) {
            return Err(DecodeError::MisplacedProperty { id });
        }
        let bit = 1 << id.as_byte();
        let may_repeat = match id {
            PropertyId::UserProperty => true,
            // One for each subscription that matched [MQTT-3.3.4-3].
            PropertyId::SubscriptionIdentifier => place == Place::Packet(PacketKind::Publish),
            _ => false,
        };
        if seen & bit != 0 && !may_repeat {
            return Err(DecodeError::DuplicateProperty { id });
        }
        seen |= bit;
        property.check_value()?;
    }
    let has = |id: PropertyId| seen & (1 << id.as_byte()) != 0;
    if has(PropertyId::AuthenticationData) && !has(PropertyId::AuthenticationMethod) {
        return Err(DecodeError::AuthenticationDataWithoutMethod);
    }
    Ok(())
}

/// Writes the getters of properties that occur once at most.
macro_rules! getters {
    ($($(#[$doc:meta])* $getter:ident: $name:ident($value:ident) -> $type:ty = $result:expr;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $getter(&self) -> Option<$type> {
                self.iter().find_map(|property| match property {
                    Property::$name($value) => Some($result),
                    _ => None,
                })
            }
        )*
    };
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self { raw: &[] };

    /// The properties in `raw`, which was checked before: bytes of a decoded packet that were kept.
    ///
    /// Bytes that were not cannot do harm; the properties just end at the first that does not parse.
    #[must_use]
    pub const fn from_validated(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// The bytes, without the length in front.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// True if there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// All properties in the order of the packet.
    #[must_use]
    pub const fn iter(&self) -> PropertiesIter<'a> {
        PropertiesIter { rest: self.raw }
    }

    /// Subscription Identifiers; a PUBLISH of a server may have several.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }

    /// User Properties, name and value, in their order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(key, value) => Some((key, value)),
            _ => None,
        })
    }

    getters! {
        /// True if the payload is UTF-8 text, false if it is bytes.
        payload_format_indicator: PayloadFormatIndicator(value) -> bool = value != 0;
        /// Lifetime of the message in seconds.
        message_expiry_interval: MessageExpiryInterval(seconds) -> u32 = seconds;
        /// What the payload is.
        content_type: ContentType(text) -> &'a str = text;
        /// Where to send the response.
        response_topic: ResponseTopic(topic) -> &'a str = topic;
        /// Which request a response belongs to.
        correlation_data: CorrelationData(bytes) -> &'a [u8] = bytes;
        /// How long the session outlives the connection, in seconds.
        session_expiry_interval: SessionExpiryInterval(seconds) -> u32 = seconds;
        /// The Client Identifier that the server chose.
        assigned_client_identifier: AssignedClientIdentifier(text) -> &'a str = text;
        /// The Keep Alive that the server wants, in seconds.
        server_keep_alive: ServerKeepAlive(seconds) -> u16 = seconds;
        /// Name of the enhanced authentication method.
        authentication_method: AuthenticationMethod(text) -> &'a str = text;
        /// Data of the enhanced authentication.
        authentication_data: AuthenticationData(bytes) -> &'a [u8] = bytes;
        /// Whether Reason String and User Properties may be sent with failures.
        request_problem_information: RequestProblemInformation(value) -> bool = value != 0;
        /// How long the Will waits for a reconnect, in seconds.
        will_delay_interval: WillDelayInterval(seconds) -> u32 = seconds;
        /// Whether Response Information is wanted in CONNACK.
        request_response_information: RequestResponseInformation(value) -> bool = value != 0;
        /// Basis of Response Topics.
        response_information: ResponseInformation(text) -> &'a str = text;
        /// Another server to use.
        server_reference: ServerReference(text) -> &'a str = text;
        /// Why, for humans.
        reason_string: ReasonString(text) -> &'a str = text;
        /// QoS 1 and 2 messages that the sender takes at a time.
        receive_maximum: ReceiveMaximum(value) -> u16 = value;
        /// Highest Topic Alias that the sender takes.
        topic_alias_maximum: TopicAliasMaximum(value) -> u16 = value;
        /// Number that stands for the Topic Name.
        topic_alias: TopicAlias(value) -> u16 = value;
        /// Highest QoS that the server takes; a value that is none reads as 2.
        maximum_qos: MaximumQoS(value) -> QoS = QoS::from_bits(value).unwrap_or(QoS::ExactlyOnce);
        /// Whether the server takes retained messages.
        retain_available: RetainAvailable(value) -> bool = value != 0;
        /// Largest packet that the sender takes, in bytes.
        maximum_packet_size: MaximumPacketSize(bytes) -> u32 = bytes;
        /// Whether the server takes wildcards.
        wildcard_subscription_available: WildcardSubscriptionAvailable(value) -> bool = value != 0;
        /// Whether the server takes Subscription Identifiers.
        subscription_identifier_available: SubscriptionIdentifierAvailable(value) -> bool = value != 0;
        /// Whether the server takes Shared Subscriptions.
        shared_subscription_available: SharedSubscriptionAvailable(value) -> bool = value != 0;
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

/// Iterator over [`Properties`].
#[derive(Debug, Clone)]
pub struct PropertiesIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        if let Ok((rest, property)) = Property::parse(Utf8Rule::Lenient)(self.rest) {
            self.rest = rest;
            Some(property)
        } else {
            self.rest = &[];
            None
        }
    }
}

impl PropertiesBuf {
    /// No properties.
    #[must_use]
    pub const fn new() -> Self {
        Self { raw: Vec::new() }
    }

    /// The properties in `raw`, if it is nothing but properties of one message or packet.
    pub fn from_bytes(raw: Vec<u8>) -> Result<Self, DecodeError> {
        let mut rest = raw.as_slice();
        while !rest.is_empty() {
            let (after, property) = Property::parse(Utf8Rule::Lenient)(rest)?;
            property.check_value()?;
            rest = after;
        }
        Ok(Self { raw })
    }

    /// Appends a property.
    pub fn push(&mut self, property: Property<'_>) {
        property.encode(&mut self.raw);
    }

    /// Appends all of `properties`.
    pub fn push_all(&mut self, properties: Properties<'_>) {
        self.raw.extend_from_slice(properties.raw);
    }

    /// Appends those of `properties` that `keep` wants.
    pub fn extend_filtered(
        &mut self,
        properties: Properties<'_>,
        keep: impl Fn(PropertyId) -> bool,
    ) {
        let mut iter = properties.iter();
        let mut before = iter.rest;
        while let Some(property) = iter.next() {
            if keep(property.id()) {
                self.raw.extend_from_slice(&before[..before.len() - iter.rest.len()]);
            }
            before = iter.rest;
        }
    }

    /// What packets carry.
    #[must_use]
    pub fn as_properties(&self) -> Properties<'_> {
        Properties { raw: &self.raw }
    }

    /// Bytes of all properties.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.raw.len()
    }

    /// True if there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Drops all; the memory stays.
    pub fn clear(&mut self) {
        self.raw.clear();
    }

    /// The bytes.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filtered_copy_keeps_order_and_bytes() {
        let mut all = PropertiesBuf::new();
        all.push(Property::UserProperty("a", "1"));
        all.push(Property::TopicAlias(7));
        all.push(Property::MessageExpiryInterval(9));
        all.push(Property::UserProperty("a", "2"));
        let mut some = PropertiesBuf::new();
        some.extend_filtered(all.as_properties(), |id| id == PropertyId::UserProperty);
        assert!(some.as_properties().user_properties().eq([("a", "1"), ("a", "2")]));
        assert_eq!(some.as_properties().iter().count(), 2);
        assert_eq!(all.as_properties().message_expiry_interval(), Some(9));
        assert_eq!(PropertiesBuf::from_bytes(all.clone().into_vec()), Ok(all));
    }

    #[test]
    fn bytes_that_are_no_properties_are_refused() {
        assert_eq!(
            PropertiesBuf::from_bytes(vec![0x04]),
            Err(DecodeError::UnknownProperty { id: 4 })
        );
        assert_eq!(PropertiesBuf::from_bytes(vec![0x02, 0]), Err(DecodeError::Truncated));
        assert_eq!(Properties::from_validated(&[0x02, 0]).iter().next(), None);
    }

    #[test]
    fn identifier_and_byte_are_one() {
        let n = (0..=u8::MAX).filter_map(PropertyId::from_byte).count();
        assert_eq!(n, 27);
        assert_eq!(PropertyId::from_byte(0x2A).map(PropertyId::as_byte), Some(0x2A));
    }
}
