//! SimFiles: a file system in memory that knows what a disk would have kept, and fails when told to.
//!
//! For each file it holds what a reader sees and what the disk has; between the two lie 512-byte sectors that
//! no sync has covered. Names are kept alike: creations, renames and removals wait in a journal for a sync of
//! their folder. [`SimFiles::crash`] is a power cut; to kill only the process, open the same files again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::files::{File, Files};

mod random;

pub use random::Random;

const SECTOR: usize = 512;

/// What a power cut leaves of that which no sync has covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Synced,
    /// Sectors and folder entries as the seed has it.
    Some,
    /// Everything.
    All,
}

/// Kinds of calls, to aim a fault at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// [`Files::create`].
    Create,
    /// [`Files::open`].
    Open,
    /// [`File::write_at`].
    Write,
    /// [`File::read_at`].
    Read,
    /// [`File::sync_data`].
    Sync,
    /// [`Files::sync_dir`].
    SyncDir,
    /// [`Files::rename`].
    Rename,
    /// [`Files::link`].
    Link,
    /// [`Files::remove`].
    Remove,
}

impl Call {
    /// What a crash may fall between.
    fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read)
    }
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A write takes a part only.
    Short,
    /// EINTR.
    Interrupted,
    /// ENOSPC.
    NoSpace,
    /// EDQUOT.
    Quota,
    /// EIO. Of a sync: some sectors have reached the disk, the others are no longer tried; the next sync
    /// says success.
    Io,
    /// A sync says success and has done nothing.
    Lie,
    /// The power goes in the middle of it: this call and all later ones fail.
    Halt,
}

/// A file system in memory. Clones are the same one.
#[derive(Clone)]
pub struct SimFiles(Arc<Mutex<Disk>>);

struct Disk {
    files: Vec<Content>,
    /// Names as a process sees them, and as the disk has them.
    names: BTreeMap<PathBuf, usize>,
    kept_names: BTreeMap<PathBuf, usize>,
    /// What lies between the two, in order.
    journal: Vec<NameChange>,
    folders: BTreeSet<PathBuf>,
    random: Random,
    /// Calls so far, all that change something and by kind.
    changes: u64,
    calls: BTreeMap<Call, u64>,
    rules: Vec<Rule>,
    is_halted: bool,
    quota_bytes: Option<u64>,
}

#[derive(Clone, Default)]
struct Content {
    seen: Vec<u8>,
    kept: Vec<u8>,
    /// Sectors that the next sync writes.
    dirty: BTreeSet<usize>,
    /// Sectors that take space.
    taken: BTreeSet<usize>,
}

#[derive(Clone)]
enum NameChange {
    Set(PathBuf, usize),
    Unset(PathBuf),
    Move(PathBuf, PathBuf),
}

#[derive(Clone, Copy)]
struct Rule {
    /// `None`: any call that changes something.
    call: Option<Call>,
    first: u64,
    times: u64,
    fault: Fault,
}

impl SimFiles {
    /// An empty file system; `seed` decides what a crash keeps.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            files: Vec::new(),
            names: BTreeMap::new(),
            kept_names: BTreeMap::new(),
            journal: Vec::new(),
            folders: BTreeSet::new(),
            random: Random::new(seed),
            changes: 0,
            calls: BTreeMap::new(),
            rules: Vec::new(),
            is_halted: false,
            quota_bytes: None,
        })))
    }

    /// Calls so far that changed something: the boundaries at which a test may cut the power.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// Calls of a kind so far.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.0.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// Cuts the power in the `n`-th call that changes something, counted from the beginning, from 1.
    pub fn halt_at(&self, n: u64) {
        let rule = Rule { call: None, first: n, times: 1, fault: Fault::Halt };
        self.0.lock().rules.push(rule);
    }

    /// Lets the `nth` call of a kind fail, counted from now, from 1, and those behind it, `times` in all.
    pub fn fail(&self, call: Call, nth: u64, times: u64, fault: Fault) {
        let mut disk = self.0.lock();
        let first = disk.calls.get(&call).copied().unwrap_or(0).saturating_add(nth);
        disk.rules.push(Rule { call: Some(call), first, times, fault });
    }

    /// No more faults, and no quota.
    pub fn heal(&self) {
        let mut disk = self.0.lock();
        disk.rules.clear();
        disk.quota_bytes = None;
    }

    /// Space for so many bytes, in whole sectors.
    pub fn limit_space(&self, bytes: u64) {
        self.0.lock().quota_bytes = Some(bytes);
    }

    /// Bytes that all files take, in whole sectors.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.0.lock().used_bytes()
    }

    /// True once the power has been cut.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.0.lock().is_halted
    }

    /// The file system as found after a power cut; this one is left as it is.
    #[must_use]
    pub fn crash(&self, keep: Keep, seed: u64) -> Self {
        let disk = self.0.lock();
        let mut random = Random::new(seed);
        let mut names = disk.kept_names.clone();
        let n_kept = match keep {
            Keep::Synced => 0,
            Keep::Some => random.below(disk.journal.len() as u64 + 1) as usize,
            Keep::All => disk.journal.len(),
        };
        for change in &disk.journal[..n_kept] {
            change.apply(&mut names);
        }
        let files = disk.files.iter().map(|file| file.after_crash(keep, &mut random)).collect();
        Self(Arc::new(Mutex::new(Disk {
            files,
            kept_names: names.clone(),
            names,
            journal: Vec::new(),
            folders: disk.folders.clone(),
            random,
            changes: 0,
            calls: BTreeMap::new(),
            rules: Vec::new(),
            is_halted: false,
            quota_bytes: None,
        })))
    }

    /// What a file holds, as a process sees it.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.0.lock();
        disk.names.get(path).map(|&at| disk.files[at].seen.clone())
    }

    /// Puts other contents into a file, or makes one, on the disk as well: damage, made by hand.
    pub fn set_contents(&self, path: &Path, bytes: Vec<u8>) {
        let mut disk = self.0.lock();
        let file = Content {
            kept: bytes.clone(),
            taken: (0..bytes.len().div_ceil(SECTOR)).collect(),
            seen: bytes,
            dirty: BTreeSet::new(),
        };
        if let Some(&at) = disk.names.get(path) {
            disk.files[at] = file;
            return;
        }
        disk.files.push(file);
        let at = disk.files.len() - 1;
        disk.names.insert(path.to_owned(), at);
        disk.kept_names.insert(path.to_owned(), at);
    }

    /// All files, in order of their names.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }
}

impl fmt::Debug for SimFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.0.lock();
        f.debug_struct("SimFiles")
            .field("names", &disk.names.keys())
            .field("changes", &disk.changes)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// Counts a call; the fault that strikes it, if one does.
    fn begin(&mut self, call: Call) -> io::Result<Option<Fault>> {
        if self.is_halted {
            return Err(io::Error::other("the power is off"));
        }
        let of_kind = self.calls.entry(call).or_default();
        *of_kind += 1;
        let of_kind = *of_kind;
        if call.changes() {
            self.changes += 1;
        }
        let strikes = |rule: &&Rule| {
            let count = match rule.call {
                None if call.changes() => self.changes,
                Some(kind) if kind == call => of_kind,
                _ => return false,
            };
            count >= rule.first && count - rule.first < rule.times
        };
        let fault = self.rules.iter().find(strikes).map(|rule| rule.fault);
        if fault == Some(Fault::Halt) {
            self.is_halted = true;
        }
        Ok(fault)
    }

    /// As [`Self::begin`], for calls that know no half way; a halt is left to the caller, whose effect may
    /// or may not have been.
    fn begin_whole(&mut self, call: Call) -> io::Result<Option<Fault>> {
        match self.begin(call)? {
            Some(Fault::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Quota) => Err(io::ErrorKind::QuotaExceeded.into()),
            Some(Fault::Io) => Err(io_error()),
            other => Ok(other),
        }
    }

    fn change(&mut self, change: NameChange, fault: Option<Fault>) -> io::Result<()> {
        change.apply(&mut self.names);
        self.journal.push(change);
        if fault == Some(Fault::Halt) { Err(io_error()) } else { Ok(()) }
    }

    fn used_bytes(&self) -> u64 {
        let named: BTreeSet<usize> = self.names.values().copied().collect();
        named.iter().map(|&at| (self.files[at].taken.len() * SECTOR) as u64).sum()
    }

    fn folder_of(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(folder) if self.folders.contains(folder) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, at) => {
                names.insert(path.clone(), *at);
            }
            Self::Unset(path) => {
                names.remove(path);
            }
            Self::Move(from, to) => {
                if let Some(at) = names.remove(from) {
                    names.insert(to.clone(), at);
                }
            }
        }
    }
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            self.dirty.insert(sector);
            self.taken.insert(sector);
        }
    }

    fn keep(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.seen.len());
        if self.kept.len() < to {
            self.kept.resize(to, 0);
        }
        self.kept[from..to].copy_from_slice(&self.seen[from..to]);
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector);
        }
    }

    fn sync_badly(&mut self, random: &mut Random) {
        for sector in std::mem::take(&mut self.dirty) {
            if random.below(2) == 0 {
                self.keep(sector);
            }
        }
    }

    fn after_crash(&self, keep: Keep, random: &mut Random) -> Self {
        let mut file = self.clone();
        let dirty = std::mem::take(&mut file.dirty);
        // Now and then most of it is there, now and then hardly any.
        let odds = random.below(8) + 1;
        for sector in dirty {
            let is_kept = match keep {
                Keep::Synced => false,
                Keep::Some => random.below(9) < odds,
                Keep::All => true,
            };
            if is_kept {
                file.keep(sector);
            }
        }
        file.seen = file.kept.clone();
        file
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    at: usize,
}

impl File for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let disk = &mut *self.disk.lock();
        let fault = disk.begin_whole(Call::Write)?;
        let mut n = bytes.len();
        if fault == Some(Fault::Short) && n > 1 {
            n = 1 + disk.random.below(n as u64 - 1) as usize;
        }
        let offset = offset as usize;
        if let Some(quota) = disk.quota_bytes {
            let mut free = quota.saturating_sub(disk.used_bytes()) / SECTOR as u64;
            let taken = &disk.files[self.at].taken;
            for sector in offset / SECTOR..(offset + n).div_ceil(SECTOR) {
                if taken.contains(&sector) {
                    continue;
                }
                if free == 0 {
                    n = (sector * SECTOR).saturating_sub(offset);
                    break;
                }
                free -= 1;
            }
            if n == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        disk.files[self.at].write(&bytes[..n], offset);
        if fault == Some(Fault::Halt) { Err(io_error()) } else { Ok(n) }
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        disk.begin_whole(Call::Read)?;
        let seen = &disk.files[self.at].seen;
        let rest = seen.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(bytes.len());
        bytes[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn sync_data(&self) -> io::Result<()> {
        let disk = &mut *self.disk.lock();
        match disk.begin(Call::Sync)? {
            Some(Fault::Lie) => Ok(()),
            Some(Fault::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
            Some(Fault::Halt) => Err(io_error()),
            Some(Fault::NoSpace) => {
                disk.files[self.at].sync_badly(&mut disk.random);
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(Fault::Io | Fault::Quota) => {
                disk.files[self.at].sync_badly(&mut disk.random);
                Err(io_error())
            }
            Some(Fault::Short) | None => {
                disk.files[self.at].sync();
                Ok(())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.at].seen.len() as u64)
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok((self.disk.lock().files[self.at].taken.len() * SECTOR) as u64)
    }
}

impl Files for SimFiles {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.folders.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        disk.folder_of(path)?;
        let fault = disk.begin_whole(Call::Create)?;
        disk.files.push(Content::default());
        let at = disk.files.len() - 1;
        disk.change(NameChange::Set(path.to_owned(), at), fault)?;
        Ok(Arc::new(SimFile { disk: self.0.clone(), at }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        disk.begin_whole(Call::Open)?;
        let at = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.0.clone(), at }))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        if !disk.folders.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        match disk.begin_whole(Call::SyncDir)? {
            Some(Fault::Halt) => Err(io_error()),
            Some(Fault::Lie) => Ok(()),
            _ => {
                // As a journal does it: with one folder all that came before.
                disk.journal.clear();
                disk.kept_names = disk.names.clone();
                Ok(())
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.folder_of(to)?;
        let fault = disk.begin_whole(Call::Rename)?;
        disk.change(NameChange::Move(from.to_owned(), to.to_owned()), fault)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        let at = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        if disk.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.folder_of(to)?;
        let fault = disk.begin_whole(Call::Link)?;
        disk.change(NameChange::Set(to.to_owned(), at), fault)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        if !disk.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let fault = disk.begin_whole(Call::Remove)?;
        disk.change(NameChange::Unset(path.to_owned()), fault)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.0.lock();
        if disk.is_halted {
            return Err(io_error());
        }
        if !disk.folders.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(disk.names.keys().filter(|name| name.parent() == Some(path)).cloned().collect())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let disk = self.0.lock();
        Ok(disk.quota_bytes.map_or(u64::MAX, |quota| quota.saturating_sub(disk.used_bytes())))
    }
}

fn io_error() -> io::Error {
    // EIO: std has no kind for it.
    io::Error::from_raw_os_error(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(bytes: &[u8]) -> (SimFiles, Arc<dyn File>) {
        let files = SimFiles::new(1);
        files.create_dir(Path::new("d")).unwrap();
        let file = files.create(Path::new("d/f")).unwrap();
        file.write_at(bytes, 0).unwrap();
        (files, file)
    }

    #[test]
    fn unsynced_sectors_and_names_are_lost_or_kept() {
        let (files, file) = with_file(&[1; 1024]);
        assert_eq!(files.crash(Keep::Synced, 1).contents(Path::new("d/f")), None);
        assert_eq!(files.crash(Keep::All, 1).contents(Path::new("d/f")), Some(vec![1; 1024]));

        files.sync_dir(Path::new("d")).unwrap();
        assert_eq!(files.crash(Keep::Synced, 1).contents(Path::new("d/f")), Some(vec![]));
        file.sync_data().unwrap();
        file.write_at(&[2; 8], 512).unwrap();
        assert_eq!(files.crash(Keep::Synced, 1).contents(Path::new("d/f")), Some(vec![1; 1024]));
    }

    #[test]
    fn a_failed_sync_drops_what_it_could_not_write() {
        let (files, file) = with_file(&[1; 512 * 64]);
        files.sync_dir(Path::new("d")).unwrap();
        files.fail(Call::Sync, 1, 1, Fault::Io);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(files.contents(Path::new("d/f")), Some(vec![1; 512 * 64]));
        assert_ne!(files.crash(Keep::All, 1).contents(Path::new("d/f")), Some(vec![1; 512 * 64]));
    }

    #[test]
    fn a_quota_takes_what_fits_and_then_nothing() {
        let (files, file) = with_file(&[1; 512]);
        files.limit_space(1024);
        assert_eq!(file.write_at(&[2; 4096], 512).unwrap(), 512);
        let error = file.write_at(&[2; 4096], 1024).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.write_at(&[3; 512], 0).unwrap(), 512);
    }

    #[test]
    fn after_a_halt_nothing_works() {
        let (files, file) = with_file(&[1; 512]);
        files.halt_at(files.changes() + 1);
        assert!(file.sync_data().is_err());
        assert!(files.is_halted());
        assert!(file.read_at(&mut [0; 4], 0).is_err());
    }
}
