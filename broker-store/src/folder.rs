//! Folder: the data folder of a store, its parts, and the IDENTITY that makes it one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{File, Files};

/// Version of the files this build writes; it reads no later one.
pub(crate) const FORMAT: u32 = 1;

/// What tells one store from another. Written once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Random; part of each checksum, so that files of another store never pass for this one's.
    pub store_id: [u8; 16],
    /// Bytes of each segment of the log, header and all.
    pub segment_bytes: u64,
    /// When the store was made, milliseconds since the Unix epoch.
    pub created_ms: u64,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, segment) = (hex(&self.store_id), self.segment_bytes);
        write!(f, "store {id} segments of {segment} created {}", self.created_ms)
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// An operating system error.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// Written by a later version of the broker.
    #[error(
        "{path}: the store has format {format}, and this version reads formats up to {FORMAT}; use the newer broker",
        path = path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// IDENTITY is not what was written.
    #[error("{path} is damaged: {what}; take it from a backup of this store", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is a log but nothing says whose.
    #[error(
        "{path} is missing, but {log} holds a log; take it from a backup of this store",
        path = path.display(), log = log.display()
    )]
    Nameless {
        /// Where IDENTITY should be.
        path: PathBuf,
        /// Where the log is.
        log: PathBuf,
    },
    /// There is no store.
    #[error("{path} holds no store", path = path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
}

/// A data folder with a store in it.
#[derive(Debug, Clone)]
pub struct Folder {
    files: Arc<dyn Files>,
    root: PathBuf,
    identity: Identity,
}

impl Folder {
    /// Opens the store in `root`, or makes one of the `identity` that is handed out for it.
    ///
    /// # Errors
    /// There is a store that cannot be used, or none can be made.
    pub fn open_or_create(
        files: Arc<dyn Files>,
        root: &Path,
        identity: impl FnOnce() -> io::Result<Identity>,
    ) -> Result<Self, FolderError> {
        match Self::open(files.clone(), root) {
            Err(FolderError::NoStore { .. }) => {}
            other => return other,
        }
        let wrap = |what, path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Io { what, path, source }
        };
        let identity = identity().map_err(wrap("making a store in", root))?;
        let folder = Self { files, root: root.to_owned(), identity };
        folder.create_parts()?;
        folder.write_identity()?;
        Ok(folder)
    }

    /// Opens the store in `root`.
    ///
    /// # Errors
    /// There is none, or one that cannot be used.
    pub fn open(files: Arc<dyn Files>, root: &Path) -> Result<Self, FolderError> {
        let path = root.join(IDENTITY);
        let text = match read_to_end(files.as_ref(), &path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let log = root.join(LOG);
                let is_empty = files.list(&log).map_or(true, |list| list.is_empty());
                return Err(if is_empty {
                    FolderError::NoStore { path: root.to_owned() }
                } else {
                    FolderError::Nameless { path, log }
                });
            }
            Err(source) => return Err(FolderError::Io { what: "reading", path, source }),
        };
        let identity = Identity::parse(&text).map_err(|fault| match fault {
            Fault::Newer(format) => FolderError::Newer { path: root.to_owned(), format },
            Fault::Damaged(what) => FolderError::Damaged { path, what },
        })?;
        let folder = Self { files, root: root.to_owned(), identity };
        folder.create_parts()?;
        Ok(folder)
    }

    /// Makes the folder in which a copy of this store begins; IDENTITY comes last, by [`write_identity`].
    ///
    /// [`write_identity`]: Self::write_identity
    pub(crate) fn copy_to(&self, files: Arc<dyn Files>, root: &Path) -> Result<Self, FolderError> {
        let folder = Self { files, root: root.to_owned(), identity: self.identity };
        folder.create_parts()?;
        Ok(folder)
    }

    fn create_parts(&self) -> Result<(), FolderError> {
        for part in [self.root.clone(), self.log_dir(), self.snap_dir(), self.quarantine_dir()] {
            let made = self.files.create_dir(&part);
            made.map_err(|source| FolderError::Io { what: "making folder", path: part, source })?;
        }
        Ok(())
    }

    /// Makes the folder a store: temporary name, sync, rename, sync of the folder.
    pub(crate) fn write_identity(&self) -> Result<(), FolderError> {
        let path = self.root.join(IDENTITY);
        let written = self.sync_root_with_parts().and_then(|()| {
            replace_file(self.files.as_ref(), &path, self.identity.text().as_bytes())
        });
        written.map_err(|source| FolderError::Io { what: "writing", path, source })
    }

    /// Moves a file to the quarantine.
    pub(crate) fn set_aside(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        self.files.rename(path, &self.quarantine_dir().join(name))?;
        self.files.sync_dir(&self.quarantine_dir())?;
        path.parent().map_or(Ok(()), |from| self.files.sync_dir(from))
    }

    fn sync_root_with_parts(&self) -> io::Result<()> {
        if let Some(above) = self.root.parent().filter(|above| !above.as_os_str().is_empty()) {
            // Best effort: a folder above may belong to somebody else.
            let _ = self.files.sync_dir(above);
        }
        self.files.sync_dir(&self.root)
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// What the store is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The data folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the segments are.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.root.join(LOG)
    }

    /// Where the snapshots are.
    #[must_use]
    pub fn snap_dir(&self) -> PathBuf {
        self.root.join("snap")
    }

    /// Where what cannot be read is put aside.
    #[must_use]
    pub fn quarantine_dir(&self) -> PathBuf {
        self.root.join("quarantine")
    }
}

pub(crate) const IDENTITY: &str = "IDENTITY";
const LOG: &str = "log";

enum Fault {
    Newer(u32),
    Damaged(&'static str),
}

impl Identity {
    /// A new store.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn random(segment_bytes: u64, created_ms: u64) -> io::Result<Self> {
        let mut store_id = [0; 16];
        let mut filled = 0;
        while filled < store_id.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut store_id[filled..], flags)?;
        }
        Ok(Self { store_id, segment_bytes, created_ms })
    }

    /// Lines of a word and a value, the checksum of those before in the last: an operator may look.
    fn text(&self) -> String {
        let mut text = format!(
            "broker store\nformat {FORMAT}\nstore {}\nsegment_bytes {}\ncreated_ms {}\n",
            hex(&self.store_id),
            self.segment_bytes,
            self.created_ms
        );
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("crc32 {checksum:08x}\n"));
        text
    }

    fn parse(text: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(text).map_err(|_| Fault::Damaged("not text"))?;
        let mut lines = text.lines();
        if lines.next() != Some("broker store") {
            return Err(Fault::Damaged("not the IDENTITY of a store"));
        }
        let mut value = |word: &str| lines.next()?.strip_prefix(word)?.strip_prefix(' ');
        let format = value("format").and_then(|it| it.parse().ok());
        let format: u32 = format.ok_or(Fault::Damaged("it has no format"))?;
        // Before all else: what a later version has written may look different from here on.
        if format > FORMAT {
            return Err(Fault::Newer(format));
        }
        let (checked, checksum) =
            text.split_once("crc32 ").ok_or(Fault::Damaged("it has no checksum"))?;
        let checksum = u32::from_str_radix(checksum.trim_end(), 16).ok();
        if checksum != Some(crc32fast::hash(checked.as_bytes())) {
            return Err(Fault::Damaged("its checksum does not match"));
        }
        let mut fields = || {
            Some(Self {
                store_id: unhex(value("store")?)?,
                segment_bytes: value("segment_bytes")?.parse().ok()?,
                created_ms: value("created_ms")?.parse().ok()?,
            })
        };
        fields().ok_or(Fault::Damaged("a line is missing"))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_all_at(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Fills `bytes` from `offset` on; fails where the file ends early.
pub(crate) fn read_exact_at(file: &dyn File, bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let read = match file.read_at(rest, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        rest = &mut rest[read..];
        offset += read as u64;
    }
    Ok(())
}

/// A whole small file.
pub(crate) fn read_to_end(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    let file = files.open(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    read_exact_at(file.as_ref(), &mut bytes, 0)?;
    Ok(bytes)
}

/// Puts a file of `bytes` in place: a crash leaves the former one or this one, never a part.
pub(crate) fn replace_file(files: &dyn Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = files.create(&temporary)?;
    write_all_at(file.as_ref(), bytes, 0)?;
    file.sync_data()?;
    files.rename(&temporary, path)?;
    files.sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { store_id: *b"0123456789abcdef", segment_bytes: 1 << 26, created_ms: 77 }
    }

    #[test]
    fn identity_reads_as_it_was_written() {
        let text = identity().text();
        assert!(Identity::parse(text.as_bytes()).is_ok_and(|read| read == identity()));
        for at in 0..text.trim_end().len() {
            assert!(Identity::parse(&text.as_bytes()[..at]).is_err(), "cut to {at}");
            let mut flipped = text.clone().into_bytes();
            flipped[at] ^= 4;
            let is_checksum_case = Identity::parse(&flipped).is_ok_and(|read| read == identity());
            assert!(Identity::parse(&flipped).is_err() || is_checksum_case, "flipped at {at}");
        }
    }

    #[test]
    fn a_later_format_is_refused_whatever_else_it_says() {
        let parsed = Identity::parse(b"broker store\nformat 2\nsomething else\n");
        assert!(matches!(parsed, Err(Fault::Newer(2))));
    }

    #[test]
    fn two_new_stores_differ() {
        let made = [Identity::random(1, 0).unwrap(), Identity::random(1, 0).unwrap()];
        assert_ne!(made[0].store_id, made[1].store_id);
    }
}
