//! Manifest: what a backup consists of, with a checksum of each file.

use std::io;
use std::path::{Path, PathBuf};

use broker_core::store::Lsn;

use crate::files::{File, Files};
use crate::folder::{Folder, hex, read_to_end, replace_file};

/// The list of a backup's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Where the log goes on from the backup's snapshot; 0 if there is none.
    pub from: Lsn,
    /// Where the backup ends.
    pub to: Lsn,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Its files.
    pub entries: Vec<Entry>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the folder, `log/00000000000000000001.seg`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The crc32 of what is in it.
    pub checksum: u32,
}

impl Manifest {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }

    pub(crate) fn write(&self, folder: &Folder) -> io::Result<()> {
        let text = self.text(&folder.identity().store_id);
        replace_file(folder.files().as_ref(), &folder.root().join(MANIFEST), text.as_bytes())
    }

    /// Reads that of a folder; `None` if it has none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn read(files: &dyn Files, root: &Path) -> io::Result<Option<Self>> {
        let text = match read_to_end(files, &root.join(MANIFEST)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "MANIFEST is damaged");
        Self::parse(&text).map(Some).ok_or_else(damaged)
    }

    fn text(&self, store_id: &[u8; 16]) -> String {
        let mut text = format!(
            "{TITLE}\nformat 1\nstore {}\ncreated_ms {}\nfrom {}\nto {}\n",
            hex(store_id),
            self.created_ms,
            self.from,
            self.to
        );
        for Entry { name, bytes, checksum } in &self.entries {
            text.push_str(&format!("file {checksum:08x} {bytes} {name}\n"));
        }
        text.push_str(&format!("crc32 {:08x}\n", crc32fast::hash(text.as_bytes())));
        text
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (checked, checksum) = text.rsplit_once("crc32 ")?;
        let checksum = u32::from_str_radix(checksum.trim_end(), 16).ok()?;
        if checksum != crc32fast::hash(checked.as_bytes()) {
            return None;
        }
        let mut lines = checked.lines().skip_while(|line| *line != TITLE).skip(1);
        let mut value = |word: &str| lines.next()?.strip_prefix(word)?.strip_prefix(' ');
        value("format").filter(|format| *format == "1")?;
        value("store")?;
        let created_ms = value("created_ms")?.parse().ok()?;
        let (from, to) = (value("from")?.parse().ok()?, value("to")?.parse().ok()?);
        let entry = |line: &str| {
            let mut words = line.strip_prefix("file ")?.splitn(3, ' ');
            let checksum = u32::from_str_radix(words.next()?, 16).ok()?;
            let bytes = words.next()?.parse().ok()?;
            let name = words.next()?.to_owned();
            // Not a way out of the folder.
            let is_inside = !name.starts_with('/') && !name.split('/').any(|part| part == "..");
            is_inside.then_some(Entry { name, bytes, checksum })
        };
        let entries = lines.map(entry).collect::<Option<_>>()?;
        Some(Self { from, to, created_ms, entries })
    }
}

/// Reads a file, hands out pieces of it, and gives length and checksum.
pub(crate) fn read_through(
    file: &dyn File,
    until: u64,
    piece: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; PIECE];
    let mut hasher = crc32fast::Hasher::new();
    let mut at = 0;
    while at < until {
        let wanted = usize::try_from(until - at).unwrap_or(PIECE).min(PIECE);
        let read = match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        piece(at, &buffer[..read])?;
        at += read as u64;
    }
    Ok((at, hasher.finalize()))
}

/// The files of a folder that belong to a backup of all of it: segments and snapshots.
pub(crate) fn worth_keeping(folder: &Folder) -> io::Result<Vec<PathBuf>> {
    let files = folder.files();
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".seg") && name.starts_with(|first: char| first.is_ascii_digit())
    };
    let mut found: Vec<_> = files.list(&folder.log_dir())?.into_iter().filter(is_segment).collect();
    found.sort_unstable();
    let is_snapshot = |path: &PathBuf| path.extension().is_some_and(|it| it == "snap");
    found.extend(files.list(&folder.snap_dir())?.into_iter().filter(is_snapshot));
    Ok(found)
}

const TITLE: &str = "broker store backup";
pub(crate) const MANIFEST: &str = "MANIFEST";
const PIECE: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_as_it_was_written() {
        let entry = |name: &str| Entry { name: name.to_owned(), bytes: 7, checksum: 0xabc };
        let entries = vec![entry("log/1.seg"), entry("snap/2.snap")];
        let manifest = Manifest { from: 1, to: 2, created_ms: 3, entries };
        let text = manifest.text(&[1; 16]);
        assert_eq!(Manifest::parse(text.as_bytes()), Some(manifest));
        for at in 0..text.len() - 1 {
            assert_eq!(Manifest::parse(&text.as_bytes()[..at]), None);
        }
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for name in ["/etc/passwd", "../x", "log/../../x"] {
            let entries = vec![Entry { name: name.to_owned(), bytes: 7, checksum: 1 }];
            let manifest = Manifest { from: 1, to: 2, created_ms: 3, entries };
            assert_eq!(Manifest::parse(manifest.text(&[1; 16]).as_bytes()), None);
        }
    }
}
