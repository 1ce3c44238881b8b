//! Levels of the log that an operator changes at run time, beside those of the configuration.

use broker_mgmt::ports::{LevelRefused, Levels, LogLevels};
use log::LevelFilter;
use parking_lot::Mutex;

use super::{install, is_off};
use crate::config::{LogConfig, log_level};

/// What the logger is made of, once there is one.
static SETTINGS: Mutex<Option<Settings>> = Mutex::new(None);

struct Settings {
    configured: LogConfig,
    /// The same with what was changed at run time.
    in_force: LogConfig,
}

/// Changes levels until the log is set up again or the process ends.
pub(crate) struct Runtime;

/// Sets up logging as the configuration says; may be called again to change it.
pub(crate) fn set_up(config: &LogConfig) {
    let mut settings = SETTINGS.lock();
    install(config);
    *settings = Some(Settings { configured: config.clone(), in_force: config.clone() });
}

/// What is in force, with what was changed at run time.
pub(crate) fn in_force() -> Option<LogConfig> {
    SETTINGS.lock().as_ref().map(|settings| settings.in_force.clone())
}

/// Has one key of `[log]` be as in `config`, now and for what goes back to the configuration.
pub(crate) fn change(config: &LogConfig, key: &str) {
    let mut settings = SETTINGS.lock();
    let Some(settings) = settings.as_mut() else { return };
    for log in [&mut settings.configured, &mut settings.in_force] {
        match key {
            "log.to" => log.to = config.to,
            "log.level" => log.level = config.level,
            "log.format" => log.format = config.format,
            _ => log.targets.clone_from(&config.targets),
        }
    }
    install(&settings.in_force);
}

impl LogLevels for Runtime {
    fn levels(&self) -> Levels {
        let settings = SETTINGS.lock();
        let in_force = settings.as_ref().map(|settings| &settings.in_force);
        let Some(in_force) = in_force.filter(|config| !is_off(config)) else {
            return Levels { level: word(LevelFilter::Off), targets: [].into() };
        };
        let targets = in_force.targets.iter();
        let targets = targets.map(|(target, level)| (target.clone(), word(*level))).collect();
        Levels { level: word(in_force.level), targets }
    }

    fn set_level(&self, level: &str, target: Option<&str>) -> Result<(), LevelRefused> {
        let mut settings = SETTINGS.lock();
        let settings = settings.as_mut().filter(|settings| !is_off(&settings.in_force));
        let Some(Settings { configured, in_force }) = settings else {
            return refuse("level", "cannot be set: log.to is off");
        };
        match target {
            None => in_force.level = log_level(level).ok_or_else(|| wrong_level(""))?,
            Some(target) => set_target(configured, in_force, level, target)?,
        }
        install(in_force);
        log::info!("log level set level={level} target={}", target.unwrap_or("all"));
        Ok(())
    }
}

fn set_target(
    configured: &LogConfig,
    in_force: &mut LogConfig,
    level: &str,
    target: &str,
) -> Result<(), LevelRefused> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-:.".contains(c);
    if !(1..=TARGET_MAX).contains(&target.len()) || !target.chars().all(is_part) {
        let problem =
            format!("must be the name of a module, 1 to {TARGET_MAX} letters, digits and _ - : .");
        return refuse("target", problem);
    }
    let wanted = match level {
        "default" => configured.targets.get(target).copied(),
        level => Some(log_level(level).ok_or_else(|| wrong_level(", or default"))?),
    };
    let Some(level) = wanted else {
        in_force.targets.remove(target);
        return Ok(());
    };
    let is_new = !in_force.targets.contains_key(target);
    if is_new && in_force.targets.len() >= configured.targets.len() + TARGETS_MAX {
        return refuse("target", format!("there are {TARGETS_MAX} already"));
    }
    in_force.targets.insert(target.to_owned(), level);
    Ok(())
}

fn wrong_level(also: &str) -> LevelRefused {
    let problem = format!("must be one of off, error, warn, info, debug, trace{also}");
    LevelRefused { field: "level", problem }
}

fn refuse(field: &'static str, problem: impl Into<String>) -> Result<(), LevelRefused> {
    Err(LevelRefused { field, problem: problem.into() })
}

const fn word(level: LevelFilter) -> &'static str {
    match level {
        LevelFilter::Off => "off",
        LevelFilter::Error => "error",
        LevelFilter::Warn => "warn",
        LevelFilter::Info => "info",
        LevelFilter::Debug => "debug",
        LevelFilter::Trace => "trace",
    }
}

/// Bytes of a target's name.
const TARGET_MAX: usize = 128;
/// Targets that are set at run time, besides those of the configuration.
const TARGETS_MAX: usize = 64;
