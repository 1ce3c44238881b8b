//! Routes of filters without wildcards, found by the whole filter.
//!
//! Routes lie in chunks, and the hash table holds their numbers. A table is half empty on average, and what is
//! empty costs five bytes there instead of fifty.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

#[derive(Default)]
pub(super) struct Exact<V> {
    /// Numbers of routes, by the hash of their filters.
    index: HashTable<u32>,
    hasher: RandomState,
    routes: Routes<V>,
}

/// Routes by their numbers. Where they lie does not change, and a chunk is not copied to grow.
struct Routes<V> {
    chunks: Vec<Vec<Route<V>>>,
    /// Numbers of routes that are gone.
    free: Vec<u32>,
}

struct Route<V> {
    filter: Arc<str>,
    value: V,
}

const CHUNK: usize = 128;

impl<V> Default for Routes<V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new() }
    }
}

impl<V> Exact<V> {
    pub(super) fn get(&self, filter: &str) -> Option<&V> {
        Some(&self.routes.get(self.find(filter)?).value)
    }

    pub(super) fn get_mut(&mut self, filter: &str) -> Option<&mut V> {
        let number = self.find(filter)?;
        Some(&mut self.routes.get_mut(number).value)
    }

    pub(super) fn contains(&self, filter: &str) -> bool {
        self.find(filter).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Filters that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.routes.places()
    }

    fn find(&self, filter: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(filter);
        self.index.find(hash, |number| *self.routes.get(*number).filter == *filter).copied()
    }
}

impl<V: Default> Exact<V> {
    /// The value of a filter, made empty if it is not there yet.
    pub(super) fn entry(&mut self, filter: &Arc<str>) -> &mut V {
        let Self { index, hasher, routes } = self;
        let hash = hasher.hash_one(&**filter);
        let is_it = |number: &u32| routes.get(*number).filter == *filter;
        let rehash = |number: &u32| hasher.hash_one(&*routes.get(*number).filter);
        let number = match index.entry(hash, is_it, rehash) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(place) => {
                let number = routes.next_number();
                place.insert(number);
                routes.put(number, Route { filter: Arc::clone(filter), value: V::default() });
                number
            }
        };
        &mut routes.get_mut(number).value
    }

    pub(super) fn remove(&mut self, filter: &str) {
        let hash = self.hasher.hash_one(filter);
        let is_it = |number: &u32| *self.routes.get(*number).filter == *filter;
        let Ok(found) = self.index.find_entry(hash, is_it) else { return };
        let (number, _) = found.remove();
        *self.routes.get_mut(number) = Route { filter: Arc::default(), value: V::default() };
        self.routes.free.push(number);
        if self.index.is_empty() {
            // Those who subscribe to a million filters and leave do not keep their memory.
            *self = Self { hasher: self.hasher.clone(), ..Self::default() };
        }
    }

    /// Moves all together. Returns how many bytes that has set free.
    pub(super) fn shrink(&mut self) -> usize {
        let before = self.bytes();
        let Routes { chunks, free } = std::mem::take(&mut self.routes);
        let is_free: HashSet<u32, RandomState> = free.into_iter().collect();
        self.index = HashTable::with_capacity(self.index.len());
        let all = (0..).zip(chunks.into_iter().flatten());
        for (_, route) in all.filter(|(number, _)| !is_free.contains(number)) {
            *self.entry(&route.filter) = route.value;
        }
        before.saturating_sub(self.bytes())
    }

    fn bytes(&self) -> usize {
        self.index.allocation_size() + self.routes.places() * size_of::<Route<V>>()
    }
}

impl<V> Routes<V> {
    fn get(&self, number: u32) -> &Route<V> {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    fn get_mut(&mut self, number: u32) -> &mut Route<V> {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    /// The number that the next route gets.
    fn next_number(&self) -> u32 {
        self.free.last().copied().unwrap_or_else(|| {
            u32::try_from(self.places()).expect("memory ends before four thousand million filters")
        })
    }

    /// Routes, and places of those that are gone.
    fn places(&self) -> usize {
        match self.chunks.split_last() {
            Some((last, full)) => full.len() * CHUNK + last.len(),
            None => 0,
        }
    }

    fn put(&mut self, number: u32, route: Route<V>) {
        if self.free.pop().is_some() {
            *self.get_mut(number) = route;
            return;
        }
        match self.chunks.last_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => last.push(route),
            None => self.chunks.push(chunk_with(route, self.chunks.is_empty())),
        }
    }
}

/// A chunk that begins with this route. Most shards of a small broker have few routes: the first chunk grows.
fn chunk_with<V>(route: Route<V>, is_first: bool) -> Vec<Route<V>> {
    let mut chunk = Vec::with_capacity(if is_first { 4 } else { CHUNK });
    chunk.push(route);
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec(("[a-z]{0,2}", 0u32..4), 0..600)) {
            let mut exact = Exact::<u32>::default();
            let mut model = HashMap::new();
            for (filter, value) in steps {
                // One step in four removes.
                if value == 0 {
                    exact.remove(&filter);
                    model.remove(&filter);
                } else {
                    *exact.entry(&filter.as_str().into()) += value;
                    *model.entry(filter.clone()).or_insert(0) += value;
                }
                prop_assert_eq!(exact.get(&filter), model.get(&filter));
                prop_assert_eq!(exact.get_mut(&filter), model.get_mut(&filter));
                prop_assert_eq!(exact.contains(&filter), model.contains_key(&filter));
            }
            for shrinks in [false, true] {
                if shrinks {
                    exact.shrink();
                    prop_assert_eq!(exact.len(), exact.capacity());
                }
                for (filter, value) in &model {
                    prop_assert_eq!(exact.get(filter), Some(value));
                }
                let places = exact.routes.places();
                prop_assert_eq!(exact.len() + exact.routes.free.len(), places, "no place is lost");
            }
        }
    }

    #[test]
    fn what_all_have_left_holds_no_memory() {
        let mut exact = Exact::<u32>::default();
        let filters = (0..3 * CHUNK).map(|n| Arc::<str>::from(n.to_string())).collect::<Vec<_>>();
        for filter in &filters {
            exact.entry(filter);
        }
        filters.iter().for_each(|filter| exact.remove(filter));
        assert_eq!((exact.index.capacity(), exact.routes.chunks.capacity()), (0, 0));
    }
}
