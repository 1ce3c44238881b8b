//! `emqx_psk_file`: identities and secrets of TLS-PSK, from a file with one `identity:secret` in a line.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::PluginsConfig;
use crate::plugin::{Parts, Plugin, Ready};

/// `psk.file.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PskFileConfig {
    /// `psk.file.path`.
    pub path: Option<PathBuf>,
    /// `psk.file.delimiter`: what stands between identity and secret.
    pub delimiter: String,
}

impl Default for PskFileConfig {
    fn default() -> Self {
        Self { path: None, delimiter: ":".into() }
    }
}

/// Secrets by identity: those of the file while the plugin is loaded, and none otherwise.
#[derive(Clone, Default)]
pub struct PskFile(Arc<RwLock<Arc<Table>>>);

type Table = HashMap<Box<[u8]>, Box<[u8]>>;

/// What a file holds.
struct Keys {
    table: Table,
    /// The first line that is neither a key nor a comment.
    passed_over: Option<usize>,
}

/// Why a file gives no secrets. What stands in a line is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PskFileError {
    /// The system does not give it.
    #[error("{0}")]
    Unreadable(String),
    /// A line has not the form.
    #[error("line {line}: {problem}")]
    Malformed {
        /// From 1.
        line: usize,
        /// What is wrong there.
        problem: &'static str,
    },
}

impl PskFile {
    /// The secret of an identity.
    #[must_use]
    pub fn secret(&self, identity: &[u8]) -> Option<Vec<u8>> {
        let table = Arc::clone(&self.0.read());
        table.get(identity).map(|secret| secret.to_vec())
    }
}

impl Plugin for PskFile {
    fn name(&self) -> &'static str {
        "emqx_psk_file"
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        let PskFileConfig { path, delimiter } = &config.psk_file;
        let path = path.clone().ok_or("psk.file.path must be given")?;
        let Keys { table, passed_over } = read(&path, delimiter.as_bytes())
            .map_err(|error| format!("psk.file.path = {}: {error}", path.display()))?;
        Ok(Box::new(move || {
            let file = path.display();
            log::info!("pre-shared keys read file={file} identities={}", table.len());
            if let Some(line) = passed_over {
                log::warn!("line without psk.file.delimiter passed over file={file} line={line}");
            }
            let short = table.values().filter(|secret| secret.len() < SOUND_BYTES).count();
            if short > 0 {
                log::warn!(
                    "secrets of less than {SOUND_BYTES} bytes, which can be guessed file={file} secrets={short}"
                );
            }
            *self.0.write() = Arc::new(table);
            Parts::default()
        }))
    }

    fn stop(&self) {
        *self.0.write() = Arc::default();
    }
}

fn read(path: &Path, delimiter: &[u8]) -> Result<Keys, PskFileError> {
    let unreadable = |error: std::io::Error| PskFileError::Unreadable(error.to_string());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    warn_if_open_to_all(&file, path);
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(PskFileError::Unreadable(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    parse(&bytes, delimiter)
}

#[cfg(unix)]
fn warn_if_open_to_all(file: &File, path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if file.metadata().is_ok_and(|it| it.permissions().mode() & 0o004 != 0) {
        log::warn!("every user of this machine can read the secrets file={}", path.display());
    }
}

#[cfg(not(unix))]
fn warn_if_open_to_all(_: &File, _: &Path) {}

/// Identity and secret are bytes as they stand there, up to the end of the line; the first delimiter of a line parts them,
/// and of two lines with one identity the later counts. A line without one is no key: nothing, a comment if it begins with
/// `#`, or passed over. The original reads on no further there.
fn parse(bytes: &[u8], delimiter: &[u8]) -> Result<Keys, PskFileError> {
    let (mut table, mut passed_over) = (Table::new(), None);
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let malformed = |problem| PskFileError::Malformed { line: number + 1, problem };
        let Some(at) = line.windows(delimiter.len()).position(|bytes| bytes == delimiter) else {
            if !line.trim_ascii().is_empty() && !line.starts_with(b"#") {
                passed_over.get_or_insert(number + 1);
            }
            continue;
        };
        let (identity, secret) = (&line[..at], &line[at + delimiter.len()..]);
        if identity.is_empty() || identity.len() > BYTES_MAX {
            return Err(malformed("the identity is empty or longer than 256 bytes"));
        }
        if secret.is_empty() || secret.len() > BYTES_MAX {
            return Err(malformed("the secret is empty or longer than 256 bytes"));
        }
        table.insert(identity.into(), secret.into());
    }
    Ok(Keys { table, passed_over })
}

/// For the fuzz target: reads to an end, and gives back what it has been given.
#[doc(hidden)]
pub fn check_psk_file(bytes: &[u8]) {
    let Ok(Keys { table, .. }) = parse(bytes, b":") else { return };
    for (identity, secret) in table {
        let line = [&identity, &b":"[..], &secret].concat();
        let is_it = |theirs: &[u8]| theirs.strip_suffix(b"\r").unwrap_or(theirs) == line;
        let is_line = bytes.split(|byte| *byte == b'\n').any(is_it);
        assert!(is_line && !identity.contains(&b':') && !identity.is_empty() && !secret.is_empty());
    }
}

/// A hundred thousand clients and more.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// What is shorter is found by trying.
const SOUND_BYTES: usize = 8;
/// What clients of openssl can say, and less than what it takes.
const BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(text: &str, delimiter: &str) -> Result<Vec<(String, String)>, String> {
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let keys = parse(text.as_bytes(), delimiter.as_bytes()).map_err(|it| it.to_string())?;
        let table = keys.table;
        let mut all: Vec<_> = table.iter().map(|(a, b)| (text_of(a), text_of(b))).collect();
        all.sort();
        Ok(all)
    }

    fn pair(identity: &str, secret: &str) -> (String, String) {
        (identity.into(), secret.into())
    }

    #[test]
    fn a_line_is_parted_at_the_first_delimiter_and_nothing_else_is_taken_off() {
        let both = vec![pair("client1", "1234"), pair("client2", "abcd")];
        assert_eq!(secrets("client1:1234\nclient2:abcd\n", ":"), Ok(both.clone()));
        assert_eq!(secrets("client1:1234\n\nclient2:abcd", ":"), Ok(both));
        assert_eq!(secrets("a:b:c \n", ":"), Ok(vec![pair("a", "b:c ")]));
        assert_eq!(secrets(" a:b\r\n", ":"), Ok(vec![pair(" a", "b")]));
        assert_eq!(secrets("a:b=>c:d\n", "=>"), Ok(vec![pair("a:b", "c:d")]));
        assert_eq!(secrets("a:1\na:2\n", ":"), Ok(vec![pair("a", "2")]));
        assert_eq!(secrets("", ":"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line_and_not_shown() {
        let error = |text: &str| secrets(text, ":").unwrap_err();
        assert_eq!(error(":1\n"), "line 1: the identity is empty or longer than 256 bytes");
        assert_eq!(error("a:\n"), "line 1: the secret is empty or longer than 256 bytes");
        let long = "x".repeat(257);
        assert!(secrets(&format!("{}:{}\n", &long[1..], &long[1..]), ":").is_ok());
        assert!(error(&format!("{long}:1\n")).contains("identity"));
        assert!(error(&format!("a:{long}\n")).contains("secret"));
    }

    #[test]
    fn lines_without_a_delimiter_end_nothing() {
        let read = |text: &str| {
            let Keys { table, passed_over } = parse(text.as_bytes(), b":").unwrap();
            (table.len(), passed_over)
        };
        assert_eq!(read("a:1\n# a comment\n\n \r\nb:2\n"), (2, None));
        assert_eq!(read("# a:1\nb:2\n"), (2, None), "an identity may begin so");
        assert_eq!(read("a:1\nsecret\nb:2\nother\n"), (2, Some(2)));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            lines in prop::collection::hash_map("[^:\r\n]{1,20}", "[^\r\n]{1,20}", 0..20),
        ) {
            let text: String = lines.iter().map(|(a, b)| format!("{a}:{b}\n")).collect();
            let mut expected: Vec<_> = lines.into_iter().collect();
            expected.sort();
            prop_assert_eq!(secrets(&text, ":"), Ok(expected));
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            check_psk_file(&bytes);
        }
    }
}
