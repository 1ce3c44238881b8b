//! Packets in words, one line each: no password, no token, and payloads only where they are asked for.

use std::fmt;

use broker_codec::{Ack, Connect, Packet, PacketId, Publish, ReasonCode, Subscribe, Unsubscribe};

/// Bytes of a payload that are told.
const PAYLOAD_MAX: usize = 256;
/// Bytes of a topic or filter that are told: the longest has 64 KiB.
const TOPIC_MAX: usize = 256;
/// Filters of one packet that are told.
const FILTERS_MAX: usize = 8;
/// Bytes of a Client Identifier that are told.
pub(super) const CLIENT_ID_MAX: usize = 256;

/// A text up to so many bytes.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A topic, filter or name: quoted, escaped, and cut where it is long.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = cut(self.0, TOPIC_MAX);
        write!(f, "{short:?}")?;
        if short.len() < self.0.len() { f.write_str("…") } else { Ok(()) }
    }
}

/// The beginning of a payload, quoted and escaped.
pub(super) fn payload(bytes: &[u8]) -> impl fmt::Display {
    struct Payload<'a>(&'a [u8]);
    impl fmt::Display for Payload<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let short = &self.0[..self.0.len().min(PAYLOAD_MAX)];
            match std::str::from_utf8(short) {
                Ok(text) => write!(f, "{text:?}")?,
                // Cut within a character.
                Err(error) if error.error_len().is_none() && short.len() < self.0.len() => {
                    let text = String::from_utf8_lossy(&short[..error.valid_up_to()]);
                    write!(f, "{text:?}")?;
                }
                Err(_) => write!(f, "\"{}\"", short.escape_ascii())?,
            }
            if short.len() < self.0.len() { f.write_str("…") } else { Ok(()) }
        }
    }
    Payload(bytes)
}

/// A packet in one line.
pub(crate) fn describe<'a>(packet: &'a Packet<'a>) -> impl fmt::Display + 'a {
    struct Words<'a>(&'a Packet<'a>);
    impl fmt::Display for Words<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0.kind().name())?;
            match self.0 {
                Packet::Connect(connect) => tell_connect(f, connect),
                Packet::ConnAck(connack) => {
                    write!(f, " session_present={}", connack.session_present)?;
                    tell_reason(f, connack.reason_code)
                }
                Packet::Publish(publish) => tell_publish(f, publish),
                Packet::PubAck(ack)
                | Packet::PubRec(ack)
                | Packet::PubRel(ack)
                | Packet::PubComp(ack) => tell_ack(f, ack),
                Packet::Subscribe(subscribe) => tell_subscribe(f, subscribe),
                Packet::Unsubscribe(unsubscribe) => tell_unsubscribe(f, unsubscribe),
                Packet::SubAck(ack) => tell_reasons(f, ack.packet_id, &ack.reason_codes),
                Packet::UnsubAck(ack) => tell_reasons(f, ack.packet_id, &ack.reason_codes),
                Packet::Disconnect(disconnect) => tell_reason(f, disconnect.reason_code),
                Packet::Auth(auth) => tell_reason(f, auth.reason_code),
                Packet::PingReq | Packet::PingResp => Ok(()),
            }
        }
    }
    Words(packet)
}

fn tell_connect(f: &mut fmt::Formatter<'_>, connect: &Connect<'_>) -> fmt::Result {
    let Connect { version, clean_start, keep_alive_s, username, password, will, .. } = connect;
    let level = version.level();
    write!(f, " proto_ver={level} clean_start={clean_start} keep_alive_s={keep_alive_s}")?;
    if let Some(expiry_s) = connect.properties.session_expiry_interval() {
        write!(f, " session_expiry_s={expiry_s}")?;
    }
    if let Some(username) = username {
        write!(f, " username={}", Quoted(username))?;
    }
    // That there is one, and nothing of it.
    write!(f, " has_password={}", password.is_some())?;
    if let Some(method) = connect.properties.authentication_method() {
        write!(f, " auth_method={}", Quoted(method))?;
    }
    match will {
        Some(will) => write!(f, " will={} will_qos={}", Quoted(will.topic), will.qos.bits()),
        None => Ok(()),
    }
}

fn tell_publish(f: &mut fmt::Formatter<'_>, publish: &Publish<'_>) -> fmt::Result {
    write!(f, " topic={} qos={}", Quoted(publish.topic), publish.qos.bits())?;
    if let Some(id) = publish.packet_id {
        write!(f, " packet_id={id}")?;
    }
    if let Some(alias) = publish.properties.topic_alias() {
        write!(f, " topic_alias={alias}")?;
    }
    write!(f, " retain={} dup={} bytes={}", publish.retain, publish.dup, publish.payload.len())
}

fn tell_ack(f: &mut fmt::Formatter<'_>, ack: &Ack<'_>) -> fmt::Result {
    write!(f, " packet_id={}", ack.packet_id)?;
    tell_reason(f, ack.reason_code)
}

fn tell_subscribe(f: &mut fmt::Formatter<'_>, subscribe: &Subscribe<'_>) -> fmt::Result {
    write!(f, " packet_id={}", subscribe.packet_id)?;
    for request in subscribe.filters.iter().take(FILTERS_MAX) {
        write!(f, " filter={} qos={}", Quoted(request.filter), request.options.qos.bits())?;
    }
    tell_more(f, subscribe.filters.len())
}

fn tell_unsubscribe(f: &mut fmt::Formatter<'_>, unsubscribe: &Unsubscribe<'_>) -> fmt::Result {
    write!(f, " packet_id={}", unsubscribe.packet_id)?;
    for filter in unsubscribe.filters.iter().take(FILTERS_MAX) {
        write!(f, " filter={}", Quoted(filter))?;
    }
    tell_more(f, unsubscribe.filters.len())
}

fn tell_reasons(f: &mut fmt::Formatter<'_>, id: PacketId, codes: &[ReasonCode]) -> fmt::Result {
    write!(f, " packet_id={id} reasons=")?;
    for (at, code) in codes.iter().take(FILTERS_MAX).enumerate() {
        write!(f, "{}0x{:02x}", if at > 0 { "," } else { "" }, code.as_byte())?;
    }
    tell_more(f, codes.len())
}

fn tell_more(f: &mut fmt::Formatter<'_>, n: usize) -> fmt::Result {
    if n > FILTERS_MAX { write!(f, " and {} more", n - FILTERS_MAX) } else { Ok(()) }
}

fn tell_reason(f: &mut fmt::Formatter<'_>, reason_code: ReasonCode) -> fmt::Result {
    write!(f, " reason=0x{:02x}", reason_code.as_byte())
}
