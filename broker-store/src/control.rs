//! Control: a socket in the data folder through which the command line speaks to a running store.
//!
//! One line in, `stats`, `snapshot` or `backup <folder>`; out comes `ok` and lines of a word and a value, or
//! `error` and the reason. Who can open the socket may do all of it: it has mode 0600, in a folder of 0700.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Answers a line: words and values, or what is wrong.
pub(crate) type Answer = dyn Fn(&str) -> Result<Vec<(String, String)>, String> + Send + Sync;

/// A thread that answers.
pub(crate) struct Control {
    path: PathBuf,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    pub(crate) fn start(root: &Path, answer: Arc<Answer>) -> io::Result<Self> {
        let path = root.join(SOCKET);
        // The folder is locked: one that is there is what a crash left.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let is_stopping = Arc::<AtomicBool>::default();
        let stopping = is_stopping.clone();
        let builder = std::thread::Builder::new().name("store-control".to_owned());
        let thread = builder.spawn(move || serve(&listener, &stopping, answer.as_ref()))?;
        Ok(Self { path, is_stopping, thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        // Wakes it from accepting.
        let is_awake = UnixStream::connect(&self.path).is_ok();
        let _ = fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take().filter(|_| is_awake) {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &UnixListener, is_stopping: &AtomicBool, answer: &Answer) {
    loop {
        let accepted = listener.accept();
        if is_stopping.load(Ordering::SeqCst) {
            return;
        }
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = answer_one(&stream, answer) {
                    log::debug!("control socket: {error}");
                }
            }
            Err(error) => {
                log::warn!("control socket: {error}");
                // No descriptors left, mostly: not at once again.
                std::thread::sleep(TIME_OUT / 10);
            }
        }
    }
}

fn answer_one(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    stream.set_read_timeout(Some(TIME_OUT))?;
    stream.set_write_timeout(Some(TIME_OUT))?;
    let mut line = String::new();
    BufReader::new(stream).take(LINE_MAX).read_line(&mut line)?;
    let Some(line) = line.strip_suffix('\n') else {
        return writeln!(stream, "error a line of less than {LINE_MAX} bytes is expected");
    };
    let text = match answer(line) {
        Ok(values) => {
            let lines = values.iter().map(|(word, value)| format!("{word} {value}\n"));
            std::iter::once("ok\n".to_owned()).chain(lines).collect()
        }
        Err(reason) => format!("error {}\n", reason.replace('\n', " ")),
    };
    stream.write_all(text.as_bytes())
}

/// Asks the store that runs in `root`, and waits for the answer however long it takes; `None` if none runs.
///
/// # Errors
/// The store says no, or cannot be spoken to.
pub fn ask(root: &Path, line: &str) -> io::Result<Option<Vec<(String, String)>>> {
    if line.contains('\n') || line.len() as u64 >= LINE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not one line"));
    }
    let mut stream = match UnixStream::connect(root.join(SOCKET)) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        stream => stream?,
    };
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut text = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut text)?;
    let mut lines = text.lines();
    let pair = |line: &str| {
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        (word.to_owned(), value.to_owned())
    };
    match lines.next().map(|line| line.split_once(' ').unwrap_or((line, ""))) {
        Some(("ok", _)) => Ok(Some(lines.map(pair).collect())),
        Some(("error", reason)) => Err(io::Error::other(reason.to_owned())),
        _ => Err(io::Error::other("the broker has ended the connection")),
    }
}

const SOCKET: &str = "control.sock";
/// Of one who connects and says nothing: others wait behind it.
const TIME_OUT: Duration = Duration::from_secs(5);
const LINE_MAX: u64 = 8192;
const ANSWER_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_folder::TestFolder;

    fn start(root: &TestFolder) -> Control {
        let answer: Arc<Answer> = Arc::new(|line: &str| match line.split_once(' ') {
            Some(("say", what)) => Ok(vec![("said".to_owned(), what.to_owned())]),
            _ => Err(format!("what is\n{line}?")),
        });
        Control::start(root.path(), answer).unwrap()
    }

    #[test]
    fn a_line_is_answered_or_refused_with_the_reason() {
        let root = TestFolder::new();
        let control = start(&root);
        let said = ask(root.path(), "say something else").unwrap().unwrap();
        assert_eq!(said, [("said".to_owned(), "something else".to_owned())]);
        assert_eq!(ask(root.path(), "hm").unwrap_err().to_string(), "what is hm?");
        let mode = fs::metadata(root.path().join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(control);
        assert!(ask(root.path(), "hm").unwrap().is_none());
    }

    #[test]
    fn what_a_crash_left_is_in_nobodys_way() {
        let root = TestFolder::new();
        drop(UnixListener::bind(root.path().join(SOCKET)).unwrap());
        assert!(ask(root.path(), "say x").unwrap().is_none());
        let _control = start(&root);
        assert!(ask(root.path(), "say x").unwrap().is_some());
    }

    #[test]
    fn a_line_without_end_is_cut_off() {
        let root = TestFolder::new();
        let _control = start(&root);
        let mut stream = UnixStream::connect(root.path().join(SOCKET)).unwrap();
        stream.write_all(&[b'x'; LINE_MAX as usize]).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("error "), "{text}");
    }
}
