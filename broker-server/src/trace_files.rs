//! Files of traces: a thread for each carries what the trace tells from memory to the disk.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use broker_core::{Trace, TraceEvent};
use broker_mgmt::ports::TraceFiles;
use parking_lot::{Condvar, Mutex};

/// The folder `trace` of the broker's data.
pub(crate) struct TraceFolder {
    dir: PathBuf,
    bytes_max: u64,
    writers: Mutex<BTreeMap<String, JoinHandle<()>>>,
    stopping: Arc<Stopping>,
}

#[derive(Default)]
struct Stopping {
    is_so: Mutex<bool>,
    changed: Condvar,
}

/// Bytes that a file may have.
const BYTES_MAX: u64 = 10 << 20;
/// Between two looks at a trace. It holds at least a second's events, at the highest rate there is.
const PAUSE: Duration = Duration::from_millis(100);

impl TraceFolder {
    /// In this folder of the broker's data, made when the first file is.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            dir: data_dir.join("trace"),
            bytes_max: BYTES_MAX,
            writers: Mutex::default(),
            stopping: Arc::default(),
        }
    }

    fn create(&self, name: &str) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        // For its owner alone: it says who does what.
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.path(name))
    }
}

impl TraceFiles for TraceFolder {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(
        &self,
        name: &str,
        trace: Arc<Trace>,
        line: fn(&TraceEvent) -> String,
    ) -> Result<(), String> {
        let mut writers = self.writers.lock();
        writers.retain(|_, writer| !writer.is_finished());
        if writers.contains_key(name) {
            return Err(format!("another trace writes the file {name}"));
        }
        let at = self.path(name);
        let failed = |error: io::Error| format!("{}: {error}", at.display());
        let file = self.create(name).map_err(failed)?;
        let (stopping, left, path) = (Arc::clone(&self.stopping), self.bytes_max, at.clone());
        let mut writer = Writer { file, left, trace, line, written: 0 };
        let begun = std::thread::Builder::new().name("trace-file".into()).spawn(move || {
            if let Err(error) = writer.run(&stopping) {
                log::warn!("trace is written no further file={path:?} {error}");
            }
        });
        writers.insert(name.to_owned(), begun.map_err(failed)?);
        Ok(())
    }
}

impl Drop for TraceFolder {
    /// What has been told so far is written.
    fn drop(&mut self) {
        *self.stopping.is_so.lock() = true;
        self.stopping.changed.notify_all();
        for (_, writer) in std::mem::take(&mut *self.writers.lock()) {
            let _ = writer.join();
        }
    }
}

struct Writer {
    file: File,
    /// Bytes that may still be written.
    left: u64,
    trace: Arc<Trace>,
    line: fn(&TraceEvent) -> String,
    /// Number of the last event written.
    written: u64,
}

impl Writer {
    fn run(&mut self, stopping: &Stopping) -> io::Result<()> {
        loop {
            // Asked before the events: what it tells last is among them.
            let is_last =
                *stopping.is_so.lock() || !self.trace.is_running(broker_net::clock::now());
            if !self.write_new()? || is_last {
                return Ok(());
            }
            let mut is_so = stopping.is_so.lock();
            if !*is_so {
                stopping.changed.wait_for(&mut is_so, PAUSE);
            }
        }
    }

    /// Writes what is new. Returns false if the file is full.
    fn write_new(&mut self) -> io::Result<bool> {
        let page = self.trace.events_after(self.written, usize::MAX);
        let mut text = String::new();
        for event in &page.events {
            let missed = event.seq - self.written - 1;
            if missed > 0 {
                text.push_str(&format!("-- {missed} events came too fast for this file\n"));
            }
            self.written = event.seq;
            let line = (self.line)(event);
            if (text.len() + line.len() + FULL.len()) as u64 > self.left {
                text.push_str(FULL);
                self.file.write_all(text.as_bytes())?;
                return Ok(false);
            }
            text.push_str(&line);
        }
        self.left -= text.len() as u64;
        self.file.write_all(text.as_bytes())?;
        Ok(true)
    }
}

const FULL: &str = "-- the file is full; the trace goes on in memory\n";

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use broker_core::{Broker, QoS, TraceLevel, TraceOptions, TraceSubject};

    use super::*;

    fn start(broker: &Broker, value: &str) -> Arc<Trace> {
        let options = TraceOptions {
            subject: TraceSubject::Topic(value.into()),
            level: TraceLevel::Debug,
            events_per_s: 1_000,
            duration_ms: 60_000,
            shows_payload: false,
            destination: String::new(),
        };
        broker.traces().start(options, broker_net::clock::now()).unwrap()
    }

    fn line(event: &TraceEvent) -> String {
        format!("{} {}\n", event.kind.name(), event.text)
    }

    fn folder(name: &str) -> TraceFolder {
        let name = format!("trace-files-{}-{name}", std::process::id());
        TraceFolder::new(&std::env::temp_dir().join(name))
    }

    /// Removes the folder when the test is over.
    struct Gone(PathBuf);

    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn publish(broker: &Arc<Broker>, topic: &str) {
        let mut client = broker.local_client("c");
        client.publish(topic, "x", QoS::AtMostOnce, broker_net::clock::now()).unwrap();
    }

    fn read_when(path: &Path, is_ready: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(path).unwrap();
            if is_ready(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_a_trace_tells_is_written_until_it_ends() {
        let files = folder("ends");
        let _gone = Gone(files.dir.parent().unwrap().into());
        let broker = Broker::builder().build().unwrap();
        let trace = start(&broker, "a");
        files.write("t.log", Arc::clone(&trace), line).unwrap();
        let refused = files.write("t.log", start(&broker, "b"), line).unwrap_err();
        assert_eq!(refused, "another trace writes the file t.log");
        publish(&broker, "a");
        let path = files.path("t.log");
        let first =
            "publish topic=\"a\" qos=0 retain=false bytes=1\ndropped no_subscribers topic=\"a\"\n";
        assert_eq!(read_when(&path, |text| text.lines().count() == 2), first);
        assert!(broker.traces().stop(&trace.options().subject));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !files.writers.lock()["t.log"].is_finished() {
            assert!(Instant::now() < deadline, "it ends with its trace");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Its name is free, and what another writes under it begins anew.
        files.write("t.log", start(&broker, "a"), line).unwrap();
        publish(&broker, "a");
        drop(files);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first, "the stop writes all there is");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_file_says_so_and_grows_no_more() {
        let mut files = folder("full");
        files.bytes_max = 300;
        let _gone = Gone(files.dir.parent().unwrap().into());
        let broker = Broker::builder().build().unwrap();
        let trace = start(&broker, "a");
        files.write("t.log", Arc::clone(&trace), line).unwrap();
        (0..20).for_each(|_| publish(&broker, "a"));
        let text = read_when(&files.path("t.log"), |text| text.ends_with(FULL));
        assert!((200..=300).contains(&text.len()), "{text}");
        assert!(trace.is_running(broker_net::clock::now()));
    }

    #[test]
    fn a_file_that_cannot_be_made_is_told() {
        let files = folder("none");
        std::fs::write(files.dir.parent().unwrap(), "a file").unwrap();
        let in_the_way = files.dir.parent().unwrap().to_owned();
        let broker = Broker::builder().build().unwrap();
        let error = files.write("t.log", start(&broker, "a"), line).unwrap_err();
        assert!(error.contains("trace/t.log: "), "{error}");
        std::fs::remove_file(in_the_way).unwrap();
    }
}
