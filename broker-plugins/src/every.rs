//! Every: one thread that does a job at intervals, beside the threads that serve clients.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// At most one thread, whatever job takes the place of another: what is under way ends before the next begins.
pub(crate) struct Every {
    shared: Arc<Shared>,
    /// Of the thread.
    name: &'static str,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    has_thread: bool,
    /// Without it the thread ends.
    is_wanted: bool,
    work: Option<Work>,
    /// Rises with each other work.
    generation: u64,
}

#[derive(Clone)]
struct Work {
    interval: Duration,
    job: Arc<dyn Fn() + Send + Sync>,
}

impl Every {
    /// Without a job and without a thread.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { shared: Arc::default(), name }
    }

    /// Makes sure that there is a thread.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        if !state.has_thread {
            let shared = Arc::clone(&self.shared);
            thread::Builder::new().name(self.name.into()).spawn(move || run(&shared))?;
            state.has_thread = true;
        }
        state.is_wanted = true;
        Ok(())
    }

    /// Does this from now on, in the place of what it did: first after an interval, then an interval after each end.
    pub(crate) fn begin(&self, interval: Duration, job: impl Fn() + Send + Sync + 'static) {
        self.change(Some(Work { interval, job: Arc::new(job) }));
    }

    /// Does nothing any more. The thread ends, at the latest when it is done with what it is about.
    pub(crate) fn end(&self) {
        self.shared.state.lock().is_wanted = false;
        self.change(None);
    }

    fn change(&self, work: Option<Work>) {
        let mut state = self.shared.state.lock();
        let former = std::mem::replace(&mut state.work, work);
        state.generation += 1;
        drop(state);
        self.shared.changed.notify_one();
        // A job may hold much, and its end take a while.
        drop(former);
    }
}

impl Drop for Every {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(shared: &Shared) {
    let mut state = shared.state.lock();
    while state.is_wanted {
        let Some(work) = state.work.clone() else {
            shared.changed.wait(&mut state);
            continue;
        };
        let (generation, until) = (state.generation, Instant::now() + work.interval);
        while state.generation == generation {
            if shared.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        if state.generation == generation {
            MutexGuard::unlocked(&mut state, || (work.job)());
        }
        MutexGuard::unlocked(&mut state, || drop(work));
    }
    state.has_thread = false;
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::mpsc::{self, RecvTimeoutError};

    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const DEADLINE: Duration = Duration::from_secs(20);

    fn has_thread(every: &Every) -> bool {
        every.shared.state.lock().has_thread
    }

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let until = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < until, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn a_job_is_done_again_and_again_until_its_end() {
        let every = Every::new("test");
        assert!(!has_thread(&every));
        every.prepare().unwrap();
        let (tell, told) = mpsc::channel();
        every.begin(SOON, move || tell.send(thread::current().id()).unwrap_or(()));
        let first = told.recv_timeout(DEADLINE).unwrap();
        assert_eq!(told.recv_timeout(DEADLINE), Ok(first));
        assert_ne!(first, thread::current().id());
        every.end();
        // What it holds is let go, and with it the other end of the channel.
        wait_until("the job is let go", || {
            told.recv_timeout(SOON) == Err(RecvTimeoutError::Disconnected)
        });
        wait_until("the thread ends", || !has_thread(&every));
    }

    /// A hundred changes while a job hangs are one thread, which goes on with the last.
    #[test]
    fn there_is_never_more_than_one_job_under_way() {
        let every = Every::new("test");
        every.prepare().unwrap();
        let (entered, enter) = mpsc::channel();
        let (release, hang) = mpsc::channel::<()>();
        let hang = Mutex::new(hang);
        every.begin(SOON, move || {
            let _ = entered.send(());
            let _ = hang.lock().recv();
        });
        enter.recv_timeout(DEADLINE).unwrap();
        let (tell, told) = mpsc::channel();
        let mut jobs: Vec<Weak<()>> = Vec::new();
        for n in 0..100 {
            every.end();
            every.prepare().unwrap();
            let (tell, held) = (tell.clone(), Arc::new(()));
            jobs.push(Arc::downgrade(&held));
            every.begin(SOON, move || {
                let _ = (&held, tell.send(n));
            });
        }
        assert_eq!(jobs.iter().filter(|job| job.strong_count() > 0).count(), 1);
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(release);
        assert_eq!(told.recv_timeout(DEADLINE), Ok(99));
        drop(every);
        wait_until("the last job is let go", || jobs.iter().all(|job| job.strong_count() == 0));
    }
}
