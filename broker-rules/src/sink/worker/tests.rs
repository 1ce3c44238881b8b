//! Tests of the worker: on a clock that they make up, without a thread.

use std::time::Duration;

use bytes::Bytes;

use super::super::config::SinkConfig;
use super::super::item::Owner;
use super::*;

/// What a remote side does with the calls it gets: so many items taken, then success or trouble.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<Vec<Result<usize, &'static str>>>>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Remote for Script {
    fn deliver(&mut self, items: &[Item], report: &mut Report<'_>) -> Result<(), Trouble> {
        self.seen.lock().push(items.iter().map(|item| item.bytes[0]).collect());
        let mut answers = self.answers.lock();
        let answer = if answers.is_empty() { Ok(items.len()) } else { answers.remove(0) };
        drop(answers);
        match answer {
            Ok(n) => {
                report.delivered(n);
                Ok(())
            }
            Err("refused") => {
                report.refused("HTTP status 400".to_owned());
                Ok(())
            }
            Err("panic") => panic!("on purpose"),
            Err(text) => Err(Trouble(text.to_owned())),
        }
    }
}

fn worker(script: &Script, n: u8) -> (Worker, Arc<Buffer>, Arc<Fate>) {
    let config = SinkConfig { batch_items_max: 2, ..SinkConfig::default() };
    worker_of(config, script, n)
}

fn worker_of(config: SinkConfig, script: &Script, n: u8) -> (Worker, Arc<Buffer>, Arc<Fate>) {
    let buffer = Arc::new(Buffer::new(config, None));
    (0..n).for_each(|id| buffer.push(Owner(0), Bytes::from(vec![id]), 0).unwrap());
    let fate = Arc::new(Fate::default());
    let remote = Box::new(script.clone());
    (Worker::new("test".into(), Arc::clone(&buffer), Arc::clone(&fate), remote), buffer, fate)
}

fn at(ms: u64) -> Now {
    Now::new(Duration::from_millis(ms), Duration::from_millis(ms))
}

#[test]
fn batches_follow_each_other_until_nothing_is_left() {
    let script = Script::default();
    let (mut worker, ..) = worker(&script, 3);
    assert_eq!(worker.step(at(0)), Next::Again);
    assert_eq!(worker.step(at(0)), Next::Again);
    assert_eq!(worker.step(at(0)), Next::Arrival(3, None));
    assert_eq!(*script.seen.lock(), [vec![0, 1], vec![2]]);
}

#[test]
fn pauses_double_up_to_a_minute_and_shrink_by_half_at_most() {
    let script = Script::default();
    *script.answers.lock() = vec![Err("connection refused"); 10];
    let (mut worker, buffer, fate) = worker(&script, 1);
    let mut now_ms = 0;
    for n in 0..10 {
        let Next::Pause(pause) = worker.step(at(now_ms)) else { panic!("no pause") };
        let whole_ms = (1_000 << n).min(60_000);
        let pause_ms = pause.as_millis() as u64;
        assert!((whole_ms / 2..=whole_ms).contains(&pause_ms), "{n}: {pause_ms}");
        // Not before it is over.
        assert_eq!(worker.step(at(now_ms + pause_ms - 1)), Next::Pause(Duration::from_millis(1)));
        now_ms += pause_ms;
    }
    assert_eq!(fate.now().is_up, Some(false));
    assert_eq!(fate.now().last_error.as_deref(), Some("connection refused"));
    assert_eq!(buffer.counters.retried(), 10);
    assert_eq!(worker.step(at(now_ms)), Next::Again);
    assert_eq!(fate.now().is_up, Some(true));
    assert_eq!(script.seen.lock().len(), 11);

    *script.answers.lock() = vec![Err("again")];
    buffer.push(Owner(0), Bytes::from_static(b"x"), 0).unwrap();
    let Next::Pause(pause) = worker.step(at(now_ms)) else { panic!("no pause") };
    assert!(pause <= Duration::from_secs(1), "a success begins anew: {pause:?}");
}

#[test]
fn a_part_of_a_batch_is_enough_to_go_on() {
    let script = Script::default();
    *script.answers.lock() = vec![Ok(1), Err("refused"), Ok(0)];
    let (mut worker, buffer, _) = worker(&script, 4);
    assert_eq!(worker.step(at(0)), Next::Again);
    assert_eq!(worker.step(at(0)), Next::Again);
    assert_eq!(buffer.counters.dropped(DropReason::Refused), 1);
    assert!(matches!(worker.step(at(0)), Next::Pause(_)), "it would spin");
    assert_eq!(*script.seen.lock(), [[0, 1], [1, 2], [2, 3]]);
}

#[test]
fn it_ends_when_the_buffer_is_closed() {
    let (mut worker, buffer, _) = worker(&Script::default(), 1);
    buffer.close().unwrap();
    assert_eq!(worker.step(at(0)), Next::End);
    assert_eq!(buffer.counters.dropped(DropReason::Closed), 1);
}

#[test]
fn a_hurry_ends_the_pause() {
    let script = Script::default();
    *script.answers.lock() = vec![Err("connection refused")];
    let (mut worker, buffer, _) = worker(&script, 1);
    assert!(matches!(worker.step(at(0)), Next::Pause(_)));
    assert!(matches!(worker.step(at(1)), Next::Pause(_)));
    buffer.hurry();
    assert_eq!(worker.step(at(2)), Next::Again);
    assert_eq!(script.seen.lock().len(), 2);
}

#[test]
fn a_panic_is_a_failure_like_others() {
    let script = Script::default();
    *script.answers.lock() = vec![Err("panic")];
    let (mut worker, buffer, fate) = worker(&script, 1);
    let Next::Pause(pause) = worker.step(at(0)) else { panic!("no pause") };
    assert_eq!(fate.now().last_error.as_deref(), Some("the resource has a fault"));
    assert_eq!(worker.step(at(pause.as_millis() as u64)), Next::Again);
    assert_eq!(buffer.counters.delivered(), 1);
}

#[test]
fn a_batch_that_lingers_goes_when_it_is_full_or_its_time_is_over() {
    let script = Script::default();
    let linger = Duration::from_secs(60);
    let config = SinkConfig { batch_items_max: 2, linger, ..SinkConfig::default() };
    let (mut worker, buffer, _) = worker_of(config, &script, 1);
    assert_eq!(worker.step(at(0)), Next::Arrival(1, Some(linger)));
    buffer.push(Owner(0), Bytes::from_static(&[1]), 10).unwrap();
    assert_eq!(worker.step(at(10)), Next::Again);
    assert_eq!(*script.seen.lock(), [vec![0, 1]]);
    buffer.push(Owner(0), Bytes::from_static(&[2]), 20).unwrap();
    assert_eq!(worker.step(at(20)), Next::Arrival(3, Some(linger)));
    assert_eq!(worker.step(at(60_020)), Next::Again);
    assert_eq!(script.seen.lock()[1], [2]);
}
