//! `log/level`: what the broker logs, changed while it runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use crate::error::ApiError;
use crate::ports::LevelRefused;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get, put};

pub(crate) const ROUTES: &[Route] = &[
    get("get_log_level", "/nodes/:node/log/level", "Levels of the log", levels)
        .unlisted()
        .answers::<LogLevel>(),
    put(
        "set_log_level",
        "/nodes/:node/log/level",
        "Set a level until the log is set up again",
        set,
    )
    .unlisted()
    .takes::<NewLevel>()
    .answers::<LogLevel>(),
];

/// Levels of the log: off, error, warn, info, debug, trace.
#[derive(Serialize, ToSchema)]
struct LogLevel {
    /// Of what is not in `targets`.
    level: &'static str,
    /// By part of the broker, such as `broker_net`.
    targets: BTreeMap<String, &'static str>,
}

/// A level to be set.
#[derive(Deserialize, ToSchema)]
struct NewLevel {
    /// A word of `log.level`; with a `target` also `default`, what the configuration says of it.
    level: String,
    /// The part of the broker that it is for; without one it is for all that have none of their own.
    target: Option<String>,
}

fn levels(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    answer(api)
}

fn set(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let NewLevel { level, target } = request.body()?;
    api.log.set_level(&level, target.as_deref())?;
    answer(api)
}

fn answer(api: &Api) -> Answer {
    let levels = api.log.levels();
    Reply::data(LogLevel { level: levels.level, targets: levels.targets })
}

impl From<LevelRefused> for ApiError {
    fn from(refused: LevelRefused) -> Self {
        Self::bad(refused.field, refused.problem)
    }
}
