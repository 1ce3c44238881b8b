//! `store`: looks after the data folder of a broker: statistics, checks, dumps, backups, repair.
//!
//! Statistics and backups come from a running broker too, by its API from anywhere.

mod json;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use broker_store::files::{Files, RealFiles};
use broker_store::inspect::{DumpError, Inspection};
use broker_store::{FolderLock, LockError, Manifest, backup, control, repair};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::context::{Context, parse_rows};
use crate::api::{Answer, ApiOptions};
use crate::output::{self, Faulty};

/// Look after the store of a broker
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the store holds, or what it does if a broker runs it
    Stats(LookOrAsk),
    /// Read every checksum
    Verify(Look),
    /// Print every record as a line of JSON: of the newest snapshot, then of the log
    Dump(Folder),
    /// Copy the store to an empty folder; the broker may run
    Backup {
        /// The folder, which is made if it is not there; on the machine of the broker
        target: PathBuf,
        #[command(flatten)]
        look: LookOrAsk,
    },
    /// Make a store of a backup; the data folder must be empty
    Restore {
        /// The folder of the backup
        source: PathBuf,
        #[command(flatten)]
        look: Look,
    },
    /// Let a store start that lacks a part: says what is lost, and does it with --yes
    Repair {
        #[command(flatten)]
        folder: Folder,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct Folder {
    /// Data folder of the broker, its `node.data_dir`
    #[arg(short, long, value_name = "FOLDER")]
    data_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Look {
    #[command(flatten)]
    folder: Folder,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// A folder to look at, or else a running broker to ask.
#[derive(Debug, Args)]
struct LookOrAsk {
    /// Data folder of the broker, its `node.data_dir` [default: ask the broker by the API]
    #[arg(short, long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    api: ApiOptions,
}

const AFTER_HELP: &str = "\
Exit status: 0 if all is well, 2 if something is wrong with the store, 1 if it could not be done,
3 if the broker that was to be asked does not answer.
Copying the folder with other tools is safe only while no broker runs.";

impl Store {
    pub(crate) fn run(&self) -> Result<()> {
        let files: Arc<dyn Files> = Arc::new(RealFiles);
        match &self.command {
            Command::Stats(LookOrAsk { data_dir: Some(root), api }) => {
                stats(files, root, api.is_json())
            }
            Command::Stats(LookOrAsk { data_dir: None, api }) => ask_stats(api),
            Command::Verify(look) => verify(files, look),
            Command::Dump(folder) => dump(files, &folder.data_dir),
            Command::Backup { target, look: LookOrAsk { data_dir: Some(root), api } } => {
                back_up(&files, root, target, api.is_json())
            }
            Command::Backup { target, look: LookOrAsk { data_dir: None, api } } => {
                ask_backup(api, target)
            }
            Command::Restore { source, look } => restore(&files, source, look),
            Command::Repair { folder, yes } => mend(&files, &folder.data_dir, *yes),
        }
    }
}

type Values = Vec<(String, String)>;

fn stats(files: Arc<dyn Files>, root: &Path, as_json: bool) -> Result<()> {
    let values = match control::ask(root, "stats").context("asking the broker")? {
        Some(values) => values,
        None => {
            let _lock = lock(root)?;
            Inspection::open(files, root)?.values()
        }
    };
    print(&values, as_json)
}

fn ask_stats(options: &ApiOptions) -> Result<()> {
    let mut context = Context::open(options, false)?;
    let result = context.node_path().and_then(|node| {
        let answer = context.api.get(&node.join("store").join("stats"))?;
        print_answer(&mut context, &answer)
    });
    context.finish(result)
}

fn ask_backup(options: &ApiOptions, target: &Path) -> Result<()> {
    let target = target.to_str().context("the path is not UTF-8")?;
    let mut context = Context::open(options, false)?;
    let result = context.node_path().and_then(|node| {
        let path = node.join("store").join("backup");
        let answer = context.api.post(&path, &json!({ "target": target }))?;
        print_answer(&mut context, &answer)
    });
    context.finish(result)
}

fn print_answer(context: &mut Context, answer: &Answer) -> Result<()> {
    let rows = answer.data.as_deref().map(parse_rows).unwrap_or_default();
    let row = rows.into_iter().next().unwrap_or_default();
    context.object(answer.data.as_deref(), &row, &[], || {
        row.keys(&[]).map(|key| format!("{key} {}", row.raw(key))).collect()
    })
}

fn verify(files: Arc<dyn Files>, look: &Look) -> Result<()> {
    let root = &look.folder.data_dir;
    let _lock = lock(root)?;
    let found = Inspection::open(files, root)?.verify()?;
    let pair = |word: &str, value: u64| (word.to_owned(), value.to_string());
    let mut values = vec![
        pair("snapshots", found.snapshots),
        pair("frames", found.frames),
        pair("frame_bytes", found.frame_bytes),
        pair("cut_bytes", found.cut.iter().map(|cut| cut.bytes).sum()),
    ];
    let records = found.records.iter();
    values.extend(records.map(|(kind, count)| pair(&format!("records_{kind}"), *count)));
    values.extend(found.faults.iter().map(|fault| ("fault".to_owned(), fault.clone())));
    print(&values, look.json)?;
    match found.faults.len() {
        0 => Ok(()),
        1 => Err(Faulty("one fault was found".to_owned()).into()),
        n => Err(Faulty(format!("{n} faults were found")).into()),
    }
}

fn dump(files: Arc<dyn Files>, root: &Path) -> Result<()> {
    let _lock = lock(root)?;
    let inspection = Inspection::open(files, root)?;
    let mut out = output::stdout();
    let dumped = inspection.dump(&mut |place, record| {
        serde_json::to_writer(&mut out, &json::of(place, record))?;
        out.write_all(b"\n")
    });
    match dumped.and_then(|()| Ok(out.flush()?)) {
        // `| head`
        Err(DumpError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        dumped => Ok(dumped?),
    }
}

fn back_up(files: &Arc<dyn Files>, root: &Path, target: &Path, as_json: bool) -> Result<()> {
    // The broker has a working directory of its own.
    let target = std::path::absolute(target).context("the folder of the backup")?;
    let order = format!("backup {}", target.to_str().context("the path is not UTF-8")?);
    let values = match control::ask(root, &order).context("backup by the running broker")? {
        Some(values) => values,
        None => {
            let _lock = lock(root)?;
            backup::copy(files, root, &target)?.values()
        }
    };
    print(&values, as_json)
}

fn restore(files: &Arc<dyn Files>, source: &Path, look: &Look) -> Result<()> {
    let root = &look.folder.data_dir;
    // Before anything is made there.
    Manifest::read(files.as_ref(), source)
        .with_context(|| format!("backup {}", source.display()))?
        .with_context(|| format!("{} holds no finished backup", source.display()))?;
    let _lock = FolderLock::take(root)?;
    let manifest = backup::restore(files, source, root)?;
    print(&manifest.values(), look.json)
}

fn mend(files: &Arc<dyn Files>, root: &Path, yes: bool) -> Result<()> {
    let _lock = lock(root)?;
    let mut out = output::stdout();
    // What is in the way of a start may hide something else.
    for round in 0.. {
        let steps = repair::plan(files, root)?;
        if steps.is_empty() {
            let said = if round == 0 { "nothing has to be repaired" } else { "repaired" };
            writeln!(out, "{said}")?;
            break;
        }
        for step in &steps {
            writeln!(out, "{step}")?;
        }
        out.flush()?;
        if !yes {
            return Err(Faulty("nothing was changed; --yes does it".to_owned()).into());
        }
        repair::apply(files, root, &steps)?;
    }
    Ok(out.flush()?)
}

/// Keeps a broker from starting meanwhile. A folder without a lock belongs to none.
fn lock(root: &Path) -> Result<Option<FolderLock>> {
    match FolderLock::take_existing(root) {
        Err(error @ LockError::InUse { .. }) => {
            bail!("{error}; make a backup (broker-cli store backup) and look at that")
        }
        // Nobody can run what nobody can write to.
        Err(LockError::ReadOnly { .. }) => Ok(None),
        lock => Ok(lock?),
    }
}

fn print(values: &Values, as_json: bool) -> Result<()> {
    let mut out = output::stdout();
    if as_json {
        writeln!(out, "{}", object(values))?;
        return Ok(out.flush()?);
    }
    let width = values.iter().map(|(word, _)| word.len()).max().unwrap_or(0);
    let width = if io::stdout().is_terminal() { width } else { 0 };
    for (word, value) in values {
        writeln!(out, "{word:width$} {value}")?;
    }
    Ok(out.flush()?)
}

/// Words that come more than once become a list, and what looks like a number is one.
fn object(values: &Values) -> Value {
    let mut object = Map::new();
    for (word, value) in values {
        let value = value
            .parse()
            .map_or_else(|_| Value::from(value.as_str()), |number: u64| Value::from(number));
        match (word == "fault", object.get_mut(word)) {
            (true, Some(Value::Array(list))) => list.push(value),
            (true, _) => drop(object.insert(word.clone(), Value::Array(vec![value]))),
            (false, _) => drop(object.insert(word.clone(), value)),
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_a_list_and_numbers_are_numbers() {
        let pair = |word: &str, value: &str| (word.to_owned(), value.to_owned());
        let values = vec![pair("a", "1"), pair("fault", "x"), pair("b", "c d"), pair("fault", "y")];
        assert_eq!(object(&values).to_string(), r#"{"a":1,"b":"c d","fault":["x","y"]}"#);
    }
}
