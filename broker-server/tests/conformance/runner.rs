//! A test runner of one screen: the broker must be stopped after the last test, which libtest has no place for.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use crate::broker::{self, Skip};

/// One test: `module::name` and what it does.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

/// Lists the tests of a module.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[crate::runner::Test] = &[$(crate::runner::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            run: $name,
        }),*];
    };
}
pub(crate) use tests;

enum Outcome {
    Passed,
    Ignored(String),
    Failed(String),
}

/// What the command line asks for; the flags cargo and IDEs pass to libtest and we have no use for are ignored.
#[derive(Default)]
struct Options {
    filters: Vec<String>,
    skips: Vec<String>,
    is_exact: bool,
    is_list: bool,
    n_threads: usize,
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs the tests the command line chooses; the exit code.
#[expect(clippy::print_stdout, reason = "a test runner reports there")]
pub(crate) fn main(tests: impl Iterator<Item = &'static Test>) -> i32 {
    let options = Options::from_args(std::env::args().skip(1));
    let (chosen, left_out): (Vec<_>, Vec<_>) = tests.partition(|t| options.chooses(t));
    if options.is_list {
        chosen.iter().for_each(|t| println!("{}: test", short(t)));
        println!("\n{} tests, 0 benchmarks", chosen.len());
        return 0;
    }
    println!("\nrunning {} tests", chosen.len());
    let started = Instant::now();
    let deviations = deviations();
    let mut process = if chosen.is_empty() { None } else { broker::start() };
    panic::set_hook(Box::new(|info| LAST_PANIC.set(info.to_string())));
    let outcomes = run_all(&chosen, &deviations, options.n_threads);
    let _ = panic::take_hook();

    let (mut n_passed, mut n_ignored, mut failures) = (0, 0, BTreeMap::new());
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Passed => n_passed += 1,
            Outcome::Ignored(_) => n_ignored += 1,
            Outcome::Failed(why) => {
                failures.insert(name, why);
            }
        }
    }
    if process.as_mut().is_some_and(|p| !p.is_alive()) {
        failures.insert("the broker process", "it ended before the tests did".into());
    }
    if !failures.is_empty() {
        println!("\nfailures:\n");
        failures.iter().for_each(|(name, why)| println!("---- {name} ----\n{why}\n"));
        println!("failures:");
        failures.keys().for_each(|name| println!("    {name}"));
        process.iter().for_each(|p| println!("\nend of the broker's log:\n{}", p.log_tail()));
    }
    println!(
        "\ntest result: {}. {n_passed} passed; {} failed; {n_ignored} ignored; 0 measured; \
         {} filtered out; finished in {:.2}s\n",
        if failures.is_empty() { "ok" } else { "FAILED" },
        failures.len(),
        left_out.len(),
        started.elapsed().as_secs_f64()
    );
    if failures.is_empty() { 0 } else { 101 }
}

#[expect(clippy::print_stdout, reason = "a test runner reports there")]
fn run_all(
    tests: &[&'static Test],
    deviations: &BTreeMap<String, String>,
    n_threads: usize,
) -> Vec<(&'static str, Outcome)> {
    let next = AtomicUsize::new(0);
    let (done, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..n_threads.min(tests.len()) {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = short(test);
                    let outcome = judge(run(test), deviations.get(name));
                    let verdict = match &outcome {
                        Outcome::Passed => "ok".to_owned(),
                        Outcome::Ignored(why) => format!("ignored, {why}"),
                        Outcome::Failed(_) => "FAILED".to_owned(),
                    };
                    println!("test {name} ... {verdict}");
                    broker::flush();
                    let _ = done.send((name, outcome));
                }
            });
        }
    });
    drop(done);
    outcomes.into_iter().collect()
}

fn run(test: &Test) -> Outcome {
    match panic::catch_unwind(AssertUnwindSafe(test.run)) {
        Ok(()) => Outcome::Passed,
        Err(payload) => outcome_of_panic(payload.as_ref()),
    }
}

fn outcome_of_panic(payload: &(dyn Any + Send)) -> Outcome {
    match payload.downcast_ref::<Skip>() {
        Some(Skip(what)) => Outcome::Ignored(format!("the broker lacks: {what}")),
        None => Outcome::Failed(LAST_PANIC.take()),
    }
}

/// A failure that is on the list counts as ignored; a pass that is on the list is a stale entry, unless the
/// reason starts with "sometimes".
fn judge(outcome: Outcome, deviation: Option<&String>) -> Outcome {
    match (outcome, deviation) {
        (Outcome::Failed(_), Some(why)) => Outcome::Ignored(format!("deviates: {why}")),
        (Outcome::Passed, Some(why)) if !why.starts_with("sometimes") => {
            Outcome::Failed(format!("expected to deviate ({why}), but it passes"))
        }
        (outcome, _) => outcome,
    }
}

/// Expected deviations of a foreign broker: lines `"module::name" = "reason"` of the file that
/// `MQTT_BROKER_DEVIATIONS` names.
fn deviations() -> BTreeMap<String, String> {
    let Ok(path) = std::env::var("MQTT_BROKER_DEVIATIONS") else { return BTreeMap::new() };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("reading {path}: {e}"));
    text.lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, why)| (name.trim_matches('"').to_owned(), why.trim_matches('"').to_owned()))
        .collect()
}

/// The name without the crate.
fn short(test: &Test) -> &'static str {
    test.name.split_once("::").map_or(test.name, |(_, rest)| rest)
}

impl Options {
    fn from_args(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self { n_threads: 32, ..Self::default() };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--list" => options.is_list = true,
                "--exact" => options.is_exact = true,
                "--skip" => options.skips.extend(args.next()),
                "--test-threads" => {
                    options.n_threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
                }
                "--format" | "--color" | "-Z" | "--logfile" => drop(args.next()),
                flag if flag.starts_with('-') => {}
                _ => options.filters.push(arg),
            }
        }
        options
    }

    fn chooses(&self, test: &Test) -> bool {
        let name = short(test);
        let takes = |f: &String| if self.is_exact { name == f } else { name.contains(f.as_str()) };
        !self.skips.iter().any(takes) && (self.filters.is_empty() || self.filters.iter().any(takes))
    }
}
