//! Snapshots that are taken beside the traffic: a copy shows what the broker had, nothing more and nothing less.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;

use broker_store::files::{Files, RealFiles};
use broker_store::{backup, control};

use crate::broker::{Broker, broker, eventually, use_broker};
use crate::client::v5;
use crate::wire::publish;

/// Clients that publish, take, and begin and end sessions, each in a thread of its own.
const THREADS: usize = 3;
const COPIES: usize = 5;

/// What one thread has done, written down before it is asked for, and once it was answered.
#[derive(Default)]
struct Ledger {
    sent: AtomicU32,
    acknowledged: AtomicU32,
    /// Every so often a session begins, and the one before it ends.
    begun: AtomicU32,
    ending: AtomicU32,
    ended: AtomicU32,
}

struct Worker {
    ledger: Arc<Ledger>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(name: usize, stop: Arc<AtomicBool>) -> Self {
        let ledger = Arc::new(Ledger::default());
        let (book, address) = (Arc::clone(&ledger), broker());
        let thread = std::thread::spawn(move || {
            use_broker(address);
            book.fill(name, &stop);
        });
        Self { ledger, thread }
    }
}

impl Ledger {
    fn fill(&self, name: usize, stop: &AtomicBool) {
        let topic = format!("traffic/{name}");
        let mut away = v5().id(&format!("away-{name}")).expiry(1_000).open();
        away.subscribe(&topic, 1);
        away.disconnect();
        let mut here = v5().id(&format!("here-{name}")).expiry(1_000).open();
        here.subscribe(&topic, 1);
        let mut publisher = v5().open();
        for n in 0.. {
            if stop.load(SeqCst) {
                return;
            }
            self.sent.store(n + 1, SeqCst);
            assert_eq!(publisher.publish(publish(&topic, 1, n.to_string())), 0);
            self.acknowledged.store(n + 1, SeqCst);
            assert_eq!(here.take().text(), n.to_string());
            if n % 16 == 0 {
                self.next_brief(name);
            }
        }
    }

    fn next_brief(&self, name: usize) {
        let number = self.begun.load(SeqCst);
        let mut brief = v5().id(&brief(name, number)).expiry(1_000).open();
        brief.subscribe("brief", 1);
        brief.disconnect();
        self.begun.store(number + 1, SeqCst);
        if let Some(last) = number.checked_sub(1) {
            self.ending.store(last + 1, SeqCst);
            // CONNACK waits until the end of the old session is safe.
            v5().id(&self::brief(name, last)).clean().expiry(0).open().disconnect();
            self.ended.store(last + 1, SeqCst);
        }
    }
}

fn brief(name: usize, number: u32) -> String {
    format!("brief-{name}-{number}")
}

#[test]
fn a_copy_taken_beside_traffic_shows_what_the_broker_had() {
    let keys = [
        ("mqtt.max_mqueue_len", "0"),
        ("mqtt.max_mqueue_bytes", "0"),
        ("store.snapshot_log_bytes", "\"1MB\""),
        ("store.log_min_bytes", "\"1MB\""),
    ];
    let original = Broker::new(&keys);
    let data = original.data_dir();
    let stop = Arc::new(AtomicBool::new(false));
    let workers = Vec::from_iter((0..THREADS).map(|name| Worker::start(name, Arc::clone(&stop))));
    for copy in 0..COPIES {
        let all = |of: fn(&Ledger) -> &AtomicU32| -> Vec<u32> {
            workers.iter().map(|worker| of(&worker.ledger).load(SeqCst)).collect()
        };
        let goal: Vec<_> = all(|it| &it.acknowledged).iter().map(|n| n + 40).collect();
        eventually(|| {
            assert!(workers.iter().all(|worker| !worker.thread.is_finished()));
            let now = all(|it| &it.acknowledged);
            now.iter().zip(&goal).all(|(now, goal)| now >= goal).then_some(())
        });
        let ended = all(|it| &it.ended);
        let begun = all(|it| &it.begun);
        let acknowledged = all(|it| &it.acknowledged);
        let backup = data.with_file_name(format!("backup-{copy}"));
        let order = format!("backup {}", backup.display());
        control::ask(data, &order).unwrap().expect("the broker listens");
        let sent = all(|it| &it.sent);
        let ending = all(|it| &it.ending);

        let restored = data.with_file_name(format!("restored-{copy}"));
        restore(&backup, &restored);
        let _copy = Broker::start(&restored, &keys);
        for name in 0..THREADS {
            assert_eq!(v5().open().publish(publish(&format!("traffic/{name}"), 1, "end")), 0);
            let away = queued(&format!("away-{name}"));
            assert!(away.iter().copied().eq(0..away.len() as u32), "{away:?}");
            assert!(
                (acknowledged[name]..=sent[name]).contains(&(away.len() as u32)),
                "{} messages, {} to {} were published",
                away.len(),
                acknowledged[name],
                sent[name]
            );
            // The last few acknowledgements may be lost, for nobody waits for them.
            let here = queued(&format!("here-{name}"));
            assert!(here.is_empty() || away.ends_with(&here), "{here:?} of {}", away.len());
            assert!(here.len() < 100, "{} came again", here.len());
            let is_there = |number| {
                let client = v5().id(&brief(name, number)).resume().expiry(1_000).open();
                client.session_present
            };
            for number in 0..ended[name] {
                assert!(!is_there(number), "session {number} of {name} had ended");
            }
            for number in ending[name]..begun[name] {
                assert!(is_there(number), "session {number} of {name} had begun");
            }
        }
    }
    stop.store(true, SeqCst);
    workers.into_iter().for_each(|worker| worker.thread.join().unwrap());
}

/// What waits for a client, up to the message that says `end`.
fn queued(id: &str) -> Vec<u32> {
    let mut client = v5().id(id).resume().expiry(1_000).open();
    assert!(client.session_present, "{id}");
    let texts = std::iter::from_fn(|| Some(client.take().text()).filter(|text| text != "end"));
    texts.map(|text| text.parse().unwrap()).collect()
}

fn restore(backup: &Path, to: &Path) {
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    backup::restore(&files, backup, to).unwrap();
}
