//! The data folder: one broker at a time, writable, and checked on demand.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::broker::{Broker, Folder};
use crate::client::v5;
use crate::full_disk::Mount;
use crate::wire::publish;

#[test]
fn a_second_broker_on_a_folder_is_refused_and_told_who_has_it() {
    let mut first = Broker::new(&[]);
    let Err(second) = Broker::try_start(first.data_dir(), &[]) else {
        panic!("two brokers write into one folder");
    };
    assert!(!second.status.success());
    let pid = first.pid().to_string();
    let names_pid = second.log.split(|c: char| !c.is_ascii_digit()).any(|word| word == pid);
    assert!(names_pid, "the process {pid} is not named:\n{}", second.log);
    assert!(second.log.contains(&first.data_dir().display().to_string()), "{}", second.log);
    first.assert_serves();
    // Who was killed holds nothing.
    first.crash();
    first.assert_serves();
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_in_one_sentence() {
    let folder = Folder::new();
    let data = folder.data();
    std::fs::create_dir(&data).unwrap();
    // Root writes whatever the mode says, so that the mount has to refuse it.
    let _mount = match Mount::read_only(&data) {
        Ok(mount) => Some(mount),
        Err(_) => {
            std::fs::set_permissions(&data, PermissionsExt::from_mode(0o500)).unwrap();
            None
        }
    };
    if std::fs::write(data.join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    let refusal = Broker::try_start(&data, &[]).err().expect("it cannot keep anything");
    assert_names_folder(&refusal.log, &data);
    let says = ["Read-only file system", "Permission denied"];
    assert!(says.iter().any(|words| refusal.log.contains(words)), "{}", refusal.log);
    assert!(!refusal.log.contains("panicked"), "{}", refusal.log);
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let folder = Folder::new();
    std::fs::write(folder.data(), "").unwrap();
    let refusal = Broker::try_start(&folder.data(), &[]).err().expect("there is no folder");
    assert_names_folder(&refusal.log, &folder.data());
}

fn assert_names_folder(log: &str, folder: &Path) {
    assert!(log.contains(&folder.display().to_string()), "{log}");
}

/// Others have no business there.
#[test]
fn what_is_kept_is_for_the_brokers_user_alone() {
    let broker = Broker::new(&[]);
    broker.settle();
    let output = Command::new("find")
        .arg(broker.data_dir())
        .args(["-maxdepth", "0", "-perm", "/077"])
        .output()
        .unwrap();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_store_can_be_checked_while_no_broker_runs() {
    let mut broker = Broker::new(&[]);
    v5().id("sub").expiry(100).open().subscribe("t", 1);
    let mut publisher = v5().open();
    for n in 0..100 {
        publisher.publish(publish("t", 1, n.to_string()));
    }
    let (status, text) = broker.run("--check-store");
    assert!(!status.success(), "a broker is at work there:\n{text}");
    assert!(text.contains(&broker.pid().to_string()), "{text}");

    broker.stop();
    let (status, text) = broker.run("--check-store");
    assert!(status.success(), "{text}");
    assert!(text.contains("100"), "{text}");

    damage(broker.data_dir(), "50");
    let (status, text) = broker.run("--check-store");
    assert!(!status.success(), "damage is not seen:\n{text}");

    // It starts all the same, and loses no more than that one.
    broker.restart();
    let mut client = v5().id("sub").resume().expiry(100).open();
    assert!(client.session_present);
    let n = crate::retained::drain(&mut client).len();
    assert_eq!(n, 99, "one of 100 messages was damaged");
}

/// Damages a message of topic `t` that lies in the middle of the log; returns the name of the segment.
fn damage(data_dir: &Path, payload: &str) -> String {
    let mut segments: Vec<_> =
        std::fs::read_dir(data_dir.join("log")).unwrap().map(|e| e.unwrap().path()).collect();
    segments.sort();
    let mut damaged = None;
    // Topic, no properties, payload.
    let wanted = [b"\x01t\x00", payload.as_bytes()].concat();
    for segment in segments {
        let mut bytes = std::fs::read(&segment).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            bytes[at + 3] ^= 0x10;
            std::fs::write(&segment, bytes).unwrap();
            damaged = Some(segment.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    damaged.expect("no message was found to damage")
}

/// `durability.on_damage = "stop"`
#[test]
fn a_damaged_store_is_not_started_where_the_operator_wants_to_look_first() {
    let mut broker = Broker::new(&[]);
    v5().id("sub").expiry(100).open().subscribe("t", 1);
    let mut publisher = v5().open();
    for n in 0..100 {
        publisher.publish(publish("t", 1, n.to_string()));
    }
    broker.kill();
    let segment = damage(broker.data_dir(), "50");
    let stops = [("durability.on_damage", "\"stop\"")];
    for _ in 0..2 {
        // Nothing is mended by a start that was refused.
        let refusal = Broker::try_start(broker.data_dir(), &stops).err().expect("it is damaged");
        assert!(!refusal.status.success());
        let says = format!("{segment} offset ");
        assert!(refusal.log.contains(&says), "{says}: {}", refusal.log);
        assert!(refusal.log.contains("checksum is wrong"), "{}", refusal.log);
    }
    broker.restart_with(&[]);
    let log = broker.log();
    assert!(log.contains("store_damaged") && log.contains(&segment), "{log}");
    let mut client = v5().id("sub").resume().expiry(100).open();
    assert!(client.session_present);
    assert_eq!(crate::retained::drain(&mut client).len(), 99);
}

/// Attack case 34: a crash may leave the end of the log torn, at any byte, or with what a disk had there before. What was
/// acknowledged before it stays, whatever is written behind it is kept again.
#[test]
fn e34_a_torn_end_of_the_log_costs_nothing_before_it() {
    let mut broker = Broker::new(&[]);
    v5().id("sub").expiry(1_000).open().subscribe("t", 1);
    let mut kept = 0;
    for round in 0..8 {
        let mut publisher = v5().open();
        for _ in 0..5 {
            assert_eq!(publisher.publish(publish("t", 1, format!("kept {kept:03}"))), 0);
            kept += 1;
        }
        broker.settle();
        // The last one is what is torn.
        assert_eq!(publisher.publish(publish("t", 1, format!("torn {round}"))), 0);
        broker.kill();
        tear(broker.data_dir(), &format!("torn {round}"), round);
        broker.restart();
    }
    let mut client = v5().id("sub").resume().expiry(1_000).open();
    assert!(client.session_present);
    let got: Vec<_> = crate::retained::drain(&mut client).iter().map(|it| it.text()).collect();
    assert_eq!(got, (0..kept).map(|n| format!("kept {n:03}")).collect::<Vec<_>>());
    broker.assert_serves();
}

/// Cuts the log within the frame of this payload, and for every other round leaves rubbish behind the cut.
fn tear(data_dir: &Path, payload: &str, round: usize) {
    let entries = std::fs::read_dir(data_dir.join("log")).unwrap();
    let (path, at) = entries
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let at = bytes.windows(payload.len()).rposition(|it| it == payload.as_bytes())?;
            Some((path, at))
        })
        .next()
        .expect("the log has it");
    let mut bytes = std::fs::read(&path).unwrap();
    let cut = at - round;
    if round.is_multiple_of(2) {
        bytes.truncate(cut);
    } else {
        let mut noise = 0x9E37_79B9_u32;
        for byte in &mut bytes[cut..] {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (noise >> 24) as u8;
        }
    }
    std::fs::write(&path, bytes).unwrap();
}
