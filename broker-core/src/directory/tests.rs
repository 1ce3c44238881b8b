//! A directory is a sorted map that can count.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    key: u64,
    rows: usize,
}

impl Entry for Item {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.key
    }

    fn rows(&self) -> Rows {
        [self.rows, usize::from(self.rows == 2)]
    }
}

/// Chunks of four: a few entries fill several.
type Small = Directory<Item, 4>;

/// Its own bounds, which no answer shows.
fn check_chunks<const MAX: usize>(directory: &Directory<Item, MAX>) {
    for chunk in &directory.chunks {
        let len = chunk.entries.len();
        assert!((1..=MAX).contains(&len), "{len}");
        for kind in 0..2 {
            let rows = chunk.entries.iter().map(|item| item.rows()[kind]);
            assert_eq!(chunk.rows[kind], rows.sum::<usize>());
        }
        assert!(chunk.entries.capacity() <= (4 * len).max(MAX), "memory is given back");
    }
    for pair in directory.chunks.windows(2) {
        assert!(pair[0].entries.len() + pair[1].entries.len() > MAX / 2, "sparse ones merge");
    }
}

fn check(directory: &Small, model: &BTreeMap<u64, usize>) {
    check_chunks(directory);
    let all: Vec<_> = model.iter().map(|(key, rows)| Item { key: *key, rows: *rows }).collect();
    assert_eq!(directory.iter().copied().collect::<Vec<_>>(), all);
    assert_eq!(directory.len(), all.len());
    for n in 0..=all.len() {
        let found: Vec<_> = directory.from(Start::Rank(n)).copied().collect();
        assert_eq!(found, all[n..], "rank {n}");
    }
    for key in 0..KEYS + 1 {
        assert_eq!(directory.get(&key).map(|item| item.rows), model.get(&key).copied());
        let expected = |first: u64| all.iter().copied().filter(move |item| item.key >= first);
        let at = directory.from(Start::At(&key)).copied();
        assert!(at.eq(expected(key)), "from {key}");
        let behind = directory.from(Start::Behind(&key)).copied();
        assert!(behind.eq(expected(key + 1)), "behind {key}");
        for kind in 0..2 {
            let with_rows = directory.with_rows_from(kind, Start::Behind(&key)).copied();
            let expected = expected(key + 1).filter(|item| item.rows()[kind] > 0);
            assert!(with_rows.eq(expected), "rows {kind} behind {key}");
        }
    }
    for kind in 0..2 {
        let rows = all.iter().flat_map(|item| (0..item.rows()[kind]).map(|row| (*item, row)));
        let mut n = 0;
        for expected in rows {
            let found = directory.at_row(kind, n).map(|(item, row)| (*item, row));
            assert_eq!(found, Some(expected), "row {n} of {kind}");
            n += 1;
        }
        assert_eq!(directory.rows(kind), n);
        assert!(directory.at_row(kind, n).is_none());
    }
}

const KEYS: u64 = 24;

#[derive(Debug, Clone)]
enum Act {
    Insert(u64, usize),
    Remove(u64),
    Change(u64, usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..KEYS, 0..4_usize).prop_map(|(key, rows)| Act::Insert(key, rows)),
        3 => (0..KEYS).prop_map(Act::Remove),
        1 => (0..KEYS, 0..4_usize).prop_map(|(key, rows)| Act::Change(key, rows)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_a_sorted_map_that_can_count(acts in prop::collection::vec(act(), 0..120)) {
        let mut directory = Small::default();
        let mut model = BTreeMap::new();
        for act in acts {
            match act {
                Act::Insert(key, rows) => {
                    let old = directory.insert(Item { key, rows }).map(|item| item.rows);
                    prop_assert_eq!(old, model.insert(key, rows));
                }
                Act::Remove(key) => {
                    let old = directory.remove(&key).map(|item| item.rows);
                    prop_assert_eq!(old, model.remove(&key));
                }
                Act::Change(key, rows) => {
                    let is_there = directory.change(&key, |item| item.rows = rows);
                    prop_assert_eq!(is_there, model.contains_key(&key));
                    model.entry(key).and_modify(|old| *old = rows);
                }
            }
            check(&directory, &model);
        }
    }
}

/// What comes in order fills its chunks; what goes leaves no room unused for long.
#[test]
fn memory_follows_the_entries() {
    let mut directory = Directory::<Item>::default();
    for key in 0..100_000 {
        directory.insert(Item { key, rows: 1 });
    }
    assert_eq!(directory.chunks.len(), 100_000_usize.div_ceil(256));
    for key in (0..100_000).filter(|key| key % 100 > 0) {
        directory.remove(&key);
    }
    check_chunks(&directory);
    assert_eq!(directory.len(), 1_000);
    assert!(directory.chunks.len() <= 16, "{}", directory.chunks.len());
    assert!(directory.chunks.capacity() <= 64, "{}", directory.chunks.capacity());
    assert!((0..1_000).all(|n| directory.remove(&(n * 100)).is_some()));
    assert_eq!((directory.len(), directory.rows(0), directory.chunks.len()), (0, 0, 0));
}
