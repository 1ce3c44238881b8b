//! Strings: what users see as one character counts as one. The parts that are cut out are slices.

mod edit;
mod search;
mod split;

use unicode_segmentation::UnicodeSegmentation;

use super::{Call, Function};
use crate::error::RowError;
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    let mut list = vec![
        f("lower", 1..=1, "lower(s)", "In lower case.", &[("lower('ÄB')", "\"äb\"")], |c| {
            case(c, str::to_lowercase)
        }),
        f(
            "upper",
            1..=1,
            "upper(s)",
            "In upper case.",
            &[("upper('straße')", "\"STRASSE\"")],
            |c| case(c, str::to_uppercase),
        ),
        f(
            "trim",
            1..=1,
            "trim(s)",
            "Without white space at both ends.",
            &[("trim(' a b ')", "\"a b\"")],
            |c| Ok(c.part(0, c.utf8(0)?.trim_matches(is_blank))),
        ),
        f(
            "ltrim",
            1..=1,
            "ltrim(s)",
            "Without white space in front.",
            &[("ltrim(' a ')", "\"a \"")],
            |c| Ok(c.part(0, c.utf8(0)?.trim_start_matches(is_blank))),
        ),
        f(
            "rtrim",
            1..=2,
            "rtrim(s[, chars])",
            "Without white space at the end, or without any of the characters `chars` there.",
            &[("rtrim(' a ')", "\" a\""), ("rtrim('1.500', '0')", "\"1.5\"")],
            rtrim,
        ),
        f(
            "reverse",
            1..=1,
            "reverse(s)",
            "From its end to its start, by the characters that users see.",
            &[("reverse('añ')", "\"ña\"")],
            reverse,
        ),
        f(
            "strlen",
            1..=1,
            "strlen(s)",
            "How many characters it has, as users see them.",
            &[("strlen('你好')", "2"), ("strlen('')", "0")],
            strlen,
        ),
        f(
            "substr",
            2..=3,
            "substr(s, start[, len])",
            "From character `start` on, which counts from 0, at most `len` of them. Behind the end it is empty.",
            &[
                ("substr('abcd', 1, 2)", "\"bc\""),
                ("substr('abcd', 2)", "\"cd\""),
                ("substr('abcd', 9)", "\"\""),
                ("substr('abcd', -1)", "error: substr: argument 2: expected 0 or more"),
            ],
            substr,
        ),
        f(
            "ascii",
            1..=1,
            "ascii(s)",
            "The first byte as an integer.",
            &[
                ("ascii('a')", "97"),
                ("ascii('')", "error: ascii: argument 1: expected a string that is not empty"),
            ],
            ascii,
        ),
    ];
    list.extend(edit::list());
    list.extend(search::list());
    list.extend(split::list());
    list
}

fn case(call: &Call<'_>, change: fn(&str) -> String) -> Result<Value, RowError> {
    let text = call.utf8(0)?;
    // One character becomes three at most, so that this much is made at most three times.
    call.out().push(text.as_bytes())?;
    let mut out = call.out();
    out.push(change(text).as_bytes())?;
    Ok(out.done())
}

/// Pattern_White_Space of Unicode.
const fn is_blank(char: char) -> bool {
    matches!(char, '\t'..='\r' | ' ' | '\u{85}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

fn rtrim(call: &mut Call<'_>) -> Result<Value, RowError> {
    let text = call.utf8(0)?;
    if !call.has(1) {
        return Ok(call.part(0, text.trim_end_matches(is_blank)));
    }
    let chars = CharSet::new(call.utf8(1)?);
    Ok(call.part(0, text.trim_end_matches(|char| chars.contains(char))))
}

fn reverse(call: &mut Call<'_>) -> Result<Value, RowError> {
    let text = call.utf8(0)?;
    let mut out = call.out();
    for grapheme in text.graphemes(true).rev() {
        out.push(grapheme.as_bytes())?;
    }
    Ok(out.done())
}

fn strlen(call: &mut Call<'_>) -> Result<Value, RowError> {
    let len = graphemes(call.utf8(0)?);
    Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

/// How many graphemes it has. CR LF is the only one of ASCII with two characters.
fn graphemes(text: &str) -> usize {
    if is_simple(text) { text.len() } else { text.graphemes(true).count() }
}

/// True if each byte is a grapheme.
fn is_simple(text: &str) -> bool {
    text.is_ascii() && !text.contains('\r')
}

fn substr(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (text, start) = (call.utf8(0)?, call.count(1)?);
    let len = if call.has(2) { call.count(2)? } else { usize::MAX };
    let from = byte_of(text, start);
    let rest = &text[from..];
    Ok(call.part(0, &rest[..byte_of(rest, len)]))
}

/// Where grapheme `at` begins, or the end.
fn byte_of(text: &str, at: usize) -> usize {
    if is_simple(text) {
        return at.min(text.len());
    }
    // There is never one for each byte and more.
    if at >= text.len() {
        return text.len();
    }
    text.grapheme_indices(true).nth(at).map_or(text.len(), |(byte, _)| byte)
}

fn ascii(call: &mut Call<'_>) -> Result<Value, RowError> {
    match call.string(0)?.first() {
        Some(&byte) => Ok(Value::Int(byte.into())),
        None => Err(RowError::new("argument 1: expected a string that is not empty")),
    }
}

/// Characters that are looked for, of which there may be many.
struct CharSet(Vec<char>);

impl CharSet {
    fn new(chars: &str) -> Self {
        let mut chars: Vec<_> = chars.chars().collect();
        chars.sort_unstable();
        chars.dedup();
        Self(chars)
    }

    fn contains(&self, char: char) -> bool {
        self.0.binary_search(&char).is_ok()
    }
}

#[cfg(test)]
mod tests;
