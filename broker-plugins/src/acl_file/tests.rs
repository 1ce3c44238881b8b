//! ACL files: what each form means, what is refused and where.

use broker_core::extension::Action::{Publish, Subscribe};

use super::*;

mod forms;

fn rules(text: &str) -> Rules {
    terms::parse(text).and_then(|terms| Rules::of(&terms)).unwrap()
}

/// Client `c1` of user `bob` at 10.0.0.1.
const BOB: Asker<'static> = Asker {
    client_id: "c1",
    username: Some("bob"),
    address: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1))),
};

#[track_caller]
fn check(rules: &Rules, who: Asker<'_>, action: Action, topic: &str, expected: Option<bool>) {
    assert_eq!(rules.decide(&who, action, topic), expected, "{who:?} {action:?} {topic}");
}

/// The line, and what is wrong with it.
#[track_caller]
fn check_wrong(text: &str, line: usize, problem: &str) {
    let error = terms::parse(text).and_then(|terms| Rules::of(&terms)).unwrap_err();
    assert_eq!((error.line, error.problem.as_str()), (line, problem), "{text}");
}

/// As EMQ X 3.1 ships it.
const SHIPPED: &str = r##"
%%--------------------------------------------------------------------
%% [ACL](http://emqtt.io/docs/v2/config.html#allow-anonymous-and-acl-file)
%%--------------------------------------------------------------------

{allow, {user, "dashboard"}, subscribe, ["$SYS/#"]}.

{allow, {ipaddr, "127.0.0.1"}, pubsub, ["$SYS/#", "#"]}.

{deny, all, subscribe, ["$SYS/#", {eq, "#"}]}.

{allow, all}.
"##;

#[test]
fn the_file_of_the_original_means_what_it_means_there() {
    let rules = rules(SHIPPED);
    assert_eq!(rules.len(), 4);
    let dashboard = Asker { username: Some("dashboard"), ..BOB };
    check(&rules, dashboard, Subscribe, "$SYS/brokers", Some(true));
    check(&rules, BOB, Subscribe, "$SYS/brokers", Some(false));
    check(&rules, BOB, Subscribe, "#", Some(false));
    check(&rules, BOB, Subscribe, "a/#", Some(true));
    check(&rules, BOB, Publish, "$SYS/x", Some(true));
    let here = Asker { address: Some([127, 0, 0, 1].into()), ..BOB };
    check(&rules, here, Subscribe, "#", Some(true));
    let local = Asker { address: None, ..BOB };
    check(&rules, local, Subscribe, "#", Some(false));
}

#[test]
fn every_form_of_who_is_known() {
    let who = |who: &str| rules(&format!("{{allow, {who}, pubsub, [\"#\"]}}."));
    let check = |form: &str, asker: Asker<'_>, fits: bool| {
        check(&who(form), asker, Publish, "t", fits.then_some(true));
    };
    let other = Asker { client_id: "c2", username: None, address: Some([192, 168, 0, 1].into()) };
    check("all", other, true);
    check("{user, all}", other, true);
    check("{client, all}", other, true);
    check("{user, \"bob\"}", BOB, true);
    check("{user, \"bob\"}", other, false);
    check("{user, <<\"bob\">>}", BOB, true);
    check("{client, \"c1\"}", BOB, true);
    check("{client, \"c1\"}", other, false);
    check("{ipaddr, \"10.0.0.0/8\"}", BOB, true);
    check("{ipaddr, \"10.0.0.0/8\"}", other, false);
    check("{'and', [{user, \"bob\"}, {ipaddr, \"10.0.0.1\"}]}", BOB, true);
    check("{'and', [{user, \"bob\"}, {ipaddr, \"10.0.0.2\"}]}", BOB, false);
    check("{'or', [{client, \"c2\"}, {user, \"bob\"}]}", BOB, true);
    check("{'or', [{client, \"c2\"}, {user, \"bob\"}]}", other, true);
    check("{'or', [{client, \"c3\"}, {'and', [all, {user, \"eve\"}]}]}", other, false);
}

#[test]
fn the_first_rule_that_fits_decides_and_none_is_no_answer() {
    let rules = rules(
        r#"{deny, all, publish, ["a/b"]}. {allow, all, publish, ["a/+"]}. {allow, all, subscribe, "c"}."#,
    );
    check(&rules, BOB, Publish, "a/b", Some(false));
    check(&rules, BOB, Publish, "a/c", Some(true));
    check(&rules, BOB, Publish, "a/c/d", None);
    check(&rules, BOB, Subscribe, "a/b", None);
    check(&rules, BOB, Subscribe, "c", Some(true));
}

#[test]
fn names_fill_whole_levels() {
    let rules = rules(r#"{allow, all, pubsub, ["own/%c/#", "user/%u", "x%c/y"]}."#);
    check(&rules, BOB, Publish, "own/c1/t", Some(true));
    check(&rules, BOB, Publish, "own/c2/t", None);
    check(&rules, BOB, Publish, "user/bob", Some(true));
    check(&rules, BOB, Publish, "xc1/y", None);
    check(&rules, BOB, Publish, "x%c/y", Some(true));
    let nameless = Asker { username: None, ..BOB };
    check(&rules, nameless, Publish, "user/bob", None);
    check(&rules, nameless, Publish, "user/%u", Some(true));
}

#[test]
fn a_name_never_widens_a_rule() {
    let allow = rules(r#"{allow, all, pubsub, ["own/%c", "user/%u/x"]}."#);
    let deny = rules(r#"{deny, all, pubsub, ["own/%c"]}."#);
    for name in ["+", "#", "a/b", "a+", "%c#", "$SYS", "$"] {
        let evil = Asker { client_id: name, username: Some(name), ..BOB };
        for action in [Publish, Subscribe] {
            for topic in [format!("own/{name}"), format!("user/{name}/x"), "own/a/b".to_owned()] {
                check(&allow, evil, action, &topic, None);
            }
        }
        check(&deny, evil, Subscribe, "own/other", Some(false));
    }
    // A name that looks like a placeholder is a name.
    let percent = Asker { client_id: "%u", ..BOB };
    check(&allow, percent, Publish, "own/%u", Some(true));
    check(&allow, percent, Publish, "own/bob", None);
}

#[test]
fn a_wildcard_of_a_subscription_is_not_let_through_by_a_narrower_one() {
    let rules = rules(r#"{allow, all, subscribe, ["a/+", "b/#"]}. {deny, all, subscribe, ["+"]}."#);
    check(&rules, BOB, Subscribe, "a/+", Some(true));
    check(&rules, BOB, Subscribe, "a/#", None);
    check(&rules, BOB, Subscribe, "b/#", Some(true));
    check(&rules, BOB, Subscribe, "b", Some(true));
    check(&rules, BOB, Subscribe, "#", Some(false));
}

#[test]
fn comments_blanks_and_lines_are_free() {
    let rules = rules("%% a\n{allow,\n  all , % why not\n pubsub,[ \"a\" ,\n\"b\"]}\n.\n%end");
    check(&rules, BOB, Publish, "b", Some(true));
    assert_eq!(rules.len(), 1);
    assert_eq!(self::rules("").len(), 0);
    assert_eq!(self::rules("{allow, {user, \"a\\\"b\"}, publish, [\"\u{6e29}\"]}.").len(), 1);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let good = "{allow, all}.\n";
    check_wrong(
        &format!("{good}{{allow, all, publich, [\"a\"]}}."),
        2,
        "publish, subscribe or pubsub is expected, not the word publich",
    );
    check_wrong("\n\n{alow, all}.", 3, "a rule begins with allow or deny, not with the word alow");
    check_wrong("allow.", 1, "a rule begins with {allow, or {deny, and this is the word allow");
    check_wrong("{}.", 1, "a rule begins with allow or deny, and this is empty");
    check_wrong("{allow, {user, \"a\"}}.", 1, "a rule of two parts is for all");
    check_wrong(
        "{allow, all, publish}.",
        1,
        "a rule is {allow, all} or {allow, WHO, publish | subscribe | pubsub, [TOPIC, …]}",
    );
    check_wrong(
        "{allow, {ipaddr,\n \"10.0.0\"}, publish, [\"a\"]}.",
        2,
        "\"10.0.0\" is no IP address",
    );
    check_wrong(
        "{allow, {group, \"a\"}, publish, [\"a\"]}.",
        1,
        "user, client, ipaddr, and, or is expected, not group",
    );
    check_wrong("{allow, {user, 7}, publish, [\"a\"]}.", 1, "user needs a text, not the number 7");
    check_wrong(
        "{allow, {'and', []}, publish, [\"a\"]}.",
        1,
        "and needs a list of whom it is about",
    );
    check_wrong("{allow, all, publish, [\"a\",\n\"a/#/b\"]}.", 2, "\"a/#/b\" is no Topic Filter");
    check_wrong("{allow, all, publish, []}.", 1, "a rule without topics is for nothing");
    check_wrong(
        "{allow, all, publish, [a]}.",
        1,
        "a topic is a text or {eq, TEXT}, not the word a",
    );
    check_wrong("{allow, all}\n{deny, all}.", 2, "a full stop after the rule is expected, not '{'");
    check_wrong(
        "{allow, all}",
        1,
        "a full stop after the rule is expected, not the end of the file",
    );
    check_wrong("{allow,\nall", 1, "its } is missing");
    check_wrong("{allow, all;}.", 1, "a comma or } is expected, not ';'");
    check_wrong("{allow, {user, \"a}, publish, [b]}.\n\n", 1, "its closing \" is missing");
    check_wrong("{allow, {user, \"\\x\"}}.", 1, "the escape \\x is not known");
    check_wrong("{allow, <<a>>}.", 1, "a text after << is expected, not 'a'");
    check_wrong(&"[".repeat(100_000), 1, "more than 32 brackets in each other");
    let error = terms::text_of(b"{allow, all}.\n\xff").unwrap_err();
    assert_eq!((error.line, error.problem.as_str()), (2, "is not UTF-8"));
}

#[test]
fn no_text_panics() {
    let words =
        ["{", "}", "[", "]", "\"", "'", "\\", ".", ",", "%", "\n", "allow", "all", "<<", "é"];
    let mut seed = 1_u32;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push_str(words[(seed >> 16) as usize % words.len()]);
        }
        let _ = terms::parse(&text).and_then(|terms| Rules::of(&terms));
    }
}

#[test]
fn a_file_is_read_again_as_a_whole_or_not_at_all() {
    let path = std::env::temp_dir().join(format!("acl-{}.conf", std::process::id()));
    let missing = AclFile::load(&path).err().unwrap();
    assert!(missing.to_string().starts_with(&format!("{}: ", path.display())), "{missing}");
    std::fs::write(&path, "{allow, all}.\n").unwrap();
    let file = AclFile::load(&path).unwrap();
    assert_eq!(file.n_rules(), 1);
    std::fs::write(&path, "{deny, all}.\n{deny, some}.\n").unwrap();
    let error = file.reload().unwrap_err();
    assert_eq!(error.to_string(), format!("{}:2: a rule of two parts is for all", path.display()));
    assert_eq!(file.n_rules(), 1, "the old rules stay");
    std::fs::write(&path, "{deny, all, publish, [\"a\"]}.\n{allow, all}.\n").unwrap();
    assert_eq!(file.reload(), Ok(2));
    std::fs::remove_file(&path).unwrap();
}
