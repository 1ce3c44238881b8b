//! Traces on a made-up clock: rings, rates, ends.

use super::log::EVENTS_MAX;
use super::*;
use crate::traces::words::payload;

fn options(subject: TraceSubject) -> TraceOptions {
    TraceOptions {
        subject,
        level: TraceLevel::Debug,
        events_per_s: 1000,
        duration_ms: 10_000,
        shows_payload: false,
        destination: String::new(),
    }
}

fn at_ms(mono_ms: u64) -> Now {
    Now { mono_ms, wall_ms: 1_700_000_000_000 + mono_ms, ..Now::default() }
}

fn client(id: &str) -> TraceSubject {
    TraceSubject::ClientId(id.into())
}

/// A tracer that knows the traces of now, and tells of one client.
fn tell(traces: &Traces, now: Now, client_id: &str, count: usize) {
    let mut tracer = Tracer::default();
    tracer.follow(traces);
    let happening = Happening::new(TraceEventKind::Received, client_id, None);
    for n in 1..=count {
        tracer.tell(now, &happening, format_args!("{n}"));
    }
}

#[test]
fn a_subject_is_traced_once_at_a_time() {
    let traces = Traces::default();
    traces.start(options(client("a")), at_ms(0)).unwrap();
    let again = traces.start(options(client("a")), at_ms(9_999)).err();
    assert_eq!(again, Some(StartTraceError::Exists));
    traces.start(options(TraceSubject::Topic("a".into())), at_ms(0)).unwrap();
    // Its time is over: another takes its place.
    traces.start(options(client("a")), at_ms(10_000)).unwrap();
    assert_eq!(traces.list().len(), 2);
    assert!(traces.stop(&client("a")));
    assert!(!traces.stop(&client("a")));
}

#[test]
fn no_more_than_sixteen_run() {
    let traces = Traces::default();
    for n in 0..TRACES_MAX {
        let options =
            TraceOptions { duration_ms: 1_000 + n as u64, ..options(client(&n.to_string())) };
        traces.start(options, at_ms(0)).unwrap();
    }
    let start = |id, ms| traces.start(options(client(id)), at_ms(ms)).map(drop);
    assert_eq!(start("one more", 999), Err(StartTraceError::TooMany));
    assert_eq!(start("one more", 1_000), Ok(()));
    assert!(traces.find(&client("0")).is_none(), "the one that ended first has made room");
    assert_eq!(traces.list().len(), TRACES_MAX);
}

#[test]
fn a_ring_holds_the_newest_events_and_pages_go_by_number() {
    let traces = Traces::default();
    let options = TraceOptions { events_per_s: 20_000, ..options(client("a")) };
    let trace = traces.start(options, at_ms(0)).unwrap();
    tell(&traces, at_ms(0), "a", EVENTS_MAX + 5);
    tell(&traces, at_ms(0), "b", 1);
    assert_eq!(trace.counts(), (EVENTS_MAX as u64 + 5, 0));
    let page = trace.events_after(0, 3);
    let seqs: Vec<_> = page.events.iter().map(|event| event.seq).collect();
    assert_eq!((seqs, page.next), (vec![6, 7, 8], 8));
    let rest = trace.events_after(page.next, usize::MAX);
    assert_eq!((rest.events.len(), rest.next), (EVENTS_MAX - 3, EVENTS_MAX as u64 + 5));
    assert_eq!(&*rest.events[0].text, "9");
    let nothing = trace.events_after(rest.next, 10);
    assert_eq!((nothing.events.len(), nothing.next), (0, rest.next));
    assert_eq!(trace.events_after(u64::MAX, 10).next, rest.next, "as far as there are events");
}

#[test]
fn long_events_are_fewer() {
    let traces = Traces::default();
    let options = TraceOptions { events_per_s: 10_000, ..options(client("a")) };
    let trace = traces.start(options, at_ms(0)).unwrap();
    let mut tracer = Tracer::default();
    tracer.follow(&traces);
    let happening = Happening::new(TraceEventKind::Received, "a", None);
    let long = "x".repeat(10_000);
    for _ in 0..1_000 {
        tracer.tell(at_ms(0), &happening, format_args!("{long}"));
    }
    let held = trace.events_after(0, usize::MAX).events.len();
    assert!((300..500).contains(&held), "{held}");
}

#[test]
fn what_is_over_the_rate_is_counted() {
    let traces = Traces::default();
    let trace =
        traces.start(TraceOptions { events_per_s: 3, ..options(client("a")) }, at_ms(0)).unwrap();
    tell(&traces, at_ms(500), "a", 5);
    assert_eq!(trace.counts(), (3, 2));
    tell(&traces, at_ms(999), "a", 1);
    assert_eq!(trace.counts(), (3, 3));
    tell(&traces, at_ms(1_000), "a", 1);
    assert_eq!(trace.counts(), (4, 3));
}

#[test]
fn a_trace_ends_by_itself_and_is_forgotten_later() {
    let traces = Traces::default();
    let trace = traces.start(options(client("a")), at_ms(0)).unwrap();
    assert_eq!(traces.next_due_ms(), Some(10_000));
    let mut tracer = Tracer::default();
    tracer.follow(&traces);
    traces.sweep(at_ms(9_999));
    assert!(trace.is_running(at_ms(9_999)));
    tell(&traces, at_ms(10_000), "a", 1);
    assert_eq!(trace.counts(), (0, 0), "its time is over, seen or not");
    traces.sweep(at_ms(10_000));
    tracer.follow(&traces);
    assert!(!tracer.is_on(), "it costs nothing any more");
    assert!(traces.find(&client("a")).is_some(), "it can be read");
    traces.sweep(at_ms(10_000 + KEPT_MS));
    assert!(traces.find(&client("a")).is_none());
    assert_eq!(traces.next_due_ms(), None);
}

#[test]
fn payloads_are_cut_and_escaped() {
    let check = |bytes: &[u8], expected: &str| assert_eq!(payload(bytes).to_string(), expected);
    check(b"21.5 \n\x1b[2J", r#""21.5 \n\u{1b}[2J""#);
    check(b"\xff\x00", r#""\xff\x00""#);
    check("温".as_bytes(), "\"温\"");
    check(&[b'x'; 257], &format!("\"{}\"…", "x".repeat(256)));
    // The cut goes through a character.
    let long = format!("x{}", "温".repeat(100));
    check(long.as_bytes(), &format!("\"x{}\"…", "温".repeat(85)));
}
