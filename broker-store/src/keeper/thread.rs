//! KeeperThread: the thread that runs a keeper.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Keeper, Reply, Taken};

/// A running keeper.
pub(crate) struct KeeperThread {
    desk: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Zero of the keeper's clock.
    start: Instant,
}

#[derive(Default)]
struct Desk {
    tray: Mutex<Tray>,
    wake: Condvar,
}

#[derive(Default)]
struct Tray {
    orders: Vec<Reply>,
    is_stopping: bool,
    is_gone: bool,
}

impl KeeperThread {
    pub(crate) fn start(keeper: Keeper) -> io::Result<Self> {
        let desk = Arc::<Desk>::default();
        let inside = desk.clone();
        let builder = std::thread::Builder::new().name("store-keeper".to_owned());
        let start = Instant::now();
        let thread = builder.spawn(move || run(keeper, &inside, start))?;
        Ok(Self { desk, thread: Mutex::new(Some(thread)), start })
    }

    /// The time on the keeper's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Asks for a snapshot; what comes of it arrives later.
    pub(crate) fn order(&self) -> Receiver<Result<Taken, String>> {
        let (reply, receiver) = sync_channel(1);
        let mut tray = self.desk.tray.lock();
        if tray.is_gone || tray.is_stopping {
            let _ = reply.send(Err("the store is closed".to_owned()));
        } else {
            tray.orders.push(reply);
            self.desk.wake.notify_one();
        }
        receiver
    }

    /// Writes one last snapshot and ends the thread.
    pub(crate) fn stop(&self) {
        self.desk.tray.lock().is_stopping = true;
        self.desk.wake.notify_one();
        let thread = self.thread.lock().take();
        // The keeper itself may be the last to let go of the broker, and with it of the store.
        if let Some(thread) = thread.filter(|it| it.thread().id() != std::thread::current().id()) {
            // It has logged its panic, if that is what it ended by.
            let _ = thread.join();
        }
    }
}

impl Drop for KeeperThread {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut keeper: Keeper, desk: &Desk, start: Instant) {
    let now_ms = || start.elapsed().as_millis() as u64;
    // However it ends, who asks from now on is to be told.
    let gone = Gone(desk);
    let mut give_up_ms = None;
    loop {
        let wait_ms = keeper.step(now_ms());
        if keeper.is_stopped(now_ms()) || give_up_ms.is_some_and(|at| now_ms() >= at) {
            break;
        }
        let mut tray = desk.tray.lock();
        let is_news =
            |tray: &Tray| !tray.orders.is_empty() || (tray.is_stopping && give_up_ms.is_none());
        if wait_ms > 0 && !is_news(&tray) {
            desk.wake.wait_for(&mut tray, Duration::from_millis(wait_ms));
        }
        std::mem::take(&mut tray.orders).into_iter().for_each(|order| keeper.order(order));
        if tray.is_stopping && give_up_ms.is_none() {
            give_up_ms = Some(now_ms() + STOP_MS);
            keeper.stop();
        }
    }
    drop(gone);
}

struct Gone<'a>(&'a Desk);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        let mut tray = self.0.tray.lock();
        tray.is_gone = true;
        for order in tray.orders.drain(..) {
            let _ = order.send(Err("the store is closed".to_owned()));
        }
    }
}

/// Milliseconds that a last snapshot may take.
const STOP_MS: u64 = 60_000;
