//! Frame: the unit the log is written in; 32 bytes of header, then the payload, padded to 8 bytes.
//!
//! ```text
//! u32 magic   u8 version   u8 flags   u16 records (0: not counted)
//! u32 payload bytes        u32 crc32(payload)
//! u64 lsn     u32 low bits of (durable lsn / 8) when it was appended
//! u32 crc32(store id, segment number, the 28 bytes before)
//! ```
//!
//! All numbers are little endian. The header's checksum is salted with the store and the segment, so that what
//! an earlier life of a reused file left behind never passes for new.

use broker_core::store::Lsn;
use crc32fast::Hasher;

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 32;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// Version of the format that this build writes and reads.
pub(crate) const VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"mqLg";

/// What a frame is, besides a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// A whole payload.
    pub(crate) const WHOLE: Self = Self(0);
    /// The payload goes on in the next frame.
    pub(crate) const CONTINUES: Self = Self(1);
    /// Nothing follows in this segment.
    pub(crate) const END: Self = Self(1 << 1);
    /// The store was closed in order; everything before is durable.
    pub(crate) const CLEAN_SHUTDOWN: Self = Self(1 << 2);
    /// The payload belongs to that of the frame before.
    pub(crate) const FOLLOWS: Self = Self(1 << 3);
    /// First frame after a start: the payload is the LSN at which the log before it ended. Whatever lies
    /// between there and here is void.
    pub(crate) const RESUME: Self = Self(1 << 4);

    /// For fuzzing.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What the checksums of one segment's headers begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(u32);

impl Salt {
    pub(crate) fn new(store_id: &[u8; 16], segment: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(store_id);
        hasher.update(&segment.to_le_bytes());
        Self(hasher.finalize())
    }

    fn checksum(self, header: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(header);
        hasher.finalize()
    }
}

/// A header in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) flags: Flags,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_checksum: u32,
    /// Where the header stands.
    pub(crate) lsn: Lsn,
    /// Everything before it was durable when the frame was appended; never more than `lsn`.
    pub(crate) durable: Lsn,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// They are not: zeros, another life of the file, damage.
    Invalid,
    /// They are, of a version that this build does not know.
    Version(u8),
}

impl Header {
    pub(crate) fn encode(&self, salt: Salt) -> [u8; HEADER_BYTES] {
        debug_assert!(self.durable <= self.lsn, "{self:?}");
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.flags.0;
        bytes[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.lsn.to_le_bytes());
        bytes[24..28].copy_from_slice(&low_bits(self.durable).to_le_bytes());
        let checksum = salt.checksum(&bytes[..28]);
        bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header that should stand at `lsn`.
    pub(crate) fn parse(
        bytes: &[u8; HEADER_BYTES],
        salt: Salt,
        lsn: Lsn,
    ) -> Result<Self, NoHeader> {
        if bytes[0..4] != MAGIC
            || u64_at(bytes, 16) != lsn
            || salt.checksum(&bytes[..28]) != u32_at(bytes, 28)
        {
            return Err(NoHeader::Invalid);
        }
        if bytes[4] != VERSION {
            return Err(NoHeader::Version(bytes[4]));
        }
        // The distance back is less than 32 GiB: the buffer of what is not yet durable is far smaller.
        let back = low_bits(lsn).wrapping_sub(u32_at(bytes, 24));
        Ok(Self {
            flags: Flags(bytes[5]),
            payload_bytes: u32_at(bytes, 8),
            payload_checksum: u32_at(bytes, 12),
            lsn,
            durable: lsn.saturating_sub(u64::from(back) * ALIGN as u64),
        })
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload_bytes as usize)
    }

    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes as usize
            && crc32fast::hash(payload) == self.payload_checksum
    }
}

/// True if bytes that are no header at `lsn` are what is left of one, or the beginning of one: not zeros, not
/// an older life of the file.
pub(crate) fn is_torn_header(
    bytes: &[u8; HEADER_BYTES],
    store_id: &[u8; 16],
    segment_bytes: u64,
    lsn: Lsn,
) -> bool {
    if u64_at(bytes, 16) == lsn {
        return true;
    }
    if bytes[0..4] != MAGIC {
        return false;
    }
    let was = u64_at(bytes, 16);
    let salt = Salt::new(store_id, was / segment_bytes);
    Header::parse(bytes, salt, was).is_err()
}

/// Bytes of the frame that a torn header announces.
pub(crate) fn announced_bytes(bytes: &[u8; HEADER_BYTES]) -> u64 {
    frame_bytes(u32_at(bytes, 8) as usize)
}

/// Bytes of a frame with a payload of so many.
pub(crate) const fn frame_bytes(payload_bytes: usize) -> u64 {
    HEADER_BYTES as u64 + (payload_bytes as u64).next_multiple_of(ALIGN as u64)
}

/// The first place from `from` on at which `bytes` hold a header; `lsn` is where they begin in the log.
///
/// Both are multiples of [`ALIGN`].
pub(crate) fn find_header(
    bytes: &[u8],
    from: usize,
    salt: Salt,
    lsn: Lsn,
) -> Option<(usize, Header)> {
    let mut at = from;
    while let Some(candidate) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        if candidate[0..4] == MAGIC
            && let Ok(header) = Header::parse(candidate, salt, lsn + at as u64)
        {
            return Some((at, header));
        }
        at += ALIGN;
    }
    None
}

fn low_bits(lsn: Lsn) -> u32 {
    (lsn / ALIGN as u64) as u32
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORE: [u8; 16] = [7; 16];
    const SEGMENT: u64 = 4096;

    fn header(lsn: Lsn, durable: Lsn) -> Header {
        Header {
            flags: Flags::CONTINUES.with(Flags::FOLLOWS),
            payload_bytes: 13,
            payload_checksum: 99,
            lsn,
            durable,
        }
    }

    #[test]
    fn what_is_encoded_is_parsed() {
        let salt = Salt::new(&STORE, 3);
        for (lsn, durable) in [(12_288, 0), (12_288, 12_288), (1 << 40, (1 << 40) - 4096)] {
            let header = header(lsn, durable);
            assert_eq!(Header::parse(&header.encode(salt), salt, lsn), Ok(header));
        }
    }

    #[test]
    fn another_segment_another_store_or_another_place_is_no_header() {
        let bytes = header(12_288, 0).encode(Salt::new(&STORE, 3));
        for (store, segment, lsn) in [(STORE, 4, 12_288), ([8; 16], 3, 12_288), (STORE, 3, 12_296)]
        {
            let parsed = Header::parse(&bytes, Salt::new(&store, segment), lsn);
            assert_eq!(parsed, Err(NoHeader::Invalid));
        }
    }

    #[test]
    fn every_flipped_bit_is_seen_and_taken_for_a_torn_header() {
        let salt = Salt::new(&STORE, 3);
        let bytes = header(12_288, 8192).encode(salt);
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&flipped, salt, 12_288), Err(NoHeader::Invalid), "{bit}");
            assert!(is_torn_header(&flipped, &STORE, SEGMENT, 12_288), "{bit}");
        }
    }

    #[test]
    fn zeros_and_an_older_life_are_no_torn_header() {
        assert!(!is_torn_header(&[0; HEADER_BYTES], &STORE, SEGMENT, 12_288));
        let older = header(4096, 4096).encode(Salt::new(&STORE, 1));
        assert!(!is_torn_header(&older, &STORE, SEGMENT, 12_288));
    }

    #[test]
    fn another_version_is_named() {
        let salt = Salt::new(&STORE, 3);
        let mut bytes = header(12_288, 0).encode(salt);
        bytes[4] = 9;
        let checksum = salt.checksum(&bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Header::parse(&bytes, salt, 12_288), Err(NoHeader::Version(9)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            lsn in any::<u64>(),
        ) {
            let salt = Salt::new(&STORE, 1);
            let lsn = lsn / 16 * 8;
            prop_assert!(find_header(&bytes, 0, salt, lsn).is_none());
            if let Some(header) = bytes.first_chunk() {
                let _ = Header::parse(header, salt, lsn);
                let _ = is_torn_header(header, &STORE, SEGMENT, lsn);
                let _ = announced_bytes(header);
            }
        }

        #[test]
        fn a_header_is_found_behind_anything(
            junk in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let salt = Salt::new(&STORE, 3);
            let mut bytes = junk;
            bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
            let at = bytes.len();
            let header = header(12_288 + at as u64, 0);
            bytes.extend_from_slice(&header.encode(salt));
            prop_assert_eq!(find_header(&bytes, 0, salt, 12_288), Some((at, header)));
        }
    }
}
