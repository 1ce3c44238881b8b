//! Balance: how many of the loops are at work.
//!
//! A message that stays on one thread costs less than one that wakes two, and a thread with more to do per
//! pass writes more per system call. So connections gather on the first loops and spread to the next only
//! when those are busy and a processor is free; when all have little to do they come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::io_loop::LoopHandle;

/// How often a loop looks at its load.
const WINDOW: Duration = Duration::from_millis(100);
/// Shares of a processor, in thousandths: above `BUSY` for `PATIENCE` windows a loop gives connections away.
const BUSY: u32 = 950;
const PATIENCE: u32 = 3;
/// A loop that gives or takes must differ at least so much, or they would pass connections to and fro.
const DIFFERENCE: u32 = 300;
/// A processor that was idle for so much of the time is free for another loop.
const IDLE: u64 = 300;
/// New connections go to the first loop below this.
const WELCOME: u32 = 600;
/// Two loops that together stay below this become one.
const TOGETHER: u32 = 350;

/// The processor time a loop's thread has used of late, for all to see.
#[derive(Default)]
pub(crate) struct Load(AtomicU32);

impl Load {
    fn permille(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Chooses the loop for a new connection.
pub(crate) fn choose(loops: &[Arc<LoopHandle>]) -> Option<&Arc<LoopHandle>> {
    loops
        .iter()
        .find(|handle| handle.load.permille() < WELCOME)
        .or_else(|| loops.iter().min_by_key(|handle| handle.load.permille()))
}

/// A loop's own view of the balance.
pub(crate) struct Balance {
    number: usize,
    loops: Arc<[Arc<LoopHandle>]>,
    window_began: Instant,
    cpu_then: Duration,
    busy_windows: u32,
    /// What the machine's processors had done when this loop last became busy.
    machine_then: Option<Machine>,
    giving: Option<Giving>,
    windows: u64,
}

/// To whom connections go in the present window, as they become readable.
struct Giving {
    to: Arc<LoopHandle>,
    /// Every one, or every second.
    all: bool,
    left: usize,
}

impl Balance {
    pub(crate) fn new(number: usize, loops: Arc<[Arc<LoopHandle>]>) -> Self {
        Self {
            number,
            loops,
            window_began: Instant::now(),
            cpu_then: cpu_time(),
            busy_windows: 0,
            machine_then: None,
            giving: None,
            windows: 0,
        }
    }

    /// Looks at the load if a window has passed. `lately` is a moment of this pass that was read for other reasons;
    /// `connections` is how many the loop has.
    pub(crate) fn look(&mut self, lately: Instant, connections: usize) {
        if lately - self.window_began < WINDOW {
            return;
        }
        let now = Instant::now();
        let elapsed = now - self.window_began;
        let cpu = cpu_time();
        let used = (cpu - self.cpu_then).as_micros() * 1000 / elapsed.as_micros().max(1);
        let load = used.min(1000) as u32;
        (self.window_began, self.cpu_then) = (now, cpu);
        self.windows += 1;
        self.loops[self.number].load.0.store(load, Ordering::Relaxed);
        self.busy_windows = if load >= BUSY { self.busy_windows + 1 } else { 0 };
        if self.busy_windows == 1 {
            self.machine_then = Machine::read();
        }
        self.begin_giving(load, connections);
    }

    fn begin_giving(&mut self, load: u32, connections: usize) {
        // A loop without connections has none to give, whatever comes to it within the window.
        self.giving = self.plan(load, connections).filter(|giving| giving.left > 0);
    }

    fn plan(&mut self, load: u32, connections: usize) -> Option<Giving> {
        if self.busy_windows >= PATIENCE && connections > 1 {
            self.busy_windows = 0;
            // A second loop helps only where a processor is free for it.
            if !self.machine_then.is_none_or(|then| then.has_idled_since(IDLE)) {
                return None;
            }
            let idlest = self.loops.iter().min_by_key(|handle| handle.load.permille())?;
            return (idlest.load.permille() + DIFFERENCE <= load).then(|| Giving {
                to: Arc::clone(idlest),
                all: false,
                left: connections.div_ceil(2),
            });
        }
        let lower = self.loops[..self.number]
            .iter()
            .find(|handle| handle.load.permille() + load < TOGETHER)?;
        Some(Giving { to: Arc::clone(lower), all: true, left: connections })
    }

    /// The loop that connection `key` should go to, if it should go.
    pub(crate) fn give(&mut self, key: u64) -> Option<Arc<LoopHandle>> {
        let giving = self.giving.as_mut()?;
        // Every second, and other ones in each window, so that the busy ones get apart in the end.
        let is_chosen =
            giving.all || (key ^ self.windows).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 63 == 1;
        if !is_chosen {
            return None;
        }
        let to = Arc::clone(&giving.to);
        giving.left -= 1;
        if giving.left == 0 {
            self.giving = None;
        }
        Some(to)
    }

    pub(crate) fn is_giving(&self) -> bool {
        self.giving.is_some()
    }
}

/// Time of all processors together, in the kernel's ticks, since the machine started.
#[derive(Clone, Copy)]
struct Machine {
    idle: u64,
    total: u64,
    processors: u64,
}

impl Machine {
    /// What `/proc/stat` says; `None` where there is none.
    fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let all = lines.next()?.strip_prefix("cpu ")?;
        // user nice system idle iowait irq softirq steal; guests are part of user.
        let ticks: Vec<u64> =
            all.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let idle = ticks.get(3)? + ticks.get(4)?;
        let processors = lines.take_while(|line| line.starts_with("cpu")).count() as u64;
        Some(Self { idle, total: ticks.iter().sum(), processors })
    }

    /// True if at least `permille` of one processor was idle since then, or nobody knows.
    fn has_idled_since(self, permille: u64) -> bool {
        let Some(now) = Self::read() else { return true };
        let total = now.total.saturating_sub(self.total);
        let idle = now.idle.saturating_sub(self.idle);
        idle * now.processors * 1000 >= total * permille
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections that come while a loop without any is idle are its own.
    #[test]
    fn who_has_nothing_gives_nothing() {
        let handle = || Arc::new(LoopHandle::to_nowhere().expect("a poll"));
        let mut balance = Balance::new(1, [handle(), handle()].into());
        balance.begin_giving(0, 0);
        assert!(!balance.is_giving() && balance.give(1).is_none());
        balance.begin_giving(0, 1);
        assert!(balance.give(1).is_some() && balance.give(2).is_none());
    }

    #[test]
    fn proc_stat_is_read() {
        let text = "cpu  100 0 50 800 10 0 5 35 7 0\ncpu0 1 2 3\ncpu1 1 2 3\nintr 5\n";
        let machine = Machine::parse(text).unwrap();
        assert_eq!((machine.idle, machine.total, machine.processors), (810, 1000, 2));
        assert!(Machine::parse("").is_none());
        assert!(Machine::read().is_none_or(|machine| machine.processors > 0));
    }
}
