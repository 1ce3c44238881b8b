//! Snapshot: a file of blocks of records, the state of the broker between two places of the log.
//!
//! ```text
//! header  u32 magic  u32 format  [16] store id  u64 from (P)  u32 crc32 of the bytes before
//! block   u32 length  u32 crc32 of the bytes  bytes
//! footer  u32 0  u64 to (Q)  u64 blocks  u64 bytes of all blocks  u32 crc32 over the blocks' checksums
//!         u32 crc32 over header and footer
//! ```
//! Numbers are little endian. A file under its final name was written and synced whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_core::store::Lsn;

use crate::files::File;
use crate::folder::{FORMAT, Folder, hex, read_exact_at, write_all_at};

/// A snapshot that is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its file.
    pub path: PathBuf,
    /// The log from here on leads from it to now: P.
    pub from: Lsn,
    /// What it shows is safe if the log is, up to here: Q.
    pub to: Lsn,
    /// Blocks in it.
    pub blocks: u64,
    /// Length of the file.
    pub file_bytes: u64,
}

/// A snapshot that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("snapshot {path}: {reason}", path = path.display())]
pub struct SnapshotFault {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A snapshot under construction: under a temporary name, which a crash or a drop leaves to be removed.
pub(crate) struct SnapshotWriter {
    folder: Folder,
    temporary: PathBuf,
    file: Arc<dyn File>,
    from: Lsn,
    header: [u8; HEADER],
    /// Written to the file so far.
    at: u64,
    synced: u64,
    buffer: Vec<u8>,
    blocks: u64,
    block_bytes: u64,
    checksums: crc32fast::Hasher,
}

impl SnapshotWriter {
    /// Begins one from which the log leads on at `from`.
    pub(crate) fn create(folder: &Folder, from: Lsn) -> io::Result<Self> {
        let temporary = folder.snap_dir().join(name(from)).with_extension("tmp");
        let file = folder.files().create(&temporary)?;
        let header = header(folder, from);
        Ok(Self {
            folder: folder.clone(),
            temporary,
            file,
            from,
            header,
            at: 0,
            synced: 0,
            buffer: header.to_vec(),
            blocks: 0,
            block_bytes: 0,
            checksums: crc32fast::Hasher::new(),
        })
    }

    /// Adds a block; an empty one says nothing and is left out.
    pub(crate) fn block(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "block of 4 GiB");
        let len = u32::try_from(bytes.len()).map_err(too_long)?;
        let checksum = crc32fast::hash(bytes).to_le_bytes();
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(&checksum);
        self.buffer.extend_from_slice(bytes);
        self.checksums.update(&checksum);
        self.blocks += 1;
        self.block_bytes += u64::from(len);
        if self.buffer.len() >= WRITE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all_at(self.file.as_ref(), &self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        // One sync of all at the end would hold up those of the log for as long as it takes.
        if self.at - self.synced >= SYNC {
            self.file.sync_data()?;
            self.synced = self.at;
        }
        Ok(())
    }

    /// Ends it and puts it in place; everything up to `to` must be safe by now.
    pub(crate) fn finish(mut self, to: Lsn) -> io::Result<Snapshot> {
        let mut footer = Vec::with_capacity(FOOTER);
        footer.extend_from_slice(&0_u32.to_le_bytes());
        footer.extend_from_slice(&to.to_le_bytes());
        footer.extend_from_slice(&self.blocks.to_le_bytes());
        footer.extend_from_slice(&self.block_bytes.to_le_bytes());
        footer.extend_from_slice(&self.checksums.clone().finalize().to_le_bytes());
        footer.extend_from_slice(&footer_checksum(&self.header, &footer).to_le_bytes());
        self.buffer.extend_from_slice(&footer);
        self.flush()?;
        self.file.sync_data()?;
        let path = self.folder.snap_dir().join(name(self.from));
        self.folder.files().rename(&self.temporary, &path)?;
        self.folder.files().sync_dir(&self.folder.snap_dir())?;
        Ok(Snapshot { path, from: self.from, to, blocks: self.blocks, file_bytes: self.at })
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        // Gone if it was finished. If this fails, the next start removes it.
        let _ = self.folder.files().remove(&self.temporary);
    }
}

impl Snapshot {
    /// Opens the snapshot in `path` and checks all of it.
    pub(crate) fn open(folder: &Folder, path: &Path) -> Result<Self, SnapshotFault> {
        Self::read(folder, path, &mut |_| Ok(()))
    }

    /// Hands out its blocks, one after the other, each checked again.
    ///
    /// # Errors
    /// It cannot be read any more, or `block` says no.
    pub fn visit(
        &self,
        folder: &Folder,
        block: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), SnapshotFault> {
        Self::read(folder, &self.path, block).map(|_| ())
    }

    fn read(
        folder: &Folder,
        path: &Path,
        block: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Self, SnapshotFault> {
        let fault = |reason| SnapshotFault { path: path.to_owned(), reason };
        let file = folder.files().open(path).map_err(|error| fault(error.to_string()))?;
        let file_bytes = file.len().map_err(|error| fault(error.to_string()))?;
        let mut reader = Reader { file: file.as_ref(), file_bytes, at: 0 };
        let (from, to, blocks) = reader.all(folder, block).map_err(fault)?;
        if path.file_name().is_some_and(|is| is != name(from).as_str()) {
            return Err(fault(format!("it is the one from {from} under another name")));
        }
        Ok(Self { path: path.to_owned(), from, to, blocks, file_bytes })
    }
}

struct Reader<'a> {
    file: &'a dyn File,
    file_bytes: u64,
    at: u64,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        if bytes.len() as u64 > self.file_bytes - self.at {
            return Err(format!("it ends early, at byte {}", self.file_bytes));
        }
        read_exact_at(self.file, bytes, self.at).map_err(|error| error.to_string())?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// From and to, and how many blocks there were.
    fn all(
        &mut self,
        folder: &Folder,
        block: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(Lsn, Lsn, u64), String> {
        let header: [u8; HEADER] = self.array()?;
        let from = check_header(folder, &header)?;
        let (mut blocks, mut block_bytes) = (0_u64, 0_u64);
        let mut checksums = crc32fast::Hasher::new();
        let mut bytes = Vec::new();
        loop {
            let start = self.at;
            let len = u32::from_le_bytes(self.array()?);
            if len == 0 {
                break;
            }
            let checksum: [u8; 4] = self.array()?;
            if u64::from(len) > self.file_bytes - self.at {
                return Err(format!("the block at byte {start} ends behind the file"));
            }
            bytes.resize(len as usize, 0);
            self.fill(&mut bytes)?;
            if crc32fast::hash(&bytes) != u32::from_le_bytes(checksum) {
                return Err(format!("the block at byte {start} does not match its checksum"));
            }
            checksums.update(&checksum);
            blocks += 1;
            block_bytes += u64::from(len);
            block(&bytes)?;
        }
        let rest: [u8; FOOTER - 4] = self.array()?;
        let mut footer = [0; FOOTER];
        footer[4..].copy_from_slice(&rest);
        let (checked, checksum) = footer.split_at(FOOTER - 4);
        if checksum != footer_checksum(&header, checked).to_le_bytes() {
            return Err("its footer does not match its checksum".to_owned());
        }
        let said = (number(&footer[12..20]), number(&footer[20..28]));
        let said_checksums = &footer[28..32];
        if said != (blocks, block_bytes) || said_checksums != checksums.finalize().to_le_bytes() {
            return Err("its blocks are not those that its footer counts".to_owned());
        }
        Ok((from, number(&footer[4..12]), blocks))
    }
}

fn header(folder: &Folder, from: Lsn) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(MAGIC);
    header[4..8].copy_from_slice(&FORMAT.to_le_bytes());
    header[8..24].copy_from_slice(&folder.identity().store_id);
    header[24..32].copy_from_slice(&from.to_le_bytes());
    let checksum = crc32fast::hash(&header[..32]);
    header[32..].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn check_header(folder: &Folder, bytes: &[u8; HEADER]) -> Result<Lsn, String> {
    if &bytes[..4] != MAGIC {
        return Err("it is no snapshot".to_owned());
    }
    let from = number(&bytes[24..32]);
    if bytes[32..] != crc32fast::hash(&bytes[..32]).to_le_bytes() {
        return Err("its header does not match its checksum".to_owned());
    }
    if bytes[4..8] != FORMAT.to_le_bytes() {
        return Err("it was written by another version".to_owned());
    }
    if bytes[8..24] != folder.identity().store_id {
        return Err(format!("it belongs to store {}", hex(&bytes[8..24])));
    }
    Ok(from)
}

/// For fuzzing: gives bytes that look like a snapshot the checksums of one. Returns where it begins.
pub(crate) fn make_fit(folder: &Folder, bytes: &mut [u8]) -> Lsn {
    let Some((head, rest)) = bytes.split_first_chunk_mut::<HEADER>() else { return 0 };
    let from = number(&head[24..32]);
    *head = header(folder, from);
    let mut checksums = crc32fast::Hasher::new();
    let mut at = 0;
    while let Some(len) = rest.get(at..at + 8).map(|it| number(&it[..4]) as usize)
        && len > 0
        && let Some(block) = rest.get(at + 8..at + 8 + len)
    {
        let checksum = crc32fast::hash(block).to_le_bytes();
        rest[at + 4..at + 8].copy_from_slice(&checksum);
        checksums.update(&checksum);
        at += 8 + len;
    }
    if let Some(footer) = rest.get_mut(at..at + FOOTER) {
        footer[28..32].copy_from_slice(&checksums.finalize().to_le_bytes());
        let checksum = footer_checksum(head, &footer[..FOOTER - 4]);
        footer[FOOTER - 4..].copy_from_slice(&checksum.to_le_bytes());
    }
    from
}

fn footer_checksum(header: &[u8], footer: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(footer);
    hasher.finalize()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The snapshots of a folder, the newest first, and removes what a crash left half written.
pub(crate) fn list(folder: &Folder) -> io::Result<Vec<(Lsn, PathBuf)>> {
    let mut found: Vec<(Lsn, PathBuf)> = folder
        .files()
        .list(&folder.snap_dir())?
        .into_iter()
        .filter_map(|path| Some((lsn_of(&path)?, path)))
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Removes what a crash left half written.
pub(crate) fn remove_leftovers(folder: &Folder) -> io::Result<()> {
    for path in folder.files().list(&folder.snap_dir())? {
        if path.extension().is_some_and(|it| it == "tmp") {
            folder.files().remove(&path)?;
        }
    }
    Ok(())
}

/// The newest snapshot that can be used, and what is wrong with those that are newer.
pub(crate) fn newest(folder: &Folder) -> io::Result<(Option<Snapshot>, Vec<SnapshotFault>)> {
    let mut faults = Vec::new();
    for (_, path) in list(folder)? {
        match Snapshot::open(folder, &path) {
            Ok(snapshot) => return Ok((Some(snapshot), faults)),
            Err(fault) => faults.push(fault),
        }
    }
    Ok((None, faults))
}

/// `00000000000067108864.snap`.
fn name(from: Lsn) -> String {
    format!("{from:020}.snap")
}

fn lsn_of(path: &Path) -> Option<Lsn> {
    path.file_name()?.to_str()?.strip_suffix(".snap")?.parse().ok()
}

const MAGIC: &[u8; 4] = b"MQsn";
const HEADER: usize = 36;
const FOOTER: usize = 36;
/// Bytes gathered before a write.
const WRITE: usize = 256 * 1024;
/// Bytes written before a sync.
const SYNC: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Identity;
    use crate::sim::{Keep, SimFiles};

    fn folder(files: &SimFiles, store: u8) -> Folder {
        let made = || Ok(Identity { store_id: [store; 16], segment_bytes: 4096, created_ms: 1 });
        Folder::open_or_create(Arc::new(files.clone()), Path::new("/data"), made).unwrap()
    }

    /// Blocks of a snapshot that says where it begins.
    fn blocks(from: Lsn) -> Vec<Vec<u8>> {
        (1..20).map(|n| vec![(from + n) as u8; 300 * n as usize]).collect()
    }

    fn write(folder: &Folder, from: Lsn) -> io::Result<Snapshot> {
        let mut writer = SnapshotWriter::create(folder, from)?;
        for block in blocks(from) {
            writer.block(&block)?;
        }
        writer.finish(from + 5)
    }

    #[track_caller]
    fn check(folder: &Folder, snapshot: &Snapshot) {
        let mut found = Vec::new();
        let mut take = |block: &[u8]| {
            found.push(block.to_vec());
            Ok(())
        };
        snapshot.visit(folder, &mut take).unwrap();
        assert_eq!(found, blocks(snapshot.from));
        assert_eq!(snapshot.to, snapshot.from + 5);
    }

    #[test]
    fn blocks_come_back_as_they_were_written() {
        let folder = folder(&SimFiles::new(1), 1);
        let written = write(&folder, 4096).unwrap();
        assert!(written.path.ends_with("snap/00000000000000004096.snap"));
        assert_eq!(Snapshot::open(&folder, &written.path), Ok(written.clone()));
        check(&folder, &written);
    }

    #[test]
    fn a_crash_anywhere_leaves_this_snapshot_or_the_one_before() {
        let prepared = || {
            let files = SimFiles::new(1);
            let folder = folder(&files, 1);
            write(&folder, 100).unwrap();
            (files, folder)
        };
        let (files, folder) = prepared();
        let first = files.changes();
        write(&folder, 200).unwrap();
        let last = files.changes();
        assert!(last > first + 4);
        for at in first + 1..=last {
            for (keep, seed) in [(Keep::Synced, 0), (Keep::All, 0)]
                .into_iter()
                .chain((0..20).map(|seed| (Keep::Some, seed)))
            {
                let (files, folder) = prepared();
                files.halt_at(at);
                assert!(write(&folder, 200).is_err() || at == last);
                let after = files.crash(keep, seed);
                let folder = self::folder(&after, 1);
                let (newest, faults) = newest(&folder).unwrap();
                let newest = newest.unwrap();
                // What has its final name is whole.
                assert_eq!(faults, [], "halted at {at}, kept {keep:?} {seed}");
                check(&folder, &newest);
                remove_leftovers(&folder).unwrap();
                let names = after.paths();
                assert!(names.iter().all(|path| path.extension().is_none_or(|it| it != "tmp")));
                // And life goes on.
                write(&folder, 300).unwrap();
                assert_eq!(self::newest(&folder).unwrap().0.unwrap().from, 300);
            }
        }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_found_and_the_older_one_taken() {
        let files = SimFiles::new(1);
        let folder = folder(&files, 1);
        let older = write(&folder, 100).unwrap();
        let mut writer = SnapshotWriter::create(&folder, 200).unwrap();
        writer.block(b"block").unwrap();
        writer.block(b"another block").unwrap();
        let path = writer.finish(300).unwrap().path;
        let bytes = files.contents(&path).unwrap();
        let damaged = |bytes: Vec<u8>, what: String| {
            files.set_contents(&path, bytes);
            let (newest, faults) = newest(&folder).unwrap();
            assert_eq!(newest.as_ref(), Some(&older), "{what}");
            assert_eq!(faults.len(), 1);
            assert_eq!(faults[0].path, path);
        };
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            damaged(flipped, format!("flipped at {at}"));
            damaged(bytes[..at].to_vec(), format!("cut to {at}"));
        }
    }

    #[test]
    fn the_snapshot_of_another_store_is_refused() {
        let files = SimFiles::new(1);
        let path = write(&folder(&files, 1), 100).unwrap().path;
        let bytes = files.contents(&path).unwrap();
        let files = SimFiles::new(1);
        let other = folder(&files, 2);
        files.set_contents(&path, bytes);
        let (newest, faults) = newest(&other).unwrap();
        assert_eq!(newest, None);
        assert!(faults[0].reason.contains("store 01010101"), "{}", faults[0]);
    }
}
