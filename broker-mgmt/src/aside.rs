//! Aside: threads for handlers that wait for somebody else, so that the few of all others stay free.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use parking_lot::Mutex;

/// Starts threads, up to a number.
#[derive(Default)]
pub(crate) struct Aside {
    at_work: Arc<AtomicUsize>,
}

/// What comes of it; `None` if it panicked.
pub(crate) struct Awaited<T>(Arc<Mutex<Slot<T>>>);

struct Slot<T> {
    ended: Option<Option<T>>,
    waker: Option<Waker>,
}

impl Aside {
    /// Runs `work` on a thread of its own; `None` if so many are at work that there is none for it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Awaited<T>> {
        let next = |n| (n < THREADS_MAX).then_some(n + 1);
        self.at_work.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        let place = Place(Arc::clone(&self.at_work));
        let slot = Arc::new(Mutex::new(Slot { ended: None, waker: None }));
        let theirs = Arc::clone(&slot);
        let started = thread::Builder::new().name("management aside".into()).spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).ok();
            // Who is answered may ask again at once.
            drop(place);
            let mut slot = theirs.lock();
            slot.ended = Some(result);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        });
        started.is_ok().then(|| Awaited(slot))
    }
}

impl<T> Future for Awaited<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.0.lock();
        match slot.ended.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// One of the threads there may be.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Each waits for some seconds, at most.
const THREADS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn there_are_so_many_and_what_panics_leaves_its_place() {
        let aside = Aside::default();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let waiting: Vec<_> = (0..THREADS_MAX)
            .map(|n| {
                let wait = Arc::clone(&wait);
                aside.run(move || wait.lock().recv().map(|()| n)).unwrap()
            })
            .collect();
        assert!(aside.run(|| ()).is_none());
        (0..THREADS_MAX).for_each(|_| release.send(()).unwrap());
        let mut got: Vec<_> =
            waiting.into_iter().map(|one| block_on(one).unwrap().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, Vec::from_iter(0..THREADS_MAX));
        for _ in 0..=THREADS_MAX {
            assert_eq!(block_on(aside.run(|| panic!("on purpose")).unwrap()), None::<()>);
        }
    }

    fn block_on<T>(future: Awaited<T>) -> Option<T> {
        actix_web::rt::System::new().block_on(future)
    }
}
