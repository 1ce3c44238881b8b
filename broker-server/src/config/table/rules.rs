//! Keys of the rule engine: `[rules]`, `[rule_engine]`.

use super::super::field::Field;
use super::super::settings::Settings;
use super::super::value::Kind;
use super::root::key;
use super::{Access, Key, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "rule_engine.ignore_sys_message",
        Kind::Flag,
        field!(rules.ignore_sys_message),
        "Whether rules pass over messages on $SYS/….",
    ),
    key(
        "rules.max_rules",
        Kind::Number(0, 100_000),
        field!(rules.max_rules),
        "Rules there may be.",
    ),
    key(
        "rules.max_resources",
        Kind::Number(0, 10_000),
        field!(rules.max_resources),
        "Resources there may be; each with a remote side takes two threads.",
    ),
    key(
        "rules.max_actions",
        Kind::Number(1, 256),
        field!(rules.max_actions),
        "Actions of one rule, with those that stand in for others.",
    ),
    key(
        "rules.max_hops",
        Kind::Number(1, 64),
        field!(rules.max_hops),
        "Rules that a message may go through by being republished; a rule never sees what it has published itself.",
    ),
    key(
        "rules.allow_private_addresses",
        Kind::Flag,
        field!(rules.allow_private_addresses),
        "Whether resources, and those who ask OCSP responders that certificates name, may connect to this machine and to private networks. Never to link-local and cloud metadata addresses, nor to the broker's own management API.",
    ),
    key(
        "rules.allowed_addresses",
        Kind::List("<IP>, <IP>:<port> or <network>/<prefix>"),
        field!(rules.allowed_addresses),
        "Addresses that they may connect to all the same.",
    ),
    // Each character may take six bytes where the rule is kept.
    key(
        "rules.max_sql_bytes",
        Kind::Size(64, 128 << 10),
        field!(rules.limits.max_sql_bytes),
        "Size of a statement.",
    ),
    depth(
        "rules.max_depth",
        field!(rules.limits.max_depth),
        "Levels of nesting in a statement: parentheses, calls, lists, CASE, NOT, signs, indices.",
    ),
    key(
        "rules.max_fields",
        Kind::Number(1, 65_536),
        field!(rules.limits.max_fields),
        "Fields of a statement, and elements of an IN or of a list that is written out.",
    ),
    depth(
        "rules.json_max_depth",
        field!(rules.limits.json_max_depth),
        "Levels of nesting in JSON, and in what a statement builds; what has more is no JSON to a rule.",
    ),
    size(
        "rules.json_max_bytes",
        field!(rules.limits.json_max_bytes),
        "Size of a JSON text, a payload for instance; what is larger is no JSON to a rule.",
    ),
    size(
        "rules.json_max_event_bytes",
        field!(rules.limits.json_max_event_bytes),
        "Size of all JSON texts that are read for one event.",
    ),
    size(
        "rules.max_value_bytes",
        field!(rules.limits.max_value_bytes),
        "Size of a text that a statement builds.",
    ),
    key(
        "rules.max_array_items",
        Kind::Number(1, 1 << 20),
        field!(rules.limits.max_array_items),
        "Elements of an array that a statement builds.",
    ),
    size(
        "rules.max_output_bytes",
        field!(rules.limits.max_output_bytes),
        "Size of what a statement selects, as JSON.",
    ),
    key(
        "rules.max_foreach_items",
        Kind::Number(1, 1_000_000),
        field!(rules.limits.max_foreach_items),
        "Elements that FOREACH goes through for one event.",
    ),
    key(
        "rules.max_steps",
        Kind::Number(100, 1_000_000_000),
        field!(rules.limits.max_steps),
        "Steps of a statement for one event. While it works, the connections of its thread wait.",
    ),
    key(
        "rules.max_regex_bytes",
        Kind::Size(1, 64 << 10),
        field!(rules.limits.max_regex_bytes),
        "Size of a regular expression.",
    ),
    key(
        "rules.max_compiled_regex_bytes",
        Kind::Size(1 << 10, 64 << 20),
        field!(rules.limits.max_compiled_regex_bytes),
        "Size of a regular expression in memory; 64 that are not known before are kept for each rule.",
    ),
];

/// What is nested is walked through by calls that are nested: more of them would need more stack than a thread has.
const DEPTH_MAX: u64 = 256;

const fn depth(name: &'static str, access: Access<Settings>, help: &'static str) -> Key {
    key(name, Kind::Number(1, DEPTH_MAX), access, help)
}

const fn size(name: &'static str, access: Access<Settings>, help: &'static str) -> Key {
    key(name, Kind::Size(64, 64 << 20), access, help)
}
