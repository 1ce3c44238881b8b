//! Strings of JSON: slices of the text, unless escapes have to be written out.

use std::sync::Arc;

use super::Reader;
use crate::value::Value;

impl Reader<'_> {
    /// A string that begins here.
    // As a part of the caller it is moved twice more.
    #[inline(never)]
    pub(super) fn string(&mut self, to: &mut Value) -> Option<()> {
        let start = self.at + 1;
        self.at = self.plain_end(start)?;
        if self.take(b'"') {
            *to = Value::Str(self.text.slice(start..self.at - 1));
            return Some(());
        }
        *to = Value::Str(self.escaped(start)?.into());
        Some(())
    }

    /// A key that begins here.
    pub(super) fn key(&mut self) -> Option<Arc<str>> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        self.at = self.plain_end(start)?;
        if self.take(b'"') {
            return Some(self.keys.shared(&self.utf8[start..self.at - 1]));
        }
        self.escaped(start).map(|key| self.keys.shared(&key))
    }

    /// Where a quote, a backslash or a control character comes next.
    fn plain_end(&self, from: usize) -> Option<usize> {
        let rest = self.bytes.get(from..)?;
        let mut chunks = rest.chunks_exact(8);
        let mut at = from;
        for chunk in &mut chunks {
            let found = ends(u64::from_le_bytes(chunk.try_into().ok()?));
            if found != 0 {
                return Some(at + (found.trailing_zeros() / 8) as usize);
            }
            at += 8;
        }
        let is_end = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        chunks.remainder().iter().position(is_end).map(|found| at + found)
    }

    /// The string from `start` on, when a quote does not come first at the place that was reached.
    fn escaped(&mut self, start: usize) -> Option<String> {
        let mut text = self.utf8[start..self.at].to_owned();
        loop {
            match self.next()? {
                b'"' => return Some(text),
                b'\\' => text.push(self.escape()?),
                // A control character.
                _ => return None,
            }
            let plain = self.at;
            self.at = self.plain_end(plain)?;
            text.push_str(&self.utf8[plain..self.at]);
        }
    }

    /// What is behind a backslash.
    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            plain @ (b'"' | b'\\' | b'/') => plain.into(),
            b'u' => {
                let first = self.hex()?;
                // A pair of surrogates is one character; one alone is none.
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first);
                }
                if !self.take(b'\\') || !self.take(b'u') {
                    return None;
                }
                let second = self.hex()?.checked_sub(0xdc00).filter(|second| *second < 0x400)?;
                return char::from_u32(0x10000 + ((first - 0xd800) << 10 | second));
            }
            _ => return None,
        })
    }

    /// Four hexadecimal digits.
    fn hex(&mut self) -> Option<u32> {
        let mut value = 0;
        for _ in 0..4 {
            value = value << 4 | char::from(self.next()?).to_digit(16)?;
        }
        Some(value)
    }
}

/// Bit 7 of the first of eight bytes that is a quote, a backslash or a control character. Those above it may be set
/// without reason, for a subtraction borrows from them.
const fn ends(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x80 * ONES;
    let quotes = bytes ^ (b'"' as u64 * ONES);
    let slashes = bytes ^ (b'\\' as u64 * ONES);
    let quote = quotes.wrapping_sub(ONES) & !quotes;
    let slash = slashes.wrapping_sub(ONES) & !slashes;
    let control = bytes.wrapping_sub(0x20 * ONES) & !bytes;
    (quote | slash | control) & TOPS
}
