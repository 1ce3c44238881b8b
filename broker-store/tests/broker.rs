//! The store under a real broker, on real files and with its own threads.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use broker_core::store::{Level, State};
use broker_core::{Broker, Now, QoS};
use broker_store::{EmbeddedStore, StoreOptions, backup, control};

const SEGMENT: u64 = 64 * 1024;

struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("store-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Running {
    store: Arc<EmbeddedStore>,
    broker: Arc<Broker>,
}

fn now() -> Now {
    Now { mono_ms: 1, us: 0, wall_ms: 1_700_000_000_000 }
}

fn start(dir: &Path) -> Running {
    let options = StoreOptions {
        segment_bytes: SEGMENT,
        spare_segments: 2,
        snapshot_log_bytes: 4 * SEGMENT,
        log_min_bytes: 8 * SEGMENT,
        min_free_bytes: 0,
        ..StoreOptions::new(dir)
    };
    let store = EmbeddedStore::open(options, Level::Fsync).unwrap();
    let broker = Broker::builder().store(store.clone()).build().unwrap();
    let (_, restored) = store.restore(&broker, now()).unwrap();
    assert_eq!(restored.lost, 0);
    let state: Arc<dyn State> = broker.clone();
    let weak: Weak<dyn State> = Arc::downgrade(&state);
    store.start(weak, Box::new(|_| {})).unwrap();
    Running { store, broker }
}

impl Running {
    fn retain(&self, topic: &str, payload: &str) {
        let mut client = self.broker.local_client("test");
        client.publish_retained(topic, payload.to_owned(), QoS::AtLeastOnce, now()).unwrap();
    }

    /// Topics and payloads of what is retained, in order.
    fn retained(&self) -> Vec<(String, String)> {
        let inbox = self.broker.subscribe_local("#", 10_000, now()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = inbox.receiver().try_iter();
        let mut found: Vec<_> = found.map(|it| (it.topic.to_string(), text(&it.payload))).collect();
        found.sort_unstable();
        found
    }

    fn stop(self) {
        self.store.close().unwrap();
    }

    fn log_bytes(&self) -> u64 {
        self.store.stats().unwrap().log.log_bytes
    }
}

#[test]
fn retained_messages_outlive_much_traffic_in_little_space() {
    let folder = TestFolder::new("growth");
    let running = start(&folder.0);
    let filler = "x".repeat(500);
    for n in 0..10_000 {
        running.retain(&format!("rare/{}", n % 200), &format!("{}", n / 1000));
        running.retain("often", &format!("{n} {filler}"));
        if n % 500 == 499 {
            // As a sync would, so that the housekeeping comes to its turn.
            running.store.snapshot().unwrap();
        }
    }
    // Some 6 MB have passed.
    assert!(running.log_bytes() < 40 * SEGMENT, "{:?}", running.store.stats());
    let expected = running.retained();
    assert_eq!(expected.len(), 201);
    running.stop();
    let running = start(&folder.0);
    assert_eq!(running.retained(), expected);
    running.stop();
}

#[test]
fn what_was_not_closed_is_there_as_well() {
    let folder = TestFolder::new("open");
    let running = start(&folder.0);
    (0..100).for_each(|n| running.retain(&format!("t/{n}"), "kept"));
    let expected = running.retained();
    // Dropped without a last snapshot.
    let Running { store, broker } = running;
    drop(broker);
    drop(store);
    assert_eq!(start(&folder.0).retained(), expected);
}

#[test]
fn a_backup_while_threads_publish_is_a_store() {
    let folder = TestFolder::new("backup");
    let running = start(&folder.0.join("data"));
    (0..100).for_each(|n| running.retain(&format!("before/{n}"), "kept"));
    let running = Arc::new(running);
    let publishers: Vec<_> = (0..2)
        .map(|thread| {
            let running = running.clone();
            std::thread::spawn(move || {
                for n in 0..5000 {
                    running.retain(&format!("traffic/{thread}/{}", n % 50), &"y".repeat(200));
                }
            })
        })
        .collect();
    let data = folder.0.join("data");
    for round in 0..3 {
        let target = folder.0.join(format!("backup{round}"));
        let order = format!("backup {}", target.display());
        control::ask(&data, &order).unwrap().unwrap();
        let restored = folder.0.join(format!("restored{round}"));
        let files: Arc<dyn broker_store::files::Files> = Arc::new(broker_store::files::RealFiles);
        backup::restore(&files, &target, &restored).unwrap();
        let other = start(&restored);
        let kept = other.retained().into_iter().filter(|(topic, _)| topic.starts_with("before/"));
        assert_eq!(kept.count(), 100);
        assert!(other.store.alarms().list().is_empty(), "{:?}", other.store.alarms());
        other.stop();
    }
    publishers.into_iter().for_each(|thread| thread.join().unwrap());
    Arc::into_inner(running).unwrap().stop();
    assert!(control::ask(&data, "stats").unwrap().is_none());
}
