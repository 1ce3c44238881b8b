//! Durations and sizes as the original writes them: `60s`, `1000MB`.

use std::time::Duration;

use serde_json::Value as Json;

/// A duration: `500ms`, `60s`, `5m`, `1h`, `1d`, or a number of seconds.
pub(crate) fn parse_duration(value: &Json) -> Option<Duration> {
    if let Some(seconds) = value.as_f64() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (number, unit) = split(value.as_str()?)?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(ms)?))
}

/// A size: `512`, `64KB`, `10MB`, `1GB`, in powers of 1,024.
pub(crate) fn parse_bytes(value: &Json) -> Option<u64> {
    if let Some(bytes) = value.as_u64() {
        return Some(bytes);
    }
    let (number, unit) = split(value.as_str()?)?;
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_have_their_units() {
        for (text, expected_ms) in [
            (json!("60s"), Some(60_000)),
            (json!("20ms"), Some(20)),
            (json!("2h"), Some(7_200_000)),
            (json!(5), Some(5_000)),
            (json!(0.5), Some(500)),
            (json!("5"), None),
            (json!("s"), None),
            (json!(-1), None),
            (json!("99999999999999999999s"), None),
            (json!("18446744073709551615h"), None),
            (json!(null), None),
        ] {
            let ms = parse_duration(&text).map(|it| it.as_millis() as u64);
            assert_eq!(ms, expected_ms, "{text}");
        }
        for (text, expected) in [
            (json!("1000MB"), Some(1000 << 20)),
            (json!("10kb"), Some(10 << 10)),
            (json!(7), Some(7)),
            (json!("7"), Some(7)),
            (json!("1TB"), None),
            (json!("18446744073709551615GB"), None),
            (json!(1.5), None),
        ] {
            assert_eq!(parse_bytes(&text), expected, "{text}");
        }
    }
}
