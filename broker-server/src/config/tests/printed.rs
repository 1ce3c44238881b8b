//! Printed configurations, and the page of all keys.

use super::*;

/// What is printed reads back to the same, and prints the same but for where values come from.
fn check_round_trip(text: &str, env: &[(&str, &str)]) {
    let first = settings(text, env).unwrap();
    let printed = print::toml(&first);
    let second = match settings(&printed, &[]) {
        Ok(second) => second,
        Err(errors) => panic!("{errors}\n{printed}"),
    };
    let sourceless = |text: &str| {
        let lines = text.lines().map(|line| line.split(" Set by ").next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(sourceless(&print::toml(&second)), sourceless(&printed));
    let shown = |settings: Settings| {
        let monitor = settings.monitor.clone();
        let config = settings.into_server_config();
        let ServerConfig {
            node,
            log,
            broker,
            store,
            listeners,
            management,
            dashboard,
            plugins,
            rules,
            acl_file,
            password_file,
            scram_users,
            scram_512_users,
            notes: _,
        } = config;
        let users = scram_users.iter().map(|(name, user)| (name, user.to_text()));
        let users_512 = scram_512_users.iter().map(|(name, user)| (name, user.to_text()));
        let users: Vec<_> = users.chain(users_512).collect();
        let rest = format!(
            "{listeners:#?}{management:#?}{dashboard:#?}{plugins:#?}{rules:#?}{acl_file:?}{password_file:?}{users:#?}"
        );
        format!("{node:#?}{log:#?}{broker:#?}{store:#?}{monitor:#?}{rest}")
    };
    assert_eq!(shown(first), shown(second));
}

#[test]
fn a_printed_configuration_reads_back_to_the_same() {
    check_round_trip("", &[]);
    // But for its secret, which is not printed.
    let original = include_str!("../../../tests/emqx-3.1.toml");
    check_round_trip(&original.replace("application.default_secret", "# application"), &[]);
    check_round_trip(
        r#"
        acl_nomatch = "deny"
        [mqtt]
        enable_acl = true
        server_keepalive = 5
        [zone.internal]
        server_keepalive = "none"
        response_information = "reply/%c \"quoted\" \\ ü"
        mqueue_priorities = "a=1,b=2"
        [zone.1]
        publish_limit = "10, 90s"
        rate_limit_action = "disconnect"
        max_connections = 7
        bytes_out = "1MB,10s"
        [listener.unix.1]
        bind = "/run/a \"b\".sock"
        [listener.ssl.x]
        enabled = false
        bind = "[::1]:0"
        rate_limit = "3,4096"
        access = []
        tls_versions = ["tlsv1.3"]
        certfile = "c"
        keyfile = "k"
        proxy_protocol_peers = ["10.0.0.0/8"]
        [plugins]
        loaded = ["emqx_retainer", "emqx_coap"]
        [module.rewrite]
        enabled = false
        rule = ["a/# ^a/(.*)\\d\"$ b/$1"]
        [module.subscription.a]
        topic = "$share/g/%c/+"
        [log.targets]
        "broker_net::tls" = "warning"
        plain = "off"
        [durability]
        topics = ["a b/#  written", "c memory"]
        on_failure = "exit"
        [store]
        segment_bytes = 67_112_960
        "#,
        &[("BROKER__NODE__DATA_DIR", "C:\\data\n")],
    );
}

#[test]
fn passwords_are_not_printed() {
    let text = r#"
        [management.application]
        default_secret = "pencil"
        [auth.scram_sha_256.users]
        alice = "pencil"
        [auth.scram_sha_512.users]
        alice = "pencil"
        [auth.user.1]
        username = "bob"
        password = "pencil"
        [auth.jwt]
        secret = "pencil"
        [auth.http.auth_req]
        url = "http://127.0.0.1/?key=pencil"
        [auth.http.headers]
        authorization = "pencil"
        [dashboard.default_user]
        password = "pencil"
        "#;
    let all = settings(text, &[]).unwrap();
    let printed = print::toml(&all);
    for name in ["default_secret", "users", "password", "secret", "url", "headers"] {
        assert!(
            printed.contains(&format!("\n# {name} is set, and a secret: put it here.\n")),
            "{name}"
        );
    }
    assert!(!printed.contains("pencil") && !printed.contains("$4096"), "{printed}");
    assert!(printed.contains("username = \"bob\""));
    // Nor is it in what a log line or a panic may say of them.
    let debug = format!("{all:?}{:?}", all.clone().into_server_config());
    assert!(!debug.contains("pencil"), "{debug}");
}

#[test]
fn printed_values_name_their_source() {
    let settings = settings("[mqtt]\nmax_inflight = 1", &[("BROKER__NODE__NAME", "a@b")]).unwrap();
    let printed = print::toml(&settings);
    assert!(printed.contains("Default: 32. Set by broker.toml:2:16.\nmax_inflight = 1\n"));
    assert!(printed.contains("Set by BROKER__NODE__NAME.\nname = \"a@b\"\n"));
}

#[test]
fn the_page_of_all_keys_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == markdown(),
        "docs/configuration.md is not what the table of keys says; run \
         `cargo run -p broker-server -- --print-config=markdown > docs/configuration.md`"
    );
}

#[test]
fn the_example_of_the_page_loads() {
    let page = markdown();
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let config = config(example.unwrap());
    assert_eq!(config.broker.auto_subscriptions.len(), 1);
    assert_eq!(config.listeners.len(), 5);
}
