//! The log on files in memory: append, commit, read back, reopen.

#![forbid(unsafe_code)]

mod rig;

use std::convert::Infallible;

use broker_core::store::{BodyPlace, Level, Store};
use broker_store::log::Threads;
use broker_store::sim::SimFiles;

use rig::{Rig, number_of, payload};

#[test]
fn what_was_committed_is_replayed() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    let sent: Vec<_> = (0..100).map(|n| payload(n, n as usize * 7)).collect();
    for one in &sent {
        let appended = log.append(one);
        assert!(log.safe(Level::Fsync) < appended.end);
        assert!(log.commit_now());
        assert!(log.safe(Level::Fsync) >= appended.end);
    }
    log.close(true).unwrap();
    let (_, found) = rig.start(0);
    assert_eq!(found.numbers, Vec::from_iter(0..100));
    assert!(found.recovery.is_clean);
    assert_eq!(found.recovery.frames, 100);
}

#[test]
fn a_body_is_read_wherever_it_is() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    let sent = payload(7, 300);
    let appended = log.append(&sent);
    let body = BodyPlace { at: appended.base + 10, len: 100, pin: appended.pin };
    let check = || assert_eq!(log.read(&body).unwrap(), sent[10..110], "{body:?}");
    check();
    log.write_now();
    check();
    log.commit_now();
    check();
    let (sent_back, done) = std::sync::mpsc::channel();
    log.fetch(vec![body.clone()], Box::new(move |bodies| drop(sent_back.send(bodies))));
    log.fetch_now();
    assert_eq!(done.recv().unwrap()[0].as_ref().unwrap(), &sent[10..110]);
    let beyond = BodyPlace { at: log.end(), ..body.clone() };
    assert!(log.read(&beyond).is_err());
    drop(log);

    let (log, _) = rig.start(0);
    let body = BodyPlace { pin: log.pin(body.at).unwrap(), ..body };
    assert_eq!(log.read(&body).unwrap(), sent[10..110]);
}

#[test]
fn a_payload_larger_than_a_segment_comes_back_whole() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    let sent = [payload(1, 100), payload(2, 3 * 4096 + 5), payload(3, log.piece_bytes() + 1)];
    sent.iter().for_each(|one| drop(log.append(one)));
    assert!(log.commit_now());
    let (_, found) = rig.start(0);
    assert_eq!(found.numbers, [1, 2, 3]);
}

#[test]
fn with_threads_it_commits_by_itself() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start_with(0, Threads::Own);
    let appended = log.append(&payload(1, 100));
    log.sync_to(appended.end).unwrap();
    assert!(log.durable() >= appended.end);
    log.close(true).unwrap();
    let (_, found) = rig.start(0);
    assert_eq!(found.numbers, [1]);
}

#[test]
fn one_segment_can_be_looked_at() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    for number in 1..4 {
        log.append(&payload(number, 100));
        log.roll();
    }
    // This one begins in a segment and ends in the third behind it.
    log.append(&payload(4, 6000));
    log.append(&payload(5, 100));
    log.commit_now();
    let numbers_in = |number: u64| {
        let mut numbers = Vec::new();
        let receive = |_, bytes: &[u8]| {
            numbers.push(number_of(bytes));
            Ok::<(), Infallible>(())
        };
        rig.stopped().replay_segment(number, receive).unwrap();
        numbers
    };
    let found: Vec<_> = (1..=5).map(numbers_in).collect();
    assert_eq!(found, [[1], [2], [3], [4], [5]]);
}

#[test]
fn a_log_that_is_hardly_used_takes_hardly_any_space() {
    let mut rig = Rig::new(SimFiles::new(1));
    rig.options.segment_bytes = 1 << 20;
    for start in 0..3 {
        let (log, _) = rig.start_with(0, Threads::Own);
        let appended = log.append(&payload(start, 300));
        log.sync_to(appended.end).unwrap();
        log.close(true).unwrap();
    }
    let taken = rig.files.used_bytes();
    // The end of each segment, and what is in it.
    assert!(taken < 3 * 8 * 4096, "{taken} bytes");
}

#[test]
fn a_log_that_grows_goes_on_in_blocks_that_are_there() {
    let mut rig = Rig::new(SimFiles::new(1));
    rig.options.segment_bytes = 1 << 20;
    let (log, _) = rig.start_with(0, Threads::Own);
    let segment = || log.segments().last().unwrap().number;
    let first = segment();
    let sync = |n: u64| log.sync_to(log.append(&payload(n, 8 << 10)).end).unwrap();
    let mut sent = 0..;
    while log.segments().len() < 2 {
        assert_eq!(segment(), first);
        sync(sent.next().unwrap());
        std::thread::yield_now();
    }
    assert!(log.end() < (first + 1) * (1 << 20) + (64 << 10), "there was room in the first");
    let last = sent.next().unwrap();
    sync(last);
    while log.stats().spares < 2 {
        std::thread::yield_now();
    }
    let before = rig.files.used_bytes();
    let last = last + 1;
    sync(last);
    assert_eq!(rig.files.used_bytes(), before, "its blocks were there");
    log.close(true).unwrap();
    let (_, found) = rig.start(0);
    assert_eq!(found.numbers, Vec::from_iter(0..=last));
}

/// After a backup, say, a segment is closed that has hardly any blocks: writing over it would take some.
#[test]
fn only_a_file_with_all_its_blocks_becomes_a_spare() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    let first = log.segments().last().unwrap().number;
    assert!(log.prepare_spare().unwrap());
    log.roll();
    log.append(&payload(1, 100));
    assert!(log.commit_now());
    assert_eq!(log.stats().spares, 0, "the second segment is made of it");
    log.roll();
    log.append(&payload(2, 100));
    assert!(log.commit_now());
    log.retire(first).unwrap();
    assert_eq!(log.stats().spares, 0);
    log.retire(first + 1).unwrap();
    assert_eq!(log.stats().spares, 1);
}
