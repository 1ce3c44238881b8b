//! More than the machine can take, from clients that each stay within their limits.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::broker::{DEADLINE, Target, socket};
use crate::client::v5;
use crate::wire::{V5, publish};

/// Clients that send small messages as fast as they are read, and how late a quiet client's answer may be beside them.
const LOUD: usize = 48;
const LATE_MAX: Duration = Duration::from_secs(5);

/// The passes of a loop stay short however many clients have more to say than one pass takes.
#[test]
fn b14_quiet_clients_keep_their_pings_beside_more_than_the_machine_can_take() {
    let mut process = Target::with_node_keys("io_threads = 1\n", "", "");
    let bystanders = process.bystanders();
    let mut quiet = v5().keep_alive(10).open();
    let is_over = Arc::new(AtomicBool::new(false));
    let loud: Vec<_> = (0..LOUD)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            let mut stream = socket();
            process.spawn(move || {
                stream.write_all(&v5().encode()).unwrap();
                stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                let bytes = publish("load", 0, "x").encode(V5).repeat(8_192);
                let (mut at, mut n_taken) = (0, 0);
                while !is_over.load(Ordering::Relaxed) {
                    if let Ok(n) = stream.write(&bytes[at..]) {
                        (at, n_taken) = ((at + n) % bytes.len(), n_taken + n);
                    }
                }
                n_taken
            })
        })
        .collect();
    let began = Instant::now();
    let mut latest = Duration::ZERO;
    while began.elapsed() < DEADLINE / 4 {
        let asked = Instant::now();
        quiet.ping();
        latest = latest.max(asked.elapsed());
    }
    is_over.store(true, Ordering::Relaxed);
    let taken: Vec<usize> = loud.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(latest < LATE_MAX, "{latest:?} late");
    assert!(taken.iter().all(|n| *n > 100_000), "nobody is left out: {taken:?}");
    bystanders.assert_fine();
    process.assert_serves();
}
