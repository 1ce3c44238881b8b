//! The part of a resource's configuration that is about its buffer.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map as Object, Value as Json};

use super::units::{parse_bytes, parse_duration};
use crate::params::{self, ParamKind, ParamSpec};
use crate::sink::SinkConfig;

/// Parameters of the buffer; all of them can be left out.
pub(crate) fn queue_params() -> Vec<ParamSpec> {
    let text = |name, title, description, default: &str| {
        ParamSpec::optional(name, ParamKind::String, title, description).or(default)
    };
    vec![
        text("queue_memory_bytes", "Buffer in Memory", "Bytes that wait in memory", "4MB"),
        text("queue_disk_bytes", "Buffer on Disk", "Bytes that wait on disk", "1000MB"),
        text("queue_seg_bytes", "Size of Files", "Bytes of one file on disk", "10MB"),
        text("queue_max_age", "Longest Wait", "What has waited for longer is dropped", "24h"),
        text("queue_linger", "Linger", "How long a batch that is not full waits for more", "0s"),
        ParamSpec::optional(
            "disk_cache",
            ParamKind::OneOf(&["on", "off"]),
            "Disk Cache",
            "Whether what memory has no room for waits on disk",
        )
        .or("on"),
    ]
}

/// Reads them; `specs` are all parameters of the resource.
pub(crate) fn queue_config(
    specs: &[ParamSpec],
    config: &Object<String, Json>,
    folder: Option<PathBuf>,
) -> Result<SinkConfig, String> {
    let value = |name| params::value(specs, config, name).unwrap_or(&Json::Null);
    let bytes = |name: &'static str| {
        parse_bytes(value(name)).filter(|bytes| *bytes > 0).ok_or_else(|| size_expected(name))
    };
    let age_max = parse_duration(value("queue_max_age"))
        .filter(|age| !age.is_zero())
        .ok_or("queue_max_age: a duration such as 24h is expected")?;
    let linger = parse_duration(value("queue_linger"))
        .filter(|linger| *linger <= LINGER_MAX)
        .ok_or("queue_linger: a duration such as 100ms is expected, at most 1h")?;
    let memory_bytes_max = usize::try_from(bytes("queue_memory_bytes")?)
        .map_err(|_| size_expected("queue_memory_bytes"))?;
    let is_on_disk = value("disk_cache") != "off";
    Ok(SinkConfig {
        // What lies there already is delivered in any case.
        folder: folder.filter(|folder| is_on_disk || folder.exists()),
        spills: is_on_disk,
        memory_bytes_max,
        disk_bytes_max: bytes("queue_disk_bytes")?,
        segment_bytes: bytes("queue_seg_bytes")?,
        age_max,
        // What is on its way is in memory beside what waits there.
        batch_bytes_max: memory_bytes_max / 4,
        linger,
        ..SinkConfig::default()
    })
}

/// Reads the first and the longest pause after a failure.
pub(crate) fn retry_pauses(
    specs: &[ParamSpec],
    config: &Object<String, Json>,
) -> Result<(Duration, Duration), String> {
    let pause = |name: &'static str| {
        let value = params::value(specs, config, name).unwrap_or(&Json::Null);
        parse_duration(value)
            .filter(|pause| (PAUSE_MIN..=PAUSE_MAX).contains(pause))
            .ok_or_else(|| format!("{name}: a duration from 1ms to 1d is expected, such as 1s"))
    };
    let (first, longest) = (pause("retry_interval")?, pause("retry_interval_max")?);
    if first > longest {
        return Err("retry_interval: more than retry_interval_max".to_owned());
    }
    Ok((first, longest))
}

fn size_expected(name: &str) -> String {
    format!("{name}: a size such as 10MB is expected")
}

/// The age of the oldest would be reached otherwise while a batch waits.
const LINGER_MAX: Duration = Duration::from_secs(60 * 60);
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
