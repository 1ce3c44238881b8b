//! What tests with a real remote side share: a host for resources, folders, processes, and waiting for something.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker_core::Now;
use parking_lot::Mutex;

use super::{AddressRules, OpenSinks, RemoteHost};
use crate::sink::{DropReason, SinkListener};

/// A folder of its own for one test, removed when it is over.
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("broker-rules-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Remembers what it is told.
#[derive(Default)]
pub(crate) struct Losses(pub(crate) Mutex<Vec<(String, DropReason, u64)>>);

impl SinkListener for Losses {
    fn handle_dropped(&self, sink: &str, reason: DropReason, n: u64) {
        self.0.lock().push((sink.to_owned(), reason, n));
    }
}

/// Now, in milliseconds since the Unix epoch.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A host on real clocks.
pub(crate) fn host(folder: Option<&Path>, addresses: AddressRules) -> (RemoteHost, Arc<Losses>) {
    let losses = Arc::new(Losses::default());
    let start = Instant::now();
    let clock = move || Now::new(start.elapsed(), Duration::from_millis(wall_ms()));
    let host = RemoteHost {
        folder: folder.map(Path::to_owned),
        clock: Arc::new(clock),
        listener: Arc::clone(&losses) as Arc<dyn SinkListener>,
        node: "node1".to_owned(),
        addresses: Arc::new(addresses),
        open: OpenSinks::default(),
    };
    (host, losses)
}

/// Waits until something holds, and fails when it takes too long.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "{what} has not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
