//! Monitor: looks now and then whether machine and process have what the broker needs; a thread of its own, which is
//! the clock of what has none.

mod checks;
pub(crate) mod machine;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use broker_core::{Broker, Now};
use broker_net::clock;

use self::checks::Checks;
use self::machine::Real;
use crate::config::MonitorConfig;

/// The thread; it ends when this is dropped.
pub(crate) struct Monitor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Begins to look. What was found stays up until a later look finds that it is over. Of `config`, which is asked
    /// before each look, the marks may change. `tick` is called at least every ten seconds.
    pub(crate) fn start(
        broker: &Arc<Broker>,
        config: impl Fn() -> MonitorConfig + Send + 'static,
        data_dir: &Path,
        tick: impl Fn(Now) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (broker, is_over) = (Arc::clone(broker), Arc::clone(&stop));
        let mut checks = Checks::new(&config(), Real::new(&broker, data_dir), clock::now());
        let thread = thread::Builder::new().name("broker-monitor".into()).spawn(move || {
            while !is_over.load(Ordering::Acquire) {
                let now = clock::now();
                checks.configure(config());
                let due_ms = checks.run(now, broker.alarms());
                tick(now);
                let pause_ms = due_ms.map_or(TICK_MS, |due_ms| due_ms.saturating_sub(now.mono_ms));
                thread::park_timeout(Duration::from_millis(pause_ms.min(TICK_MS)));
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Between two ticks, at most.
const TICK_MS: u64 = 10_000;

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
