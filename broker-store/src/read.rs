//! Reader: reads message bodies back, from memory while they are not yet durable, else from their segment.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use broker_core::store::{BodyPlace, FetchDone, FetchError};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::log::Threads;
use crate::segments::Segments;
use crate::shared::Shared;

impl Shared {
    pub(crate) fn read(&self, body: &BodyPlace) -> Result<Bytes, FetchError> {
        self.counters.bodies_read_back.fetch_add(1, Ordering::Relaxed);
        let end = body.at.saturating_add(u64::from(body.len));
        if end > self.durable()
            && let Some(bytes) = self.find_in_memory(body)
        {
            return Ok(bytes);
        }
        if end > self.durable() {
            let reason = "never written".to_owned();
            return Err(FetchError { at: body.at, reason });
        }
        read_body(&self.segments, body)
    }

    /// What is not yet durable is in the tail, or in flight: it moves from one to the other under the lock.
    fn find_in_memory(&self, body: &BodyPlace) -> Option<Bytes> {
        let len = body.len as usize;
        let inbox = self.end.lock();
        if let Some(bytes) = inbox.tail.slice(body.at, len) {
            return Some(Bytes::copy_from_slice(bytes));
        }
        let in_flight = self.in_flight.lock();
        drop(inbox);
        let found = in_flight.iter().find(|run| run.slice(body.at, len).is_some())?.clone();
        drop(in_flight);
        found.slice(body.at, len).map(Bytes::copy_from_slice)
    }
}

/// Reads a body from its segment.
pub(crate) fn read_body(segments: &Segments, body: &BodyPlace) -> Result<Bytes, FetchError> {
    let fails = |reason: String| FetchError { at: body.at, reason };
    let (number, offset) = segments.place_of(body.at);
    if offset + u64::from(body.len) > segments.segment_bytes() {
        return Err(fails("reaches over the end of a segment".to_owned()));
    }
    let mut bytes = vec![0; body.len as usize];
    match segments.read(number, offset, &mut bytes) {
        Ok(n) if n == bytes.len() => Ok(bytes.into()),
        Ok(_) => Err(fails(format!("segment {number} is shorter"))),
        Err(error) => Err(fails(format!("segment {number}: {error}"))),
    }
}

/// A thread that reads, started with the first body asked for.
pub(crate) struct Reader {
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    has_thread: bool,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    work: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<(Vec<BodyPlace>, FetchDone)>,
    is_closing: bool,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, threads: Threads) -> Self {
        Self {
            queue: Arc::default(),
            shared,
            thread: Mutex::default(),
            has_thread: threads == Threads::Own,
        }
    }

    pub(crate) fn fetch(&self, bodies: Vec<BodyPlace>, done: FetchDone) {
        self.queue.jobs.lock().waiting.push_back((bodies, done));
        if self.has_thread {
            self.start_thread();
            self.queue.work.notify_one();
        }
    }

    fn start_thread(&self) {
        let mut thread = self.thread.lock();
        if thread.is_some() {
            return;
        }
        let (queue, shared) = (self.queue.clone(), self.shared.clone());
        let run = move || {
            while let Some((bodies, done)) = queue.next() {
                done(shared.read_all(&bodies));
            }
        };
        match std::thread::Builder::new().name("store-read".to_owned()).spawn(run) {
            Ok(started) => *thread = Some(started),
            // The next fetch tries again; this one is served then.
            Err(error) => ::log::error!("no thread to read message bodies with error={error}"),
        }
    }

    pub(crate) fn fetch_now(&self) {
        loop {
            let job = self.queue.jobs.lock().waiting.pop_front();
            let Some((bodies, done)) = job else { return };
            done(self.shared.read_all(&bodies));
        }
    }

    pub(crate) fn stop(&self) {
        self.queue.jobs.lock().is_closing = true;
        self.queue.work.notify_all();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            ::log::error!("the thread that reads message bodies has panicked");
        }
    }
}

impl Queue {
    /// The next job; `None` once the log is being closed.
    fn next(&self) -> Option<(Vec<BodyPlace>, FetchDone)> {
        let mut jobs = self.jobs.lock();
        loop {
            if jobs.is_closing {
                return None;
            }
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            self.work.wait(&mut jobs);
        }
    }
}

impl Shared {
    fn read_all(&self, bodies: &[BodyPlace]) -> Vec<Result<Bytes, FetchError>> {
        bodies.iter().map(|body| self.read(body)).collect()
    }
}
