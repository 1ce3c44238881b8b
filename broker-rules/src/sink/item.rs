//! Item: what a sink keeps and delivers, and how it stands in a file.
//!
//! ```text
//! u32 body bytes   u32 crc32(body bytes, time, owner, body)   u64 time   u64 owner   body
//! ```
//!
//! All numbers are little endian.

use std::fmt;

use bytes::{Buf, Bytes};
use crc32fast::Hasher;

/// Bytes ahead of a body in a file.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// What an item takes in memory beyond its bytes, roughly.
const OVERHEAD_BYTES: usize = 64;

/// Whose an item is: an action that counts what becomes of it. The numbers of one run mean nothing to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub(super) u64);

impl Owner {
    /// Of no action.
    #[cfg(test)]
    pub(crate) const fn nobody() -> Self {
        Self(0)
    }
}

/// One thing for the remote side. Its bytes mean something to the [`Remote`](super::Remote) alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// When it was pushed, in milliseconds since the Unix epoch.
    pub pushed_ms: u64,
    /// Whose it is.
    pub owner: Owner,
    /// What is to be delivered.
    pub bytes: Bytes,
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// An item, and how many bytes its record has.
    Item(Item, usize),
    /// A whole record whose checksum is wrong; so many bytes, if its length is right.
    Damaged(usize),
    /// The bytes end inside a record that needs so many.
    Short(usize),
    /// Nothing was ever written here.
    Void,
}

impl Item {
    /// Bytes it is counted with in memory.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + OVERHEAD_BYTES
    }

    /// Appends its record.
    ///
    /// The buffer has refused bodies beyond 4 GiB long before.
    pub(super) fn put_record(&self, out: &mut Vec<u8>) {
        let len = (self.bytes.len() as u32).to_le_bytes();
        let mut header = [0; 16];
        header[..8].copy_from_slice(&self.pushed_ms.to_le_bytes());
        header[8..].copy_from_slice(&self.owner.0.to_le_bytes());
        out.extend_from_slice(&len);
        out.extend_from_slice(&checksum(&len, &header, &self.bytes).to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&self.bytes);
    }

    /// Reads the record at the start of `bytes`; the item shares their memory.
    pub(super) fn read_record(bytes: &Bytes) -> Record {
        let Some(header) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else {
            return Record::Short(RECORD_HEADER_BYTES);
        };
        if *header == [0; RECORD_HEADER_BYTES] {
            return Record::Void;
        }
        let (len, rest) = header.split_first_chunk::<4>().expect("a header is longer");
        let (expected, rest) = rest.split_first_chunk::<4>().expect("a header is longer");
        let rest: &[u8; 16] = rest.try_into().expect("that is the rest of a header");
        let record_bytes = RECORD_HEADER_BYTES.saturating_add(u32::from_le_bytes(*len) as usize);
        if bytes.len() < record_bytes {
            return Record::Short(record_bytes);
        }
        let body = bytes.slice(RECORD_HEADER_BYTES..record_bytes);
        if checksum(len, rest, &body) != u32::from_le_bytes(*expected) {
            return Record::Damaged(record_bytes);
        }
        let mut rest = &rest[..];
        let (pushed_ms, owner) = (rest.get_u64_le(), Owner(rest.get_u64_le()));
        Record::Item(Self { pushed_ms, owner, bytes: body }, record_bytes)
    }
}

impl fmt::Debug for Item {
    /// Without its bytes: they are somebody's payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({} ms, {} bytes)", self.pushed_ms, self.bytes.len())
    }
}

fn checksum(len: &[u8; 4], rest: &[u8; 16], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(len);
    hasher.update(rest);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (Item, Vec<u8>) {
        let bytes = Bytes::from_static(b"body");
        let item = Item { pushed_ms: 1_700_000_000_123, owner: Owner(7), bytes };
        let mut bytes = Vec::new();
        item.put_record(&mut bytes);
        (item, bytes)
    }

    #[test]
    fn a_record_reads_back() {
        let (item, bytes) = record();
        assert_eq!(bytes.len(), RECORD_HEADER_BYTES + item.bytes.len());
        let n = bytes.len();
        assert_eq!(Item::read_record(&bytes.into()), Record::Item(item, n));
    }

    #[test]
    fn any_changed_bit_is_noticed_and_a_cut_record_is_short() {
        let (_, bytes) = record();
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(
                matches!(Item::read_record(&changed.into()), Record::Damaged(_) | Record::Short(_)),
                "bit {at}"
            );
        }
        for len in 0..bytes.len() {
            let cut = Bytes::copy_from_slice(&bytes[..len]);
            assert!(matches!(Item::read_record(&cut), Record::Short(n) if n > len), "{len}");
        }
        assert_eq!(Item::read_record(&vec![0; 60].into()), Record::Void);
    }

    #[test]
    fn debugging_shows_no_body() {
        assert_eq!(format!("{:?}", record().0), "Item(1700000000123 ms, 4 bytes)");
    }
}
