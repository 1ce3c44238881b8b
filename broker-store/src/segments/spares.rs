//! Spares: files of a segment's length, made or kept before they are needed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Name, Segments, Table, retry, write_all};
use crate::files::File;

/// Spares that are made ahead of need.
const SPARES_READY: usize = 2;
/// Bytes of zeros per write.
const ZEROS_BYTES: usize = 1 << 20;
/// How long to wait after a spare could not be made.
const SPARE_RETRY: Duration = Duration::from_secs(5);

impl Segments {
    pub(super) fn new_spare(&self) -> Name {
        let mut table = self.table.lock();
        table.next_spare += 1;
        Name::Spare(table.next_spare - 1)
    }

    /// Makes a file of the full length, durable as that, under the name of a spare. It is not in the list.
    pub(super) fn make_spare(&self, fill: Fill) -> io::Result<PathBuf> {
        let name = self.new_spare();
        let path = self.folder.join(name.to_string());
        let unfinished = path.with_extension("tmp");
        let made = self.files.create(&unfinished).and_then(|file| {
            match fill {
                Fill::Zeros => fill_with_zeros(&*file, self.segment_bytes)?,
                Fill::Sparse => write_all(&*file, &[0; 8], self.segment_bytes - 8)?,
            }
            retry(|| file.sync_data())?;
            self.files.rename(&unfinished, &path)
        });
        if let Err(error) = made {
            let _ = self.files.remove(&unfinished);
            return Err(error);
        }
        self.files.sync_dir(&self.folder)?;
        Ok(path)
    }

    /// Makes one spare and puts it into the list, unless there are enough, or too little would be left of the
    /// disk. Returns whether it has.
    pub(crate) fn prepare_spare(&self) -> io::Result<bool> {
        let most = SPARES_READY.min(self.spares_max.max(1));
        if !self.table.lock().has_room_for_spare(most, self.files_max) {
            return Ok(false);
        }
        if !self.is_free(self.spares_leave_bytes.saturating_add(self.segment_bytes)) {
            return Ok(false);
        }
        let path = self.make_spare(Fill::Zeros)?;
        self.table.lock().spares.push(path);
        Ok(true)
    }

    /// Gives the space of a spare back to the disk, which has none left; false if there is no spare.
    pub(crate) fn give_up_spare(&self) -> bool {
        let Some(path) = self.table.lock().spares.pop() else { return false };
        if let Err(error) = self.files.remove(&path) {
            ::log::warn!("giving up spare {}: {error}", path.display());
            self.table.lock().spares.push(path);
            return false;
        }
        ::log::info!("the disk is full: a spare segment is given up for what must be written");
        true
    }

    /// Keeps spares ready until [`Self::close`], from when the log has [grown](Self::written_to): writing into
    /// blocks that are there takes half the time of growing a file, and space is taken before it is needed.
    ///
    /// The first segment began without one; with the first spare `roll` is called, to go on in that.
    pub(crate) fn keep_spares(&self, roll: impl Fn()) {
        let mut is_first = true;
        loop {
            let mut table = self.table.lock();
            let most = SPARES_READY.min(self.spares_max);
            let wants_one =
                |table: &Table| table.is_grown && table.has_room_for_spare(most, self.files_max);
            while !wants_one(&table) && !table.is_closing {
                self.spare_wanted.wait(&mut table);
            }
            if table.is_closing {
                return;
            }
            drop(table);
            let made = self.prepare_spare();
            if matches!(made, Ok(true)) && std::mem::take(&mut is_first) {
                let is_sparse = self.table.lock().is_newest_sparse;
                if is_sparse {
                    roll();
                }
            }
            if let Err(error) = &made {
                ::log::warn!("no spare segment could be made error={error}");
            }
            if !made.is_ok_and(|is_made| is_made) {
                let mut table = self.table.lock();
                if !table.is_closing {
                    self.spare_wanted.wait_for(&mut table, SPARE_RETRY);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Fill {
    /// Blocks are there before they are needed.
    Zeros,
    /// In a hurry: the length only.
    Sparse,
}

fn fill_with_zeros(file: &dyn File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES.min(usize::try_from(bytes).unwrap_or(ZEROS_BYTES))];
    let mut offset = 0;
    while offset < bytes {
        let n = zeros.len().min(usize::try_from(bytes - offset).unwrap_or(usize::MAX));
        write_all(file, &zeros[..n], offset)?;
        // Piece by piece: the log is synced on the same disk meanwhile, and would wait for all of it.
        retry(|| file.sync_data())?;
        offset += n as u64;
    }
    Ok(())
}
