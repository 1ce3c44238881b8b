//! Folder: all that a sink asks of the file system, behind one trait, so that tests can break it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The files of one sink: numbered segments, a cursor, and what stands in front of the segments.
pub(super) trait Folder: Send {
    /// Numbers of the segments, in no order.
    fn segments(&self) -> io::Result<Vec<u64>>;
    /// Makes an empty segment.
    fn create(&mut self, segment: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, segment: u64, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads at `offset`; less than asked for only at the end.
    fn read_at(&mut self, segment: u64, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Length in bytes.
    fn len(&mut self, segment: u64) -> io::Result<u64>;
    /// Cuts a segment off.
    fn truncate(&mut self, segment: u64, len: u64) -> io::Result<()>;
    /// Makes what was written survive a power cut.
    fn sync(&mut self, segment: u64) -> io::Result<()>;
    /// Removes a segment.
    fn remove(&mut self, segment: u64) -> io::Result<()>;
    /// Writes the cursor in place: it is small, and a torn one is noticed.
    fn write_cursor(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The cursor; empty if there is none.
    fn read_cursor(&mut self) -> io::Result<Vec<u8>>;
    /// Replaces the front as a whole; an empty one is removed.
    fn replace_front(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the front survive a power cut.
    fn sync_front(&mut self) -> io::Result<()>;
    /// The front; empty if there is none.
    fn read_front(&mut self) -> io::Result<Vec<u8>>;
}

/// A folder of the real file system, and the files of it that are open.
#[derive(Debug)]
pub(super) struct RealFolder {
    path: PathBuf,
    /// Those written and read last.
    open: Vec<(u64, File)>,
    cursor: Option<File>,
}

impl RealFolder {
    /// Makes the folder with mode 0700, and those above it, unless it is there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // Also if somebody else has made it: payloads are nobody else's business.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        Ok(Self { path: path.to_owned(), open: Vec::new(), cursor: None })
    }

    fn path_of(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:020}.{SEGMENT_EXTENSION}"))
    }

    fn file(&mut self, segment: u64) -> io::Result<&File> {
        if let Some(at) = self.open.iter().position(|(number, _)| *number == segment) {
            return Ok(&self.open[at].1);
        }
        let file = OpenOptions::new().read(true).write(true).open(self.path_of(segment))?;
        Ok(self.keep_open(segment, file))
    }

    fn keep_open(&mut self, segment: u64, file: File) -> &File {
        if self.open.len() == OPEN_MAX {
            self.open.remove(0);
        }
        self.open.push((segment, file));
        &self.open[self.open.len() - 1].1
    }
}

impl Folder for RealFolder {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == SEGMENT_EXTENSION)
                && let Some(number) = path.file_stem().and_then(|it| it.to_str()?.parse().ok())
            {
                found.push(number);
            }
        }
        Ok(found)
    }

    fn create(&mut self, segment: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(self.path_of(segment))?;
        self.keep_open(segment, file);
        Ok(())
    }

    fn write_at(&mut self, segment: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file(segment)?.write_all_at(bytes, offset)
    }

    fn read_at(&mut self, segment: u64, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = self.file(segment)?;
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn len(&mut self, segment: u64) -> io::Result<u64> {
        Ok(self.file(segment)?.metadata()?.len())
    }

    fn truncate(&mut self, segment: u64, len: u64) -> io::Result<()> {
        self.file(segment)?.set_len(len)
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.file(segment)?.sync_data()
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.open.retain(|(number, _)| *number != segment);
        missing_is_fine(fs::remove_file(self.path_of(segment)))
    }

    fn write_cursor(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.cursor {
            Some(file) => file,
            cursor @ None => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(0o600);
                cursor.insert(options.open(self.path.join("cursor"))?)
            }
        };
        file.write_all_at(bytes, 0)
    }

    fn read_cursor(&mut self) -> io::Result<Vec<u8>> {
        empty_if_missing(fs::read(self.path.join("cursor")))
    }

    fn replace_front(&mut self, bytes: &[u8]) -> io::Result<()> {
        let path = self.path.join("front");
        if bytes.is_empty() {
            return missing_is_fine(fs::remove_file(path));
        }
        let new = self.path.join("front.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&new)?;
        file.write_all_at(bytes, 0)?;
        fs::rename(new, path)
    }

    fn sync_front(&mut self) -> io::Result<()> {
        missing_is_fine(File::open(self.path.join("front")).and_then(|front| front.sync_data()))
    }

    fn read_front(&mut self) -> io::Result<Vec<u8>> {
        empty_if_missing(fs::read(self.path.join("front")))
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn empty_if_missing(result: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        result => result,
    }
}

const SEGMENT_EXTENSION: &str = "items";
/// One that is written, one that is read.
const OPEN_MAX: usize = 2;

#[cfg(test)]
pub(super) mod sim;
