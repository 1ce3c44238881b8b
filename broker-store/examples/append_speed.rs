//! Measures the path of an append, and what commits cost: `append_speed <folder> [level]`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_core::store::{Condition, Level, Store};
use broker_store::CommitPolicy;
use broker_store::files::RealFiles;
use broker_store::log::{Log, LogOptions, Threads};
use broker_store::recover::{ReplayFrom, StoppedLog};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("which folder?")?;
    let level = match args.next().as_deref() {
        Some("memory") => Level::Memory,
        Some("written") => Level::Written,
        _ => Level::Fsync,
    };
    let mut options = LogOptions::new(&dir, [1; 16]);
    options.policy = CommitPolicy { level, ..CommitPolicy::default() };
    let stopped = StoppedLog::open(Arc::new(RealFiles), options)?;
    let started = Instant::now();
    let from = stopped.segments().first().map_or(0, |segment| segment.start);
    let recovery = stopped
        .replay(ReplayFrom { from, ..ReplayFrom::default() }, |_, _| Ok::<(), Infallible>(()))?;
    let replayed = started.elapsed();
    let log = stopped.start(&recovery, Threads::Own)?;
    println!(
        "{} frames replayed in {replayed:?}, started in {:?}",
        recovery.frames,
        started.elapsed()
    );

    // The spares are being made.
    std::thread::sleep(Duration::from_secs(2));
    for batch in [1, 16, 128, 1024] {
        let rounds = 300;
        let before = log.stats();
        let started = Instant::now();
        for _ in 0..rounds {
            let mut end = 0;
            for _ in 0..batch {
                end = log.append(&[7; 280]).end;
            }
            log.sync_to(end)?;
        }
        let rate = f64::from(rounds * batch) / started.elapsed().as_secs_f64();
        let stats = log.stats();
        let us =
            (stats.sync_us.sum_us - before.sync_us.sum_us) / (stats.syncs - before.syncs).max(1);
        println!("batch {batch}, one sync each: {rate:.0} frames/s, {us} us per sync");
    }
    for threads in [1, 2] {
        let n_each = 80_000;
        let took = append(&log, threads, n_each);
        let ns = took * 1e9 / (n_each * threads) as f64;
        println!("{threads} threads, 280 bytes: {ns:.0} ns per append (wall, all threads)");
    }
    let stats = log.stats();
    println!("{} syncs, {} us in all; {:?}", stats.syncs, stats.sync_us.sum_us, log.health());
    println!("{} segments, {} spares", stats.segments, stats.spares);
    log.close(true)?;
    Ok(())
}

/// Seconds that it takes all threads to append, never more than the log likes.
fn append(log: &Log, threads: usize, n_each: usize) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..n_each {
                    log.append(&[7; 280]);
                    while log.condition() == Condition::Congested {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    started.elapsed().as_secs_f64()
}
