//! `store` commands on a real folder, with a store that runs and one that does not.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};

use broker_core::QoS;
use broker_core::record::{Body, BodyAt, Record, RecordError, Records};
use broker_core::store::{BodyPlace, Level, Lsn, State, Store, TurnsUnderWay};
use broker_store::{EmbeddedStore, Replay, StoreOptions};
use parking_lot::Mutex;

/// A folder for one test.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cli-store-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Messages by their step.
#[derive(Default)]
struct Broker(Mutex<BTreeMap<u64, BodyPlace>>);

impl State for Broker {
    fn write_snapshot(&self, block: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for (step, place) in &*self.0.lock() {
            let body = BodyAt::Log { at: place.at, len: place.len };
            let mut payload = Vec::new();
            Record::Delayed { step: *step, body, due_at_ms: 1 }.encode(&mut payload);
            block(&payload)?;
        }
        Ok(())
    }

    fn turns_under_way(&self) -> TurnsUnderWay {
        TurnsUnderWay::default()
    }

    fn visit_bodies(&self, visit: &mut dyn FnMut(&mut BodyPlace)) {
        self.0.lock().values_mut().for_each(visit);
    }
}

#[derive(Default)]
struct Steps(Vec<u64>);

impl Replay for Steps {
    fn block(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        self.frame(0, payload)
    }

    fn frame(&mut self, _: Lsn, payload: &[u8]) -> Result<(), RecordError> {
        for record in Records::new(payload) {
            if let Record::Delayed { step, .. } = record?.2 {
                self.0.push(step);
            }
        }
        Ok(())
    }
}

struct Running {
    store: Arc<EmbeddedStore>,
    broker: Arc<Broker>,
    /// What was kept from before.
    steps: Vec<u64>,
}

fn start(dir: &str) -> Running {
    let options = StoreOptions {
        segment_bytes: 64 * 1024,
        // One segment: the log goes on in the first spare.
        spare_segments: 0,
        min_free_bytes: 0,
        ..StoreOptions::new(dir)
    };
    let store = EmbeddedStore::open(options, Level::Fsync).unwrap();
    let mut steps = Steps::default();
    store.replay(&mut steps).unwrap();
    let broker = Arc::<Broker>::default();
    let weak: Weak<Broker> = Arc::downgrade(&broker);
    store.start(weak, Box::new(|_| {})).unwrap();
    Running { store, broker, steps: steps.0 }
}

impl Running {
    fn publish(&self, step: u64, payload: &[u8]) {
        let body = Body {
            qos: QoS::AtLeastOnce,
            retain: false,
            published_at_ms: step,
            expires_at_ms: 0,
            publisher: "thermometer",
            topic: "sensors/7",
            properties: &[],
            payload,
        };
        let mut frame = Vec::new();
        Record::Body(body).encode(&mut frame);
        let len = frame.len() as u32;
        Record::Delayed { step, body: BodyAt::Here(0), due_at_ms: 1 }.encode(&mut frame);
        let appended = self.store.append(&frame);
        let place = BodyPlace { at: appended.base, len, pin: appended.pin };
        self.broker.0.lock().insert(step, place);
    }
}

/// Exit status, stdout and stderr.
fn cli(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker-cli"));
    let output = command.arg("store").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn succeed(arguments: &[&str]) -> String {
    let (status, stdout, stderr) = cli(arguments);
    assert_eq!(status, 0, "stdout: {stdout}stderr: {stderr}");
    stdout
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn only_file(folder: &str) -> PathBuf {
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_running_store_is_backed_up_and_what_is_restored_is_the_same() {
    let folder = TestFolder::new("running");
    let (data, backup, again) = (folder.join("data"), folder.join("backup"), folder.join("again"));
    let running = start(&data);
    (1..=100).for_each(|step| running.publish(step, b"21.5"));

    let stats = succeed(&["stats", "--data-dir", &data]);
    assert!(stats.contains("segments 1\n"), "{stats}");
    let (status, _, stderr) = cli(&["verify", "-d", &data]);
    assert_eq!(status, 1);
    assert!(stderr.contains("in use by process") && stderr.contains("backup"), "{stderr}");
    let made = succeed(&["backup", "-d", &data, "--json", &backup]);
    assert!(made.starts_with(r#"{"bytes":"#), "{made}");
    let (status, _, stderr) = cli(&["backup", "-d", &data, &backup]);
    assert!(status == 1 && stderr.contains("is not empty"), "{stderr}");
    let (status, _, stderr) = cli(&["restore", "-d", &data, &backup]);
    assert!(status == 1 && stderr.contains("in use by process"), "{stderr}");
    running.store.close().unwrap();
    drop(running);

    assert!(succeed(&["verify", "-d", &backup]).contains("records_delayed "));
    let restored = succeed(&["restore", "-d", &again, &backup]);
    assert!(restored.contains("files 2\n"), "{restored}");
    let (status, _, stderr) = cli(&["restore", "-d", &again, &backup]);
    assert!(status == 1 && stderr.contains("is not empty"), "{stderr}");
    let mut steps = start(&again).steps;
    steps.sort_unstable();
    steps.dedup();
    assert_eq!(steps, Vec::from_iter(1..=100));
}

#[test]
fn a_stopped_store_is_looked_at_and_told_of_what_is_wrong() {
    let folder = TestFolder::new("stopped");
    let data = folder.join("data");
    let running = start(&data);
    running.publish(1, b"21.5");
    running.publish(2, &[0xff]);
    running.store.close().unwrap();
    drop(running);

    let stats = succeed(&["stats", "-d", &data, "--json"]);
    assert!(stats.contains(r#""segment_bytes":65536"#), "{stats}");
    let verified = succeed(&["verify", "-d", &data]);
    assert!(verified.contains("records_body 2\n"), "{verified}");
    let dumped = succeed(&["dump", "-d", &data]);
    let bodies: Vec<_> = dumped.lines().filter(|it| it.contains(r#""record":"body""#)).collect();
    assert!(bodies[0].contains(r#""payload":"21.5""#), "{}", bodies[0]);
    assert!(bodies[1].contains(r#""payload_base64":"/w==""#), "{}", bodies[1]);
    assert_eq!(succeed(&["repair", "-d", &data]), "nothing has to be repaired\n");

    damage(&only_file(&folder.join("data/snap")));
    let (status, stdout, stderr) = cli(&["verify", "-d", &data]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stdout.contains("fault snapshot "), "{stdout}");
    // The log has it all from the beginning: this a start copes with. Without that it does not.
    fs::remove_file(folder.join("data/log/00000000000000000001.seg")).unwrap();
    let (status, stdout, stderr) = cli(&["repair", "-d", &data]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stdout.contains("sessions, subscriptions and messages"), "{stdout}");
    assert!(stderr.contains("nothing was changed"), "{stderr}");
    assert!(succeed(&["repair", "-d", &data, "--yes"]).ends_with("\nrepaired\n"));
    assert_eq!(start(&data).steps, [0; 0]);
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    let folder = TestFolder::new("none");
    let nowhere = folder.join("nowhere");
    for command in ["stats", "verify", "dump", "repair"] {
        let (status, _, stderr) = cli(&[command, "-d", &nowhere]);
        assert!(status == 1 && stderr.contains("holds no store"), "{command}: {stderr}");
        assert!(!Path::new(&nowhere).exists(), "{command} only looks");
    }
    let (status, _, stderr) = cli(&["restore", "-d", &nowhere, &folder.join("nothing")]);
    assert!(status == 1 && stderr.contains("holds no finished backup"), "{stderr}");
    // stats and backup ask the broker without one.
    let (status, _, stderr) = cli(&["verify"]);
    assert!(status == 2 && stderr.contains("--data-dir"), "{stderr}");
}
