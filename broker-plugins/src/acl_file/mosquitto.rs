//! The ACL file of Mosquitto, as its rules: what denies before what allows, users before patterns, and what nothing fits is
//! denied.

use broker_core::topic;

use super::rules::{Level, Rule, Rules, Topic, Who};
use super::terms::Problem;

/// In which order its lines are asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    UserDenies,
    UserAllows,
    PatternDenies,
    PatternAllows,
}

/// # Errors
/// A line is none of Mosquitto's.
pub(super) fn parse(text: &str) -> Result<Rules, Problem> {
    let mut user = None;
    let mut ranked = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |problem: String| Problem::new(at + 1, problem);
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim_start();
        match word {
            "user" if rest.is_empty() => return Err(wrong("user needs a name".to_owned())),
            "user" => user = Some(rest.to_owned()),
            "topic" => {
                let who = user.clone().map_or(Who::Nameless, Who::User);
                ranked.push(rule(rest, who, literal, false).map_err(wrong)?);
            }
            "pattern" => ranked.push(rule(rest, Who::All, pattern, true).map_err(wrong)?),
            _ => return Err(wrong(format!("user, topic or pattern is expected, not {word}"))),
        }
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut rules: Vec<_> = ranked.into_iter().map(|(_, rule)| rule).collect();
    if !rules.is_empty() {
        rules.push(Rule {
            allows: false,
            who: Who::All,
            publishes: true,
            subscribes: true,
            topics: None,
        });
    }
    Ok(Rules::from(rules))
}

/// `[read|write|readwrite|deny] TOPIC`
fn rule(
    rest: &str,
    who: Who,
    level: fn(&str) -> Level,
    is_pattern: bool,
) -> Result<(Rank, Rule), String> {
    let (access, filter) = match rest.split_once([' ', '\t']) {
        Some((access, filter)) => (access, filter.trim_start()),
        None => ("readwrite", rest),
    };
    let (publishes, subscribes, allows) = match access {
        "read" => (false, true, true),
        "write" => (true, false, true),
        "readwrite" => (true, true, true),
        "deny" => (true, true, false),
        _ => return Err(format!("read, write, readwrite or deny is expected, not {access}")),
    };
    topic::validate_filter(filter).map_err(|_| format!("{filter:?} is no Topic Filter"))?;
    let rank = match (is_pattern, allows) {
        (false, false) => Rank::UserDenies,
        (false, true) => Rank::UserAllows,
        (true, false) => Rank::PatternDenies,
        (true, true) => Rank::PatternAllows,
    };
    let topics = Some(vec![Topic::Mqtt(filter.split('/').map(level).collect())]);
    Ok((rank, Rule { allows, who, publishes, subscribes, topics }))
}

pub(super) fn literal(text: &str) -> Level {
    match text {
        "+" => Level::Any,
        "#" => Level::Rest,
        name => Level::Name(name.to_owned()),
    }
}

fn pattern(text: &str) -> Level {
    if text.contains("%u") || text.contains("%c") {
        Level::Filled(text.to_owned())
    } else {
        literal(text)
    }
}
