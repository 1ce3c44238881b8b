//! Zones through the configuration of a running broker: each key of a zone, as TOML, reaches what it is for.
//!
//! One broker has two zones for each key, with a listener each: one that sets it, where the test of the key has to
//! pass, and one that does not, where it has to fail.

mod broker;
#[path = "../conformance/client.rs"]
#[expect(dead_code, reason = "shared with the conformance suite, which uses all of it")]
mod client;
#[path = "../process/mod.rs"]
#[expect(dead_code, reason = "shared by suites, each of which uses a part of it")]
mod process;
#[path = "../conformance/wire.rs"]
#[expect(dead_code, reason = "shared with the conformance suite, which uses all of it")]
mod wire;

mod access;
mod packets;
mod queues;
mod rates;
mod sessions;

use std::collections::BTreeSet;

use crate::broker::Zones;

/// A key, its value as TOML, and what it is for.
struct Case {
    key: &'static str,
    value: &'static str,
    /// Lines that both zones have, without which the key would have no effect.
    given: &'static str,
    test: fn(),
}

const fn case(key: &'static str, value: &'static str, test: fn()) -> Case {
    Case { key, value, given: "", test }
}

impl Case {
    const fn given(mut self, given: &'static str) -> Self {
        self.given = given;
        self
    }
}

/// Tested where there is what they need: a server that is asked for rights, a ban by the API, a reader that is slow for
/// long.
const ELSEWHERE: [&str; 5] =
    ["acl_cache_max_size", "acl_cache_ttl", "enable_acl_cache", "enable_ban", "max_outbox_bytes"];

fn cases() -> Vec<&'static Case> {
    [access::CASES, packets::CASES, queues::CASES, rates::CASES, sessions::CASES]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn each_key_of_a_zone_reaches_what_it_is_for() {
    let cases = cases();
    let broker = Zones::start(&configuration(&cases));
    let mut running = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for (zone, passes) in [("with", true), ("without", false)] {
            let name = format!("{} {zone}", case.key);
            let thread = broker.spawn(name, &format!("mqtt:tcp:{zone}{number}"), case.test);
            running.push((case, passes, thread));
        }
    }
    let mut faults = Vec::new();
    for (case, passes, thread) in running {
        let Case { key, value, .. } = case;
        match thread.join() {
            Err(why) if passes => faults.push(format!("{key} = {value}: {}", said(&*why))),
            Ok(()) if !passes => faults.push(format!("{key}: the test passes without {value} too")),
            _ => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_key_has_a_test() {
    let page = include_str!("../../../docs/configuration.md");
    let (_, zones) = page.split_once("\n## [mqtt] and [zone").unwrap();
    let (zones, _) = zones.split_once("\n## ").unwrap();
    let documented: BTreeSet<_> = zones
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key)
        .collect();
    assert!(documented.len() > 40, "the keys are found");
    let tested = cases().into_iter().map(|case| case.key).chain(ELSEWHERE).collect();
    assert_eq!(documented, tested);
}

fn configuration(cases: &[&Case]) -> String {
    let mut text = String::new();
    for (number, Case { key, value, given, .. }) in cases.iter().enumerate() {
        for (zone, line) in [("with", format!("{key} = {value}")), ("without", String::new())] {
            let zone = format!("{zone}{number}");
            text += &format!("[zone.{zone}]\n{given}\n{line}\n");
            text += &format!("[listener.tcp.{zone}]\nbind = \"127.0.0.1:0\"\nzone = \"{zone}\"\n");
        }
    }
    text
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("it panicked")
}
