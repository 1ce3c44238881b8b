//! Log lines for people or as JSON, levels by target, changed without a restart.

mod runtime;

use std::io::Write;

use env_logger::{Builder, Env, Logger, Target};
use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::RwLock;

pub(crate) use self::runtime::{Runtime, change, in_force, set_up};
use crate::config::{LogConfig, LogFormat, LogTarget};

/// The logger in force; swapped whole when levels are read again.
static LOGGER: Swap = Swap(RwLock::new(None));

struct Swap(RwLock<Option<Logger>>);

impl Log for Swap {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.read().as_ref().is_some_and(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(logger) = &*self.0.read() {
            logger.log(record);
        }
    }

    fn flush(&self) {}
}

/// Logs from now on as `config` says.
fn install(config: &LogConfig) {
    let mut builder = Builder::from_env(Env::default());
    builder.target(Target::Stderr).filter_level(config.level);
    if config.level == LevelFilter::Info {
        // It tells each of its threads' beginning and end; what an operator wants to know of it we say ourselves.
        builder.filter_module("actix_server", LevelFilter::Warn);
    }
    for (target, level) in &config.targets {
        builder.filter_module(target, *level);
    }
    if is_off(config) {
        builder.filter_level(LevelFilter::Off);
    }
    if matches!(config.format, LogFormat::Json) {
        builder.format(|out, record| {
            let line = serde_json::json!({
                "time": out.timestamp_millis().to_string(),
                "level": record.level().as_str(),
                "target": record.target(),
                "message": record.args().to_string(),
            });
            writeln!(out, "{line}")
        });
    } else {
        builder.format_timestamp_millis();
    }
    let logger = builder.build();
    log::set_max_level(logger.filter());
    *LOGGER.0.write() = Some(logger);
    // The second time it is set already, to the same.
    let _ = log::set_logger(&LOGGER);
}

fn is_off(config: &LogConfig) -> bool {
    matches!(config.to, LogTarget::Off)
}
