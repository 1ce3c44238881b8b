//! Formats of dates: writing them and reading them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::out::Out;
use crate::error::RowError;

/// One piece of a format.
enum Piece<'a> {
    Plain(&'a str),
    /// A number with so many digits.
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// So many decimals of a second.
    Decimals(usize),
    /// With a colon or without.
    Offset(&'static str),
}

/// Cuts the first piece off a format that is not empty.
fn piece(format: &str) -> Result<(Piece<'_>, &str), RowError> {
    let Some(rest) = format.strip_prefix('%') else {
        let end = format.find('%').unwrap_or(format.len());
        return Ok((Piece::Plain(&format[..end]), &format[end..]));
    };
    let directives = [
        ("%", Piece::Plain("%")),
        ("Y", Piece::Year),
        ("m", Piece::Month),
        ("d", Piece::Day),
        ("H", Piece::Hour),
        ("M", Piece::Minute),
        ("S", Piece::Second),
        ("N", Piece::Decimals(9)),
        ("3N", Piece::Decimals(3)),
        ("6N", Piece::Decimals(6)),
        ("z", Piece::Offset("")),
        (":z", Piece::Offset(":")),
    ];
    directives
        .into_iter()
        .find_map(|(name, piece)| Some((piece, rest.strip_prefix(name)?)))
        .ok_or_else(|| RowError::new("an unknown directive in the format"))
}

/// Writes a moment.
pub(super) fn format(
    out: &mut Out,
    format: &str,
    moment: Timestamp,
    offset: Offset,
) -> Result<(), RowError> {
    let time = offset.to_datetime(moment);
    let mut rest = format;
    while !rest.is_empty() {
        let (first, behind) = piece(rest)?;
        rest = behind;
        let text = match first {
            Piece::Plain(text) => {
                out.push(text.as_bytes())?;
                continue;
            }
            Piece::Year => format!("{:04}", time.year()),
            Piece::Month => format!("{:02}", time.month()),
            Piece::Day => format!("{:02}", time.day()),
            Piece::Hour => format!("{:02}", time.hour()),
            Piece::Minute => format!("{:02}", time.minute()),
            Piece::Second => format!("{:02}", time.second()),
            Piece::Decimals(count) => {
                format!("{:09}", time.subsec_nanosecond())[..count].to_owned()
            }
            Piece::Offset(colon) => {
                let minutes = offset.seconds().unsigned_abs() / 60;
                let sign = if offset.seconds() < 0 { '-' } else { '+' };
                format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
            }
        };
        out.push(text.as_bytes())?;
    }
    Ok(())
}

/// Reads a moment. What the format does not name is the start of 1970.
pub(super) fn parse(format: &str, text: &str, default: Offset) -> Result<Timestamp, RowError> {
    let not_of_it = || RowError::new("not of the format");
    let [mut year, mut month, mut day, mut hour, mut minute, mut second, mut ns] =
        [1970, 1, 1, 0, 0, 0, 0];
    let mut offset = default;
    let (mut format, mut text) = (format, text);
    while !format.is_empty() {
        let (first, behind) = piece(format)?;
        format = behind;
        let (field, digits) = match first {
            Piece::Plain(plain) => {
                text = text.strip_prefix(plain).ok_or_else(not_of_it)?;
                continue;
            }
            Piece::Offset(_) => {
                (offset, text) = parse_offset(text).ok_or_else(not_of_it)?;
                continue;
            }
            Piece::Year => (&mut year, 4),
            Piece::Month => (&mut month, 2),
            Piece::Day => (&mut day, 2),
            Piece::Hour => (&mut hour, 2),
            Piece::Minute => (&mut minute, 2),
            Piece::Second => (&mut second, 2),
            Piece::Decimals(count) => (&mut ns, count),
        };
        (*field, text) = number(text, digits).ok_or_else(not_of_it)?;
        if let Piece::Decimals(count) = first {
            ns *= 10_i32.pow(u32::try_from(9 - count).unwrap_or_default());
        }
    }
    if !text.is_empty() {
        return Err(not_of_it());
    }
    let small = |number: i32| i8::try_from(number).map_err(|_| not_of_it());
    let year = i16::try_from(year).map_err(|_| not_of_it())?;
    let (month, day) = (small(month)?, small(day)?);
    let (hour, minute, second) = (small(hour)?, small(minute)?, small(second)?);
    DateTime::new(year, month, day, hour, minute, second, ns)
        .and_then(|time| offset.to_timestamp(time))
        .map_err(|_| RowError::new("there is no such time"))
}

/// Reads `Z`, `+hh:mm` or `+hhmm`, and says what is behind it.
pub(super) fn parse_offset(text: &str) -> Option<(Offset, &str)> {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return Some((Offset::UTC, rest));
    }
    let (sign, rest) = match text.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, text.strip_prefix('-')?),
    };
    let (hours, rest) = number(rest, 2)?;
    let (minutes, rest) = number(rest.strip_prefix(':').unwrap_or(rest), 2)?;
    if minutes > 59 {
        return None;
    }
    Some((Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?, rest))
}

/// Just so many digits, at most nine.
fn number(text: &str, digits: usize) -> Option<(i32, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, rest))
}
