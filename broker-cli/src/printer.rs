//! Printer: answers of the API as a table for people, as JSON, or line by line as emqx_ctl prints them.

mod table;

use std::io::{self, BufWriter, StdoutLock, Write};

use anyhow::Result;
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use table::{Column, left, right, visible};

use crate::api::{ApiError, Format, Rows};
use crate::output;
use crate::row::Row;
use table::Table;

/// Where answers go, and in which form.
pub(crate) struct Printer<W: Write = BufWriter<StdoutLock<'static>>> {
    out: W,
    format: Format,
    has_color: bool,
}

/// How the rows of one kind are shown.
pub(crate) struct Listing<'a> {
    pub(crate) columns: &'a [Column],
    /// What there is none of: `clients`.
    pub(crate) what: &'a str,
    /// One row as emqx_ctl has it.
    pub(crate) emqx: &'a dyn Fn(&Row) -> String,
}

impl Printer {
    pub(crate) fn stdout(format: Format, has_color: bool) -> Self {
        Self { out: output::stdout(), format, has_color }
    }
}

impl<W: Write> Printer<W> {
    pub(crate) const fn is_emqx(&self) -> bool {
        matches!(self.format, Format::Emqx)
    }

    pub(crate) const fn is_json(&self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// Rows that come page by page, so that a million of them are never held at once.
    pub(crate) fn list(
        &mut self,
        pages: impl IntoIterator<Item = Result<Rows, ApiError>>,
        listing: &Listing<'_>,
    ) -> Result<()> {
        match self.format {
            Format::Json => self.json_list(pages),
            Format::Emqx => {
                for page in pages {
                    for row in page?.iter().filter_map(|raw| Row::parse(raw)) {
                        self.line(&(listing.emqx)(&row))?;
                    }
                }
                Ok(())
            }
            Format::Table => {
                let mut table = Table::new(listing.columns);
                for page in pages {
                    let page: Vec<Row> = page?.iter().filter_map(|raw| Row::parse(raw)).collect();
                    table.write(&mut self.out, self.has_color, &page)?;
                }
                self.nothing(table.is_empty(), listing.what)
            }
        }
    }

    /// Rows that are here. `data` is what JSON shows of them.
    pub(crate) fn rows(
        &mut self,
        data: Option<&RawValue>,
        rows: &[Row],
        listing: &Listing<'_>,
    ) -> Result<()> {
        match self.format {
            Format::Json => self.data(data),
            Format::Emqx => rows.iter().try_for_each(|row| self.line(&(listing.emqx)(row))),
            Format::Table => {
                let mut table = Table::new(listing.columns);
                table.write(&mut self.out, self.has_color, rows)?;
                self.nothing(table.is_empty(), listing.what)
            }
        }
    }

    /// Names and values of one thing, one a line. `emqx` are the lines of emqx_ctl.
    pub(crate) fn pairs(
        &mut self,
        data: Option<&RawValue>,
        pairs: &[(&str, String)],
        emqx: impl FnOnce() -> Vec<String>,
    ) -> Result<()> {
        match self.format {
            Format::Json => self.data(data),
            Format::Emqx => emqx().iter().try_for_each(|line| self.line(line)),
            Format::Table => {
                let width = pairs.iter().map(|(name, _)| table::width(name)).max().unwrap_or(0);
                let (on, off) = table::bold(self.has_color);
                for (name, value) in pairs {
                    let pad = width - table::width(name);
                    writeln!(self.out, "{on}{name}{off}{:pad$}  {}", "", visible(value))?;
                }
                Ok(())
            }
        }
    }

    /// Something was done that has no data, or none that people want.
    pub(crate) fn done(&mut self, data: Option<&RawValue>, said: &str, emqx: &str) -> Result<()> {
        self.done_in_lines(data, &[said.to_owned()], emqx)
    }

    /// The same, with more to say than one line.
    pub(crate) fn done_in_lines(
        &mut self,
        data: Option<&RawValue>,
        said: &[String],
        emqx: &str,
    ) -> Result<()> {
        match self.format {
            Format::Json => self.data(data),
            Format::Emqx if emqx.is_empty() => Ok(()),
            Format::Emqx => self.line(emqx),
            Format::Table => said.iter().try_for_each(|line| self.line(line)),
        }
    }

    /// JSON that is not of the API as it came.
    pub(crate) fn value(&mut self, value: &Value) -> Result<()> {
        Ok(writeln!(self.out, "{value}")?)
    }

    /// The broker refused something, which emqx_ctl tells in a line of its own.
    pub(crate) fn refused(
        &mut self,
        error: ApiError,
        emqx: impl FnOnce(&str) -> String,
    ) -> anyhow::Error {
        match error.message().map(emqx) {
            Some(line) => self.failed(error.into(), &line),
            None => error.into(),
        }
    }

    /// There is no such thing; emqx_ctl says so in two words.
    pub(crate) fn not_found(&mut self, what: String) -> anyhow::Error {
        self.failed(ApiError::NotFound(what).into(), "Not Found.")
    }

    /// In the form of emqx_ctl a failure is a line on stdout, and only the exit status is left.
    pub(crate) fn failed(&mut self, error: anyhow::Error, emqx: &str) -> anyhow::Error {
        if !self.is_emqx() {
            return error;
        }
        match self.line(emqx) {
            Ok(()) => output::hushed(error),
            Err(error) => error,
        }
    }

    /// One line, made harmless.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(self.out, "{}", visible(text))?)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn data(&mut self, data: Option<&RawValue>) -> Result<()> {
        let text = data.map_or(r#"{"code":0}"#, RawValue::get);
        Ok(writeln!(self.out, "{text}")?)
    }

    /// One array, a row a line.
    fn json_list(&mut self, pages: impl IntoIterator<Item = Result<Rows, ApiError>>) -> Result<()> {
        let mut before = "[";
        for page in pages {
            for row in page? {
                write!(self.out, "{before}\n{}", row.get())?;
                before = ",";
            }
        }
        let end = if before == "[" { "[]" } else { "\n]" };
        Ok(writeln!(self.out, "{end}")?)
    }

    /// Nothing on stdout, so that a script sees no rows.
    fn nothing(&mut self, is_empty: bool, what: &str) -> Result<()> {
        if is_empty {
            self.out.flush()?;
            output::note(format_args!("no {what}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
