//! Rights, and whose a session is: cases 21 to 26.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::broker::{Target, eventually, start};
use crate::client::{Will, unique_id, v5, v311};
use crate::wire::{Prop, publish};

const NOT_AUTHORIZED: u8 = 0x87;
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// A file that the broker reads; it goes with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("attack-file-{}-{number}-{name}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn start_with_rules(rules: &str) -> (Target, File) {
    let file = File::new("acl.conf", rules);
    let tables = format!("acl_file = {:?}\n[mqtt]\nmax_topic_alias = 10\n", file.0);
    (start(&tables, ""), file)
}

const READ_AGAIN: &str = "access rules read again";
const OLD_STAY: &str = "the old access rules stay";

/// A name with what means something in a filter is no way to what is another's (CVE-2017-7650).
#[test]
fn c21_a_name_is_no_pattern() {
    let (mut process, _file) = start_with_rules(
        r#"{allow, all, pubsub, ["own/%c/#", "user/%u/#"]}. {deny, all, pubsub, ["own/#", "user/#"]}. {allow, all}."#,
    );
    let bystanders = process.bystanders();
    let mut victim = v5().id("victim").username("victim").open();
    victim.subscribe("own/victim/#", 0);
    for name in ["+", "#", "victim/#", "+/+", "vict+", "/", "%c", "%u", ".*", "victim|x"] {
        let mut attacker = v5().id(name).username(name).open();
        for topic in ["own/victim/x", "user/victim/x"] {
            assert_eq!(attacker.publish(publish(topic, 1, "x")), NOT_AUTHORIZED, "{name} {topic}");
        }
        for filter in ["own/victim/x", "own/+/x", "own/#", "own/victim/#", "user/+/#", "user/#"] {
            assert_eq!(
                attacker.subscribe_many(&[(filter, 0)], &[]),
                [NOT_AUTHORIZED],
                "{name} {filter}"
            );
        }
        attacker.disconnect();
    }
    victim.expect_nothing();
    assert_eq!(victim.publish(publish("own/victim/x", 1, "mine")), 0);
    assert_eq!(victim.take().text(), "mine");
    bystanders.assert_fine();
    process.assert_serves();
}

/// What is not read as a whole changes nothing (CVE-2018-12550, CVE-2017-7652).
#[test]
fn c22_no_reload_opens_what_was_shut() {
    let rules = "{deny, all, pubsub, [\"shut/#\"]}.\n{allow, all}.\n";
    let (mut process, file) = start_with_rules(rules);
    let bystanders = process.bystanders();
    let mut attacker = v5().open();
    for text in ["", "%% nothing\n", "{allow, all}.\n{deny", "{allow, everybody}.", "\0", "{}."] {
        file.write(text);
        process.reload(OLD_STAY);
        assert_eq!(attacker.publish(publish("shut/a", 1, "x")), NOT_AUTHORIZED, "{text:?}");
        let mut other = v5().open();
        assert_eq!(other.subscribe_many(&[("shut/#", 0)], &[]), [NOT_AUTHORIZED], "{text:?}");
    }
    fs::remove_file(&file.0).unwrap();
    process.reload(OLD_STAY);
    assert_eq!(attacker.publish(publish("shut/a", 1, "x")), NOT_AUTHORIZED);
    file.write(rules);
    process.reload(READ_AGAIN);
    bystanders.assert_fine();
    process.assert_serves();
}

/// A malformed line is nobody's account (CVE-2018-12551).
#[test]
fn c22_a_malformed_password_line_lets_nobody_in() {
    let good = "alice:$6$2kh/bXwGDtjdfiSc$AgEvdrjMjmNGLuoztrhVIpBc8jYFCy3zYHp11VOowHnjWNLAeslOVB9oiZioN9MFOomJyIW5nGghZ1/MSh8bKw==\n";
    let file = File::new("passwd", good);
    let tables = format!("[auth.mosquitto]\npassword_file = {:?}\n", file.0);
    let mut process = start(&tables, "");
    let bystanders = process.bystanders();
    let login = |name: &str, password: &[u8]| v5().username(name).password(password);
    for line in ["mallory", "mallory:", "mallory:$6$", "mallory:$6$$", "mallory:$7$1$$"] {
        file.write(&format!("{line}\n{good}"));
        process.reload("the old passwords stay");
        for password in [&b""[..], b"x"] {
            login("mallory", password).begin().expect_refused(&[0x86]);
        }
        // The old ones.
        login("alice", b"secret").open().disconnect();
        login("alice", b"wrong").begin().expect_refused(&[0x86]);
    }
    bystanders.assert_fine();
    process.assert_serves();
}

/// What has waited, what is retained and what was begun end with the right (CVE-2018-12546, CVE-2021-34434).
#[test]
fn c23_nothing_is_delivered_by_rights_that_are_gone() {
    let (mut process, file) = start_with_rules("{allow, all}.\n");
    let bystanders = process.bystanders();
    let durable = unique_id();
    let mut away = v5().id(&durable).expiry(1_000).open();
    away.subscribe("secret/#", 1);
    away.subscribe("open/#", 1);
    away.disconnect();
    let mut connected = v5().open();
    connected.subscribe("secret/#", 1);
    let mut publisher = v5().id("publisher").open();
    let mut leaving = v5().id("leaving").will(Will::new("secret/will", "gone")).open();
    publisher.publish(publish("secret/retained", 1, "retained").retain());
    assert_eq!(connected.take().text(), "retained");
    // A message of QoS 2 is passed on when it comes: its release passes nothing on.
    let begun = publish("secret/begun", 2, "begun").id(9);
    publisher.send_publish(&begun);
    assert_eq!(publisher.expect_pubrec(9), 0);
    assert_eq!(connected.take().text(), "begun");
    publisher.publish(publish("open/a", 1, "open"));

    file.write("{allow, {client, \"probe\"}, publish, [\"secret/probe\"]}.\n{deny, all, pubsub, [\"secret/#\"]}.\n{allow, all}.\n");
    process.reload(READ_AGAIN);
    let mut probe = v5().id("probe").open();
    // Sessions are gone through within a moment; the one that is away has its subscription until it comes back.
    eventually(|| {
        let _ = probe.publish(publish("secret/probe", 1, "probe"));
        let arrived = connected.recv_within(200);
        arrived.is_none().then_some(())
    });
    publisher.send(&[0x62, 2, 0, 9]);
    assert_eq!(publisher.expect_pubcomp(9), 0);
    assert_eq!(publisher.publish(publish("secret/a", 1, "x")), NOT_AUTHORIZED);
    leaving.ping();
    leaving.lose();
    connected.expect_nothing();

    let mut back = v5().id(&durable).expiry(1_000).resume().open();
    assert!(back.session_present);
    assert_eq!(back.take().text(), "open", "and nothing of secret/");
    back.expect_nothing();
    assert_eq!(probe.publish(publish("secret/probe", 1, "x")), NO_MATCHING_SUBSCRIBERS);

    // The right to read is back; that of the publisher is not.
    file.write("{deny, {client, \"publisher\"}, publish, [\"secret/#\"]}.\n{allow, all}.\n");
    process.reload(READ_AGAIN);
    let mut reader = v5().open();
    reader.subscribe("secret/#", 1);
    reader.expect_nothing();
    bystanders.assert_fine();
    process.assert_serves();
}

/// A back end that takes connections and says nothing lets nobody in, and holds nobody up.
#[test]
fn c24_a_back_end_that_is_silent_lets_nobody_in() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let tables = format!(
        "[plugins]\nloaded = [\"emqx_auth_http\"]\n\
         [auth.http]\nauth_req.url = \"http://127.0.0.1:{port}/auth\"\npool_size = 2\nrequest.timeout = \"100ms\"\nrequest.connect_timeout = \"100ms\"\n"
    );
    let mut process = start(&tables, "");
    let bystanders = process.bystanders();
    let before = process.n_files();
    let mut waiting: Vec<_> =
        (0..100).map(|n| v5().username(&format!("user{n}")).password(b"secret").begin()).collect();
    for client in &mut waiting {
        // No answer in time, or too many wait for one.
        client.expect_refused(&[0x88, 0x89]);
    }
    drop(waiting);
    drop(silent);
    v311().username("alice").password(b"secret").begin().expect_refused(&[3]);
    eventually(|| (process.n_files() <= before + 4).then_some(()));
    bystanders.assert_fine();
    process.assert_serves();
}

/// What is reserved, or denied, is so under each of its names.
#[test]
fn c25_no_other_name_leads_to_what_is_denied() {
    let (mut process, _file) = start_with_rules(
        "{deny, all, subscribe, [\"$SYS/#\", {eq, \"#\"}]}.\n{deny, all, pubsub, [\"secret/#\"]}.\n{allow, all}.\n",
    );
    let bystanders = process.bystanders();
    let mut attacker = v5().open();
    for filter in ["secret/a", "$SYS/brokers", "#"] {
        for prefix in ["", "$queue/", "$share/g/"] {
            let filter = format!("{prefix}{filter}");
            assert_eq!(attacker.subscribe_many(&[(&filter, 0)], &[]), [NOT_AUTHORIZED], "{filter}");
        }
    }
    for topic in [
        "secret/a",
        "$delayed/0/secret/a",
        "$delayed/1/secret/a",
        "$SYS/x",
        "$events/client_connected",
        "$delayed/1/$SYS/x",
        "$delayed/1/$events/x",
    ] {
        assert_eq!(attacker.publish(publish(topic, 1, "x")), NOT_AUTHORIZED, "{topic}");
        attacker.ping();
    }
    // An alias is a name too.
    for topic in ["secret/a", ""] {
        let aliased = publish(topic, 1, "x").prop(Prop::TopicAlias(1));
        assert_eq!(attacker.publish(aliased), NOT_AUTHORIZED);
    }
    for topic in ["secret/a", "$SYS/x", "$events/x"] {
        v5().will(Will::new(topic, "x")).begin().expect_refused(&[0x87, 0x90]);
    }
    // Names that only look alike are others.
    assert_eq!(attacker.publish(publish("$SYSTEM/x", 1, "x")), NO_MATCHING_SUBSCRIBERS);
    bystanders.assert_fine();
    process.assert_serves();
}

/// Who knows a client id has neither the session nor its end in his hands.
#[test]
fn c26_a_session_is_its_users() {
    let mut process = start("", "");
    let bystanders = process.bystanders();
    let id = unique_id();
    let bob = || v5().id(&id).username("bob").expiry(1_000).resume();
    let mut owner = bob().open();
    owner.subscribe("inbox", 1);
    let attack = || {
        for name in ["eve", "", "bob ", "Bob"] {
            v5().id(&id).username(name).expiry(1_000).resume().begin().expect_refused(&[0x85]);
            v5().id(&id).username(name).begin().expect_refused(&[0x85]);
            v311().id(&id).username(name).begin().expect_refused(&[2]);
        }
        v5().id(&id).begin().expect_refused(&[0x85]);
        v311().id(&id).resume().begin().expect_refused(&[2]);
    };
    attack();
    owner.ping();
    owner.disconnect();
    let mut publisher = v5().open();
    assert_eq!(publisher.publish(publish("inbox", 1, "for bob")), 0);
    attack();
    let mut owner = bob().open();
    assert!(owner.session_present);
    assert_eq!(owner.take().text(), "for bob");
    bystanders.assert_fine();
    process.assert_serves();
}

/// A file without a rule is a mistake, not a leave for everybody: it is refused at the start too (CVE-2018-12550).
#[test]
fn c22_an_empty_file_of_rules_is_no_start() {
    for (name, text) in
        [("acl.conf", ""), ("acl.conf", "%% later\n"), ("acl.toml", ""), ("acl.acl", "")]
    {
        let file = File::new(name, text);
        let log = refused_start(&format!("acl_file = {:?}\n", file.0));
        assert!(log.contains(name) && log.contains("acl_file"), "{name}: {log}");
    }
    let missing = refused_start("acl_file = \"/nowhere/acl.conf\"\n");
    assert!(missing.contains("/nowhere/acl.conf"), "{missing}");
}

/// What a listener's zone says of rights holds for its clients, and for them alone (CVE-2018-20145).
#[test]
fn c22_rights_of_each_listener_are_heeded() {
    let rules = "{allow, all, pubsub, [\"free/#\"]}.\n{deny, all, pubsub, [\"shut/#\"]}.\n";
    let file = File::new("acl.conf", rules);
    let listener =
        |name: &str| format!("[listener.tcp.{name}]\nbind = \"127.0.0.1:0\"\nzone = \"{name}\"\n");
    let zones = "[zone.strict]\nacl_nomatch = \"deny\"\n[zone.lax]\nenable_acl = false\n\
                 [zone.closed]\nallow_anonymous = false\n";
    let listeners: String = ["strict", "lax", "closed"].map(listener).concat();
    let mut process = start(&format!("acl_file = {:?}\n{zones}{listeners}", file.0), "");
    let bystanders = process.bystanders();
    let at =
        |name: &str| Box::new(crate::client::tcp_to(process.address(&format!("mqtt:tcp:{name}"))));
    let answers = |client: &mut crate::client::Client| {
        ["free/a", "shut/a", "other/a"].map(|topic| {
            let code = client.publish(publish(topic, 1, "x"));
            let filter = client.subscribe_many(&[(topic, 0)], &[])[0];
            assert_eq!(code == NOT_AUTHORIZED, filter == NOT_AUTHORIZED, "{topic}");
            code != NOT_AUTHORIZED
        })
    };
    for _ in 0..2 {
        assert_eq!(answers(&mut v5().open()), [true, false, true], "the zone of tcp.external");
        assert_eq!(answers(&mut v5().open_over(at("strict"))), [true, false, false]);
        assert_eq!(answers(&mut v5().open_over(at("lax"))), [true, true, true]);
        v5().begin_over(at("closed")).expect_refused(&[NOT_AUTHORIZED]);
        // A reload that fails changes none of them (CVE-2017-7652).
        file.write("{allow, all}.\n{deny");
        process.reload(OLD_STAY);
    }
    bystanders.assert_fine();
    process.assert_serves();
}

/// Who is not let in, or not into the session, has nobody else's client id banned for flapping; nor does he learn by it
/// which names there are.
#[test]
fn c26_who_is_not_let_in_has_no_client_id_banned() {
    let tables = "allow_anonymous = false\n[zone.external]\nenable_flapping_detect = true\nflapping_threshold = \"3,1h\"\n\
                  [plugins]\nloaded = [\"emqx_auth_username\"]\n[auth.user]\npassword_hash = \"sha256\"\n\
                  [auth.user.1]\nusername = \"bob\"\npassword = \"bobs\"\n\
                  [auth.user.2]\nusername = \"eve\"\npassword = \"eves\"\n\
                  [auth.user.3]\nusername = \"flap\"\npassword = \"flaps\"\n";
    let process = start(tables, "");
    let bob = || v5().id("device").username("bob").password(b"bobs").expiry(1_000).resume();
    bob().open().disconnect();
    for _ in 0..10 {
        let device = || v5().id("device");
        device().username("bob").password(b"guess").begin().expect_refused(&[0x86]);
        device().username("nobody").password(b"guess").begin().expect_refused(&[0x86]);
        device().begin().expect_refused(&[0x86]);
        device().username("eve").password(b"eves").begin().expect_refused(&[0x85]);
    }
    let mut owner = bob().open();
    assert!(owner.session_present);
    owner.ping();
    owner.disconnect();
    // Who flaps himself is banned, and he alone.
    let flap = || v5().id("flapping").username("flap").password(b"flaps");
    for _ in 0..3 {
        flap().open().disconnect();
    }
    flap().begin().expect_refused(&[0x8A]);
    bob().open().ping();
    assert!(process.has_logged("client banned for flapping"), "{}", process.log());
}

/// What a broker says that does not start with these keys.
fn refused_start(keys: &str) -> String {
    let folder = std::env::temp_dir().join(format!("attack-start-{}", unique_id()));
    fs::create_dir(&folder).unwrap();
    let config = folder.join("broker.toml");
    fs::write(&config, format!("{keys}[node]\ndata_dir = {:?}\n", folder.join("data"))).unwrap();
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_broker-server"))
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    let _ = fs::remove_dir_all(&folder);
    assert!(!ran.status.success(), "{keys} starts");
    String::from_utf8_lossy(&ran.stderr).into_owned()
}
