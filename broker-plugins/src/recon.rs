//! `emqx_recon`: what the process takes of memory, and memory given back at intervals.

use std::sync::Arc;
use std::time::Duration;

use broker_core::{Broker, Metric};
use parking_lot::Mutex;

use crate::config::PluginsConfig;
use crate::every::Every;
use crate::machine::{Heap, Machine};
use crate::plugin::{Parts, Plugin, Ready};

/// `recon.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconConfig {
    /// `gc_interval`, in milliseconds.
    pub gc_interval_ms: u64,
}

impl Default for ReconConfig {
    fn default() -> Self {
        Self { gc_interval_ms: 300_000 }
    }
}

/// The plugin.
pub struct Recon {
    broker: Arc<Broker>,
    observed: Observed,
    every: Every,
}

/// The allocator's figures, and the highest that were seen of them.
struct Observed {
    machine: Arc<dyn Machine>,
    highest: Mutex<Highest>,
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Highest {
    used: u64,
    allocated: u64,
    unused: u64,
    arenas: u64,
    blocks: u64,
}

/// What the allocator holds: now, and at most as far as somebody has looked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeapUse {
    /// Now.
    pub current: HeapFigures,
    /// At most.
    pub max: HeapFigures,
}

/// Bytes of the allocator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeapFigures {
    /// Handed out.
    pub used: u64,
    /// Taken from the system.
    pub allocated: u64,
    /// Kept for what will be asked for.
    pub unused: u64,
    /// Of `allocated`, in its arenas.
    pub arenas: u64,
    /// Of `allocated`, in blocks that are too large for those.
    pub blocks: u64,
}

/// The node at a moment. What is counted is counted since the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeSample {
    /// Threads that run or wait for a processor.
    pub run_queue: u64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Messages that wait in the queues of sessions.
    pub queued_messages: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Time of processors, in seconds.
    pub cpu_seconds: f64,
}

impl Recon {
    /// The plugin, not yet at work.
    #[must_use]
    pub fn new(broker: &Arc<Broker>, machine: Arc<dyn Machine>) -> Self {
        let observed = Observed { machine, highest: Mutex::default() };
        Self { broker: Arc::clone(broker), observed, every: Every::new("broker-recon") }
    }

    /// What the allocator holds; `None` if it does not tell.
    ///
    /// Cost: whoever needs memory of an arena waits while the allocator goes through what is free in it.
    #[must_use]
    pub fn heap(&self) -> Option<HeapUse> {
        self.observed.look()
    }

    /// The node as it is now; `None` if the system does not tell.
    #[must_use]
    pub fn sample(&self) -> Option<NodeSample> {
        let machine = &self.observed.machine;
        let metrics = self.broker.metrics();
        Some(NodeSample {
            run_queue: machine.run_queue()?,
            memory_bytes: machine.resident_bytes()?,
            queued_messages: self.broker.queued_messages() as u64,
            bytes_in: metrics.value(Metric::BytesReceived),
            bytes_out: metrics.value(Metric::BytesSent),
            cpu_seconds: machine.cpu_seconds()?,
        })
    }
}

impl Plugin for Recon {
    fn name(&self) -> &'static str {
        "emqx_recon"
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        let interval = Duration::from_millis(config.recon.gc_interval_ms);
        self.every.prepare().map_err(|error| format!("no thread for emqx_recon: {error}"))?;
        Ok(Box::new(move || {
            let broker = Arc::clone(&self.broker);
            // The allocator is not asked here: it holds its arenas while it counts what is free in them.
            self.every.begin(interval, move || {
                let bytes = broker.give_back();
                log::debug!("memory given back to the allocator bytes={bytes}");
            });
            Parts::default()
        }))
    }

    fn stop(&self) {
        self.every.end();
    }
}

impl Observed {
    fn look(&self) -> Option<HeapUse> {
        let heap = self.machine.heap()?;
        let current = heap.figures();
        let mut highest = self.highest.lock();
        highest.used = highest.used.max(current.used);
        highest.unused = highest.unused.max(current.unused);
        highest.blocks = highest.blocks.max(current.blocks);
        // The allocator knows that itself.
        highest.arenas = highest.arenas.max(heap.arenas_max);
        highest.allocated = highest.allocated.max(current.allocated).max(highest.arenas);
        let Highest { used, allocated, unused, arenas, blocks } = *highest;
        Some(HeapUse { current, max: HeapFigures { used, allocated, unused, arenas, blocks } })
    }
}

impl Heap {
    fn figures(&self) -> HeapFigures {
        let allocated = self.arenas + self.blocks;
        // They are read one after the other.
        let unused = self.free.min(allocated);
        HeapFigures {
            used: allocated - unused,
            allocated,
            unused,
            arenas: self.arenas,
            blocks: self.blocks,
        }
    }
}

impl HeapFigures {
    /// Which part of what was taken from the system is handed out.
    #[must_use]
    pub fn usage(&self) -> f64 {
        if self.allocated == 0 { 0.0 } else { self.used as f64 / self.allocated as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::CpuTimes;

    struct Fixed(Mutex<Heap>);

    impl Machine for Fixed {
        fn cpu_times(&self) -> Option<CpuTimes> {
            None
        }

        fn run_queue(&self) -> Option<u64> {
            Some(1)
        }

        fn cpu_seconds(&self) -> Option<f64> {
            Some(0.5)
        }

        fn resident_bytes(&self) -> Option<u64> {
            None
        }

        fn open_descriptors(&self) -> Option<u64> {
            None
        }

        fn max_descriptors(&self) -> Option<u64> {
            None
        }

        fn heap(&self) -> Option<Heap> {
            Some(*self.0.lock())
        }
    }

    #[test]
    fn the_highest_figures_stay() {
        let heap = |arenas, arenas_max, blocks, free| Heap { arenas, arenas_max, blocks, free };
        let machine = Arc::new(Fixed(Mutex::new(heap(100, 150, 40, 30))));
        let recon = Recon::new(&Broker::builder().build().unwrap(), Arc::clone(&machine) as _);
        let first = recon.heap().unwrap();
        let figures = |it: HeapFigures| [it.used, it.allocated, it.unused, it.arenas, it.blocks];
        assert_eq!(figures(first.current), [110, 140, 30, 100, 40]);
        assert_eq!(figures(first.max), [110, 150, 30, 150, 40], "as the allocator remembers");
        *machine.0.lock() = heap(60, 150, 0, 50);
        let second = recon.heap().unwrap();
        assert_eq!(figures(second.current), [10, 60, 50, 60, 0]);
        assert_eq!(figures(second.max), [110, 150, 50, 150, 40]);
        assert!((second.current.usage() - 1.0 / 6.0).abs() < 1e-9);
        assert_eq!(recon.sample(), None, "the system does not tell");
    }
}
