//! What is up, what is over, what subscribers have yet to hear of.

use super::*;

const MAX: usize = 3;

fn raised(news: &News) -> String {
    match news {
        News::Raised(alarm) => format!("+{}", alarm.id),
        News::Cleared(id) => format!("-{id}"),
    }
}

#[test]
fn an_alarm_is_latched_and_its_history_bounded() {
    let alarms = Alarms::new(MAX);
    assert!(alarms.raise("a", "first", 1));
    assert!(!alarms.raise("a", "again", 2));
    assert_eq!(alarms.list()[0].report.summary, "again");
    assert_eq!(alarms.list()[0].since_ms, 1);
    for n in 0..MAX as u64 + 5 {
        alarms.raise("a", "x", n);
        assert!(alarms.clear("a", n));
    }
    assert!(!alarms.clear("a", 0));
    let history = alarms.history();
    assert_eq!(history.iter().map(|past| past.cleared_ms).collect::<Vec<_>>(), [5, 6, 7]);
    alarms.forget_history();
    assert_eq!(alarms.history(), []);
}

#[test]
fn everything_is_told_once_and_in_order_though_it_was_short() {
    let alarms = Alarms::new(MAX);
    alarms.raise("a", "x", 1);
    alarms.raise("a", "y", 1);
    alarms.raise("b", "x", 1);
    alarms.clear("a", 2);
    alarms.clear("none", 2);
    assert!(alarms.has_news());
    assert_eq!(alarms.take_news().iter().map(raised).collect::<Vec<_>>(), ["+a", "+b", "-a"]);
    assert!(!alarms.has_news());
    for _ in 0..NEWS_MAX {
        alarms.raise("c", "x", 3);
        alarms.clear("c", 3);
    }
    assert_eq!(alarms.take_news().len(), NEWS_MAX);
}

#[test]
fn a_plain_text_is_a_warning_under_the_name_of_its_kind() {
    let alarms = Alarms::new(MAX);
    alarms.raise("queue_overflow/a_b", "full", 1);
    let [alarm] = &alarms.list()[..] else { panic!("one alarm") };
    assert_eq!(alarm.kind(), "queue_overflow");
    assert_eq!(alarm.report, Report::new(Severity::Warning, "queue overflow", "full"));
    assert_eq!(kind("{disk_almost_full,\"/a\"}"), "{disk_almost_full,\"/a\"}");
}

/// What the store would have, by number: name and end.
fn keep(kept: &mut BTreeMap<u64, KeptAlarm>, alarms: &Alarms) {
    for (number, alarm) in alarms.take_unkept() {
        match alarm {
            Some(alarm) => drop(kept.insert(number, alarm)),
            None => assert!(kept.remove(&number).is_some(), "{number} was kept"),
        }
    }
}

fn names(kept: &BTreeMap<u64, KeptAlarm>) -> Vec<(&str, Option<u64>)> {
    kept.values().map(|kept| (&*kept.alarm.id, kept.cleared_ms)).collect()
}

#[test]
fn what_is_kept_is_what_there_is() {
    let (alarms, mut kept) = (Alarms::new(MAX), BTreeMap::new());
    alarms.raise("a", "x", 1);
    alarms.raise("b", "x", 1);
    keep(&mut kept, &alarms);
    assert_eq!(names(&kept), [("a", None), ("b", None)]);
    assert!(alarms.take_unkept().is_empty(), "nothing is kept twice");
    alarms.clear("a", 2);
    keep(&mut kept, &alarms);
    assert_eq!(names(&kept), [("a", Some(2)), ("b", None)]);
    for n in 0..10 {
        alarms.raise("c", "x", n);
        alarms.clear("c", n);
    }
    keep(&mut kept, &alarms);
    assert_eq!(names(&kept), [("b", None), ("c", Some(7)), ("c", Some(8)), ("c", Some(9))]);
    alarms.forget_history();
    keep(&mut kept, &alarms);
    assert_eq!(names(&kept), [("b", None)]);
}

#[test]
fn what_was_up_is_history_after_a_start() {
    let (alarms, mut kept) = (Alarms::new(MAX), BTreeMap::new());
    for name in ["a", "b", "c", "d"] {
        alarms.raise(name, "x", 1);
    }
    alarms.clear("d", 4);
    alarms.clear("c", 5);
    keep(&mut kept, &alarms);
    let after = Alarms::new(MAX);
    after.restore(kept.clone().into_iter().collect(), 100);
    assert_eq!(after.list(), []);
    let history = after.history();
    let names_of = |past: &PastAlarm| (past.alarm.id.clone(), past.alarm.since_ms, past.cleared_ms);
    // The oldest had no room.
    let expected =
        [("c", 5), ("a", 100), ("b", 100)].map(|(id, cleared)| (id.to_owned(), 1, cleared));
    assert_eq!(history.iter().map(names_of).collect::<Vec<_>>(), expected);
    assert!(after.take_news().is_empty(), "nobody is told of it");
    keep(&mut kept, &after);
    assert_eq!(names(&kept), [("a", Some(100)), ("b", Some(100)), ("c", Some(5))]);
    after.raise("e", "x", 200);
    keep(&mut kept, &after);
    assert_eq!(names(&kept).last(), Some(&("e", None)), "it has a number of its own");
}
