//! Control Packets as the suite reads and writes them.
//!
//! Written apart from `broker-codec` on purpose: a codec that encodes and decodes the same mistake agrees
//! with itself. The reader is strict about everything a Server may send, so each test checks it in passing:
//! reserved bits, packet identifiers, the properties and Reason Codes each packet may carry.

use std::fmt;

/// Protocol level of MQTT 3.1.
pub(crate) const V31: u8 = 3;
/// Protocol level of MQTT 3.1.1.
pub(crate) const V311: u8 = 4;
/// Protocol level of MQTT 5.0.
pub(crate) const V5: u8 = 5;

/// A property with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prop {
    PayloadFormatIndicator(u8),
    MessageExpiryInterval(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(String),
    ServerKeepAlive(u16),
    AuthenticationMethod(String),
    AuthenticationData(Vec<u8>),
    RequestProblemInformation(u8),
    WillDelayInterval(u32),
    RequestResponseInformation(u8),
    ResponseInformation(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQoS(u8),
    RetainAvailable(u8),
    UserProperty(String, String),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(u8),
    SubscriptionIdentifierAvailable(u8),
    SharedSubscriptionAvailable(u8),
}

impl Prop {
    fn write(&self, out: &mut Vec<u8>) {
        use Prop::*;
        match self {
            PayloadFormatIndicator(v) => out.extend([0x01, *v]),
            MessageExpiryInterval(v) => u32_prop(out, 0x02, *v),
            ContentType(v) => bytes_prop(out, 0x03, v.as_bytes()),
            ResponseTopic(v) => bytes_prop(out, 0x08, v.as_bytes()),
            CorrelationData(v) => bytes_prop(out, 0x09, v),
            SubscriptionIdentifier(v) => {
                out.push(0x0B);
                write_varint(out, *v);
            }
            SessionExpiryInterval(v) => u32_prop(out, 0x11, *v),
            AssignedClientIdentifier(v) => bytes_prop(out, 0x12, v.as_bytes()),
            ServerKeepAlive(v) => u16_prop(out, 0x13, *v),
            AuthenticationMethod(v) => bytes_prop(out, 0x15, v.as_bytes()),
            AuthenticationData(v) => bytes_prop(out, 0x16, v),
            RequestProblemInformation(v) => out.extend([0x17, *v]),
            WillDelayInterval(v) => u32_prop(out, 0x18, *v),
            RequestResponseInformation(v) => out.extend([0x19, *v]),
            ResponseInformation(v) => bytes_prop(out, 0x1A, v.as_bytes()),
            ServerReference(v) => bytes_prop(out, 0x1C, v.as_bytes()),
            ReasonString(v) => bytes_prop(out, 0x1F, v.as_bytes()),
            ReceiveMaximum(v) => u16_prop(out, 0x21, *v),
            TopicAliasMaximum(v) => u16_prop(out, 0x22, *v),
            TopicAlias(v) => u16_prop(out, 0x23, *v),
            MaximumQoS(v) => out.extend([0x24, *v]),
            RetainAvailable(v) => out.extend([0x25, *v]),
            UserProperty(k, v) => {
                bytes_prop(out, 0x26, k.as_bytes());
                write_bytes(out, v.as_bytes());
            }
            MaximumPacketSize(v) => u32_prop(out, 0x27, *v),
            WildcardSubscriptionAvailable(v) => out.extend([0x28, *v]),
            SubscriptionIdentifierAvailable(v) => out.extend([0x29, *v]),
            SharedSubscriptionAvailable(v) => out.extend([0x2A, *v]),
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Bad> {
        Ok(match r.byte()? {
            0x01 => Self::PayloadFormatIndicator(r.flag()?),
            0x02 => Self::MessageExpiryInterval(r.u32()?),
            0x03 => Self::ContentType(r.string()?),
            0x08 => Self::ResponseTopic(r.string()?),
            0x09 => Self::CorrelationData(r.bytes()?.to_vec()),
            0x0B => Self::SubscriptionIdentifier(r.varint()?),
            0x11 => Self::SessionExpiryInterval(r.u32()?),
            0x12 => Self::AssignedClientIdentifier(r.string()?),
            0x13 => Self::ServerKeepAlive(r.u16()?),
            0x15 => Self::AuthenticationMethod(r.string()?),
            0x16 => Self::AuthenticationData(r.bytes()?.to_vec()),
            0x1A => Self::ResponseInformation(r.string()?),
            0x1C => Self::ServerReference(r.string()?),
            0x1F => Self::ReasonString(r.string()?),
            0x21 => Self::ReceiveMaximum(r.u16()?),
            0x22 => Self::TopicAliasMaximum(r.u16()?),
            0x23 => Self::TopicAlias(r.u16()?),
            0x24 => Self::MaximumQoS(r.flag()?),
            0x25 => Self::RetainAvailable(r.flag()?),
            0x26 => Self::UserProperty(r.string()?, r.string()?),
            0x27 => Self::MaximumPacketSize(r.u32()?),
            0x28 => Self::WildcardSubscriptionAvailable(r.flag()?),
            0x29 => Self::SubscriptionIdentifierAvailable(r.flag()?),
            0x2A => Self::SharedSubscriptionAvailable(r.flag()?),
            id => return bad(format!("property {id:#04x} is not one a Server sends")),
        })
    }

    /// True if a Server may put it in a packet of this type (MQTT 5.0, table 2-4).
    fn belongs_in(&self, kind: u8) -> bool {
        use Prop::*;
        match self {
            PayloadFormatIndicator(_)
            | MessageExpiryInterval(_)
            | ContentType(_)
            | ResponseTopic(_)
            | CorrelationData(_)
            | SubscriptionIdentifier(_)
            | TopicAlias(_) => kind == 3,
            SessionExpiryInterval(_)
            | AssignedClientIdentifier(_)
            | ServerKeepAlive(_)
            | ResponseInformation(_)
            | ReceiveMaximum(_)
            | TopicAliasMaximum(_)
            | MaximumQoS(_)
            | RetainAvailable(_)
            | MaximumPacketSize(_)
            | WildcardSubscriptionAvailable(_)
            | SubscriptionIdentifierAvailable(_)
            | SharedSubscriptionAvailable(_) => kind == 2,
            AuthenticationMethod(_) | AuthenticationData(_) => kind == 2 || kind == 15,
            ServerReference(_) => kind == 2 || kind == 14,
            ReasonString(_) => !matches!(kind, 3 | 8 | 10),
            UserProperty(..) => true,
            WillDelayInterval(_) | RequestProblemInformation(_) | RequestResponseInformation(_) => {
                false
            }
        }
    }
}

/// The properties of one packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Props(pub(crate) Vec<Prop>);

impl Props {
    /// The first value that `pick` takes.
    pub(crate) fn find<T>(&self, pick: impl Fn(&Prop) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(pick)
    }

    pub(crate) fn session_expiry(&self) -> Option<u32> {
        self.find(|p| if let Prop::SessionExpiryInterval(v) = p { Some(*v) } else { None })
    }

    pub(crate) fn message_expiry(&self) -> Option<u32> {
        self.find(|p| if let Prop::MessageExpiryInterval(v) = p { Some(*v) } else { None })
    }

    pub(crate) fn topic_alias(&self) -> Option<u16> {
        self.find(|p| if let Prop::TopicAlias(v) = p { Some(*v) } else { None })
    }

    pub(crate) fn assigned_client_id(&self) -> Option<String> {
        self.find(|p| match p {
            Prop::AssignedClientIdentifier(v) => Some(v.clone()),
            _ => None,
        })
    }

    /// User Properties in the order of the packet.
    pub(crate) fn user(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .filter_map(|p| match p {
                Prop::UserProperty(k, v) => Some((k.as_str(), v.as_str())),
                _ => None,
            })
            .collect()
    }

    /// Subscription Identifiers, sorted: their order means nothing [MQTT-3.3.4-4].
    pub(crate) fn subscription_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .0
            .iter()
            .filter_map(|p| match p {
                Prop::SubscriptionIdentifier(v) => Some(*v),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids
    }

    fn read(r: &mut Reader<'_>, kind: u8) -> Result<Self, Bad> {
        let len = r.varint()? as usize;
        let mut inner = Reader(r.take(len)?);
        let mut props: Vec<Prop> = Vec::new();
        while !inner.0.is_empty() {
            let prop = Prop::read(&mut inner)?;
            if !prop.belongs_in(kind) {
                return bad(format!("{prop:?} in a packet of type {kind}"));
            }
            let may_repeat =
                matches!(prop, Prop::UserProperty(..) | Prop::SubscriptionIdentifier(_));
            let same = |p: &Prop| std::mem::discriminant(p) == std::mem::discriminant(&prop);
            if !may_repeat && props.iter().any(same) {
                return bad(format!("{prop:?} twice"));
            }
            props.push(prop);
        }
        Ok(Self(props))
    }
}

/// A PUBLISH in either direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Publish {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    pub(crate) id: u16,
    pub(crate) props: Props,
    pub(crate) payload: Vec<u8>,
}

/// A PUBLISH to send.
pub(crate) fn publish(topic: &str, qos: u8, payload: impl AsRef<[u8]>) -> Publish {
    Publish { qos, topic: topic.into(), payload: payload.as_ref().to_vec(), ..Publish::default() }
}

impl Publish {
    pub(crate) fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn prop(mut self, prop: Prop) -> Self {
        self.props.0.push(prop);
        self
    }

    /// The payload as text, for messages a reader of a failure understands.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    pub(crate) fn encode(&self, version: u8) -> Vec<u8> {
        let mut body = Vec::new();
        write_bytes(&mut body, self.topic.as_bytes());
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if version == V5 {
            write_props(&mut body, &self.props.0);
        }
        body.extend(&self.payload);
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        frame(first, &body)
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) id: u16,
    pub(crate) code: u8,
    pub(crate) props: Props,
}

/// A packet from the Server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    ConnAck { session_present: bool, code: u8, props: Props },
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    SubAck { id: u16, codes: Vec<u8>, props: Props },
    UnsubAck { id: u16, codes: Vec<u8>, props: Props },
    PingResp,
    Disconnect { code: u8, props: Props },
    Auth { code: u8, props: Props },
}

/// Why bytes from the Server are not a packet it may send.
#[derive(Debug)]
pub(crate) struct Bad(String);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn bad<T>(why: impl Into<String>) -> Result<T, Bad> {
    Err(Bad(why.into()))
}

/// Reads one packet; `None` if it is not complete. The number is its length in bytes.
pub(crate) fn decode(buf: &[u8], version: u8) -> Result<Option<(Packet, usize)>, Bad> {
    let Some((len, n_len)) = remaining_length(buf)? else { return Ok(None) };
    let total = 1 + n_len + len;
    if buf.len() < total {
        return Ok(None);
    }
    let mut r = Reader(&buf[1 + n_len..total]);
    let kind = buf[0] >> 4;
    let flags = buf[0] & 0x0F;
    if kind != 3 && flags != if kind == 6 { 2 } else { 0 } {
        return bad(format!("reserved flags {flags:#x} in a packet of type {kind}"));
    }
    let packet = read_body(&mut r, kind, flags, version)?;
    if !r.0.is_empty() {
        return bad(format!("{} bytes after the end of {packet:?}", r.0.len()));
    }
    Ok(Some((packet, total)))
}

fn read_body(r: &mut Reader<'_>, kind: u8, flags: u8, version: u8) -> Result<Packet, Bad> {
    let v5 = version == V5;
    Ok(match kind {
        2 => {
            let ack_flags = r.byte()?;
            if ack_flags > 1 {
                return bad("reserved bits in the CONNACK flags");
            }
            let code = r.byte()?;
            // A refusal of the protocol version comes in the form of an older version.
            let props =
                if v5 && !r.0.is_empty() { Props::read(r, kind)? } else { Props::default() };
            check_code(kind, code, if v5 && !(1..=5).contains(&code) { V5 } else { V311 })?;
            Packet::ConnAck { session_present: ack_flags == 1, code, props }
        }
        3 => {
            let qos = flags >> 1 & 3;
            let dup = flags & 8 != 0;
            if qos == 3 || dup && qos == 0 {
                return bad(format!("PUBLISH with flags {flags:#x}"));
            }
            let topic = r.string()?;
            if topic.contains(['+', '#']) || topic.is_empty() && !v5 {
                return bad(format!("{topic:?} is no Topic Name"));
            }
            let id = if qos > 0 { r.packet_id()? } else { 0 };
            let props = if v5 { Props::read(r, kind)? } else { Props::default() };
            if topic.is_empty() && props.topic_alias().is_none() {
                return bad("PUBLISH without Topic Name and Topic Alias");
            }
            let payload = r.take(r.0.len())?.to_vec();
            Packet::Publish(Publish { dup, qos, retain: flags & 1 != 0, topic, id, props, payload })
        }
        4..=7 => {
            let id = r.packet_id()?;
            let code = if v5 && !r.0.is_empty() { r.byte()? } else { 0 };
            let props =
                if v5 && !r.0.is_empty() { Props::read(r, kind)? } else { Props::default() };
            check_code(kind, code, version)?;
            let ack = Ack { id, code, props };
            match kind {
                4 => Packet::PubAck(ack),
                5 => Packet::PubRec(ack),
                6 => Packet::PubRel(ack),
                _ => Packet::PubComp(ack),
            }
        }
        9 | 11 => {
            let id = r.packet_id()?;
            let props = if v5 { Props::read(r, kind)? } else { Props::default() };
            let codes = r.take(r.0.len())?.to_vec();
            for code in &codes {
                check_code(kind, *code, version)?;
            }
            if kind == 9 {
                Packet::SubAck { id, codes, props }
            } else {
                Packet::UnsubAck { id, codes, props }
            }
        }
        13 => Packet::PingResp,
        14 | 15 if v5 => {
            let code = if r.0.is_empty() { 0 } else { r.byte()? };
            let props = if r.0.is_empty() { Props::default() } else { Props::read(r, kind)? };
            check_code(kind, code, version)?;
            if kind == 14 {
                Packet::Disconnect { code, props }
            } else {
                Packet::Auth { code, props }
            }
        }
        _ => return bad(format!("a packet of type {kind} from the Server")),
    })
}

/// Refuses a Reason Code that a Server may not put in a packet of this type.
fn check_code(kind: u8, code: u8, version: u8) -> Result<(), Bad> {
    let allowed: &[u8] = match (kind, version) {
        (2, V5) => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
            0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
        ],
        (2, _) => &[0, 1, 2, 3, 4, 5],
        (4 | 5, V5) => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        (6 | 7, V5) => &[0x00, 0x92],
        (9, V5) => &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
        (9, V31) => &[0, 1, 2],
        (9, _) => &[0, 1, 2, 0x80],
        (11, V5) => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
        (11, _) => &[],
        (14, V5) => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
            0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
        ],
        (15, V5) => &[0x00, 0x18],
        _ => &[0],
    };
    if allowed.contains(&code) {
        return Ok(());
    }
    bad(format!("Reason Code {code:#04x} in a packet of type {kind}"))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Bad> {
        if self.0.len() < n {
            return bad(format!("{n} bytes wanted, {} left", self.0.len()));
        }
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Bad> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<u8, Bad> {
        match self.byte()? {
            v @ (0 | 1) => Ok(v),
            v => bad(format!("{v} where 0 or 1 stands")),
        }
    }

    fn u16(&mut self) -> Result<u16, Bad> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().unwrap()))
    }

    fn u32(&mut self) -> Result<u32, Bad> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().unwrap()))
    }

    fn packet_id(&mut self) -> Result<u16, Bad> {
        match self.u16()? {
            0 => bad("Packet Identifier 0"),
            id => Ok(id),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Bad> {
        let len = self.u16()? as usize;
        self.take(len)
    }

    fn string(&mut self) -> Result<String, Bad> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(s) if s.contains('\0') => bad("U+0000 in a string"),
            Ok(s) => Ok(s.into()),
            Err(e) => bad(format!("string is not UTF-8: {e}")),
        }
    }

    fn varint(&mut self) -> Result<u32, Bad> {
        let mut value = 0;
        for n in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << (7 * n);
            if byte & 0x80 == 0 {
                if n > 0 && byte == 0 {
                    return bad("Variable Byte Integer longer than needed");
                }
                return Ok(value);
            }
        }
        bad("Variable Byte Integer of more than four bytes")
    }
}

fn remaining_length(buf: &[u8]) -> Result<Option<(usize, usize)>, Bad> {
    let Some(rest) = buf.get(1..) else { return Ok(None) };
    let is_whole = rest.iter().take(4).any(|b| b & 0x80 == 0) || rest.len() >= 4;
    if !is_whole {
        return Ok(None);
    }
    let mut r = Reader(rest);
    let len = r.varint()? as usize;
    Ok(Some((len, rest.len() - r.0.len())))
}

/// First byte, Remaining Length, body.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    write_varint(&mut out, u32::try_from(body.len()).unwrap());
    out.extend(body);
    out
}

pub(crate) fn write_varint(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// Two bytes of length, then the bytes: strings and binary data.
pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

pub(crate) fn write_props(out: &mut Vec<u8>, props: &[Prop]) {
    let mut raw = Vec::new();
    for prop in props {
        prop.write(&mut raw);
    }
    write_varint(out, u32::try_from(raw.len()).unwrap());
    out.extend(raw);
}

fn u16_prop(out: &mut Vec<u8>, id: u8, value: u16) {
    out.push(id);
    out.extend(value.to_be_bytes());
}

fn u32_prop(out: &mut Vec<u8>, id: u8, value: u32) {
    out.push(id);
    out.extend(value.to_be_bytes());
}

fn bytes_prop(out: &mut Vec<u8>, id: u8, value: &[u8]) {
    out.push(id);
    write_bytes(out, value);
}

/// PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70) with Reason Code 0x00.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    frame(first, &id.to_be_bytes())
}

/// The same with a Reason Code, MQTT 5.0 only.
pub(crate) fn ack_code(first: u8, id: u16, code: u8) -> Vec<u8> {
    let [a, b] = id.to_be_bytes();
    frame(first, &[a, b, code])
}

/// SUBSCRIBE; each filter with its options byte.
pub(crate) fn subscribe(version: u8, id: u16, filters: &[(&str, u8)], props: &[Prop]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == V5 {
        write_props(&mut body, props);
    }
    for (filter, options) in filters {
        write_bytes(&mut body, filter.as_bytes());
        body.push(*options);
    }
    frame(0x82, &body)
}

pub(crate) fn unsubscribe(version: u8, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == V5 {
        body.push(0);
    }
    for filter in filters {
        write_bytes(&mut body, filter.as_bytes());
    }
    frame(0xA2, &body)
}

/// DISCONNECT with Reason Code and properties, MQTT 5.0 only.
pub(crate) fn disconnect(code: u8, props: &[Prop]) -> Vec<u8> {
    let mut body = vec![code];
    write_props(&mut body, props);
    frame(0xE0, &body)
}

pub(crate) fn auth(code: u8, props: &[Prop]) -> Vec<u8> {
    let mut body = vec![code];
    write_props(&mut body, props);
    frame(0xF0, &body)
}

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;

/// Subscription option: No Local.
pub(crate) const NO_LOCAL: u8 = 0x04;
/// Subscription option: Retain As Published.
pub(crate) const RAP: u8 = 0x08;
/// Subscription option: Retain Handling 1, only if the subscription is new.
pub(crate) const SEND_IF_NEW: u8 = 0x10;
/// Subscription option: Retain Handling 2, never.
pub(crate) const DO_NOT_SEND: u8 = 0x20;
