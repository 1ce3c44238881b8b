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
        let table = read(&path, delimiter.as_bytes())
            .map_err(|error| format!("psk.file.path = {}: {error}", path.display()))?;
        if table.values().any(|secret| secret.ends_with(b"\r")) {
            log::warn!(
                "a secret ends in a carriage return, which is part of it file={}",
                path.display()
            );
        }
        Ok(Box::new(move || {
            log::info!("pre-shared keys read file={} identities={}", path.display(), table.len());
            *self.0.write() = Arc::new(table);
            Parts::default()
        }))
    }

    fn stop(&self) {
        *self.0.write() = Arc::default();
    }
}

fn read(path: &Path, delimiter: &[u8]) -> Result<Table, PskFileError> {
    let unreadable = |error: std::io::Error| PskFileError::Unreadable(error.to_string());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(PskFileError::Unreadable(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    parse(&bytes, delimiter)
}

/// Identity and secret are bytes as they stand there, up to the line feed; the first delimiter of a line parts them, and of two
/// lines with one identity the later counts.
fn parse(bytes: &[u8], delimiter: &[u8]) -> Result<Table, PskFileError> {
    let mut table = Table::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let malformed = |problem| PskFileError::Malformed { line: number + 1, problem };
        let at = line.windows(delimiter.len()).position(|bytes| bytes == delimiter);
        let at = at.ok_or_else(|| malformed("has no psk.file.delimiter"))?;
        let (identity, secret) = (&line[..at], &line[at + delimiter.len()..]);
        if identity.is_empty() || identity.len() > BYTES_MAX {
            return Err(malformed("the identity is empty or longer than 256 bytes"));
        }
        if secret.is_empty() || secret.len() > BYTES_MAX {
            return Err(malformed("the secret is empty or longer than 256 bytes"));
        }
        table.insert(identity.into(), secret.into());
    }
    Ok(table)
}

/// For the fuzz target: reads to an end, and gives back what it has been given.
#[doc(hidden)]
pub fn check_psk_file(bytes: &[u8]) {
    let Ok(table) = parse(bytes, b":") else { return };
    for (identity, secret) in table {
        let line = [&identity, &b":"[..], &secret].concat();
        let is_line = bytes.split(|byte| *byte == b'\n').any(|theirs| theirs == line);
        assert!(is_line && !identity.contains(&b':') && !identity.is_empty() && !secret.is_empty());
    }
}

/// A hundred thousand clients and more.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// What clients of openssl can say, and less than what it takes.
const BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(text: &str, delimiter: &str) -> Result<Vec<(String, String)>, String> {
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let table = parse(text.as_bytes(), delimiter.as_bytes()).map_err(|it| it.to_string())?;
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
        assert_eq!(secrets(" a:b\r\n", ":"), Ok(vec![pair(" a", "b\r")]));
        assert_eq!(secrets("a:b=>c:d\n", "=>"), Ok(vec![pair("a:b", "c:d")]));
        assert_eq!(secrets("a:1\na:2\n", ":"), Ok(vec![pair("a", "2")]));
        assert_eq!(secrets("", ":"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line_and_not_shown() {
        let error = |text: &str| secrets(text, ":").unwrap_err();
        assert_eq!(error("a:1\nsecret\n"), "line 2: has no psk.file.delimiter");
        assert_eq!(error(":1\n"), "line 1: the identity is empty or longer than 256 bytes");
        assert_eq!(error("a:\n"), "line 1: the secret is empty or longer than 256 bytes");
        let long = "x".repeat(257);
        assert!(secrets(&format!("{}:{}\n", &long[1..], &long[1..]), ":").is_ok());
        assert!(error(&format!("{long}:1\n")).contains("identity"));
        assert!(error(&format!("a:{long}\n")).contains("secret"));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            lines in prop::collection::hash_map("[^:\n]{1,20}", "[^\n]{1,20}", 0..20),
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
