//! Sources that bring something and sources that do not, at times made up.

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn list(url: &str) -> Source {
    Source::List(url.to_owned())
}

/// What is asked in one pass, in its order; `fails` has brought nothing.
fn pass(schedule: &mut Schedule, now: Instant, fails: &[Source]) -> Vec<Source> {
    let mut asked = Vec::new();
    while let Some(source) = schedule.next(now) {
        let is_down = fails.contains(&source);
        schedule.done(&source, if is_down { Err("down".into()) } else { Ok(HOUR) }, now);
        asked.push(source);
    }
    asked
}

#[test]
fn lists_go_before_answers_and_what_failed_goes_last() {
    let begin = Instant::now();
    let mut schedule = Schedule::default();
    let (files, bad, good) = (Source::Files("l".into()), list("bad"), list("good"));
    let answer = Source::Answer("l".into());
    let all = [answer.clone(), bad.clone(), good.clone(), files.clone(), good.clone()];
    schedule.want(all, begin);
    let asked = pass(&mut schedule, begin, std::slice::from_ref(&bad));
    assert_eq!((asked.len(), &asked[0], &asked[3]), (4, &files, &answer));
    assert_eq!(schedule.problem(&bad), Some("down"));
    assert_eq!(schedule.problem(&good), None);

    schedule.hurry(begin);
    let asked = pass(&mut schedule, begin, std::slice::from_ref(&bad));
    assert_eq!(asked, [files, good, answer, bad.clone()]);
    // It is up again, and forgiven.
    pass(&mut schedule, begin + RETRY, &[]);
    assert_eq!(schedule.problem(&bad), None);
}

#[test]
fn a_source_that_fails_is_asked_again_alone() {
    let begin = Instant::now();
    let mut schedule = Schedule::default();
    let (bad, good) = (list("bad"), list("good"));
    let fails = std::slice::from_ref(&bad);
    schedule.want([bad.clone(), good.clone()], begin);
    pass(&mut schedule, begin, fails);
    assert_eq!(schedule.wait(begin), RETRY);
    let mut now = begin;
    while now + RETRY < begin + HOUR {
        now += RETRY;
        assert_eq!(pass(&mut schedule, now, fails), fails);
        // A look at what is wanted changes nothing.
        schedule.want([good.clone(), bad.clone()], now);
    }
    assert_eq!(pass(&mut schedule, begin + HOUR, fails), [good, bad]);
}

#[test]
fn what_nobody_wants_any_more_is_forgotten() {
    let begin = Instant::now();
    let mut schedule = Schedule::default();
    schedule.want([list("a"), list("b")], begin);
    pass(&mut schedule, begin, &[list("a")]);
    schedule.want([list("b")], begin);
    assert_eq!(schedule.problem(&list("a")), None);
    assert_eq!(schedule.wait(begin), HOUR);
    schedule.want([], begin);
    assert_eq!((schedule.next(begin), schedule.wait(begin)), (None, RETRY));
}
