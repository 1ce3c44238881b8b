//! A disk that is full: what has to be kept is refused, the rest goes on, and no restart is needed.
//!
//! The disk is a small tmpfs, which only root can mount; the tests are left out for others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::{Broker, DEADLINE, Folder, Keys};
use crate::client::{v5, v311};
use crate::wire::publish;

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
    let keys = [("store.min_free_bytes", "\"8MB\"")];
    fill_and_drain(&keys);
}

/// Every byte is taken: writes fail.
#[test]
fn a_full_disk_refuses_what_has_to_be_kept_until_there_is_space() {
    fill_and_drain(&[]);
}

/// The log may not grow any further, whatever the disk has left.
#[test]
fn a_log_at_its_limit_refuses_what_has_to_be_kept_until_it_shrinks() {
    fill_and_drain(&[("store.max_log_bytes", "\"12MB\""), ("store.log_min_bytes", "\"1MB\"")]);
}

fn fill_and_drain(keys: Keys<'_>) {
    let folder = Folder::new();
    let data = folder.data();
    std::fs::create_dir(&data).unwrap();
    let _mount = match Mount::new(&data, 24) {
        Ok(mount) => mount,
        Err(reason) => {
            eprintln!("skipped: a small file system cannot be mounted: {}", reason.trim());
            return;
        }
    };
    let mut all = vec![
        ("mqtt.max_mqueue_len", "0"),
        ("mqtt.max_mqueue_bytes", "0"),
        ("store.snapshot_log_bytes", "\"1MB\""),
        ("store.log_min_bytes", "\"1MB\""),
    ];
    all.retain(|(key, _)| keys.iter().all(|(other, _)| other != key));
    all.extend(keys);
    let mut broker = Broker::start(&data, &all);
    let mut sleeper = v5().id("sleeper").expiry(1_000).open();
    sleeper.subscribe("full", 1);
    sleeper.disconnect();
    let mut bystander = v5().open();
    bystander.subscribe("free", 1);
    let mut publisher = v5().open();

    let mut accepted = 0;
    let began = Instant::now();
    loop {
        match publisher.publish(publish("full", 1, payload(accepted))) {
            0 => accepted += 1,
            0x97 => break,
            code => panic!("Reason Code {code:#04x}"),
        }
        assert!(began.elapsed() < DEADLINE, "{accepted} messages accepted and no end");
    }
    assert!(accepted > 20, "only {accepted} messages fit");

    // What need not be kept goes on: QoS 0, and QoS 1 to a client that has no durable session.
    publisher.publish(publish("free", 0, "quick"));
    assert_eq!(bystander.take().text(), "quick");
    assert_eq!(publisher.publish(publish("free", 1, "once")), 0);
    assert_eq!(bystander.take().text(), "once");
    // MQTT 3.1.1 has no word for it: no acknowledgement.
    let mut older = v311().open();
    older.send_publish(&publish("full", 1, payload(0)).id(1));
    assert!(older.recv_within(500).is_none());
    drop(older);

    // All that was accepted is there, and taking it makes room again.
    let mut sleeper = v5().id("sleeper").resume().expiry(1_000).open();
    assert!(sleeper.session_present);
    for n in 0..accepted {
        assert!(sleeper.take().payload == payload(n), "message {n} of {accepted}");
    }
    let began = Instant::now();
    while publisher.publish(publish("full", 1, payload(accepted))) != 0 {
        assert!(began.elapsed() < DEADLINE, "it does not recover:\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let next = sleeper.take();
    assert!(next.payload == payload(accepted) || next.payload == payload(0));
    broker.settle();
    broker.crash();
    assert!(v5().id("sleeper").resume().expiry(1_000).open().session_present);
}

fn payload(n: usize) -> Vec<u8> {
    let mut payload = format!("{n} ").into_bytes();
    payload.resize(30_000, b'x');
    payload
}
