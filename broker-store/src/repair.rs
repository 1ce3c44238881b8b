//! Repair: lets a store that refuses to start do without what is missing. The only thing that discards.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_core::store::Lsn;

use crate::files::Files;
use crate::inspect::Inspection;
use crate::snapshot::SnapshotFault;
use crate::store::Failure;

/// What has to be done, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A damaged snapshot goes to the quarantine; a start does that by itself.
    SetAside(SnapshotFault),
    /// An empty file takes the place of a segment that is missing.
    DoWithout {
        /// The segment's file.
        path: PathBuf,
        /// The first position that is lost.
        from: Lsn,
        /// The position from which on the log is there; `None` if nothing is.
        to: Option<Lsn>,
        /// There is a snapshot: only what has changed since it is lost.
        has_snapshot: bool,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside(fault) => write!(f, "put aside, it cannot be read: {fault}"),
            Self::DoWithout { path, from, to, has_snapshot } => {
                write!(f, "do without {}: lost are ", path.display())?;
                f.write_str(match has_snapshot {
                    true => "the changes since the snapshot",
                    false => "sessions, subscriptions and messages",
                })?;
                match to {
                    Some(to) => write!(f, " that stood in the log from {from} to {to}"),
                    None => write!(f, " that stood in the log from {from} on"),
                }
            }
        }
    }
}

/// What has to be done so that the store in `root` starts; nothing if it does.
///
/// # Errors
/// It cannot be helped.
pub fn plan(files: &Arc<dyn Files>, root: &Path) -> Result<Vec<Step>, Failure> {
    let inspection = Inspection::open(files.clone(), root)?;
    let mut steps: Vec<_> = inspection.faults().iter().cloned().map(Step::SetAside).collect();
    match inspection.start(|_, _| Ok(())) {
        Ok(_) => {}
        Err(Failure::Missing { path, number, .. }) => {
            let from = number * inspection.folder().identity().segment_bytes;
            let to = inspection.segment_starts().find(|start| *start > from);
            let has_snapshot = inspection.newest().is_some();
            steps.push(Step::DoWithout { path, from, to, has_snapshot });
        }
        Err(error) => return Err(error),
    }
    Ok(steps)
}

/// Does what [`plan`] has said. Nobody may run the store.
///
/// # Errors
/// The folder cannot be written to.
pub fn apply(files: &Arc<dyn Files>, root: &Path, steps: &[Step]) -> Result<(), Failure> {
    let inspection = Inspection::open(files.clone(), root)?;
    let folder = inspection.folder();
    for step in steps {
        let (path, done) = match step {
            Step::SetAside(fault) => (&fault.path, folder.set_aside(&fault.path)),
            // Shorter than any segment of ours: a start takes it for one that the disk has lost, says so, and
            // goes on behind it.
            Step::DoWithout { path, .. } => {
                let made = files.create(path).and_then(|file| file.sync_data());
                (path, made.and_then(|()| files.sync_dir(&folder.log_dir())))
            }
        };
        done.map_err(|source| Failure::Io { path: path.clone(), source })?;
    }
    Ok(())
}
