//! The fuzz targets on a stable toolchain: seeds of `fuzz/corpus`, mutated for `FUZZ_SECS` seconds each.
//!
//! A module of the test `fuzz_smoke` of each crate that has targets.

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

/// What is put into a seed, beside any byte.
pub(crate) struct Language {
    /// Bytes that mean something.
    pub(crate) bytes: &'static [u8],
    /// The same of words; at least one.
    pub(crate) words: &'static [&'static [u8]],
}

/// Every seed as it is, then mutations until the time is up. A failure prints the shrunk edits.
pub(crate) fn fuzz(target: &str, language: &Language, check: fn(&[u8])) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| check(seed));
    let seconds = std::env::var("FUZZ_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let edits = prop::collection::vec(edit(language), 0..8);
    let inputs = (any::<Index>(), any::<Index>(), edits);
    while Instant::now() < deadline {
        let result = runner.run(&inputs, |(seed, other, edits)| {
            let mut bytes = seed.get(&seeds).clone();
            edits.iter().for_each(|edit| edit.apply(&mut bytes, other.get::<Vec<u8>>(&seeds)));
            check(&bytes);
            Ok(())
        });
        if let Err(error) = result {
            panic!("{target}: {error}");
        }
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", folder.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index),
    Truncate(Index),
    /// The rest of another seed.
    Splice(Index, Index),
}

fn edit(language: &Language) -> impl Strategy<Value = Edit> + use<> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(language.bytes)];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (any::<Index>(), prop::collection::vec(byte, 1..5))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<Index>(), prop::sample::select(language.words))
            .prop_map(|(at, word)| Edit::Insert(at, word.to_vec())),
        any::<Index>().prop_map(Edit::Remove),
        any::<Index>().prop_map(Edit::Truncate),
        (any::<Index>(), any::<Index>()).prop_map(|(at, from)| Edit::Splice(at, from)),
    ]
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>, other: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let n = bytes.len();
        match self {
            Self::Set(at, byte) => bytes[at.index(n)] = *byte,
            Self::Flip(at, bit) => bytes[at.index(n)] ^= 1 << bit,
            Self::Insert(at, new) => {
                let at = at.index(n);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at) => {
                bytes.remove(at.index(n));
            }
            Self::Truncate(at) => bytes.truncate(at.index(n)),
            Self::Splice(at, from) => {
                bytes.truncate(at.index(n));
                if !other.is_empty() {
                    bytes.extend_from_slice(&other[from.index(other.len())..]);
                }
            }
        }
    }
}
