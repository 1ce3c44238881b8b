//! Data representations of MQTT 5.0, 1.5: integers, UTF-8 Encoded String, Binary Data, both ways.

use nom::bytes::complete::take;
use nom::number::complete::be_u16;
use nom::{IResult, Parser};

use crate::error::DecodeError;
use crate::packet::PacketId;
use crate::topic;

/// What a nom parser of this crate returns.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, DecodeError>;

/// Which characters a UTF-8 Encoded String may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Utf8Rule {
    /// All but U+0000 [MQTT-1.5.4-2].
    Lenient,
    /// No control characters and no non-characters either, which are a SHOULD NOT (MQTT 5.0, 1.5.4).
    Strict,
}

impl Utf8Rule {
    /// Checks the characters of `text`.
    pub(crate) fn check(self, text: &str) -> Result<(), DecodeError> {
        let refused = match self {
            // No early exit: the loop becomes vector code, and a hit is the end of the connection anyway.
            Self::Lenient if !text.bytes().fold(false, |nul, byte| nul | (byte == 0)) => None,
            Self::Lenient => Some('\0'),
            Self::Strict => text.chars().find(|&c| is_discouraged(c)),
        };
        match refused {
            None => Ok(()),
            Some(c) => Err(DecodeError::ForbiddenCharacter { character: u32::from(c) }),
        }
    }
}

fn is_discouraged(c: char) -> bool {
    let code = u32::from(c);
    c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

/// Variable Byte Integer: at most four bytes and no more than needed [MQTT-1.5.5-1].
#[inline]
pub(crate) fn variable_byte_integer(input: &[u8]) -> Parsed<'_, u32> {
    let mut value = 0;
    for (i, &byte) in input.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            if byte == 0 && i > 0 {
                return Err(nom::Err::Failure(DecodeError::VariableByteInteger));
            }
            return Ok((&input[i + 1..], value));
        }
    }
    Err(if input.len() < 4 {
        nom::Err::Error(DecodeError::Truncated)
    } else {
        nom::Err::Failure(DecodeError::VariableByteInteger)
    })
}

/// Binary Data: two bytes of length, then the bytes.
#[inline]
pub(crate) fn binary(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (input, len) = be_u16(input)?;
    take(len)(input)
}

/// UTF-8 Encoded String.
#[inline]
pub(crate) fn string<'a>(rule: Utf8Rule) -> impl Fn(&'a [u8]) -> Parsed<'a, &'a str> {
    move |input| {
        let (rest, bytes) = binary(input)?;
        let text = utf8(bytes)?;
        rule.check(text).map_err(nom::Err::Failure)?;
        Ok((rest, text))
    }
}

/// UTF-8 String Pair.
pub(crate) fn string_pair<'a>(
    rule: Utf8Rule,
) -> impl Fn(&'a [u8]) -> Parsed<'a, (&'a str, &'a str)> {
    move |input| (string(rule), string(rule)).parse(input)
}

/// A Topic Name, which may be empty: only the caller knows of a Topic Alias.
///
/// On the path of every PUBLISH, hence one scan for all that is refused instead of one per rule.
#[inline]
pub(crate) fn topic_name<'a>(rule: Utf8Rule) -> impl Fn(&'a [u8]) -> Parsed<'a, &'a str> {
    move |input| {
        let (rest, bytes) = binary(input)?;
        let name = utf8(bytes)?;
        let suspect = bytes.iter().fold(false, |hit, byte| hit | matches!(byte, 0 | b'+' | b'#'));
        if suspect || rule == Utf8Rule::Strict {
            rule.check(name).map_err(nom::Err::Failure)?;
            if let Err(error) = topic::validate_name(name)
                && !name.is_empty()
            {
                return Err(nom::Err::Failure(DecodeError::TopicName(error)));
            }
        }
        Ok((rest, name))
    }
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, nom::Err<DecodeError>> {
    std::str::from_utf8(bytes).map_err(|_| nom::Err::Failure(DecodeError::InvalidUtf8))
}

/// Packet Identifier, not zero [MQTT-2.2.1-3].
#[inline]
pub(crate) fn packet_id(input: &[u8]) -> Parsed<'_, PacketId> {
    let (rest, id) = be_u16(input)?;
    match PacketId::new(id) {
        Some(id) => Ok((rest, id)),
        None => Err(nom::Err::Failure(DecodeError::ZeroPacketId)),
    }
}

/// Refuses what is left of a body after its last field.
pub(crate) fn end(rest: &[u8]) -> Result<(), DecodeError> {
    if rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes { bytes: rest.len() }) }
}

/// Largest value of a Variable Byte Integer.
pub(crate) const VARIABLE_BYTE_INTEGER_MAX: usize = 268_435_455;

/// Bytes that `value` takes as a Variable Byte Integer; 5 if it is too large for one.
pub(crate) const fn variable_byte_integer_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        2_097_152..=VARIABLE_BYTE_INTEGER_MAX => 4,
        _ => 5,
    }
}

#[inline]
pub(crate) fn put_variable_byte_integer(out: &mut Vec<u8>, value: usize) {
    debug_assert!(value <= VARIABLE_BYTE_INTEGER_MAX, "the caller checks the packet's length");
    let mut value = value;
    while value > 127 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes Binary Data; what exceeds 65,535 bytes is cut, so that the packet stays well formed.
#[inline]
pub(crate) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Writes a UTF-8 Encoded String, cut like [`put_binary`] but between characters.
#[inline]
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_binary(out, &text.as_bytes()[..text.floor_char_boundary(usize::from(u16::MAX))]);
}

/// Bytes that [`put_binary`] writes.
pub(crate) fn binary_len(bytes: &[u8]) -> usize {
    2 + bytes.len().min(usize::from(u16::MAX))
}

/// Bytes that [`put_string`] writes.
pub(crate) fn string_len(text: &str) -> usize {
    2 + text.floor_char_boundary(usize::from(u16::MAX))
}
