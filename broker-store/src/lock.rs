//! Lock: one process per data folder, and what else only the real file system knows of it.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;

/// Why a data folder is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("{path} is in use by {}", holder(*pid), path = path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who has it, if LOCK says.
        pid: Option<u32>,
    },
    /// It cannot be written to.
    #[error("{path} cannot be written to: {source}", path = path.display())]
    ReadOnly {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An operating system error.
    #[error("locking {path}: {source}", path = path.display())]
    Io {
        /// LOCK, or the folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Holds a data folder until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    // The lock goes with the descriptor, however the process ends.
    _file: fs::File,
}

impl FolderLock {
    /// Takes `root`, which is made if it is not there.
    ///
    /// # Errors
    /// Another process has it, or it cannot be written to.
    pub fn take(root: &Path) -> Result<Self, LockError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.map_err(|source| denied(root, source))?;
        Self::on(root)
    }

    /// Takes `root` if there is a store's lock in it; `None` if there is no such file.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_existing(root: &Path) -> Result<Option<Self>, LockError> {
        if root.join(LOCK).exists() { Self::on(root).map(Some) } else { Ok(None) }
    }

    fn on(root: &Path) -> Result<Self, LockError> {
        let path = root.join(LOCK);
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(|source| denied(root, source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid =
                    file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::InUse { path: root.to_owned(), pid });
            }
            Err(error) => return Err(LockError::Io { path, source: error.into() }),
        }
        let name_holder = |file: &mut fs::File| {
            file.rewind()?;
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        name_holder(&mut file).map_err(|source| denied(root, source))?;
        Ok(Self { _file: file })
    }
}

fn denied(root: &Path, source: io::Error) -> LockError {
    let path = root.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            LockError::ReadOnly { path, source }
        }
        _ => LockError::Io { path, source },
    }
}

/// Name of the network file system that `root` is on, if it is on one: its syncs and locks promise less.
pub(crate) fn network_file_system(root: &Path) -> Option<&'static str> {
    let kind = statfs(root).ok()?.f_type as u32;
    NETWORKS.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

/// `f_type` of statfs(2), linux/magic.h.
const NETWORKS: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
];

const LOCK: &str = "LOCK";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_was_first() {
        let root = crate::test_folder::TestFolder::new();
        let first = FolderLock::take(root.path()).unwrap();
        let second = FolderLock::take(root.path()).unwrap_err().to_string();
        let expected =
            format!("{} is in use by process {}", root.path().display(), std::process::id());
        assert_eq!(second, expected);
        drop(first);
        FolderLock::take(root.path()).unwrap();
    }

    #[test]
    fn a_folder_without_a_store_has_no_lock() {
        let root = crate::test_folder::TestFolder::new();
        assert!(FolderLock::take_existing(root.path()).unwrap().is_none());
        drop(FolderLock::take(root.path()).unwrap());
        assert!(FolderLock::take_existing(root.path()).unwrap().is_some());
    }
}
