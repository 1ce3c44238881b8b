//! Saving: an answer that says that something was done waits until that is as safe as it has to be.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use broker_core::{Broker, Saved, Sink};
use parking_lot::{Condvar, Mutex};

use crate::error::{ApiError, Code};

/// A change is in force that a restart may undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("done, but not on disk after {0:?}; a restart may undo it")]
pub(crate) struct NotSaved(Duration);

/// Waits until a change is saved. For threads that may block.
///
/// # Errors
/// It is not, after longer than a disk takes that is alive.
pub(crate) fn wait(broker: &Broker, saved: Saved) -> Result<(), NotSaved> {
    wait_for(broker, saved, TIMEOUT)
}

fn wait_for(broker: &Broker, saved: Saved, timeout: Duration) -> Result<(), NotSaved> {
    if broker.is_saved(saved) {
        return Ok(());
    }
    let waiter = Arc::new(Waiter::default());
    broker.wake_when_saved(saved, &(Arc::clone(&waiter) as Arc<dyn Sink>));
    waiter.wait(timeout);
    if broker.is_saved(saved) { Ok(()) } else { Err(NotSaved(timeout)) }
}

impl From<NotSaved> for ApiError {
    fn from(error: NotSaved) -> Self {
        Self::new(Code::Unknown, error)
    }
}

/// A thread that waits to be woken, once.
#[derive(Default)]
struct Waiter {
    is_woken: Mutex<bool>,
    woken: Condvar,
}

impl Waiter {
    fn wait(&self, timeout: Duration) {
        let mut is_woken = self.is_woken.lock();
        self.woken.wait_while_for(&mut is_woken, |is_woken| !*is_woken, timeout);
    }
}

impl Sink for Waiter {
    fn try_write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn wake(&self) {
        *self.is_woken.lock() = true;
        self.woken.notify_one();
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use broker_core::store::{Appended, BodyPlace, Condition, FetchDone, Level, Lsn, Store};

    use super::*;

    /// A disk that syncs when it is told to.
    #[derive(Default)]
    struct Disk(Mutex<Log>);

    #[derive(Default)]
    struct Log {
        end: Lsn,
        is_synced: bool,
        waiting: Vec<Arc<dyn Sink>>,
    }

    impl Store for Disk {
        fn append(&self, payload: &[u8]) -> Appended {
            let mut log = self.0.lock();
            log.end += payload.len() as u64;
            Appended { base: 1, end: log.end, pin: Arc::new(()) }
        }

        fn piece_bytes(&self) -> usize {
            1 << 20
        }

        fn safe(&self, _: Level) -> Lsn {
            if self.0.lock().is_synced { Lsn::MAX } else { 1 }
        }

        fn wake_at(&self, _: Lsn, _: Level, sinks: &mut Vec<Arc<dyn Sink>>) {
            self.0.lock().waiting.append(sinks);
        }

        fn fetch(&self, _: Vec<BodyPlace>, _: FetchDone) {}

        fn condition(&self) -> Condition {
            Condition::Ready
        }
    }

    fn broker(disk: &Arc<Disk>) -> Arc<Broker> {
        let store = Arc::clone(disk) as Arc<dyn Store>;
        Broker::builder().store(store).build().unwrap()
    }

    #[test]
    fn an_answer_waits_for_the_disk_and_no_longer() {
        let disk = Arc::new(Disk::default());
        let broker = broker(&disk);
        let saved = broker.put_setting("kind", "key", b"value");
        let started = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for(&broker, saved, Duration::from_secs(60)));
            // It is there when it waits, or it would have gone on at once.
            while disk.0.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            disk.0.lock().is_synced = true;
            let waiting_sinks = std::mem::take(&mut disk.0.lock().waiting);
            waiting_sinks.iter().for_each(|sink| sink.wake());
            assert_eq!(waiting.join().unwrap(), Ok(()));
        });
        assert!(started.elapsed() < Duration::from_secs(30));
        assert_eq!(wait(&broker, saved), Ok(()), "there is nothing to wait for");
        assert_eq!(disk.0.lock().waiting.len(), 0);
    }

    #[test]
    fn a_disk_that_does_not_answer_is_told_of() {
        let disk = Arc::new(Disk::default());
        let broker = broker(&disk);
        let saved = broker.put_setting("kind", "key", b"value");
        let error = wait_for(&broker, saved, Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.to_string(), "done, but not on disk after 1ms; a restart may undo it");
        assert_eq!(wait(&broker, Saved::default()), Ok(()), "what changed nothing is saved");
    }
}
