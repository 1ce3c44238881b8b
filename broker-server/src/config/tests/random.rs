//! Random texts, values and variables: none makes it panic.

use super::*;

/// Bits of configurations, so that random texts get further than their first character.
fn fragment() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(FRAGMENTS), 0..24)
        .prop_map(|words| words.concat())
}

#[rustfmt::skip]
const FRAGMENTS: &[&str] = &[
    "[", "]", "=", ".", "\n", "\"", "{", "}", ",", "'", "[[", "]]", "1", "true", "\"15s\"", "\"none\"", "-1",
    "0.5", "zone", "external", "listener", "tcp", "ssl", "unix", "bind", "access", "mqtt", "max_inflight",
    "module", "subscription", "rewrite", "rule", "topic", "log", "targets", "node", "name",
    "mqueue_priorities", "[zone.x]\n", "bind = 1\n", "[listener.tcp.x]\n", "access.1 = \"allow all\"\n",
    "\u{0}", "ü", "#",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![any::<String>(), fragment()]) {
        let _ = settings(&text, &[]);
    }

    /// Every key with any value is taken or refused, and what is taken prints and reads back.
    #[test]
    fn no_value_makes_it_panic(
        key in proptest::sample::select(table::forms().iter().collect::<Vec<_>>()),
        value in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| format!("{n:?}").replace("NaN", "nan")),
            any::<String>().prop_map(|text| value::quote(&text)),
            "[a-z0-9=,:/%.]{0,12}".prop_map(|text| value::quote(&text)),
            Just("true".to_owned()),
            Just("[\"allow all\", 1, [2], {a = 1}]".to_owned()),
            Just("{ a = \"debug\", 1 = \"info\" }".to_owned()),
        ],
    ) {
        let parts = key.parts.iter().map(|part| match part.as_str() {
            "<protocol>" => "ssl",
            part if table::is_name(part) => "x",
            part => part,
        });
        let text = format!("{} = {value}", parts.collect::<Vec<_>>().join("."));
        if let Ok(first) = settings(&text, &[]) {
            let printed = print::toml(&first);
            prop_assert!(settings(&printed, &[]).is_ok(), "{printed}");
        }
    }

    #[test]
    fn no_variable_makes_it_panic(name in "(?i)BROKER__[A-Z_]{0,20}", value in any::<String>()) {
        let _ = settings("", &[(&name, &value)]);
    }
}
