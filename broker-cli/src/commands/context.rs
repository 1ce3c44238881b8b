//! Context: what every command of the API has at hand, and what several of them do.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::value::RawValue;

use crate::api::{Api, ApiOptions, Path};
use crate::emqx;
use crate::output;
use crate::printer::{Listing, Printer};
use crate::prompt;
use crate::row::Row;

/// A broker to ask, and where to print what it says.
pub(crate) struct Context {
    pub(crate) api: Api,
    pub(crate) printer: Printer,
    /// Whether `--node` was given, so that its form of a path is meant.
    pub(crate) has_node: bool,
}

/// How many rows of a list to print.
#[derive(Debug, Args)]
pub(crate) struct Limit {
    /// Print so many rows at most
    #[arg(long, value_name = "ROWS")]
    pub(crate) limit: Option<u64>,
}

impl Context {
    /// What the flags and variables say. `is_emqx_ctl`: called by that name, whose lines are wanted then.
    pub(crate) fn open(options: &ApiOptions, is_emqx_ctl: bool) -> Result<Self> {
        let settings = options.resolve(&|name| std::env::var(name).ok())?;
        let has_color = !options.is_colorless() && output::has_color_on_stdout();
        Ok(Self {
            has_node: settings.node.is_some(),
            api: Api::new(&settings)?,
            printer: Printer::stdout(options.format(is_emqx_ctl), has_color),
        })
    }

    /// Brings what was printed to its reader, unless that one has gone.
    pub(crate) fn finish(mut self, result: Result<()>) -> Result<()> {
        let flushed = self.printer.flush().map_err(Into::into);
        match result.and(flushed) {
            // `| head`
            Err(error) if is_broken_pipe(&error) => Ok(()),
            result => result,
        }
    }

    /// `name` of the whole cluster, or of the node that was asked for.
    pub(crate) fn scoped(&self, name: &str) -> Result<Path> {
        Ok(if self.has_node { self.node_path()?.join(name) } else { Path::new(name) })
    }

    /// `nodes/NODE`.
    pub(crate) fn node_path(&self) -> Result<Path> {
        Ok(self.api.node_path()?)
    }

    /// Prints a list that comes in pages.
    pub(crate) fn list(
        &mut self,
        path: Path,
        limit: Option<u64>,
        listing: &Listing<'_>,
    ) -> Result<()> {
        self.printer.list(self.api.pages(path, limit), listing)
    }

    /// The rows of a list that has no pages, with its data as it came. A list per node, `[{node, KEY: [...]}]`, is
    /// taken apart, and each row knows its node.
    pub(crate) fn rows(&self, path: &Path, key: &str) -> Result<(Option<Box<RawValue>>, Vec<Row>)> {
        let data = self.api.get(path)?.data;
        let mut rows = Vec::new();
        for row in data.as_deref().map(parse_rows).unwrap_or_default() {
            if row.value(key).is_some_and(serde_json::Value::is_array) {
                rows.extend(row.rows(key));
            } else {
                rows.push(row);
            }
        }
        Ok((data, rows))
    }

    /// Prints the one row, or the few, that belong to an id; `what` is not there if there is none.
    pub(crate) fn lookup(
        &mut self,
        path: &Path,
        what: impl FnOnce() -> String,
        first_keys: &[&str],
        emqx: &dyn Fn(&Row) -> String,
    ) -> Result<()> {
        let data = self.api.get(path)?.data;
        let rows = data.as_deref().map(parse_rows).unwrap_or_default();
        if rows.is_empty() {
            return Err(self.printer.not_found(what()));
        }
        if self.printer.is_json() {
            return self.printer.done(data.as_deref(), "", "");
        }
        for row in &rows {
            self.object(None, row, first_keys, || vec![emqx(row)])?;
        }
        Ok(())
    }

    /// Prints the values of one object.
    pub(crate) fn object(
        &mut self,
        data: Option<&RawValue>,
        row: &Row,
        first_keys: &[&str],
        emqx: impl FnOnce() -> Vec<String>,
    ) -> Result<()> {
        let pairs: Vec<(&str, String)> =
            row.keys(first_keys).map(|key| (key, row.text(key))).collect();
        self.printer.pairs(data, &pairs, emqx)
    }

    /// What turns the local times of the broker into Unix seconds, which emqx_ctl prints.
    pub(crate) fn unix_times(&self) -> Result<UnixTimes> {
        if !self.printer.is_emqx() {
            return Ok(UnixTimes { utc_offset_s: 0 });
        }
        let broker = self.api.value(&Path::new("brokers").join(self.api.node()?))?;
        let datetime = broker.get("datetime").and_then(serde_json::Value::as_str);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(0);
        let utc_offset_s = datetime.and_then(|local| emqx::utc_offset_s(local, now)).unwrap_or(0);
        Ok(UnixTimes { utc_offset_s })
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Local times of the broker as Unix seconds. The zone is that of now: a time before a change of the clocks is an hour
/// off.
pub(crate) struct UnixTimes {
    utc_offset_s: i64,
}

impl UnixTimes {
    pub(crate) fn of(&self, row: &Row, key: &str) -> String {
        let local = row.raw(key);
        emqx::unix_s(&local, self.utc_offset_s).map_or(local, |seconds| seconds.to_string())
    }
}

/// One row, or a list of them.
pub(crate) fn parse_rows(data: &RawValue) -> Vec<Row> {
    match serde_json::from_str(data.get()) {
        Ok(serde_json::Value::Array(list)) => list.iter().filter_map(Row::of).collect(),
        Ok(value) => Row::of(&value).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

/// An id in a path: an empty one would mean the whole list.
pub(crate) fn id() -> NonEmptyStringValueParser {
    NonEmptyStringValueParser::new()
}

/// A secret that was given, or the first line of stdin for `-` or none.
pub(crate) fn given_or_stdin(given: Option<&str>, what: &str) -> Result<String> {
    match given {
        Some(secret) if secret != "-" => Ok(secret.to_owned()),
        _ => prompt::secret(what),
    }
}
