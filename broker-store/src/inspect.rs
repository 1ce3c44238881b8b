//! Inspect: looks into a store that nobody runs, and changes nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use broker_core::record::{Record, RecordError, Records};
use broker_core::store::{Level, Lsn};

use crate::backup::check_manifest;
use crate::files::Files;
use crate::folder::{Folder, hex};
use crate::options::StoreOptions;
use crate::recover::{Cut, Damage, DamageKind, Recovery, ReplayError, ReplayFrom, StoppedLog};
use crate::snapshot::{self, Snapshot, SnapshotFault};
use crate::store::{Failure, check_beginning, log_options};

/// A store that nobody runs.
pub struct Inspection {
    folder: Folder,
    log: StoppedLog,
    newest: Option<Snapshot>,
    faults: Vec<SnapshotFault>,
}

/// What reading every checksum has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Snapshots that are whole.
    pub snapshots: u64,
    /// Frames of the log.
    pub frames: u64,
    /// Bytes in them.
    pub frame_bytes: u64,
    /// Records by kind, of the newest snapshot and of the log.
    pub records: BTreeMap<&'static str, u64>,
    /// An end of the log that was not finished, which is no fault: nothing of it was acknowledged.
    pub cut: Vec<Cut>,
    /// Whether the files were checked against the list of a backup.
    pub is_backup: bool,
    /// What is wrong, a line each.
    pub faults: Vec<String>,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the newest snapshot.
    Snapshot,
    /// In the log.
    Log {
        /// Its position.
        at: Lsn,
        /// The position of its frame's payload, which offsets within the frame count from.
        base: Lsn,
    },
}

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// About the store.
    #[error(transparent)]
    Store(#[from] Failure),
    /// About what is written to.
    #[error("writing: {0}")]
    Output(#[from] io::Error),
}

impl Inspection {
    /// Opens the store in `root`.
    ///
    /// # Errors
    /// There is none, or one that this version does not understand.
    pub fn open(files: Arc<dyn Files>, root: &Path) -> Result<Self, Failure> {
        let folder = Folder::open(files, root)?;
        let options = log_options(&folder, &StoreOptions::new(root), Level::Fsync);
        let log = StoppedLog::open(folder.files().clone(), options)?;
        let found = snapshot::newest(&folder);
        let (newest, faults) =
            found.map_err(|source| Failure::Io { path: folder.snap_dir(), source })?;
        Ok(Self { folder, log, newest, faults })
    }

    /// The snapshot that a start would begin with.
    #[must_use]
    pub const fn newest(&self) -> Option<&Snapshot> {
        self.newest.as_ref()
    }

    /// Newer ones that are damaged.
    #[must_use]
    pub fn faults(&self) -> &[SnapshotFault] {
        &self.faults
    }

    pub(crate) const fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn segment_starts(&self) -> impl Iterator<Item = Lsn> {
        self.log.segments().into_iter().map(|segment| segment.start)
    }

    /// Words and values, for people.
    #[must_use]
    pub fn values(&self) -> Vec<(String, String)> {
        let identity = self.folder.identity();
        let segments = self.log.segments();
        let bytes = segments.len() as u64 * identity.segment_bytes;
        let mut values = vec![
            ("store".to_owned(), hex(&identity.store_id)),
            ("created_ms".to_owned(), identity.created_ms.to_string()),
            ("segment_bytes".to_owned(), identity.segment_bytes.to_string()),
            ("segments".to_owned(), segments.len().to_string()),
            ("log_bytes".to_owned(), bytes.to_string()),
        ];
        if let Some(snapshot) = &self.newest {
            values.push(("snapshot_from".to_owned(), snapshot.from.to_string()));
            values.push(("snapshot_to".to_owned(), snapshot.to.to_string()));
            values.push(("snapshot_bytes".to_owned(), snapshot.file_bytes.to_string()));
        }
        values.extend(self.faults.iter().map(|it| ("fault".to_owned(), it.to_string())));
        values
    }

    /// Reads every checksum there is.
    ///
    /// # Errors
    /// The store is of a later version. Damage is no error: it is what is told.
    pub fn verify(&self) -> Result<Verified, Failure> {
        let mut found = Verified::default();
        self.verify_snapshots(&mut found)?;
        let mut records = std::mem::take(&mut found.records);
        let mut bad = Vec::new();
        let mut count = |from: &str, payload: &[u8]| {
            for record in Records::new(payload) {
                match record {
                    Ok((_, _, record)) => *records.entry(kind_of(&record)).or_default() += 1,
                    Err(error) => bad.push(format!("{from}: {error}")),
                }
            }
        };
        if let Some(snapshot) = &self.newest {
            let path = snapshot.path.display().to_string();
            snapshot.visit(&self.folder, &mut |block| {
                count(&path, block);
                Ok(())
            })?;
        }
        let recovery = self.all_frames(|base, payload| {
            count(&format!("frame at {base}"), payload);
            Ok(())
        })?;
        found.records = records;
        found.faults.extend(bad);
        (found.frames, found.frame_bytes) = (recovery.frames, recovery.bytes);
        let lost = recovery.damaged.iter().filter(|damage| !self.is_given_back(damage));
        let segments = self.log.segments();
        found.faults.extend(lost.map(|damage| damage.describe(&segments)));
        found.cut = recovery.cut;
        match self.start(|_, _| Ok(())) {
            Ok(_) => {}
            Err(Failure::Missing { path, .. }) => {
                found.faults.push(format!("{} is missing", path.display()));
            }
            Err(error) => return Err(error),
        }
        let listed = check_manifest(self.folder.files().as_ref(), self.folder.root());
        match listed {
            // One that runs, or has run, is no backup any more; its list says nothing of what came later.
            Ok(Some(faults)) if !self.has_run() => {
                found.is_backup = true;
                found.faults.extend(faults);
            }
            Ok(_) => {}
            Err(error) => found.faults.push(error.to_string()),
        }
        Ok(found)
    }

    fn verify_snapshots(&self, found: &mut Verified) -> Result<(), Failure> {
        let io = |source| Failure::Io { path: self.folder.snap_dir(), source };
        for (_, path) in snapshot::list(&self.folder).map_err(io)? {
            match Snapshot::open(&self.folder, &path) {
                Ok(_) => found.snapshots += 1,
                Err(fault) => found.faults.push(fault.to_string()),
            }
        }
        Ok(())
    }

    fn has_run(&self) -> bool {
        let held = self.folder.files().list(self.folder.root()).unwrap_or_default();
        held.iter().any(|path| path.file_name().is_some_and(|name| name == "LOCK"))
    }

    /// A segment that is not there because nobody needs it.
    fn is_given_back(&self, damage: &Damage) -> bool {
        let from = self.newest.as_ref().map_or(0, |snapshot| snapshot.from);
        damage.what == DamageKind::Missing && damage.to <= from
    }

    /// Hands out each record of the newest snapshot, and then of all of the log, also of what lies before the
    /// snapshot: there are the bodies that it refers to.
    ///
    /// # Errors
    /// Those of `each`, and what cannot be read.
    pub fn dump(
        &self,
        each: &mut dyn FnMut(Place, &Record<'_>) -> io::Result<()>,
    ) -> Result<(), DumpError> {
        let mut output = None;
        let mut take = |base: Option<Lsn>, payload: &[u8]| -> Result<(), RecordError> {
            for record in Records::new(payload) {
                let (offset, _, record) = record?;
                let in_log = |base| Place::Log { at: base + Lsn::from(offset), base };
                if let Err(error) = each(base.map_or(Place::Snapshot, in_log), &record) {
                    output = Some(error);
                    return Err(RecordError::Malformed("not written"));
                }
            }
            Ok(())
        };
        let mut dump = || -> Result<(), Failure> {
            if let Some(snapshot) = &self.newest {
                snapshot.visit(&self.folder, &mut |block| {
                    take(None, block).map_err(|error| error.to_string())
                })?;
            }
            self.all_frames(|base, payload| take(Some(base), payload)).map(drop)
        };
        let dumped = dump();
        match output {
            Some(error) => Err(DumpError::Output(error)),
            None => Ok(dumped?),
        }
    }

    /// Every frame that is there.
    fn all_frames(
        &self,
        receive: impl FnMut(Lsn, &[u8]) -> Result<(), RecordError>,
    ) -> Result<Recovery, Failure> {
        let Some(first) = self.log.segments().first().map(|segment| segment.start) else {
            return Ok(Recovery::default());
        };
        let known_durable = self.newest.as_ref().map_or(0, |snapshot| snapshot.to);
        self.replay(ReplayFrom { from: first, known_durable, accept_missing: true }, receive)
    }

    /// Replays as a start would.
    pub(crate) fn start(
        &self,
        receive: impl FnMut(Lsn, &[u8]) -> Result<(), RecordError>,
    ) -> Result<Recovery, Failure> {
        check_beginning(&self.folder, &self.log, self.newest.as_ref(), &self.faults)?;
        let from = self.newest.as_ref().map_or_else(ReplayFrom::default, |snapshot| ReplayFrom {
            from: snapshot.from,
            known_durable: snapshot.to,
            accept_missing: false,
        });
        self.replay(from, receive)
    }

    fn replay(
        &self,
        from: ReplayFrom,
        receive: impl FnMut(Lsn, &[u8]) -> Result<(), RecordError>,
    ) -> Result<Recovery, Failure> {
        self.log.replay(from, receive).map_err(|error| match error {
            ReplayError::Missing(number) => Failure::missing(&self.folder, number, &self.faults),
            ReplayError::NewerVersion(format) => {
                Failure::Newer { path: self.folder.root().to_owned(), format }
            }
            ReplayError::Receiver(error) => Failure::Record(error),
        })
    }
}

/// `session_start`
#[must_use]
pub const fn kind_of(record: &Record<'_>) -> &'static str {
    match record {
        Record::Body(_) => "body",
        Record::Refs { .. } => "refs",
        Record::Removed { .. } => "removed",
        Record::SessionStart(_) => "session_start",
        Record::SessionEnd { .. } => "session_end",
        Record::Subscribed { .. } => "subscribed",
        Record::Unsubscribed { .. } => "unsubscribed",
        Record::Sent { .. } => "sent",
        Record::Released { .. } => "released",
        Record::Completed { .. } => "completed",
        Record::Received { .. } => "received",
        Record::ReceivedDone { .. } => "received_done",
        Record::Detached { .. } => "detached",
        Record::WillDone { .. } => "will_done",
        Record::Expiry { .. } => "expiry",
        Record::StepsUntil { .. } => "steps_until",
        Record::Retained { .. } => "retained",
        Record::RetainedClear { .. } => "retained_clear",
        Record::Delayed { .. } => "delayed",
        Record::DelayedDone { .. } => "delayed_done",
        Record::Setting { .. } => "setting",
        Record::KeptUntil { .. } => "kept_until",
        Record::Moved { .. } => "moved",
        Record::Opened { .. } => "opened",
    }
}
