//! The TOML form and Mosquitto's: what each means, what is refused and where.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn read(name: &str, text: &str) -> Result<Rules, AclFileError> {
    rules_of(Path::new(name), text.as_bytes())
}

#[track_caller]
fn check_refused(name: &str, text: &str, line: usize, problem: &str) {
    let error = read(name, text).unwrap_err();
    assert_eq!(error.to_string(), format!("{name}:{line}: {problem}"), "{text}");
}

/// acl.conf as it is shipped, and the same as TOML.
const AS_TOML: &str = r##"
[[rule]]
permission = "allow"
user = "dashboard"
access = "subscribe"
topics = ["$SYS/#"]

[[rule]]
permission = "allow"
ipaddr = "127.0.0.1"
topics = ["$SYS/#", "#"]

[[rule]]
permission = "deny"
access = "subscribe"
topics = ["$SYS/#", { eq = "#" }]

[[rule]]
permission = "allow"
"##;

#[test]
fn toml_means_what_the_terms_mean() {
    let (terms, toml) = (rules(SHIPPED), read("acl.toml", AS_TOML).unwrap());
    assert_eq!(format!("{toml:?}"), format!("{terms:?}"));
    let both = r##"{deny, {'and', [{'or', [{'and', [{user, "a"}, {client, "b"}]}, {'and', [{ipaddr, "10.0.0.0/8"}]}]}, {user, "c"}]}, pubsub, ["#"]}."##;
    let toml = r#"
        [[rule]]
        permission = "deny"
        any = [{ user = "a", client = "b" }, { ipaddr = "10.0.0.0/8" }]
        user = "c"
    "#;
    let order = |rules: Rules| {
        // Conditions of one rule have no order.
        [
            BOB,
            Asker { username: Some("c"), ..BOB },
            Asker { username: Some("c"), address: None, ..BOB },
        ]
        .map(|who| rules.decide(&who, Publish, "t"))
    };
    assert_eq!(order(read("x.toml", toml).unwrap()), order(rules(both)));
    assert_eq!(order(rules(both)), [None, Some(false), None]);
}

#[test]
fn what_is_no_rule_of_toml_is_refused_with_its_line() {
    let good = "[[rule]]\npermission = \"allow\"\n";
    for (text, line, problem) in [
        ("x = 1", 1, "only [[rule]] is known here, not x"),
        ("\n[rule]\npermission = \"allow\"", 2, "rules are written as [[rule]]"),
        ("[[rule]]\nuser = \"a\"", 1, "permission is missing: \"allow\" or \"deny\""),
        ("[[rule]]\npermission = 1", 2, "a word in quotes is expected"),
        (
            "[[rule]]\npermission = \"permit\"",
            2,
            "a rule begins with allow or deny, not with the word permit",
        ),
        (
            "[[rule]]\npermission = \"allow\"\naccess = \"write\"",
            3,
            "publish, subscribe or pubsub is expected, not the word write",
        ),
        (
            "[[rule]]\npermission = \"allow\"\nusers = \"bob\"",
            3,
            "permission, user, client, ipaddr, any, access or topics is expected, not users",
        ),
        ("[[rule]]\npermission = \"allow\"\nuser = 7", 3, "user needs a text"),
        (
            "[[rule]]\npermission = \"allow\"\ntopics = []",
            3,
            "a rule without topics is for nothing",
        ),
        (
            "[[rule]]\npermission = \"allow\"\ntopics = [\n\"a\",\n\"b#\"]",
            5,
            "\"b#\" is no Topic Filter",
        ),
        (
            "[[rule]]\npermission = \"allow\"\nipaddr = \"10.0.0/8\"",
            3,
            "\"10.0.0\" is no IP address",
        ),
        ("[[rule]]\npermission = \"allow\"\nany = []", 3, "or needs a list of whom it is about"),
        ("[[rule]]\npermission = \"allow\"\nany = [{}]", 3, "and needs a list of whom it is about"),
    ] {
        check_refused("acl.toml", text, line, problem);
        let behind = format!("{good}{text}");
        if text.starts_with("[[rule]]") {
            check_refused("acl.toml", &behind, line + 2, problem);
        }
    }
    assert!(read("acl.toml", "[[rule]]\npermission = ").unwrap_err().to_string().contains(":2: "));
}

/// Attack case 22: CVE-2018-12550.
#[test]
fn a_file_without_a_rule_is_refused() {
    for (name, text) in [
        ("acl.conf", ""),
        ("acl.conf", "%% {allow, all}.\n"),
        ("acl.toml", ""),
        ("acl.toml", "rule = []"),
        ("mosquitto.acl", ""),
        ("aclfile", "# topic #\nuser bob\n"),
    ] {
        check_refused(name, text, 1, "there is no rule in it");
    }
}

const MOSQUITTO: &str = "\
# This affects access control for clients with no username.
topic read $SYS/#
topic open/#

# This only affects clients with username \"bob\".
user bob
topic foo/bar
topic read readable/+
topic write writable/a
topic readwrite both/#
topic deny both/secret/#

user eve
topic #
# This affects all clients.
pattern write $SYS/broker/connection/%c/state
pattern read own/%u/#
pattern readwrite dev-%c/x
";

#[test]
fn mosquittos_file_means_what_it_means_there() {
    let rules = read("mosquitto.acl", MOSQUITTO).unwrap();
    let nameless = Asker { username: None, ..BOB };
    let eve = Asker { username: Some("eve"), ..BOB };
    for (who, action, topic, expected) in [
        (nameless, Subscribe, "$SYS/broker/uptime", true),
        (nameless, Publish, "$SYS/broker/uptime", false),
        (nameless, Publish, "open/x", true),
        (nameless, Publish, "foo/bar", false),
        (BOB, Publish, "open/x", false),
        (BOB, Publish, "foo/bar", true),
        (BOB, Subscribe, "foo/bar", true),
        (BOB, Subscribe, "foo/+", false),
        (BOB, Subscribe, "readable/+", true),
        (BOB, Subscribe, "readable/#", false),
        (BOB, Publish, "readable/a", false),
        (BOB, Publish, "writable/a", true),
        (BOB, Subscribe, "writable/a", false),
        (BOB, Publish, "both", true),
        (BOB, Publish, "both/x/y", true),
        (BOB, Publish, "both/secret", false),
        (BOB, Publish, "both/secret/x", false),
        // It would bring what is denied.
        (BOB, Subscribe, "both/#", false),
        (BOB, Subscribe, "both/+", false),
        (BOB, Subscribe, "both/x/#", true),
        (eve, Subscribe, "#", true),
        // `#` is not `$SYS/#`.
        (eve, Subscribe, "$SYS/#", false),
        (eve, Publish, "$SYS/broker/connection/c1/state", true),
        (eve, Publish, "$SYS/broker/connection/c2/state", false),
        (BOB, Subscribe, "own/bob/x", true),
        (BOB, Subscribe, "own/eve/x", false),
        (BOB, Publish, "own/bob/x", false),
        (BOB, Publish, "dev-c1/x", true),
        (BOB, Publish, "dev-c2/x", false),
        (nameless, Subscribe, "own/%u/x", false),
    ] {
        check(&rules, who, action, topic, Some(expected));
    }
}

/// Attack case 21: CVE-2017-7650.
#[test]
fn no_name_widens_a_pattern_of_mosquitto() {
    let rules = read("mosquitto.acl", "pattern own/%u/#\npattern dev-%c/x\n").unwrap();
    for name in ["+", "#", "a/b", "+/+", "bob/#"] {
        let who = Asker { client_id: name, username: Some(name), ..BOB };
        for topic in [format!("own/{name}/x"), format!("dev-{name}/x"), "own/bob/x".to_owned()] {
            check(&rules, who, Publish, &topic, Some(false));
            check(&rules, who, Subscribe, &topic, Some(false));
        }
    }
    // What denies is not got around by a name either.
    let rules = read("m.acl", "pattern deny own/%u/#\npattern #\n").unwrap();
    let who = Asker { username: Some("+"), ..BOB };
    check(&rules, who, Publish, "own/bob/x", Some(false));
    check(&rules, BOB, Publish, "own/bob/x", Some(false));
    check(&rules, BOB, Publish, "own/eve/x", Some(true));
}

#[test]
fn what_mosquitto_does_not_know_is_refused_with_its_line() {
    for (text, line, problem) in [
        ("topic a\nuser\n", 2, "user needs a name"),
        ("topics a\n", 1, "user, topic or pattern is expected, not topics"),
        ("\n\ntopic rw a\n", 3, "read, write, readwrite or deny is expected, not rw"),
        ("topic read a#\n", 1, "\"a#\" is no Topic Filter"),
        ("topic\n", 1, "\"\" is no Topic Filter"),
        ("{allow, all}.\n", 1, "user, topic or pattern is expected, not {allow,"),
    ] {
        check_refused("x.acl", text, line, problem);
    }
}

/// A level of a topic or filter, with few names so that they meet.
fn filter() -> impl Strategy<Value = Vec<&'static str>> {
    let level = prop::sample::select(vec!["a", "b", "$x", "+", ""]);
    (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(mut levels, has_rest)| {
        if has_rest {
            levels.push("#");
        }
        levels
    })
}

proptest! {
    /// What covers a filter matches each of its topics, and what meets it has one with it; among all topics of the names.
    #[test]
    fn filters_are_compared_by_their_topics(wanted in filter(), asked in filter()) {
        let names = ["a", "b", "$x", ""];
        let mut topics: Vec<String> = names.map(str::to_owned).to_vec();
        let mut longest = topics.clone();
        for _ in 0..4 {
            longest = longest
                .iter()
                .flat_map(|head| names.map(|name| format!("{head}/{name}")))
                .collect();
            topics.extend(longest.iter().cloned());
        }
        let (wanted_text, asked_text) = (wanted.join("/"), asked.join("/"));
        let of_asked: Vec<_> = topics
            .iter()
            .filter(|topic| broker_core::topic::matches(&asked_text, topic))
            .collect();
        let matched = |topic: &&&String| broker_core::topic::matches(&wanted_text, topic);
        let levels: Vec<_> = wanted.iter().map(|name| mosquitto::literal(name)).collect();
        if filters::covers(&levels, &asked, &BOB) {
            prop_assert_eq!(of_asked.iter().filter(matched).count(), of_asked.len());
        }
        let have_one = of_asked.iter().any(|topic| matched(&topic));
        prop_assert_eq!(filters::meets(&levels, &asked, &BOB), have_one, "{} {}", wanted_text, asked_text);
    }

    /// Text of any kind is read or refused, in each form.
    #[test]
    fn no_text_panics_in_any_form(text in "(user|topic|pattern|read|deny|\\[\\[rule\\]\\]|permission|=|\"|allow|[a#+/%u$ \n{}])*") {
        for name in ["a.conf", "a.toml", "a.acl"] {
            let _ = read(name, &text);
        }
    }

    /// Whoever it is, a client with a hostile name has no more than one with an ordinary name that has no topics.
    #[test]
    fn hostile_names_have_nothing_of_their_own(name in "[a$+#/]{1,6}", topic in "[ab$+#/]{1,8}") {
        prop_assume!(name.starts_with('$') || name.contains(['+', '#', '/']));
        prop_assume!(broker_core::topic::validate_filter(&topic).is_ok());
        let who = Asker { client_id: &name, username: Some(&name), address: None::<IpAddr> };
        let terms = rules(r#"{allow, all, pubsub, ["%c/#", "x/%u"]}. {deny, all}."#);
        let pattern = read("a.acl", "pattern %c/#\npattern x/%u\n").unwrap();
        for rules in [terms, pattern] {
            prop_assert_eq!(rules.decide(&who, Subscribe, &topic), Some(false));
        }
    }
}
