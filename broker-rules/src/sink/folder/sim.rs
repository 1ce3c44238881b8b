//! SimFolder: a folder in memory whose process can be killed at any write.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Folder;

/// What is on the disk. It outlives the folders that write to it.
#[derive(Debug, Default)]
pub(crate) struct SimDisk {
    pub(crate) segments: BTreeMap<u64, Vec<u8>>,
    cursor: Vec<u8>,
    front: Vec<u8>,
    /// Changes that still succeed; the one after them happens by half.
    pub(crate) n_changes_left: Option<usize>,
    /// The process is dead: nothing changes any more.
    pub(crate) is_dead: bool,
    /// The disk is full: writes happen by half, and fail.
    pub(crate) is_full: bool,
}

/// A disk that a test and its folders share.
pub(crate) type SharedDisk = Arc<Mutex<SimDisk>>;

#[derive(Debug)]
pub(crate) struct SimFolder(pub(crate) SharedDisk);

impl SimDisk {
    /// Whether a change may happen; a write that may not happens by half.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.n_changes_left {
            Some(0) => self.is_dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        if self.is_dead { Err(io::Error::other("killed")) } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.change()?;
        if self.is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn segment(&mut self, segment: u64) -> io::Result<&mut Vec<u8>> {
        self.segments.get_mut(&segment).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn put(file: &mut Vec<u8>, bytes: &[u8], offset: usize) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Folder for SimFolder {
    fn segments(&self) -> io::Result<Vec<u64>> {
        Ok(self.0.lock().segments.keys().copied().collect())
    }

    fn create(&mut self, segment: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.write()?;
        disk.segments.insert(segment, Vec::new());
        Ok(())
    }

    fn write_at(&mut self, segment: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        let was_dead = disk.is_dead;
        let result = disk.write();
        let n = match result {
            Ok(()) => bytes.len(),
            Err(_) if was_dead => 0,
            Err(_) => bytes.len() / 2,
        };
        put(disk.segment(segment)?, &bytes[..n], offset as usize);
        result
    }

    fn read_at(&mut self, segment: u64, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.0.lock();
        let file = disk.segment(segment)?;
        let rest = file.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(bytes.len());
        bytes[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn len(&mut self, segment: u64) -> io::Result<u64> {
        Ok(self.0.lock().segment(segment)?.len() as u64)
    }

    fn truncate(&mut self, segment: u64, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.change()?;
        disk.segment(segment)?.truncate(len as usize);
        Ok(())
    }

    fn sync(&mut self, _: u64) -> io::Result<()> {
        if self.0.lock().is_dead { Err(io::Error::other("killed")) } else { Ok(()) }
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.change()?;
        disk.segments.remove(&segment);
        Ok(())
    }

    fn write_cursor(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock();
        // So few bytes, and in place: a kill or a full disk does not tear them.
        disk.change()?;
        put(&mut disk.cursor, bytes, 0);
        Ok(())
    }

    fn read_cursor(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().cursor.clone())
    }

    fn replace_front(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock();
        // Removing it takes no room.
        if bytes.is_empty() {
            disk.change()?
        } else {
            disk.write()?
        }
        disk.front = bytes.to_vec();
        Ok(())
    }

    fn sync_front(&mut self) -> io::Result<()> {
        self.sync(0)
    }

    fn read_front(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().front.clone())
    }
}
