//! Balance: how many of the loops are at work.
//!
//! A message that stays on one thread costs less than one that wakes two, and a thread with more to do per
//! pass writes more per system call. So connections gather on the first loops and spread to the next only
//! when those are busy; when all have little to do they come back.

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
            giving: None,
            windows: 0,
        }
    }

    /// Looks at the load if a window has passed. `connections` is how many the loop has.
    pub(crate) fn look(&mut self, now: Instant, connections: usize) {
        let elapsed = now - self.window_began;
        if elapsed < WINDOW {
            return;
        }
        let cpu = cpu_time();
        let used = (cpu - self.cpu_then).as_micros() * 1000 / elapsed.as_micros().max(1);
        let load = used.min(1000) as u32;
        (self.window_began, self.cpu_then) = (now, cpu);
        self.windows += 1;
        self.loops[self.number].load.0.store(load, Ordering::Relaxed);
        self.busy_windows = if load >= BUSY { self.busy_windows + 1 } else { 0 };
        self.giving = self.plan(load, connections);
    }

    fn plan(&mut self, load: u32, connections: usize) -> Option<Giving> {
        if self.busy_windows >= PATIENCE && connections > 1 {
            self.busy_windows = 0;
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

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
