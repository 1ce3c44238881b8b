//! A buffer that another one takes the place of.

use super::*;

fn unopened(config: SinkConfig, disk: &SharedDisk) -> Arc<Buffer> {
    Arc::new(Buffer::new(config, Some(Box::new(SimFolder(Arc::clone(disk))))))
}

/// What `old` holds of `0..60` comes first from its heir, and then what is pushed meanwhile, to either of the two.
fn check_heir(old: &Buffer, heir: &Arc<Buffer>) {
    push(old, 0..40, 1000);
    spill(old);
    push(old, 40..60, 1000);
    assert_eq!(take(old, T0), [0, 1, 2, 3]);
    old.settle(1, Outcome::Delivered);
    heir.push(Owner(0), bytes(60, 1), T0).unwrap();
    old.hand_over(heir).unwrap();
    old.push(Owner(0), bytes(61, 1), T0).unwrap();
    // The end of the attempt that was under way.
    old.settle(3, Outcome::Delivered);
    old.close().unwrap();
    old.push(Owner(0), bytes(62, 1), T0).unwrap();
    heir.open_spool().unwrap();
    assert_eq!(drain(heir), (1..63).collect::<Vec<_>>());
    assert_eq!((dropped(old), dropped(heir)), (vec![], vec![]));
}

#[test]
fn an_heir_takes_up_all_there_is() {
    let room = SinkConfig { memory_bytes_max: 256 * 1024, ..config() };
    let in_memory = SinkConfig { folder: None, spills: false, ..room };
    // Over the folder that both have.
    let disk = SharedDisk::default();
    check_heir(&open(room.clone(), &disk), &unopened(room.clone(), &disk));
    // Without one.
    let heir = Arc::new(Buffer::new(in_memory.clone(), None));
    check_heir(&Buffer::new(in_memory.clone(), None), &heir);
    // One comes.
    let disk = SharedDisk::default();
    check_heir(&Buffer::new(in_memory, None), &unopened(room.clone(), &disk));
    // It is not to be used any more, but what lies there is not forgotten.
    let disk = SharedDisk::default();
    let drained = SinkConfig { spills: false, ..room.clone() };
    check_heir(&open(room.clone(), &disk), &unopened(drained, &disk));
    assert!(disk.lock().segments.is_empty());
    // The disk is full.
    let disk = SharedDisk::default();
    let old = open(room.clone(), &disk);
    let heir = unopened(room, &disk);
    push(&old, 0..60, 1000);
    take(&old, T0);
    disk.lock().is_full = true;
    assert!(old.hand_over(&heir).is_err());
    heir.open_spool().unwrap();
    assert_eq!(drain(&heir), (0..60).collect::<Vec<_>>());
    assert_eq!((dropped(&old), dropped(&heir)), (vec![], vec![]));
}

/// One that was never at work must not touch the files of the one that is.
#[test]
fn an_heir_that_never_begins_leaves_the_files_alone() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    push(&buffer, 0..60, 1000);
    spill(&buffer);
    let before = disk.lock().segments.clone();
    let heir = unopened(config(), &disk);
    heir.close().unwrap();
    heir.open_spool().unwrap();
    assert_eq!(disk.lock().segments, before);
    assert_eq!(drain(&buffer), (0..60).collect::<Vec<_>>());
}

#[test]
fn what_is_only_drained_is_not_written_to() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    push(&buffer, 0..8, 1000);
    buffer.close().unwrap();
    let buffer = open(SinkConfig { spills: false, ..config() }, &disk);
    push(&buffer, 8..60, 1000);
    assert!(!buffer.spill(T0).unwrap());
    assert_eq!(take(&buffer, T0), [0, 1, 2, 3]);
    buffer.secure().unwrap();
    buffer.settle(4, Outcome::Delivered);
    let n_held = buffer.held().memory_items;
    buffer.close().unwrap();
    assert_eq!(dropped(&buffer), [(DropReason::Closed, n_held)]);
    assert_eq!(drain(&open(config(), &disk)), [4, 5, 6, 7]);
}

#[test]
fn an_action_counts_what_the_heir_delivers_for_it() {
    let disk = SharedDisk::default();
    let (old, heir) = (open(config(), &disk), unopened(config(), &disk));
    let counters = Arc::new(crate::action::ActionCounters::default());
    let owner = old.counters.add_owner(&counters);
    let own = heir.counters.add_owner(&counters);
    assert_ne!(owner, own);
    old.push(owner, bytes(0, 1), T0).unwrap();
    old.hand_over(&heir).unwrap();
    old.push(owner, bytes(1, 1), T0).unwrap();
    heir.push(own, bytes(2, 1), T0).unwrap();
    heir.open_spool().unwrap();
    assert_eq!(drain(&heir), [0, 1, 2]);
    assert_eq!(counters.counts(), ActionCounts { success: 3, ..ActionCounts::default() });
}
