//! Workers: threads for what takes milliseconds of computing, so that no connection waits for another's password.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::{Mutex, RwLock};

/// A few threads with a bounded queue; they begin with the first job and end when it is dropped.
pub struct Workers {
    /// `None` once it is closed.
    jobs: RwLock<Option<Sender<Job>>>,
    waiting: Receiver<Job>,
    /// Threads that have begun.
    begun: Mutex<usize>,
    max: usize,
    /// Jobs that wait or are being done.
    open: Arc<AtomicUsize>,
    /// Of the threads.
    name: &'static str,
}

type Job = Box<dyn FnOnce() + Send>;

/// What a job will have computed; `None` if it was not done.
pub(crate) struct Outcome<T>(Arc<Slot<T>>);

/// The other end of it.
pub(crate) struct Filler<T>(Arc<Slot<T>>);

struct Slot<T>(Mutex<Content<T>>);

enum Content<T> {
    Open(Option<Waker>),
    Done(Option<T>),
}

/// More waits than will be done in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overloaded;

/// Both ends of something that somebody will have computed.
pub(crate) fn outcome<T>() -> (Filler<T>, Outcome<T>) {
    let slot = Arc::new(Slot(Mutex::new(Content::Open(None))));
    (Filler(Arc::clone(&slot)), Outcome(slot))
}

impl Workers {
    /// Workers on half of the cores: the other half serves connections.
    #[must_use]
    pub fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores / 2).clamp(1, THREADS_MAX);
        Self::with(threads, threads * JOBS_PER_THREAD)
    }

    /// Workers that wait for others most of the time.
    #[must_use]
    pub(crate) fn for_requests(threads: usize) -> Self {
        Self { name: "broker-asking", ..Self::with(threads, threads * REQUESTS_PER_THREAD) }
    }

    /// The same for what takes a fraction of a millisecond.
    #[must_use]
    pub(crate) fn for_signatures() -> Self {
        let Self { max, .. } = Self::new();
        Self::with(max, max * SIGNATURES_PER_THREAD)
    }

    fn with(max: usize, queue: usize) -> Self {
        let (jobs, waiting) = bounded(queue);
        let open = Arc::default();
        let jobs = RwLock::new(Some(jobs));
        Self { jobs, waiting, begun: Mutex::new(0), max, open, name: HASHING }
    }

    /// Takes no more jobs; its threads end when those are done that wait.
    pub(crate) fn close(&self) {
        *self.jobs.write() = None;
    }

    /// Has a job done, which is passed over if nobody waits for it any more when its turn comes.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Outcome<T>, Overloaded> {
        let (filler, outcome) = outcome();
        let job = Box::new(move || {
            if Arc::strong_count(&filler.0) > 1 {
                filler.fill(work());
            }
        });
        let jobs = self.jobs.read();
        let jobs = jobs.as_ref().ok_or(Overloaded)?;
        self.begin_thread()?;
        match jobs.try_send(job) {
            Ok(()) => Ok(outcome),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.open.fetch_sub(1, Ordering::Relaxed);
                Err(Overloaded)
            }
        }
    }

    /// Counts one more job, and begins one more thread if all that run have something to do.
    fn begin_thread(&self) -> Result<(), Overloaded> {
        let mut begun = self.begun.lock();
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if *begun >= self.max || open <= *begun {
            return Ok(());
        }
        let (waiting, open) = (self.waiting.clone(), Arc::clone(&self.open));
        let thread = thread::Builder::new().name(self.name.into());
        let computes = self.name == HASHING;
        let work = move || {
            if computes {
                give_way();
            }
            for job in &waiting {
                job();
                open.fetch_sub(1, Ordering::Relaxed);
            }
        };
        match thread.spawn(work) {
            Ok(_) => *begun += 1,
            Err(error) if *begun == 0 => {
                log::error!("no thread {}: {error}", self.name);
                self.open.fetch_sub(1, Ordering::Relaxed);
                return Err(Overloaded);
            }
            Err(error) => log::warn!("no further thread {}: {error}", self.name),
        }
        Ok(())
    }
}

/// Has the system run this thread after those that serve clients, where there are not cores enough for all.
fn give_way() {
    // On Linux, of the calling thread alone.
    let current = rustix::process::getpriority_process(None);
    let set = |nice: i32| rustix::process::setpriority_process(None, (nice + NICE).min(19));
    if let Err(error) = current.and_then(set) {
        log::debug!("{HASHING} keeps its priority: {error}");
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Filler<T> {
    pub(crate) fn fill(&self, value: T) {
        self.put(Some(value));
    }

    fn put(&self, value: Option<T>) {
        let mut content = self.0.0.lock();
        if let Content::Open(waker) = &mut *content {
            let waker = waker.take();
            *content = Content::Done(value);
            drop(content);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl<T> Drop for Filler<T> {
    /// A job that was not done must not be waited for.
    fn drop(&mut self) {
        self.put(None);
    }
}

impl<T> Future for Outcome<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        match &mut *self.0.0.lock() {
            Content::Done(value) => Poll::Ready(value.take()),
            Content::Open(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

const HASHING: &str = "broker-hashing";
/// A third of what a thread of ordinary priority gets beside it: logins go on, later.
const NICE: i32 = 5;
const THREADS_MAX: usize = 8;
/// What a thread does of argon2id, at some 65 ms each, within the 15 s that a client has for its CONNECT.
const JOBS_PER_THREAD: usize = 200;
/// What a thread has answered within that time by a server that takes half a second.
const REQUESTS_PER_THREAD: usize = 30;
/// What a thread does of the slowest signatures in the same time.
const SIGNATURES_PER_THREAD: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Wake;
    use std::thread::Thread;
    use std::time::Duration;

    use super::*;

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(mut outcome: Outcome<T>) -> Option<T> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        for _ in 0..100 {
            if let Poll::Ready(value) = Pin::new(&mut outcome).poll(&mut context) {
                return value;
            }
            thread::park_timeout(Duration::from_millis(100));
        }
        panic!("the outcome never came");
    }

    #[test]
    fn jobs_are_done_by_others_and_their_outcome_wakes() {
        let workers = Workers::with(2, 10);
        let here = thread::current().id();
        let outcomes: Vec<_> =
            (0..10).map(|n| workers.run(move || (n, thread::current().id())).unwrap()).collect();
        for (n, outcome) in outcomes.into_iter().enumerate() {
            let (m, there) = wait(outcome).unwrap();
            assert_eq!(n, m);
            assert_ne!(here, there);
        }
        assert!(*workers.begun.lock() <= 2);
    }

    /// Who is connected goes before who comes; others that wait for servers compute nothing.
    #[test]
    fn hashing_gives_way_and_nothing_else_does() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let hashing = wait(Workers::with(1, 1).run(nice).unwrap()).unwrap();
        assert_eq!(hashing, (before + NICE).min(19));
        let asking = wait(Workers::for_requests(1).run(nice).unwrap()).unwrap();
        assert_eq!((asking, nice()), (before, before));
    }

    #[test]
    fn more_than_the_queue_holds_is_refused_at_once() {
        let workers = Workers::with(1, 2);
        let (go, wait_for_go) = mpsc::channel::<()>();
        let (tell, begun) = mpsc::channel();
        let first = workers
            .run(move || {
                tell.send(()).unwrap();
                wait_for_go.recv().unwrap();
                1
            })
            .unwrap();
        begun.recv().unwrap();
        let (second, third) = (workers.run(|| 2).unwrap(), workers.run(|| 3).unwrap());
        assert_eq!(workers.run(|| 4).err(), Some(Overloaded));
        go.send(()).unwrap();
        assert_eq!((wait(first), wait(second), wait(third)), (Some(1), Some(2), Some(3)));
        assert_eq!(wait(workers.run(|| 5).unwrap()), Some(5));
    }

    #[test]
    fn what_nobody_waits_for_is_passed_over() {
        let workers = Workers::with(1, 10);
        let (go, wait_for_go) = mpsc::channel::<()>();
        let first = workers.run(move || wait_for_go.recv().unwrap()).unwrap();
        let (tell, told) = mpsc::channel();
        drop(workers.run(move || tell.send(()).unwrap()).unwrap());
        go.send(()).unwrap();
        assert_eq!(wait(first), Some(()));
        assert!(told.recv().is_err(), "it was dropped without being done");
    }

    #[test]
    fn closed_workers_do_what_waits_and_end() {
        let workers = Workers::with(1, 10);
        let (go, wait_for_go) = mpsc::channel::<()>();
        let first = workers.run(move || wait_for_go.recv().unwrap()).unwrap();
        let second = workers.run(|| 2).unwrap();
        workers.close();
        assert_eq!(workers.run(|| 3).err(), Some(Overloaded));
        go.send(()).unwrap();
        assert_eq!((wait(first), wait(second)), (Some(()), Some(2)));
        // What its threads share with it they have given back.
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while Arc::strong_count(&workers.open) > 1 {
            assert!(std::time::Instant::now() < until, "the thread never ended");
            thread::yield_now();
        }
    }

    #[test]
    fn an_outcome_comes_though_the_workers_are_gone() {
        let workers = Workers::with(1, 10);
        let (go, wait_for_go) = mpsc::channel::<()>();
        let first = workers.run(move || wait_for_go.recv().unwrap()).unwrap();
        let second = workers.run(|| ()).unwrap();
        drop(workers);
        go.send(()).unwrap();
        assert_eq!(wait(first), Some(()));
        assert_eq!(wait(second), Some(()));
    }
}
