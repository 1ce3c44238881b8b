//! Process: what Linux tells of this process and its machine, for plugins.

use std::fs;

use broker_plugins::{CpuTimes, Heap, Machine};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::facts::{process_status, status_number};
use crate::monitor::machine;

/// This process.
pub(crate) struct Process;

impl Machine for Process {
    fn cpu_times(&self) -> Option<CpuTimes> {
        machine::cpu_times()
    }

    fn run_queue(&self) -> Option<u64> {
        let tasks = fs::read_dir("/proc/self/task").ok()?.filter_map(Result::ok);
        // One that has ended meanwhile runs no more.
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        let running = stats.filter(|stat| is_runnable(stat)).count() as u64;
        // Who asks is running himself.
        Some(running.saturating_sub(1))
    }

    fn cpu_seconds(&self) -> Option<f64> {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
    }

    fn resident_bytes(&self) -> Option<u64> {
        Some(status_number(&process_status(), "VmRSS:")? * 1024)
    }

    fn open_descriptors(&self) -> Option<u64> {
        machine::open_descriptors()
    }

    fn max_descriptors(&self) -> Option<u64> {
        Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    fn heap(&self) -> Option<Heap> {
        heap()
    }
}

/// As glibc tells it; another C library does not.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn heap() -> Option<Heap> {
    use malloc_info::info::{SystemType, TotalType};
    let told = malloc_info::malloc_info()
        .inspect_err(|error| log::warn!("the allocator does not tell of itself: {error}"))
        .ok()?;
    let system = |of: SystemType| {
        told.system.iter().filter(|it| it.r#type == of).map(|it| it.size as u64).sum::<u64>()
    };
    let total = |of: TotalType| {
        told.total.iter().filter(|it| it.r#type == of).map(|it| it.size as u64).sum::<u64>()
    };
    Some(Heap {
        arenas: system(SystemType::Current),
        arenas_max: system(SystemType::Max),
        blocks: total(TotalType::Mmap),
        free: total(TotalType::Fast) + total(TotalType::Rest),
    })
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn heap() -> Option<Heap> {
    None
}

/// Of /proc/…/stat: the state stands behind the name, which may have brackets and blanks in it.
fn is_runnable(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn the_state_stands_behind_the_name() {
        assert!(is_runnable("12 (a) b) R 1 12"));
        assert!(!is_runnable("12 (R) S 1 12"));
        assert!(!is_runnable(""));
    }

    #[test]
    fn what_is_told_is_of_this_process() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let before = Process.cpu_seconds().unwrap();
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while Process.run_queue().unwrap() < 2 || Process.cpu_seconds().unwrap() <= before {
                assert!(std::time::Instant::now() < until);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(Process.resident_bytes().unwrap() > 100_000);
        let (open, most) = (Process.open_descriptors(), Process.max_descriptors());
        assert!(open.unwrap() >= 3 && open < most, "{open:?} {most:?}");
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        let heap = Process.heap().unwrap();
        assert!(heap.blocks >= 64 << 20, "{heap:?}");
        assert!(heap.free <= heap.arenas && heap.arenas <= heap.arenas_max, "{heap:?}");
        drop(block);
        assert!(Process.heap().unwrap().blocks < heap.blocks);
        let times = Process.cpu_times().unwrap();
        assert!(times.busy > 0 && times.busy <= times.total);
    }
}
