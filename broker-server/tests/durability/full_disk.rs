//! A disk that is full: what has to be kept is refused, the rest goes on, and no restart is needed.
//!
//! The disk is a small tmpfs, which only root can mount; the tests are left out for others.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DEADLINE, Folder, Keys};
use crate::client::{Client, v5, v311};
use crate::wire::{Packet, publish};

/// A file system that is unmounted when it is dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// An empty one of so many megabytes.
    fn new(at: &Path, megabytes: u32) -> Result<Self, String> {
        Self::tmpfs(at, &format!("size={megabytes}m"))
    }

    /// One that cannot be written.
    pub(crate) fn read_only(at: &Path) -> Result<Self, String> {
        Self::tmpfs(at, "ro,size=1m")
    }

    fn tmpfs(at: &Path, options: &str) -> Result<Self, String> {
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .output()
            .map_err(|e| e.to_string())?;
        if output.status.success() {
            Ok(Self(at.to_owned()))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: the broker may still be on its way out.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The store's own bound comes first: `store.min_free_bytes`.
#[test]
fn below_the_free_space_to_be_left_publishes_are_refused_until_there_is_more() {
    let Some(mut disk) = Disk::new(&[("store.min_free_bytes", "\"8MB\"")]) else { return };
    let accepted = disk.fill();
    let left = disk.free_bytes();
    assert!(left >= 7 << 20, "8MB were to be left, {left} bytes are");
    disk.assert_others_go_on();
    disk.drain(accepted);
    disk.assert_recovers(accepted);
}

/// The log may not grow any further, whatever the disk has left.
#[test]
fn a_log_at_its_limit_refuses_what_has_to_be_kept_until_it_shrinks() {
    let Some(mut disk) = Disk::new(&[("store.max_log_bytes", "\"12MB\"")]) else { return };
    let accepted = disk.fill();
    let takes = disk.log_bytes();
    assert!(takes <= 13 << 20, "12MB were allowed, and a segment more; it takes {takes} bytes");
    disk.assert_others_go_on();
    disk.drain(accepted);
    disk.assert_recovers(accepted);
}

/// Every byte is taken, by whomever: writes fail until somebody makes room.
#[test]
fn a_full_disk_refuses_what_has_to_be_kept_until_there_is_space() {
    let Some(mut disk) = Disk::new(&[]) else { return };
    disk.wait_for_spares();
    let filler = disk.take_all_space();
    let accepted = disk.fill();
    disk.assert_others_go_on();
    std::fs::remove_file(filler).unwrap();
    disk.assert_recovers(accepted);
    disk.drain(accepted + 1);
}

/// Nobody makes room but the store itself, once what it holds was taken.
#[test]
fn on_a_full_disk_the_store_makes_room_of_what_was_taken() {
    let Some(mut disk) = Disk::new(&[]) else { return };
    disk.wait_for_spares();
    disk.take_all_space();
    let accepted = disk.fill();
    disk.assert_others_go_on();
    disk.drain(accepted);
    disk.assert_recovers(accepted);
}

/// The store looks once a second whether there is room after all.
const STEADY: Duration = Duration::from_millis(2_500);

/// A small disk, a broker on it, a client that is away, and one that publishes for it.
struct Disk {
    broker: Broker,
    bystander: Client,
    publisher: Client,
    /// Messages that were acknowledged and not yet delivered.
    taken: usize,
    // Unmounted last but one.
    _mount: Mount,
    folder: Folder,
}

impl Disk {
    /// `None` where it cannot be had.
    fn new(keys: Keys<'_>) -> Option<Self> {
        let folder = Folder::new();
        let data = folder.data();
        std::fs::create_dir(&data).unwrap();
        let mount = match Mount::new(&data, 24) {
            Ok(mount) => mount,
            Err(reason) => {
                eprintln!("skipped: a small file system cannot be mounted: {}", reason.trim());
                return None;
            }
        };
        let mut all = vec![
            ("mqtt.max_mqueue_len", "0"),
            ("mqtt.max_mqueue_bytes", "0"),
            ("store.snapshot_log_bytes", "\"1MB\""),
            ("store.log_min_bytes", "\"1MB\""),
        ];
        all.extend(keys);
        let broker = Broker::start(&data, &all);
        let mut sleeper = v5().id("sleeper").expiry(1_000).open();
        sleeper.subscribe("full", 1);
        sleeper.disconnect();
        let mut bystander = v5().open();
        bystander.subscribe("free", 1);
        let mut publisher = v5().open();
        // Lies in a segment that is given back, if the store makes room.
        assert!(publisher.publish(publish("kept", 1, payload(0)).retain()) < 0x80);
        Some(Self { broker, bystander, publisher, taken: 0, _mount: mount, folder })
    }

    /// Publishes until the log goes on in a segment that has been a spare, and two more are ready.
    fn wait_for_spares(&mut self) {
        let began = Instant::now();
        loop {
            let names = self.log_names();
            let (spares, segments): (Vec<_>, Vec<_>) =
                names.iter().partition(|name| name.starts_with("spare-"));
            if segments.len() >= 2 && spares.len() >= 2 {
                return;
            }
            let code = self.publisher.publish(publish("full", 1, payload(self.taken)));
            assert_eq!(code, 0, "{code:#04x}");
            self.taken += 1;
            assert!(began.elapsed() < DEADLINE, "there are no spares: {names:?}");
        }
    }

    /// The files of the log that are finished.
    fn log_names(&self) -> Vec<String> {
        let log = std::fs::read_dir(self.folder.data().join("log")).unwrap();
        let names = log.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".seg")).collect()
    }

    /// A file that leaves nothing for others.
    fn take_all_space(&self) -> PathBuf {
        let path = self.folder.data().join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4_096]).is_ok() {}
        path
    }

    /// What is left on it for anybody.
    fn free_bytes(&self) -> u64 {
        let found = rustix::fs::statvfs(self.folder.data()).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// What the files of the log take of it.
    fn log_bytes(&self) -> u64 {
        let log = std::fs::read_dir(self.folder.data().join("log")).unwrap();
        log.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
    }

    /// Publishes until the broker says no, as fast as it can; returns how many it has taken.
    ///
    /// A message that the disk had no more room for is neither acknowledged nor refused: the broker has it,
    /// and tries until it can be kept.
    fn fill(&mut self) -> usize {
        let began = Instant::now();
        let mut refused_since = None;
        loop {
            let id = self.publisher.packet_id();
            self.publisher.send_publish(&publish("full", 1, payload(self.taken)).id(id));
            match self.publisher.recv_within(3_000) {
                Some(Packet::PubAck(ack)) if ack.code == 0 => refused_since = None,
                Some(Packet::PubAck(ack)) if ack.code == 0x97 => {
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > STEADY {
                        return self.taken;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                None => self.publisher = v5().open(),
                Some(other) => panic!("unexpected {other:?}"),
            }
            self.taken += 1;
            assert!(began.elapsed() < DEADLINE, "{} messages taken and no end", self.taken);
        }
    }

    /// What need not be kept goes on: QoS 0, and QoS 1 to a client that has no durable session.
    fn assert_others_go_on(&mut self) {
        self.publisher.publish(publish("free", 0, "quick"));
        assert_eq!(self.bystander.take().text(), "quick");
        assert_eq!(self.publisher.publish(publish("free", 1, "once")), 0);
        assert_eq!(self.bystander.take().text(), "once");
        // MQTT 3.1.1 has no word for it: no acknowledgement.
        let mut older = v311().open();
        older.send_publish(&publish("full", 1, "not taken").id(1));
        assert!(older.recv_within(500).is_none());
    }

    /// Takes all that was accepted, which makes room.
    fn drain(&mut self, accepted: usize) {
        let mut sleeper = v5().id("sleeper").resume().expiry(1_000).open();
        assert!(sleeper.session_present);
        for n in 0..accepted {
            assert!(sleeper.take().payload == payload(n), "message {n} of {accepted}");
        }
        sleeper.disconnect();
    }

    /// Messages are taken again, and kept, without a restart.
    fn assert_recovers(&mut self, accepted: usize) {
        let began = Instant::now();
        while self.publisher.publish(publish("full", 1, payload(accepted))) != 0 {
            assert!(began.elapsed() < DEADLINE, "it does not recover");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.broker.crash();
        let mut sleeper = v5().id("sleeper").resume().expiry(1_000).open();
        assert!(sleeper.session_present);
        let first = sleeper.expect_publish();
        assert!(first.payload == payload(0) || first.payload == payload(accepted));
        self.bystander = v5().open();
        self.bystander.subscribe("kept", 1);
        assert!(self.bystander.take().payload == payload(0));
    }
}

fn payload(n: usize) -> Vec<u8> {
    let mut payload = format!("{n} ").into_bytes();
    payload.resize(30_000, b'x');
    payload
}
