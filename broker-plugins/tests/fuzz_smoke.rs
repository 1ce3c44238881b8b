//! The fuzz target on a stable toolchain: seeds of `fuzz/corpus`, mutated for `FUZZ_SECS` seconds.

#[path = "../../fuzz/plugins_checks.rs"]
mod plugins_checks;

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

#[test]
fn jwt() {
    fuzz("jwt", plugins_checks::jwt);
}

/// Every seed as it is, then mutations until the time is up. A failure prints the shrunk edits.
fn fuzz(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| check(seed));
    let seconds = std::env::var("FUZZ_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let inputs = (any::<Index>(), any::<Index>(), prop::collection::vec(edit(), 0..8));
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

fn edit() -> impl Strategy<Value = Edit> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"\0\"{}[].,:-_=09 eA\n"[..]),];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (any::<Index>(), prop::collection::vec(byte, 1..5))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<Index>(), prop::sample::select(WORDS))
            .prop_map(|(at, word)| Edit::Insert(at, word.as_bytes().to_vec())),
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
                bytes.extend_from_slice(&other[from.index(other.len())..]);
            }
        }
    }
}

const WORDS: &[&str] = &[
    "\"alg\":\"none\"",
    "\"alg\":\"HS384\"",
    "\"crit\":[]",
    "\"kid\":null",
    "\"exp\":",
    "\"nbf\":9e9",
    "1e308",
    "-0",
    "null",
    "[[[[",
    "\\u0000",
    "\\ud800",
    "eyJhbGciOiJub25lIn0",
    "==",
    "..",
];
