//! JSON to values. Written by hand, for values are slices of the text and keys are shared; a visitor of serde_json
//! takes nearly twice as long.

mod number;
mod string;

use bytes::Bytes;

use super::keys::{self, Keys};
use crate::value::{Building, Value};

/// Reads a whole text with at most `depth` levels of nesting.
pub(super) fn read(text: &Bytes, depth: usize) -> Option<Value> {
    // Once for all of it, which is cheaper than for each string.
    let utf8 = std::str::from_utf8(text).ok()?;
    keys::with(|keys| {
        let mut reader = Reader { text, utf8, bytes: text, at: 0, keys };
        let mut value = Value::Undefined;
        reader.value(depth, &mut value)?;
        reader.skip_blanks();
        (reader.at == text.len()).then_some(value)
    })
}

struct Reader<'a> {
    text: &'a Bytes,
    /// The same.
    utf8: &'a str,
    /// The same.
    bytes: &'a [u8],
    at: usize,
    keys: &'a mut Keys,
}

impl Reader<'_> {
    /// Reads a value, with blanks in front, to where it stays.
    fn value(&mut self, depth: usize, to: &mut Value) -> Option<()> {
        self.skip_blanks();
        match self.peek()? {
            b'"' => self.string(to),
            b'-' | b'0'..=b'9' => self.number(to),
            b'{' => self.object(depth.checked_sub(1)?, to),
            b'[' => self.array(depth.checked_sub(1)?, to),
            b't' => {
                *to = Value::Bool(true);
                self.word("true")
            }
            b'f' => {
                *to = Value::Bool(false);
                self.word("false")
            }
            b'n' => {
                *to = Value::Null;
                self.word("null")
            }
            _ => None,
        }
    }

    fn object(&mut self, depth: usize, to: &mut Value) -> Option<()> {
        self.at += 1;
        let mut map = Building::default();
        self.skip_blanks();
        let mut is_over = self.take(b'}');
        while !is_over {
            self.skip_blanks();
            let key = self.key()?;
            self.skip_blanks();
            if !self.take(b':') {
                return None;
            }
            self.value(depth, map.place(key))?;
            is_over = self.is_over(b'}')?;
        }
        *to = Value::Map(map.done().into());
        Some(())
    }

    fn array(&mut self, depth: usize, to: &mut Value) -> Option<()> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        let mut is_over = self.take(b']');
        while !is_over {
            items.push(Value::Undefined);
            self.value(depth, items.last_mut()?)?;
            is_over = self.is_over(b']')?;
        }
        *to = Value::Array(items.into());
        Some(())
    }

    /// Whether the end comes next, and not another item.
    fn is_over(&mut self, end: u8) -> Option<bool> {
        self.skip_blanks();
        match self.next()? {
            b',' => Some(false),
            byte => (byte == end).then_some(true),
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let is_it = self.bytes[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        is_it.then_some(())
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Steps over a byte, if it is the next.
    fn take(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }
}
