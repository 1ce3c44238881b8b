//! A sink in a process that is killed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::remote::fixture::{Losses, Process, TestFolder, wait_until, wall_ms};

/// Takes everything, or nothing.
struct Far {
    seen: Option<Arc<Mutex<Vec<u32>>>>,
}

impl Remote for Far {
    fn deliver(&mut self, items: &[Item], report: &mut Report<'_>) -> Result<(), Trouble> {
        let Some(seen) = &self.seen else { return Err(Trouble("nobody there".to_owned())) };
        let ids = items.iter().map(|item| u32::from_le_bytes(*item.bytes.first_chunk().unwrap()));
        seen.lock().extend(ids);
        report.delivered(items.len());
        Ok(())
    }
}

fn open(folder: &std::path::Path, far: Far) -> RemoteSink {
    let config = SinkConfig { folder: Some(folder.to_owned()), ..SinkConfig::default() };
    let start = Instant::now();
    let clock = move || Now::new(start.elapsed(), Duration::from_millis(wall_ms()));
    RemoteSink::open("far", config, Box::new(far), Arc::new(clock), Arc::<Losses>::default())
        .unwrap()
}

/// Runs itself as the process that is killed.
#[test]
fn what_waits_while_nobody_is_there_survives_a_kill() {
    const FOLDER: &str = "BROKER_RULES_KILLED_SINK";
    const N: u32 = 5_000;
    if let Some(folder) = std::env::var_os(FOLDER) {
        let sink = open(std::path::Path::new(&folder), Far { seen: None });
        for id in 0..N {
            let mut bytes = id.to_le_bytes().to_vec();
            bytes.resize(300, 0);
            sink.push(Owner::nobody(), bytes.into(), wall_ms()).unwrap();
        }
        // All but one batch, which is in delivery and in a file of its own.
        wait_until("the disk", || sink.status().held.disk_items >= u64::from(N) - 32);
        std::fs::write(std::path::Path::new(&folder).join("ready"), b"").unwrap();
        loop {
            thread::park();
        }
    }
    let folder = TestFolder::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = "sink::tests::what_waits_while_nobody_is_there_survives_a_kill";
    command.args(["--exact", name, "--nocapture"]).env(FOLDER, folder.path());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process(command.spawn().unwrap());
    wait_until("the process", || folder.path().join("ready").exists());
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    let errors = BufReader::new(process.0.stderr.take().unwrap());
    assert!(errors.lines().map_while(Result::ok).all(|line| !line.contains("panicked")));

    let seen = Arc::<Mutex<Vec<u32>>>::default();
    let sink = open(folder.path(), Far { seen: Some(Arc::clone(&seen)) });
    wait_until("all", || sink.status().delivered == u64::from(N));
    assert_eq!(*seen.lock(), (0..N).collect::<Vec<_>>());
}
