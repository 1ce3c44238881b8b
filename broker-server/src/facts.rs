//! What the process knows of itself and its machine, for the management API.

use std::fs;
use std::time::{Duration, Instant};

use broker_core::Now;
use broker_mgmt::ports::{Memory, NodeFacts};
use rustix::process::{Resource, getrlimit};

/// Facts of this process.
pub(crate) struct Facts {
    name: String,
    begun: Instant,
}

impl Facts {
    /// Of the node of this name, which began then.
    pub(crate) fn new(name: String, begun: Instant) -> Self {
        Self { name, begun }
    }
}

impl NodeFacts for Facts {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        concat!("v", env!("CARGO_PKG_VERSION"))
    }

    fn runtime(&self) -> &str {
        env!("COMPILER")
    }

    fn now(&self) -> Now {
        broker_net::clock::now()
    }

    fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }

    fn load_averages(&self) -> Option<[f64; 3]> {
        let text = fs::read_to_string("/proc/loadavg").ok()?;
        let mut loads = text.split_whitespace().map(|load| load.parse().ok());
        Some([loads.next()??, loads.next()??, loads.next()??])
    }

    fn max_fds(&self) -> u64 {
        // Without a limit the number is as large as it can be.
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    }

    fn memory(&self) -> Memory {
        let status = process_status();
        let bytes = |name| status_number(&status, name).unwrap_or(0) * 1024;
        Memory { resident: bytes("VmRSS:"), allocated: bytes("RssAnon:") }
    }

    fn threads(&self) -> usize {
        let status = process_status();
        status_number(&status, "Threads:").and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
    }
}

/// Empty where there is no /proc.
pub(crate) fn process_status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// The number of a line such as `VmRSS:     1234 kB`.
pub(crate) fn status_number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_those_of_this_process() {
        let facts = Facts::new("emqx@127.0.0.1".into(), Instant::now());
        assert!(facts.runtime().starts_with("rustc 1."), "{}", facts.runtime());
        let memory = facts.memory();
        assert!(memory.allocated > 100_000 && memory.allocated < memory.resident, "{memory:?}");
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(facts.memory().allocated >= memory.allocated + (60 << 20));
        drop(block);
        let threads = facts.threads();
        std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel::<()>();
            let _one = scope.spawn(move || told.recv());
            assert!(facts.threads() > threads - 1);
            drop(tell);
        });
        assert!(facts.load_averages().is_some());
        assert!(facts.max_fds() > 0);
        assert_eq!(status_number("Name:\tx\nThreads:\t7\n", "Threads:"), Some(7));
    }
}
