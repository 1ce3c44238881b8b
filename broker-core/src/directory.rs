//! Directory: entries in the order of their keys, any page of which is found without counting up to it.
//!
//! Entries lie in chunks of some hundred. An entry is found by halving, the one at a place in the list by
//! adding up the sizes of the chunks before it: a million entries are some thousand additions. A balanced tree
//! with counts would find it in twenty steps, for three times the memory of each entry.

/// What stands in a [`Directory`].
pub(crate) trait Entry {
    /// What it is ordered and found by.
    type Key: Ord + ?Sized;

    /// Its key, which does not change.
    fn key(&self) -> &Self::Key;

    /// Rows that it stands for in lists of other things, of two kinds.
    fn rows(&self) -> Rows {
        [0, 0]
    }
}

/// Numbers of rows, by kind.
pub(crate) type Rows = [usize; 2];

/// Entries in the order of their keys, in chunks of at most `MAX`.
pub(crate) struct Directory<T, const MAX: usize = 256> {
    /// None is empty. Two neighbours hold more than half a chunk, unless there is but one.
    chunks: Vec<Chunk<T>>,
    len: usize,
    rows: Rows,
}

struct Chunk<T> {
    entries: Vec<T>,
    rows: Rows,
}

/// Where reading begins.
pub(crate) enum Start<'a, K: ?Sized> {
    /// Behind so many entries.
    Rank(usize),
    /// At the entry with that key or the next larger one.
    At(&'a K),
    /// Behind the entry with that key, be it there or gone.
    Behind(&'a K),
}

impl<K: ?Sized> Clone for Start<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized> Copy for Start<'_, K> {}

/// A chunk and a place in it, which may be its end.
#[derive(Clone, Copy)]
struct Place(usize, usize);

impl<T, const MAX: usize> Default for Directory<T, MAX> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0, rows: [0, 0] }
    }
}

impl<T: Entry, const MAX: usize> Directory<T, MAX> {
    /// Number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Sum of the rows of all entries.
    pub(crate) const fn rows(&self, kind: usize) -> usize {
        self.rows[kind]
    }

    /// Bytes beside itself and what its entries point to.
    pub(crate) fn heap_bytes(&self) -> usize {
        let entries: usize = self.chunks.iter().map(|chunk| chunk.entries.capacity()).sum();
        self.chunks.capacity() * size_of::<Chunk<T>>() + entries * size_of::<T>()
    }

    /// Adds an entry. Returns the one of the same key that it replaces.
    ///
    /// Behind all others it goes in constant time.
    pub(crate) fn insert(&mut self, entry: T) -> Option<T> {
        let rows = entry.rows();
        let at = self.chunk_of(entry.key());
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Chunk { entries: vec![entry], rows });
            (self.len, self.rows) = (1, rows);
            return None;
        };
        let place = match chunk.find(entry.key()) {
            Ok(place) => {
                let old = std::mem::replace(&mut chunk.entries[place], entry);
                change_rows(&mut chunk.rows, rows, old.rows());
                change_rows(&mut self.rows, rows, old.rows());
                return Some(old);
            }
            Err(place) => place,
        };
        self.len += 1;
        change_rows(&mut self.rows, rows, [0, 0]);
        if chunk.entries.len() < MAX {
            chunk.insert(place, entry);
            return None;
        }
        // At the end full chunks stay full; elsewhere both halves get room.
        let keeps = if place == MAX && at + 1 == self.chunks.len() { MAX } else { MAX / 2 };
        let mut next = Chunk::of(self.chunks[at].entries.split_off(keeps));
        let chunk = &mut self.chunks[at];
        change_rows(&mut chunk.rows, [0, 0], next.rows);
        if place <= keeps && keeps < MAX {
            chunk.insert(place, entry);
        } else {
            next.insert(place - keeps, entry);
        }
        self.chunks.insert(at + 1, next);
        None
    }

    /// Removes the entry of a key.
    pub(crate) fn remove(&mut self, key: &T::Key) -> Option<T> {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get_mut(at)?;
        let entry = chunk.entries.remove(chunk.find(key).ok()?);
        change_rows(&mut chunk.rows, [0, 0], entry.rows());
        chunk.shrink();
        self.len -= 1;
        change_rows(&mut self.rows, [0, 0], entry.rows());
        if chunk.entries.is_empty() {
            self.chunks.remove(at);
            self.merge(at.saturating_sub(1));
        } else if !self.merge(at) && at > 0 {
            self.merge(at - 1);
        }
        Some(entry)
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: &T::Key) -> Option<&T> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        chunk.find(key).ok().map(|place| &chunk.entries[place])
    }

    /// Changes the entry of a key, but not the key. Returns false if there is none.
    pub(crate) fn change(&mut self, key: &T::Key, change: impl FnOnce(&mut T)) -> bool {
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get_mut(at) else { return false };
        let Ok(place) = chunk.find(key) else { return false };
        let entry = &mut chunk.entries[place];
        let before = entry.rows();
        change(entry);
        let after = entry.rows();
        change_rows(&mut chunk.rows, after, before);
        change_rows(&mut self.rows, after, before);
        true
    }

    /// All entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.from(Start::Rank(0))
    }

    /// The entries from `start` on.
    pub(crate) fn from<'a>(
        &'a self,
        start: Start<'_, T::Key>,
    ) -> impl Iterator<Item = &'a T> + use<'a, T, MAX> {
        let (first, rest) = self.at(self.place(start));
        first.iter().chain(rest.iter().flat_map(|chunk| &chunk.entries))
    }

    /// The entries from `start` on that have rows of that kind.
    pub(crate) fn with_rows_from<'a>(
        &'a self,
        kind: usize,
        start: Start<'_, T::Key>,
    ) -> impl Iterator<Item = &'a T> + use<'a, T, MAX> {
        let (first, rest) = self.at(self.place(start));
        let rest = rest.iter().filter(move |chunk| chunk.rows[kind] > 0);
        let rest = rest.flat_map(|chunk| &chunk.entries);
        first.iter().chain(rest).filter(move |entry| entry.rows()[kind] > 0)
    }

    /// The entry that the row behind `n` others belongs to, and how many of its rows are among them.
    pub(crate) fn at_row(&self, kind: usize, mut n: usize) -> Option<(&T, usize)> {
        let mut is_here = |rows: Rows| {
            let is_here = n < rows[kind];
            n -= if is_here { 0 } else { rows[kind] };
            is_here
        };
        let chunk = self.chunks.iter().find(|chunk| is_here(chunk.rows))?;
        let entry = chunk.entries.iter().find(|entry| is_here(entry.rows()))?;
        Some((entry, n))
    }

    /// The chunk a key is in, or would be.
    fn chunk_of(&self, key: &T::Key) -> usize {
        let begins_by_then = |chunk: &Chunk<T>| chunk.entries[0].key() <= key;
        // Most who come are new, and go to the end.
        if self.chunks.last().is_some_and(begins_by_then) {
            return self.chunks.len() - 1;
        }
        self.chunks.partition_point(begins_by_then).saturating_sub(1)
    }

    fn place(&self, start: Start<'_, T::Key>) -> Place {
        match start {
            Start::Rank(mut n) => {
                let at = self.chunks.iter().position(|chunk| {
                    let is_here = n < chunk.entries.len();
                    n -= if is_here { 0 } else { chunk.entries.len() };
                    is_here
                });
                at.map_or(Place(self.chunks.len(), 0), |at| Place(at, n))
            }
            Start::At(key) => self.first_that(key, |other| other >= key),
            Start::Behind(key) => self.first_that(key, |other| other > key),
        }
    }

    fn first_that(&self, key: &T::Key, is_it: impl Fn(&T::Key) -> bool) -> Place {
        let at = self.chunk_of(key);
        let place = |chunk: &Chunk<T>| chunk.entries.partition_point(|entry| !is_it(entry.key()));
        Place(at, self.chunks.get(at).map_or(0, place))
    }

    fn at(&self, Place(at, place): Place) -> (&[T], &[Chunk<T>]) {
        match self.chunks.get(at..) {
            Some([first, rest @ ..]) => (&first.entries[place..], rest),
            _ => (&[], &[]),
        }
    }

    /// Makes a chunk and its next one into one, if both are sparse. Returns whether it did.
    fn merge(&mut self, at: usize) -> bool {
        let Some([chunk, next]) = self.chunks.get_mut(at..at + 2) else { return false };
        let is_sparse = chunk.entries.len() + next.entries.len() <= MAX / 2;
        if is_sparse {
            chunk.entries.append(&mut next.entries);
            change_rows(&mut chunk.rows, next.rows, [0, 0]);
            self.chunks.remove(at + 1);
            if self.chunks.len() <= self.chunks.capacity() / 4 {
                self.chunks.shrink_to(self.chunks.len() * 2);
            }
        }
        is_sparse
    }
}

impl<T: Entry> Chunk<T> {
    fn of(entries: Vec<T>) -> Self {
        let mut rows = [0, 0];
        entries.iter().for_each(|entry| change_rows(&mut rows, entry.rows(), [0, 0]));
        Self { entries, rows }
    }

    fn find(&self, key: &T::Key) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.key().cmp(key))
    }

    fn insert(&mut self, place: usize, entry: T) {
        change_rows(&mut self.rows, entry.rows(), [0, 0]);
        self.entries.insert(place, entry);
    }

    /// Gives memory back once three quarters of it are of no use.
    fn shrink(&mut self) {
        if self.entries.len() <= self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

/// Adds `more` and takes `less`, which is part of it.
fn change_rows(rows: &mut Rows, more: Rows, less: Rows) {
    for (n, (more, less)) in rows.iter_mut().zip(more.into_iter().zip(less)) {
        *n = *n + more - less;
    }
}

#[cfg(test)]
mod tests;
