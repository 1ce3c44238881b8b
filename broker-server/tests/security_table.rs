//! The table of attack cases in `docs/security.md` has them all, and the tests it names exist.

use std::fs;
use std::path::Path;

/// Number and the rest of each row of the table.
fn rows(page: &str) -> Vec<(u32, &str)> {
    let (_, table) = page.split_once("## Attack cases").expect("the page has the table");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| {
        let (number, rest) = row.split_once(" | ")?;
        Some((number.parse().ok()?, rest))
    })
    .collect()
}

/// The words in back quotes.
fn quoted(row: &str) -> impl Iterator<Item = &str> {
    row.split('`').skip(1).step_by(2)
}

fn page() -> (std::path::PathBuf, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    (root.to_owned(), fs::read_to_string(root.join("docs/security.md")).unwrap())
}

#[test]
fn every_case_has_its_row() {
    let (_, page) = page();
    let numbers: Vec<_> = rows(&page).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (1..=43).collect::<Vec<_>>());
}

#[test]
fn every_test_that_is_named_exists() {
    let (root, page) = page();
    let mut n_tests = 0;
    for (number, row) in rows(&page) {
        for (file, test) in quoted(row).filter_map(|word| word.split_once("::")) {
            let path = if file.starts_with("broker-") || file.starts_with("tests/") {
                root.join(file)
            } else {
                root.join("broker-server/tests").join(file)
            };
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("case {number}: {}: {error}", path.display()));
            let keyword = if file.ends_with(".py") { "def" } else { "fn" };
            let is_there = text.contains(&format!("{keyword} {test}("));
            assert!(is_there, "case {number}: {file} has no {test}");
            n_tests += 1;
        }
    }
    assert!(n_tests > 60, "{n_tests}");
}
