//! Backup: a copy of a store that is a store itself, and the way back.
//!
//! Segments are copied, not linked: a segment is written over when its time comes again, and a link would be
//! written over with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker_core::store::Lsn;

use crate::files::{File, Files};
use crate::folder::{Folder, FolderError, write_all_at};
use crate::manifest::{Entry, MANIFEST, Manifest, read_through, worth_keeping};
use crate::snapshot::{self, Snapshot};
use crate::store::unix_ms;

/// Why a backup cannot be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder to copy to holds something.
    #[error("{path} is not empty", path = path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder to restore from is none that was made by a backup.
    #[error("{path} holds no finished backup: there is no MANIFEST", path = path.display())]
    NoManifest {
        /// The folder.
        path: PathBuf,
    },
    /// A file is not what it was when the backup was made.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        reason: &'static str,
    },
    /// The snapshot that a backup begins with was not to be had.
    #[error("no backup: {0}")]
    NoSnapshot(String),
    /// About a folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// An operating system error.
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { what, path, source }
}

/// A file to be copied, up to a place.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Bytes that count; `u64::MAX` for all.
    pub(crate) until: u64,
}

/// What else there is to say of a copy.
pub(crate) struct Copying<'a> {
    /// From and to, as in the manifest.
    pub(crate) range: (Lsn, Lsn),
    /// Milliseconds since the Unix epoch.
    pub(crate) created_ms: u64,
    /// Ends it early.
    pub(crate) cancel: &'a AtomicBool,
}

/// Copies `sources` to the empty folder `target`, which becomes a store last of all.
pub(crate) fn write(
    folder: &Folder,
    target: &Path,
    sources: &[Source],
    &Copying { range: (from, to), created_ms, cancel }: &Copying<'_>,
) -> Result<Manifest, BackupError> {
    let files = folder.files();
    let copy = begin_copy(folder, files, target)?;
    let mut manifest = Manifest { from, to, created_ms, entries: Vec::new() };
    for Source { path, until } in sources {
        let name = path.strip_prefix(folder.root()).unwrap_or(path);
        let (bytes, checksum) =
            copy_file(files.as_ref(), path, *until, &target.join(name), cancel)?;
        let name = name.to_string_lossy().into_owned();
        manifest.entries.push(Entry { name, bytes, checksum });
    }
    finish_copy(&copy, Some(&manifest))?;
    Ok(manifest)
}

/// Copies a store that nobody runs to the empty folder `target`.
///
/// # Errors
/// `root` holds no store, or `target` cannot be written to.
pub fn copy(files: &Arc<dyn Files>, root: &Path, target: &Path) -> Result<Manifest, BackupError> {
    let folder = Folder::open(files.clone(), root)?;
    let newest = snapshot::newest(&folder).map_err(io_error("reading", &folder.snap_dir()))?.0;
    let range = newest.map_or((0, 0), |it| (it.from, it.to));
    let cancel = AtomicBool::new(false);
    let copying = Copying { range, created_ms: unix_ms(), cancel: &cancel };
    write(&folder, target, &whole(&folder)?, &copying)
}

/// The sources of a store that nobody runs: all of it.
fn whole(folder: &Folder) -> Result<Vec<Source>, BackupError> {
    let found = worth_keeping(folder).map_err(io_error("listing", folder.root()))?;
    Ok(found.into_iter().map(|path| Source { path, until: u64::MAX }).collect())
}

/// The sources of one snapshot and what the log has up to its end; a segment may have several files.
pub(crate) fn of_snapshot(
    snapshot: &Snapshot,
    segments: impl Iterator<Item = (Lsn, Vec<PathBuf>)>,
) -> Vec<Source> {
    let mut sources: Vec<_> = segments
        .flat_map(|(start, paths)| {
            let until = snapshot.to.saturating_sub(start);
            paths.into_iter().map(move |path| Source { path, until })
        })
        .collect();
    sources.push(Source { path: snapshot.path.clone(), until: u64::MAX });
    sources
}

/// Unpacks the backup in `source` into the empty folder `target`.
///
/// # Errors
/// `source` holds no backup, or a damaged one; `target` is not empty, or cannot be written to. What has been
/// copied by then is not a store, and stays where it is.
pub fn restore(
    files: &Arc<dyn Files>,
    source: &Path,
    target: &Path,
) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(files.as_ref(), source)
        .map_err(io_error("reading the manifest of", source))?
        .ok_or_else(|| BackupError::NoManifest { path: source.to_owned() })?;
    let folder = Folder::open(files.clone(), source)?;
    let copy = begin_copy(&folder, files, target)?;
    for entry in &manifest.entries {
        let path = source.join(&entry.name);
        let to = target.join(&entry.name);
        let found = copy_file(files.as_ref(), &path, u64::MAX, &to, &AtomicBool::new(false))?;
        compare(entry, found).map_err(|reason| BackupError::Damaged { path, reason })?;
    }
    finish_copy(&copy, None)?;
    Ok(manifest)
}

/// How a file differs from what the manifest says of it.
pub(crate) fn compare(entry: &Entry, found: (u64, u32)) -> Result<(), &'static str> {
    if found.0 != entry.bytes {
        return Err("it has another length than MANIFEST says");
    }
    if found.1 != entry.checksum {
        return Err("it does not match its checksum in MANIFEST");
    }
    Ok(())
}

fn begin_copy(
    folder: &Folder,
    files: &Arc<dyn Files>,
    target: &Path,
) -> Result<Folder, BackupError> {
    let copy = folder.copy_to(files.clone(), target)?;
    for part in [copy.log_dir(), copy.snap_dir(), target.to_owned()] {
        let held = files.list(&part).map_err(io_error("listing", &part))?;
        // Only the lock of who restores.
        if held.iter().any(|path| path.file_name().is_none_or(|name| name != "LOCK")) {
            return Err(BackupError::NotEmpty { path: target.to_owned() });
        }
    }
    Ok(copy)
}

/// MANIFEST before IDENTITY: what has the latter is a store, and whole.
fn finish_copy(copy: &Folder, manifest: Option<&Manifest>) -> Result<(), BackupError> {
    for part in [copy.log_dir(), copy.snap_dir()] {
        copy.files().sync_dir(&part).map_err(io_error("syncing", &part))?;
    }
    if let Some(manifest) = manifest {
        manifest.write(copy).map_err(io_error("writing", &copy.root().join(MANIFEST)))?;
    }
    copy.write_identity()?;
    Ok(())
}

/// Copies up to `until` bytes; gives length and checksum.
fn copy_file(
    files: &dyn Files,
    from: &Path,
    until: u64,
    to: &Path,
    cancel: &AtomicBool,
) -> Result<(u64, u32), BackupError> {
    let source = files.open(from).map_err(io_error("opening", from))?;
    let target = files.create(to).map_err(io_error("creating", to))?;
    let mut unsynced = 0;
    let mut piece = |at: u64, bytes: &[u8]| {
        if cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("the broker stops"));
        }
        write_all_at(target.as_ref(), bytes, at)?;
        unsynced += bytes.len();
        // Little by little: the log's own syncs wait behind this one.
        if unsynced >= SYNC {
            target.sync_data()?;
            unsynced = 0;
        }
        Ok(())
    };
    let copied = read_through(source.as_ref(), until, &mut piece).and_then(|copied| {
        // The log's files have their whole length from the beginning; one that is shorter has lost something.
        pad(target.as_ref(), copied, source.len()?)
    });
    let copied = copied.map_err(io_error("copying", from))?;
    target.sync_data().map_err(io_error("syncing", to))?;
    Ok(copied)
}

/// Lets a file of so many bytes and such a checksum go on with zeros.
fn pad(file: &dyn File, (bytes, checksum): (u64, u32), len: u64) -> io::Result<(u64, u32)> {
    if bytes >= len {
        return Ok((bytes, checksum));
    }
    write_all_at(file, &[0], len - 1)?;
    let mut hasher = crc32fast::Hasher::new_with_initial_len(checksum, bytes);
    let zeros = vec![0; SYNC];
    let mut left = len - bytes;
    while left > 0 {
        let n = left.min(SYNC as u64);
        hasher.update(&zeros[..n as usize]);
        left -= n;
    }
    Ok((len, hasher.finalize()))
}

/// Checks every file of a backup against its manifest; `None` if the folder has none.
pub(crate) fn check_manifest(
    files: &dyn Files,
    root: &Path,
) -> Result<Option<Vec<String>>, BackupError> {
    let manifest =
        Manifest::read(files, root).map_err(io_error("reading the manifest of", root))?;
    let Some(manifest) = manifest else { return Ok(None) };
    let mut faults = Vec::new();
    for entry in &manifest.entries {
        let path = root.join(&entry.name);
        let read = files
            .open(&path)
            .and_then(|file| read_through(file.as_ref(), u64::MAX, &mut |_, _| Ok(())));
        let fault = match read {
            Ok(found) => compare(entry, found).err().map(str::to_owned),
            Err(error) => Some(error.to_string()),
        };
        faults.extend(fault.map(|fault| format!("{}: {fault}", entry.name)));
    }
    Ok(Some(faults))
}

const SYNC: usize = 8 * 1024 * 1024;
