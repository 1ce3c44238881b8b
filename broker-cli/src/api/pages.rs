//! Pages: a list of the API, fetched piece by piece.

use serde_json::value::RawValue;

use super::client::{Answer, Api, Meta};
use super::error::ApiError;
use super::path::Path;

/// The rows of one answer, each as it came.
pub(crate) type Rows = Vec<Box<RawValue>>;

/// Rows of a list, page by page; an answer without pages is the only one.
pub(crate) struct Pages<'a> {
    api: &'a Api,
    path: Path,
    progress: Progress,
}

impl<'a> Pages<'a> {
    pub(super) fn new(api: &'a Api, path: Path, limit: Option<u64>) -> Self {
        Self { api, path, progress: Progress::new(limit) }
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<Rows, ApiError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (page, size) = self.progress.next_page()?;
        let path = self.path.clone().query("_page", page).query("_limit", size);
        let fetched = self.api.get(&path).and_then(|Answer { data, meta }| {
            let rows: Rows =
                data.map_or(Ok(Vec::new()), |data| serde_json::from_str(data.get())).map_err(
                    |error| ApiError::Failed { status: 200, text: format!("no list: {error}") },
                )?;
            Ok((rows, meta))
        });
        match fetched {
            Ok((mut rows, meta)) => {
                self.progress.take(&mut rows, meta);
                Some(Ok(rows))
            }
            Err(error) => {
                self.progress.is_done = true;
                Some(Err(error))
            }
        }
    }
}

/// Where one is in a list. Pages of one size never skip a row, so the size stays what the first answer says it is.
#[derive(Debug)]
struct Progress {
    /// Rows still wanted.
    wanted: u64,
    page: u64,
    size: u64,
    seen: u64,
    is_done: bool,
}

impl Progress {
    fn new(limit: Option<u64>) -> Self {
        let wanted = limit.unwrap_or(u64::MAX);
        Self { wanted, page: 1, size: wanted.min(PAGE_ROWS), seen: 0, is_done: wanted == 0 }
    }

    fn next_page(&self) -> Option<(u64, u64)> {
        (!self.is_done).then_some((self.page, self.size))
    }

    fn take<T>(&mut self, rows: &mut Vec<T>, meta: Option<Meta>) {
        let got = rows.len() as u64;
        self.seen += got;
        // Without `meta` this was all there is; nothing on a page past the end is an end too.
        let count = meta.map_or(self.seen, |meta| meta.count);
        if let Some(meta) = meta.filter(|meta| meta.limit > 0) {
            self.size = self.size.min(meta.limit);
        }
        rows.truncate(usize::try_from(self.wanted).unwrap_or(usize::MAX));
        self.wanted -= rows.len() as u64;
        self.page += 1;
        self.is_done = got == 0 || self.seen >= count || self.wanted == 0;
    }
}

/// Enough that a request costs little per row, few enough that neither side holds much.
const PAGE_ROWS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(limit: u64, count: u64) -> Meta {
        Meta { limit, count, ..Meta::default() }
    }

    /// Fetches from a broker with `count` rows that gives at most `rows_max` of them a page.
    fn fetch(count: u64, rows_max: u64, limit: Option<u64>) -> (Vec<u64>, Vec<(u64, u64)>) {
        let (mut all, mut asked) = (Vec::new(), Vec::new());
        let mut progress = Progress::new(limit);
        while let Some((page, size)) = progress.next_page() {
            asked.push((page, size));
            let size = size.min(rows_max);
            let mut rows: Vec<u64> = ((page - 1) * size..(page * size).min(count)).collect();
            progress.take(&mut rows, Some(meta(size, count)));
            all.append(&mut rows);
        }
        (all, asked)
    }

    #[test]
    fn every_row_comes_once() {
        for (count, rows_max, limit, expected, requests) in [
            (0, 10_000, None, 0, 1),
            (1000, 10_000, None, 1000, 1),
            (2500, 10_000, None, 2500, 3),
            (2500, 100, None, 2500, 25),
            (2500, 10_000, Some(7), 7, 1),
            (2500, 10_000, Some(1500), 1500, 2),
            (2500, 400, Some(1500), 1500, 4),
            (5, 10_000, Some(7), 5, 1),
            (5, 10_000, Some(0), 0, 0),
        ] {
            let (rows, asked) = fetch(count, rows_max, limit);
            assert_eq!(rows, (0..expected).collect::<Vec<_>>(), "{count} {rows_max} {limit:?}");
            assert_eq!(asked.len(), requests, "{count} {rows_max} {limit:?}");
        }
    }

    #[test]
    fn rows_that_go_meanwhile_end_it() {
        let mut progress = Progress::new(None);
        progress.take(&mut vec![0; 1000], Some(meta(1000, 5000)));
        progress.take(&mut Vec::<u8>::new(), Some(meta(1000, 5000)));
        assert_eq!(progress.next_page(), None);
    }

    #[test]
    fn an_answer_without_pages_is_all() {
        let mut progress = Progress::new(None);
        progress.take(&mut vec![0; 1000], None);
        assert_eq!(progress.next_page(), None);
    }
}
