//! Start: makes what was recovered firm, and lets the log go on in a fresh segment.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Recovery, StoppedLog};
use crate::commit::Committer;
use crate::files::File;
use crate::frame::Flags;
use crate::log::{Log, Threads};
use crate::scan::RESUME_COPIES;
use crate::segments::{retry, write_all};
use crate::shared::Shared;
use crate::stats::State;

/// Bytes copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// A log that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be written to.
    #[error("preparing {0}: {1}")]
    Folder(PathBuf, io::Error),
    /// What was replayed cannot be made durable: nothing may be built on it.
    #[error("syncing segment {0} of the log: {1}")]
    Sync(u64, io::Error),
    /// The disk does not take the first frame.
    #[error("writing the log: {0}")]
    Write(String),
    /// No thread can be started.
    #[error("starting a thread: {0}")]
    Thread(io::Error),
}

impl StoppedLog {
    /// Makes the replayed log durable, keeps aside what was cut or damaged, and goes on in a fresh segment.
    ///
    /// A full disk is no reason not to start: the log is then unavailable until there is space.
    ///
    /// # Errors
    /// If the disk does not work.
    pub fn start(self, recovery: &Recovery, threads: Threads) -> Result<Log, StartError> {
        let folder = self.segments.folder().to_owned();
        let files = self.segments.files();
        self.segments
            .tidy()
            .and_then(|()| files.sync_dir(&self.options.dir))
            .and_then(|()| files.sync_dir(&folder))
            .map_err(|error| StartError::Folder(folder, error))?;
        self.keep_aside(recovery);
        self.make_durable(recovery)?;

        let segments = self.segments.clone();
        let shared = Arc::new(Shared::new(self.options, segments, recovery.next, recovery.end));
        let mut committer = Committer::new(shared.clone());
        for _ in 0..RESUME_COPIES {
            shared.mark(Flags::RESUME, &recovery.resume_at.to_le_bytes());
        }
        let is_done = committer.commit(true);
        if shared.state() == State::Failed {
            let error = shared.health.lock().last_error.clone();
            return Err(StartError::Write(error.unwrap_or_default()));
        }
        if is_done {
            retire_void(&shared, recovery);
        }
        Log::start(shared, committer, threads).map_err(StartError::Thread)
    }

    /// Writes once more what no frame says is durable, and syncs all that was replayed.
    ///
    /// Syncing alone would not do: a process that ended because a sync had failed leaves pages that read well,
    /// are not on the disk, and that no later sync writes.
    fn make_durable(&self, recovery: &Recovery) -> Result<(), StartError> {
        let segments = &self.segments;
        let (last, _) = segments.place_of(recovery.end);
        for number in segments.numbers() {
            if number < recovery.first || number > last {
                continue;
            }
            let start = segments.start_of(number);
            let from = recovery.durable.max(start) - start;
            let to = recovery.end.min(segments.start_of(number + 1)).max(start) - start;
            self.rewrite(number, from, to)
                .and_then(|()| self.sync(number))
                .map_err(|error| StartError::Sync(number, error))?;
        }
        Ok(())
    }

    fn rewrite(&self, number: u64, mut from: u64, to: u64) -> io::Result<()> {
        while from < to {
            let (file, end) = self.segments.file_at(number, from)?;
            let mut bytes = vec![0; (to.min(end) - from).min(COPY_BYTES) as usize];
            let n = file.read_at(&mut bytes, from)?;
            if n == 0 {
                break;
            }
            write_all(&*file, &bytes[..n], from)?;
            from += n as u64;
        }
        Ok(())
    }

    fn sync(&self, number: u64) -> io::Result<()> {
        let mut offset = 0;
        while offset < self.segments.segment_bytes() {
            let (file, end) = self.segments.file_at(number, offset)?;
            retry(|| file.sync_data())?;
            offset = end;
        }
        Ok(())
    }

    /// Copies what was cut, and segments that are damaged, into the quarantine. What cannot be copied is
    /// reported: a start does not fail for it.
    fn keep_aside(&self, recovery: &Recovery) {
        let segment_bytes = self.segments.segment_bytes();
        for cut in &recovery.cut {
            ::log::warn!(
                "the end of the log was not complete and is cut segment={} offset={} bytes={}",
                cut.segment,
                cut.offset,
                cut.bytes
            );
            let name = format!("{:020}-{}-{}.cut", cut.segment, cut.offset, cut.bytes);
            self.quarantine(&name, cut.segment, cut.offset, cut.offset + cut.bytes);
        }
        for damage in &recovery.damaged {
            let (segment, offset) = self.segments.place_of(damage.from);
            ::log::error!(
                "the disk has lost a part of the log segment={segment} offset={offset} from={} to={} \
                 what={:?}",
                damage.from,
                damage.to,
                damage.what
            );
            let last = self.segments.place_of(damage.to.saturating_sub(1)).0;
            for number in self.segments.numbers() {
                if (segment..=last).contains(&number) {
                    let name = format!("{number:020}.damaged");
                    self.quarantine(&name, number, 0, segment_bytes);
                }
            }
        }
    }

    fn quarantine(&self, name: &str, segment: u64, from: u64, to: u64) {
        let folder = self.options.dir.join("quarantine");
        if let Err(error) = self.copy_out(&folder, name, segment, from, to) {
            ::log::error!("not copied to the quarantine file={name} error={error}");
        }
    }

    fn copy_out(
        &self,
        folder: &Path,
        name: &str,
        segment: u64,
        mut from: u64,
        to: u64,
    ) -> io::Result<()> {
        let files = self.segments.files();
        files.create_dir(folder)?;
        let path = folder.join(name);
        if files.list(folder)?.contains(&path) {
            return Ok(());
        }
        let target: Arc<dyn File> = files.create(&path)?;
        let mut at = 0;
        while from < to {
            let mut bytes = vec![0; (to - from).min(COPY_BYTES) as usize];
            let n = self.segments.read(segment, from, &mut bytes)?;
            if n == 0 {
                break;
            }
            write_all(&*target, &bytes[..n], at)?;
            from += n as u64;
            at += n as u64;
        }
        retry(|| target.sync_data())?;
        files.sync_dir(folder)
    }
}

/// Gives up segments that hold nothing of the log any more.
fn retire_void(shared: &Shared, recovery: &Recovery) {
    let segments = &shared.segments;
    for number in segments.numbers() {
        let is_void = segments.start_of(number) >= recovery.resume_at && number < recovery.next;
        if is_void && let Err(error) = segments.retire(number) {
            ::log::warn!("a segment without frames is kept error={error}");
        }
    }
}
