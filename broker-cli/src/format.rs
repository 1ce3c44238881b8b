//! Format: how `sub` prints a message, in the language of mosquitto_sub's `-F`.

mod clock;
mod json;

pub(crate) use clock::Timestamp;

use std::borrow::Cow;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use broker_codec::{PacketId, Publish};

/// A format string, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Field { name: char, layout: Layout },
    Time(char),
}

/// Flags and widths between `%` and the letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Layout {
    is_left: bool,
    is_zero_padded: bool,
    width: usize,
    max_width: Option<usize>,
}

impl Format {
    /// Only the payload.
    pub(crate) fn payload() -> Self {
        Self::of_fields(&['p'])
    }

    /// Topic, a space, the payload.
    pub(crate) fn verbose() -> Self {
        let mut format = Self::of_fields(&['t', 'p']);
        format.pieces.insert(1, Piece::Text(b" ".to_vec()));
        format
    }

    /// One JSON object.
    pub(crate) fn json() -> Self {
        Self::of_fields(&['j'])
    }

    fn of_fields(names: &[char]) -> Self {
        let field = |&name| Piece::Field { name, layout: Layout::default() };
        Self { pieces: names.iter().map(field).collect() }
    }

    /// Appends the message to `out`; fails only for `%J` with a payload that is not JSON.
    pub(crate) fn render(
        &self,
        publish: &Publish<'_>,
        at: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Time(name) => out.extend_from_slice(at.part(*name).as_bytes()),
                Piece::Field { name, layout } => {
                    let is_number = matches!(name, 'A' | 'E' | 'F' | 'l' | 'm' | 'S' | 'x' | 'X');
                    layout.put(&field(*name, publish, at)?, is_number, out);
                }
            }
        }
        Ok(())
    }
}

/// The value of one field; empty if the message has none.
fn field<'a>(name: char, publish: &Publish<'a>, at: Timestamp) -> Result<Cow<'a, [u8]>> {
    let properties = &publish.properties;
    let text = |text: Option<&'a str>| Cow::Borrowed(text.unwrap_or_default().as_bytes());
    let number = |number: Option<u32>| {
        Cow::Owned(number.map(|it| it.to_string()).unwrap_or_default().into_bytes())
    };
    Ok(match name {
        't' => Cow::Borrowed(publish.topic.as_bytes()),
        'p' => Cow::Borrowed(publish.payload),
        'l' => Cow::Owned(publish.payload.len().to_string().into_bytes()),
        'q' => number(Some(publish.qos.bits().into())),
        'r' => number(Some(publish.retain.into())),
        'm' => number(Some(publish.packet_id.map_or(0, PacketId::get).into())),
        'x' => hex(publish.payload, b"0123456789abcdef"),
        'X' => hex(publish.payload, b"0123456789ABCDEF"),
        'A' => number(properties.topic_alias().map(u32::from)),
        'C' => text(properties.content_type()),
        'D' => Cow::Borrowed(properties.correlation_data().unwrap_or_default()),
        'E' => number(properties.message_expiry_interval()),
        'F' => number(properties.payload_format_indicator().map(u32::from)),
        'R' => text(properties.response_topic()),
        'S' => {
            let ids = properties.subscription_identifiers().map(|id| id.to_string());
            Cow::Owned(ids.collect::<Vec<_>>().join(" ").into_bytes())
        }
        'P' => {
            let pairs = properties.user_properties().map(|(key, value)| format!("{key}:{value}"));
            Cow::Owned(pairs.collect::<Vec<_>>().join(" ").into_bytes())
        }
        'I' => Cow::Owned(at.iso_8601().into_bytes()),
        'U' => Cow::Owned(at.unix().into_bytes()),
        'j' => Cow::Owned(json::quoted(publish, at)),
        'J' => Cow::Owned(json::embedded(publish, at)?),
        _ => unreachable!("the format was checked when it was parsed"),
    })
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> Cow<'static, [u8]> {
    let both = |byte: &u8| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]];
    Cow::Owned(bytes.iter().flat_map(both).collect())
}

impl Layout {
    fn put(self, value: &[u8], is_number: bool, out: &mut Vec<u8>) {
        if self.width == 0 && self.max_width.is_none() {
            out.extend_from_slice(value);
            return;
        }
        // Widths count characters; bytes that are no text count as one each.
        let text = std::str::from_utf8(value).ok();
        let value = match (self.max_width, text) {
            (Some(max), Some(text)) => {
                let end = text.char_indices().nth(max).map_or(text.len(), |(at, _)| at);
                &value[..end]
            }
            (Some(max), None) => &value[..value.len().min(max)],
            (None, _) => value,
        };
        let len = std::str::from_utf8(value).map_or(value.len(), |it| it.chars().count());
        let fill = self.width.saturating_sub(len);
        let is_zero_padded = self.is_zero_padded && is_number && !self.is_left;
        let padding = std::iter::repeat_n(if is_zero_padded { b'0' } else { b' ' }, fill);
        if self.is_left {
            out.extend_from_slice(value);
            out.extend(padding);
        } else {
            out.extend(padding);
            out.extend_from_slice(value);
        }
    }
}

impl FromStr for Format {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let piece = match c {
                '%' => {
                    let layout = layout(&mut chars)?;
                    match chars.next().context("'%' at the end")? {
                        '%' => {
                            literal.push(b'%');
                            continue;
                        }
                        name if FIELDS.contains(name) => Piece::Field { name, layout },
                        name => bail!("'%{name}' is none of the fields {FIELDS}"),
                    }
                }
                '@' => match chars.next().context("'@' at the end")? {
                    '@' => {
                        literal.push(b'@');
                        continue;
                    }
                    name if clock::PARTS.contains(name) => Piece::Time(name),
                    name => bail!("'@{name}' is none of the parts {}", clock::PARTS),
                },
                '\\' => {
                    let escaped = chars.next().context("'\\' at the end")?;
                    let byte = escape(escaped).with_context(|| format!("unknown '\\{escaped}'"))?;
                    literal.push(byte);
                    continue;
                }
                other => {
                    literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }
}

fn layout(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Layout> {
    let mut layout = Layout::default();
    while let Some(flag) = chars.next_if(|it| matches!(it, '-' | '0')) {
        layout.is_left |= flag == '-';
        layout.is_zero_padded |= flag == '0';
    }
    layout.width = digits(chars)?.unwrap_or(0);
    if chars.next_if_eq(&'.').is_some() {
        layout.max_width = Some(digits(chars)?.context("'.' without a width")?);
    }
    Ok(layout)
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|it| it.to_digit(10)) {
        chars.next();
        number = Some(number.unwrap_or(0) * 10 + digit as usize);
        ensure!(number < Some(WIDTH_MAX), "width of {WIDTH_MAX} or more");
    }
    Ok(number)
}

const fn escape(c: char) -> Option<u8> {
    Some(match c {
        '\\' => b'\\',
        '0' => 0,
        'a' => 7,
        'e' => 27,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        _ => return None,
    })
}

const FIELDS: &str = "ACDEFIJPRSUXjlmpqrtx";
const WIDTH_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use broker_codec::{Properties, PropertiesBuf, Property, QoS};

    use super::*;

    fn render(format: &str, payload: &[u8], properties: Properties<'_>) -> String {
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: "a/ü",
            packet_id: PacketId::new(7),
            properties,
            payload,
        };
        let mut out = Vec::new();
        let at = Timestamp::from_unix(1_709_210_096, 42_000_000);
        format.parse::<Format>().unwrap().render(&publish, at, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn check(format: &str, expected: &str) {
        assert_eq!(render(format, b"hi", Properties::EMPTY), expected, "{format}");
    }

    #[test]
    fn fields_of_the_message() {
        check("%t %p", "a/ü hi");
        check("q%q r%r m%m l%l", "q1 r1 m7 l2");
        check("%x %X", "6869 6869");
        check("100%% @@ \\t\\\\", "100% @ \t\\");
        check("[%C%D%E%F%A%R%S%P]", "[]");
    }

    #[test]
    fn widths_pad_and_cut() {
        check("[%5t]", "[  a/ü]");
        check("[%-5t]", "[a/ü  ]");
        check("[%05l]", "[00002]");
        check("[%05t]", "[  a/ü]");
        check("[%.1t]", "[a]");
        check("[%3.2t]", "[ a/]");
    }

    #[test]
    fn time_is_utc() {
        check("%I", "2024-02-29T12:34:56Z");
        check("%U", "1709210096.042000000");
        check("@Y-@m-@d @H:@M:@S.@N @j", "2024-02-29 12:34:56.042000000 060");
    }

    #[test]
    fn properties_of_the_message() {
        let mut properties = PropertiesBuf::new();
        for property in [
            Property::ContentType("text"),
            Property::CorrelationData(b"c"),
            Property::MessageExpiryInterval(9),
            Property::PayloadFormatIndicator(1),
            Property::ResponseTopic("r"),
            Property::SubscriptionIdentifier(1),
            Property::SubscriptionIdentifier(2),
            Property::UserProperty("k", "v"),
            Property::UserProperty("k", "w"),
        ] {
            properties.push(property);
        }
        let all = render("%C|%D|%E|%F|%R|%S|%P", b"", properties.as_properties());
        assert_eq!(all, "text|c|9|1|r|1 2|k:v k:w");
        let json = render("%j", b"\"1\"", properties.as_properties());
        assert_eq!(
            json,
            concat!(
                r#"{"tst":"2024-02-29T12:34:56.042000Z","topic":"a/ü","qos":1,"retain":1,"#,
                r#""payloadlen":3,"mid":7,"properties":{"payload-format-indicator":1,"#,
                r#""message-expiry-interval":9,"content-type":"text","response-topic":"r","#,
                r#""correlation-data":"c","subscription-identifiers":[1,2],"#,
                r#""user-properties":[{"k":"v"},{"k":"w"}]},"payload":"\"1\""}"#
            )
        );
    }

    #[test]
    fn json_payload_is_text_base64_or_json() {
        let end = |format, payload| {
            let json = render(format, payload, Properties::EMPTY);
            json.split_once("\"mid\":7,").unwrap().1.to_owned()
        };
        assert_eq!(end("%j", b"a\nb"), r#""payload":"a\nb"}"#);
        assert_eq!(end("%j", b"\xFF\x00"), r#""payload_base64":"/wA="}"#);
        assert_eq!(end("%J", br#"{"b": 1}"#), r#""payload":{"b": 1}}"#);
    }

    #[test]
    fn refusal_says_what_is_wrong() {
        for (format, expected) in [
            ("%", "'%' at the end"),
            ("%k", "'%k' is none of the fields ACDEFIJPRSUXjlmpqrtx"),
            ("@k", "'@k' is none of the parts FHMNSTYZdjmsyz"),
            ("\\k", "unknown '\\k'"),
            ("%3.t", "'.' without a width"),
            ("%99999t", "width of 10000 or more"),
        ] {
            assert_eq!(format.parse::<Format>().unwrap_err().to_string(), expected);
        }
    }
}
