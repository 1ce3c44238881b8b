//! What plugins tell of the process and its machine; the program around them knows.

/// The process and its machine. All are read anew at each call; `None` is what cannot be found out.
pub trait Machine: Send + Sync {
    /// Time of all processors since the machine started.
    fn cpu_times(&self) -> Option<CpuTimes>;

    /// Threads of the process that run or wait for a processor, without the one that asks.
    fn run_queue(&self) -> Option<u64>;

    /// Time that processors have spent on the process, in seconds.
    fn cpu_seconds(&self) -> Option<f64>;

    /// Bytes of the process that are in memory.
    fn resident_bytes(&self) -> Option<u64>;

    /// Descriptors that are open.
    fn open_descriptors(&self) -> Option<u64>;

    /// Descriptors that may be open.
    fn max_descriptors(&self) -> Option<u64>;

    /// What the allocator has of the system.
    fn heap(&self) -> Option<Heap>;
}

/// What the allocator has of the system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heap {
    /// In its arenas.
    pub arenas: u64,
    /// The most it has had in them.
    pub arenas_max: u64,
    /// In blocks of their own, which are too large for the arenas.
    pub blocks: u64,
    /// Of the arenas, not handed out.
    pub free: u64,
}

/// Time of all processors since the machine started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTimes {
    /// Not idle, and not waiting for a disk.
    pub busy: u64,
    /// All of it.
    pub total: u64,
}

impl CpuTimes {
    /// Percent of the time since then; `None` if none has passed.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ticks of a few minutes")]
    pub fn busy_since(&self, before: &Self) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|ticks| *ticks > 0)?;
        let busy = self.busy.saturating_sub(before.busy).min(total);
        Some(busy as f64 * 100.0 / total as f64)
    }
}
