//! Runs: many worlds, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::totals::Totals;
use crate::world;

pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let digits = text.trim_start_matches("0x");
    let radix = if digits.len() < text.len() { 16 } else { 10 };
    Some(u64::from_str_radix(digits, radix).expect("SIM_SEED and SIM_RUNS are numbers"))
}

/// Runs so many worlds, unless the environment says otherwise.
///
/// # Panics
/// A promise was not kept, or nothing happened.
pub fn run(n_worlds: u64) {
    let first = number("SIM_SEED");
    let runs = number("SIM_RUNS").unwrap_or_else(|| if first.is_some() { 1 } else { n_worlds });
    let mut totals = Totals::default();
    let mut failed = Vec::new();
    for seed in (first.unwrap_or(1)..).take(runs as usize) {
        match catch_unwind(AssertUnwindSafe(|| world::run(seed))) {
            Ok(world) => totals.add(&world),
            Err(panic) => {
                eprintln!("failed with SIM_SEED={seed}");
                failed.push(seed);
                if std::env::var_os("SIM_GO_ON").is_none() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    if first.is_none() {
        // A simulation in which nothing happens proves nothing.
        assert!(totals.has_seen_everything(), "{totals:?}");
    }
    eprintln!("{runs} worlds: {totals:?}");
    assert!(failed.is_empty(), "failed: {failed:?}");
}
