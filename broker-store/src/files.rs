//! Files: everything the store asks of a file system, behind one trait, so that tests can break it.

mod real;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use real::RealFiles;

#[expect(clippy::len_without_is_empty, reason = "a file is no collection")]
/// A file that is open for reading and writing at given places.
pub trait File: Send + Sync {
    /// Writes at `offset`; may write less than all, but more than nothing.
    ///
    /// # Errors
    /// Those of pwrite(2).
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reads at `offset`; less than asked for only at the end of the file.
    ///
    /// # Errors
    /// Those of pread(2).
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// fdatasync(2): what was written survives a power cut once this has returned.
    ///
    /// # Errors
    /// Those of fdatasync(2). After one the file must not be trusted again: the kernel may have dropped what
    /// it could not write, and says success the next time.
    fn sync_data(&self) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Those of fstat(2).
    fn len(&self) -> io::Result<u64>;

    /// Bytes that it takes on the disk: less than its length where nothing was ever written.
    ///
    /// # Errors
    /// Those of fstat(2).
    fn allocated(&self) -> io::Result<u64>;
}

/// A file system, or what a test makes of one. Paths are those of the data folder.
pub trait Files: Send + Sync + fmt::Debug {
    /// Makes a folder with mode 0700, and those above it, unless they are there.
    ///
    /// # Errors
    /// Those of mkdir(2).
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file with mode 0600; one of that name is emptied.
    ///
    /// # Errors
    /// Those of open(2).
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file that is there.
    ///
    /// # Errors
    /// Those of open(2).
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Makes creations, renames and removals in a folder survive a power cut.
    ///
    /// # Errors
    /// Those of fsync(2).
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, over one that is there.
    ///
    /// # Errors
    /// Those of rename(2).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// A second name for a file.
    ///
    /// # Errors
    /// Those of link(2).
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of unlink(2).
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The files in a folder, in no order.
    ///
    /// # Errors
    /// Those of opendir(3).
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Bytes free for this process on the file system of a folder.
    ///
    /// # Errors
    /// Those of statvfs(3).
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}
