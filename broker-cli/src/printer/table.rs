//! Table: rows under titles, in columns as wide as what is in them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use crate::row::Row;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    side: Side,
    cell: fn(&Row) -> String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// A column of text.
pub(crate) const fn left(title: &'static str, cell: fn(&Row) -> String) -> Column {
    Column { title, side: Side::Left, cell }
}

/// A column of numbers.
pub(crate) const fn right(title: &'static str, cell: fn(&Row) -> String) -> Column {
    Column { title, side: Side::Right, cell }
}

/// Rows written batch by batch. The first batch says how wide the columns are; what is wider later sticks out.
pub(super) struct Table<'a> {
    columns: &'a [Column],
    /// Empty until there is a row.
    widths: Vec<usize>,
}

impl<'a> Table<'a> {
    pub(super) const fn new(columns: &'a [Column]) -> Self {
        Self { columns, widths: Vec::new() }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.widths.is_empty()
    }

    pub(super) fn write(
        &mut self,
        out: &mut impl Write,
        has_color: bool,
        rows: &[Row],
    ) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let cell = |column: &Column| visible(&(column.cell)(row)).into_owned();
                self.columns.iter().map(cell).collect()
            })
            .collect();
        if self.widths.is_empty() {
            let titles = self.columns.iter().map(|column| width(column.title));
            self.widths = titles.collect();
            for row in &cells {
                for (widest, cell) in self.widths.iter_mut().zip(row) {
                    *widest = width(cell).max(*widest);
                }
            }
            let titles: Vec<&str> = self.columns.iter().map(|column| column.title).collect();
            let (on, off) = bold(has_color);
            writeln!(out, "{on}{}{off}", self.line(&titles))?;
        }
        cells.iter().try_for_each(|row| writeln!(out, "{}", self.line(row)))
    }

    fn line(&self, cells: &[impl AsRef<str>]) -> String {
        let mut line = String::new();
        for ((column, widest), cell) in self.columns.iter().zip(&self.widths).zip(cells) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let cell = cell.as_ref();
            let pad = widest.saturating_sub(width(cell));
            let _ = match column.side {
                Side::Left => write!(line, "{cell}{:pad$}", ""),
                Side::Right => write!(line, "{:pad$}{cell}", ""),
            };
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Columns that a text takes, near enough: East Asian characters and emoji are taken for two.
pub(super) fn width(text: &str) -> usize {
    let is_wide = |c: char| {
        matches!(u32::from(c), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF
            | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1F64F | 0x1F900..=0x1F9FF
            | 0x20000..=0x3FFFD)
    };
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

/// Escapes what would steer a terminal: a Client Identifier may hold anything.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

/// What turns bold print on and off.
pub(super) const fn bold(has_color: bool) -> (&'static str, &'static str) {
    if has_color { ("\x1b[1m", "\x1b[0m") } else { ("", "") }
}
