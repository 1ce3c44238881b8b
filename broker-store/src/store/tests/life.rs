//! A store's life without crashes: growth, damage, what is missing, backups.

use super::*;
use crate::snapshot::SnapshotFault;

#[test]
fn what_was_kept_is_there_after_a_clean_stop() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    let ids: Vec<_> = (0..20).map(|n| world.publish(n * 20)).collect();
    world.done(ids[3]);
    world.commit();
    world.keeper.stop();
    world.settle();
    world.store.close().unwrap();
    let expected = world.messages();
    drop(world);
    let world = World::open(&files).unwrap();
    assert_eq!(world.messages(), expected);
    assert!(world.opened.recovery.is_clean);
    assert_eq!(world.opened.recovery.frames, 0, "the snapshot has it all");
    assert!(world.store.alarms().list().is_empty());
    let verified = World::verify(&files, "/data");
    assert_eq!(verified.faults, [""; 0]);
    assert_eq!(verified.records["delayed"], 20 + 19, "of the log, and of the snapshot");
}

#[test]
fn much_passes_through_little_space() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    let (mut kept, mut compacted_bytes) = (BTreeSet::new(), 0);
    for round in 0..300 {
        if round % 10 == 0 {
            kept.insert(world.publish(100));
        }
        world.pass(8);
        world.settle();
        assert!(world.segments() < 24, "round {round}: {}", world.segments());
        if round % 50 == 49 {
            compacted_bytes += world.store.stats().unwrap().keeper.compacted_bytes;
            drop(world);
            world = World::open(&files).unwrap();
            assert_eq!(world.messages(), kept);
        }
    }
    assert!(compacted_bytes > 0);
    let n_snapshots = files.list(Path::new("/data/snap")).unwrap().len();
    assert_eq!(n_snapshots, 2);
    assert!(files.list(Path::new("/data/log")).unwrap().len() < 28);
}

fn damage(files: &SimFiles, path: &Path) {
    let mut bytes = files.contents(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    files.set_contents(path, bytes);
}

#[test]
fn the_older_snapshot_serves_where_the_newest_is_damaged() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    world.publish(100);
    world.pass(40);
    let older = world.snapshot().snapshot;
    world.publish(100);
    world.pass(40);
    let newest = world.snapshot().snapshot;
    world.publish(100);
    world.commit();
    let expected = world.messages();
    drop(world);
    damage(&files, &newest.path);

    let stops = StoreOptions { stop_on_damage: true, ..options() };
    let refused = World::open_with(&files, stops).err().unwrap();
    assert!(matches!(refused, Failure::Damaged(_)), "{refused}");

    let mut world = World::open(&files).unwrap();
    assert_eq!(world.messages(), expected);
    assert_eq!(world.opened.snapshot.as_ref().unwrap().from, older.from);
    let [SnapshotFault { path, .. }] = &world.opened.faults[..] else { panic!() };
    assert_eq!(*path, newest.path);
    let alarms = world.store.alarms().list();
    assert!(alarms[0].0 == STORE_DAMAGED && alarms[0].1.contains("snap"), "{alarms:?}");
    assert!(files.paths().iter().any(|it| it.starts_with("/data/quarantine")));
    // The next ones are good again.
    world.pass(1);
    world.snapshot();
    drop(world);
    assert!(World::open(&files).unwrap().opened.faults.is_empty());
}

#[test]
fn a_missing_segment_is_named_and_repair_does_without_it() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    for _ in 0..3 {
        world.pass(40);
        world.snapshot();
    }
    let from = world.keeper_from();
    // In the segment that the newest snapshot begins in, and behind it.
    let in_missing = world.publish(100);
    world.pass(30);
    let behind = world.publish(100);
    world.commit();
    drop(world);
    let missing = format!("/data/log/{:020}.seg", from / SEGMENT);
    files.remove(Path::new(&missing)).unwrap();

    let refused = World::open(&files).err().unwrap().to_string();
    assert!(refused.contains(&missing) && refused.contains("store repair"), "{refused}");
    let shared: Arc<dyn Files> = Arc::new(files.clone());
    let steps = repair::plan(&shared, Path::new("/data")).unwrap();
    let [step] = &steps[..] else { panic!("{steps:?}") };
    assert!(step.to_string().starts_with(&format!("do without {missing}: lost are the changes")));
    repair::apply(&shared, Path::new("/data"), &steps).unwrap();
    assert_eq!(repair::plan(&shared, Path::new("/data")).unwrap(), []);

    let world = World::open(&files).unwrap();
    let messages = world.messages();
    assert!(messages.contains(&behind) && !messages.contains(&in_missing));
    assert_eq!(world.store.alarms().list()[0].0, STORE_DAMAGED);
}

#[test]
fn without_a_snapshot_and_without_the_beginning_it_is_refused() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    world.pass(40);
    drop(world);
    files.remove(Path::new("/data/log/00000000000000000001.seg")).unwrap();
    let refused = World::open(&files).err().unwrap();
    assert!(matches!(refused, Failure::Missing { number: 1, .. }), "{refused}");
    let shared: Arc<dyn Files> = Arc::new(files.clone());
    let steps = repair::plan(&shared, Path::new("/data")).unwrap();
    assert!(steps[0].to_string().contains("sessions, subscriptions and messages"), "{}", steps[0]);
    repair::apply(&shared, Path::new("/data"), &steps).unwrap();
    World::open(&files).unwrap();
}

#[test]
fn a_log_without_identity_is_not_taken_for_a_new_store() {
    let files = SimFiles::new(1);
    World::open(&files).unwrap();
    files.remove(Path::new("/data/IDENTITY")).unwrap();
    let refused = World::open(&files).err().unwrap().to_string();
    assert!(refused.contains("/data/IDENTITY is missing"), "{refused}");
}

#[test]
fn a_later_format_is_refused_in_one_sentence() {
    let files = SimFiles::new(1);
    World::open(&files).unwrap();
    let newer = b"broker store\nformat 7\nwho knows\n".to_vec();
    files.set_contents(Path::new("/data/IDENTITY"), newer);
    let refused = World::open(&files).err().unwrap().to_string();
    assert!(refused.contains("has format 7") && refused.contains("newer broker"), "{refused}");
}

impl World {
    fn keeper_from(&self) -> Lsn {
        self.store.stats().unwrap().keeper.snapshot_from
    }

    fn back_up(&mut self, target: &str, traffic: bool) -> BTreeSet<u64> {
        let taken = self.snapshot();
        let there = self.messages();
        if traffic {
            // Life goes on; nothing that the backup needs may go.
            for _ in 0..4 {
                let ids: Vec<_> = there.iter().copied().collect();
                ids.iter().step_by(2).for_each(|id| self.done(*id));
                self.pass(60);
                self.settle();
            }
        }
        let infos = self.store.started().segments();
        let needed = |number| taken.segments.iter().any(|(it, _)| it.number == number);
        let segments =
            infos.into_iter().filter(|it| needed(it.number)).map(|it| (it.start, it.paths));
        let sources = backup::of_snapshot(&taken.snapshot, segments);
        let cancel = AtomicBool::new(false);
        let range = (taken.snapshot.from, taken.snapshot.to);
        let copying = Copying { range, created_ms: 1, cancel: &cancel };
        let folder = self.store.folder();
        backup::write(folder, Path::new(target), &sources, &copying).unwrap();
        there
    }
}

#[test]
fn a_backup_beside_traffic_is_the_store_of_its_moment() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    for _ in 0..10 {
        world.publish(200);
        world.pass(30);
        world.settle();
    }
    let there = world.back_up("/backup", true);
    let verified = World::verify(&files, "/backup");
    assert!(verified.is_backup && verified.faults.is_empty(), "{verified:?}");

    let shared: Arc<dyn Files> = Arc::new(files.clone());
    backup::restore(&shared, Path::new("/backup"), Path::new("/restored")).unwrap();
    let restored = StoreOptions { dir: "/restored".into(), ..options() };
    let mut world = World::open_with(&files, restored).unwrap();
    assert_eq!(world.messages(), there);
    assert!(world.store.alarms().list().is_empty(), "{:?}", world.store.alarms());
    // It lives.
    world.pass(50);
    world.settle();
    assert_eq!(world.messages(), there);
}

#[test]
fn a_backup_goes_to_an_empty_folder_only_and_a_damaged_one_is_not_restored() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    world.publish(200);
    world.pass(10);
    let there = world.back_up("/backup", false);
    drop(world);
    let shared: Arc<dyn Files> = Arc::new(files.clone());
    let again = backup::copy(&shared, Path::new("/data"), Path::new("/backup"));
    assert!(matches!(again, Err(BackupError::NotEmpty { .. })));
    let over = backup::restore(&shared, Path::new("/backup"), Path::new("/data"));
    assert!(matches!(over, Err(BackupError::NotEmpty { .. })));
    let none = backup::restore(&shared, Path::new("/data"), Path::new("/x"));
    assert!(matches!(none, Err(BackupError::NoManifest { .. })));

    let manifest = backup::copy(&shared, Path::new("/data"), Path::new("/cold")).unwrap();
    let options = StoreOptions { dir: "/cold".into(), ..options() };
    assert_eq!(World::open_with(&files, options).unwrap().messages(), there);

    for entry in &manifest.entries {
        let path = Path::new("/backup").join(&entry.name);
        if files.contents(&path).is_some() {
            let whole = files.contents(&path).unwrap();
            damage(&files, &path);
            let target = format!("/from/{}", entry.name);
            let refused = backup::restore(&shared, Path::new("/backup"), Path::new(&target));
            assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{refused:?}");
            assert!(!World::verify(&files, "/backup").faults.is_empty());
            let half = StoreOptions { dir: target.into(), ..super::options() };
            assert!(World::open_with(&files, half).is_err(), "half a store is none");
            files.set_contents(&path, whole);
        }
    }
}
