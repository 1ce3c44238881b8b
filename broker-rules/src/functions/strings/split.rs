//! Cutting strings into pieces.

use bytes::Bytes;
use memchr::memmem;

use super::CharSet;
use crate::error::RowError;
use crate::functions::{Call, Function};
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "split",
            2..=3,
            "split(s, sep[, mode])",
            "The parts between separators, without empty ones. `mode` is `notrim` (with empty ones), `leading` or `trailing` (one cut, at the first or last separator), `leading_notrim` or `trailing_notrim`.",
            &[
                ("split('/a//b', '/')", "[\"a\",\"b\"]"),
                ("split('', '/')", "[]"),
                ("split('/', '/', 'notrim')", "[\"\",\"\"]"),
                ("split('a/b/c', '/', 'leading')", "[\"a\",\"b/c\"]"),
                ("split('a/b/c', '/', 'trailing')", "[\"a/b\",\"c\"]"),
                ("split('a/', '/', 'trailing_notrim')", "[\"a\",\"\"]"),
                ("split('ab', '')", "[\"ab\"]"),
            ],
            split,
        ),
        f(
            "tokens",
            2..=3,
            "tokens(s, seps[, 'nocrlf'])",
            "The parts between any of the characters `seps`, without empty ones. `nocrlf` cuts at CR and LF too.",
            &[
                ("tokens('a,b;;c', ',;')", "[\"a\",\"b\",\"c\"]"),
                ("tokens(unescape('a,b\\r\\n'), ',', 'nocrlf')", "[\"a\",\"b\"]"),
            ],
            tokens,
        ),
    ]
}

fn split(call: &mut Call<'_>) -> Result<Value, RowError> {
    let modes = ["all", "notrim", "leading", "trailing", "leading_notrim", "trailing_notrim"];
    let mode = call.one_of(2, "all", &modes)?;
    let (text, separator) = (call.string(0)?, call.string(1)?);
    let mut pieces = Pieces::new(call, text, !mode.ends_with("notrim"));
    if separator.is_empty() {
        pieces.push(text)?;
        return Ok(pieces.done());
    }
    let mut rest = &text[..];
    if mode.starts_with("trailing") {
        if let Some(at) = memmem::rfind(rest, separator) {
            pieces.push(&rest[..at])?;
            rest = &rest[at + separator.len()..];
        }
        pieces.push(rest)?;
        return Ok(pieces.done());
    }
    let finder = memmem::Finder::new(separator);
    while let Some(at) = finder.find(rest) {
        pieces.push(&rest[..at])?;
        rest = &rest[at + separator.len()..];
        if mode.starts_with("leading") {
            break;
        }
    }
    pieces.push(rest)?;
    Ok(pieces.done())
}

fn tokens(call: &mut Call<'_>) -> Result<Value, RowError> {
    let cuts_lines = call.one_of(2, "", &["nocrlf"])? == "nocrlf";
    let (text, separators) = (call.utf8(0)?, CharSet::new(call.utf8(1)?));
    let mut pieces = Pieces::new(call, call.string(0)?, true);
    let is_cut = |char| separators.contains(char) || (cuts_lines && matches!(char, '\r' | '\n'));
    for piece in text.split(is_cut) {
        pieces.push(piece.as_bytes())?;
    }
    Ok(pieces.done())
}

/// The pieces of a string so far.
struct Pieces<'a> {
    whole: &'a Bytes,
    drops_empty: bool,
    call: &'a Call<'a>,
    pieces: Vec<Value>,
}

impl<'a> Pieces<'a> {
    const fn new(call: &'a Call<'a>, whole: &'a Bytes, drops_empty: bool) -> Self {
        Self { whole, drops_empty, call, pieces: Vec::new() }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), RowError> {
        if self.drops_empty && piece.is_empty() {
            return Ok(());
        }
        self.call.check_items(self.pieces.len() + 1)?;
        self.pieces.push(Value::Str(self.whole.slice_ref(piece)));
        Ok(())
    }

    fn done(self) -> Value {
        Value::Array(self.pieces.into())
    }
}
