//! Envelope: an item of a sink as bytes: a body, and where it goes.
//!
//! ```text
//! body   label   u8 flag   u32 label bytes
//! ```

use bytes::Bytes;

/// What was sealed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) body: &'a [u8],
    /// A path or a topic.
    pub(crate) label: &'a str,
    pub(crate) flag: bool,
}

/// Puts the label behind the body, so that the body is not moved.
pub(crate) fn seal(mut body: Vec<u8>, label: &str, flag: bool) -> Bytes {
    body.reserve_exact(label.len() + 5);
    body.extend_from_slice(label.as_bytes());
    body.push(flag.into());
    // A label comes from a template, whose output is bounded.
    body.extend_from_slice(&(label.len() as u32).to_le_bytes());
    body.into()
}

impl<'a> Envelope<'a> {
    /// `None` for bytes that were never sealed.
    pub(crate) fn open(bytes: &'a [u8]) -> Option<Self> {
        let (rest, len) = bytes.split_last_chunk::<4>()?;
        let (flag, rest) = rest.split_last()?;
        let at = rest.len().checked_sub(u32::from_le_bytes(*len) as usize)?;
        let (body, label) = rest.split_at(at);
        Some(Self { body, label: std::str::from_utf8(label).ok()?, flag: *flag != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened() {
        for (body, label, flag) in [("", "", false), ("body", "a/b", true), ("x", "", true)] {
            let sealed = seal(body.into(), label, flag);
            let envelope = Envelope { body: body.as_bytes(), label, flag };
            assert_eq!(Envelope::open(&sealed), Some(envelope));
        }
        for bytes in [&b""[..], b"\0\0\0\0", b"x\0\xff\0\0\0", b"\xff\0\x01\0\0\0"] {
            assert_eq!(Envelope::open(bytes), None, "{bytes:?}");
        }
    }
}
