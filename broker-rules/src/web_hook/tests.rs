//! Tests of web hooks against Python's HTTP server, which is killed and comes back.

mod pool;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::remote::fixture::{Process, TestFolder, free_port, host, wait_until, wall_ms};
use crate::sink::{DropReason, Owner};

/// Writes a line of JSON for each request; answers with the statuses given, then with 200.
const SERVER: &str = r#"
import http.server, json, ssl, sys
port, log, statuses = int(sys.argv[1]), sys.argv[2], [int(s) for s in sys.argv[3].split(',') if s]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        status = statuses.pop(0) if statuses else 200
        line = {'from': self.client_address[1], 'method': self.command, 'path': self.path,
                'headers': {name.lower(): value for name, value in self.headers.items()}, 'body': body.decode(), 'status': status}
        with open(log, 'a') as file:
            file.write(json.dumps(line) + '\n')
        self.send_response(status)
        if status == 302:
            self.send_header('Location', '/elsewhere')
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
    do_GET = do_POST = do_PUT = do_DELETE = answer
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', port), Handler)
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

struct Server {
    process: Process,
    port: u16,
}

impl Server {
    fn start(port: u16, log: &Path, statuses: &str, cert: Option<&Path>) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, &port.to_string()]).arg(log).arg(statuses).args(cert);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process: Process(child), port: line.trim().parse().unwrap() }
    }

    fn kill(mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }
}

/// A web hook, and what its server has seen.
struct World {
    folder: TestFolder,
}

impl World {
    fn new() -> Self {
        Self { folder: TestFolder::new() }
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("requests")
    }

    fn start(&self, port: u16, statuses: &str) -> Server {
        Server::start(port, &self.log(), statuses, None)
    }

    fn requests(&self) -> Vec<Json> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |at| &text[..at]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn bodies(&self) -> Vec<String> {
        self.requests().iter().map(|it| it["body"].as_str().unwrap().to_owned()).collect()
    }

    /// A sink as the resource type makes it, but with short pauses.
    fn open(&self, config: &Json, addresses: AddressRules) -> Arc<RemoteSink> {
        let (host, _) = host(Some(self.folder.path()), addresses);
        let mut config =
            WebHookConfig::new(&config::params(), config.as_object().unwrap(), host.folder_of("w"))
                .unwrap();
        config.sink.retry_min = Duration::from_millis(10);
        config.sink.retry_max = Duration::from_millis(50);
        let sink_config = config.sink.clone();
        let client = Client::new(config, Arc::clone(&host.addresses)).unwrap();
        host.open_sink("w", sink_config, Box::new(client)).unwrap()
    }
}

fn push(sink: &RemoteSink, body: &str) {
    sink.push(Owner::nobody(), item(body), wall_ms()).unwrap();
}

fn item(body: &str) -> Bytes {
    post_item(body.into())
}

fn dropped(sink: &RemoteSink) -> Vec<(DropReason, u64)> {
    sink.status().dropped.into_iter().filter(|(_, n)| *n > 0).collect()
}

#[test]
fn a_server_that_is_killed_and_comes_back_gets_everything_in_order() {
    let world = World::new();
    let server = world.start(0, "");
    let port = server.port;
    let url = format!("http://127.0.0.1:{port}/in");
    let config = json!({"url": url, "queue_memory_bytes": "512KB", "queue_seg_bytes": "16KB"});
    let sink = world.open(&config, AddressRules::default());
    let body = |n: usize| format!("{n}:{}", "x".repeat(500));
    (0..200).for_each(|n| push(&sink, &body(n)));
    wait_until("the first", || world.bodies().len() >= 50);
    server.kill();
    (200..600).for_each(|n| push(&sink, &body(n)));
    wait_until("the disk", || sink.status().held.disk_items > 0);
    // The broker goes and comes too.
    sink.close();
    drop(sink);
    let sink = world.open(&config, AddressRules::default());
    wait_until("a failure", || sink.status().is_up == Some(false));
    let server = world.start(port, "");
    (600..700).for_each(|n| push(&sink, &body(n)));
    wait_until("the last", || world.bodies().last() == Some(&body(699)));
    server.kill();

    let mut seen = Vec::new();
    for body in world.bodies() {
        let n: usize = body.split_once(':').unwrap().0.parse().unwrap();
        // Twice is fine, out of order is not.
        if seen.last().is_none_or(|last| *last < n) {
            seen.push(n);
        }
    }
    assert_eq!(seen, (0..700).collect::<Vec<_>>());
    assert_eq!(dropped(&sink), []);
    let n_twice = world.bodies().len() - 700;
    assert!(n_twice <= 64, "{n_twice} came twice");
}

#[test]
fn memory_stays_flat_while_the_server_is_gone() {
    const ALONE: &str = "MEMORY_STAYS_FLAT";
    if std::env::var_os(ALONE).is_none() {
        // In a process of its own: the tests beside this one use memory as well.
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "web_hook::tests::memory_stays_flat_while_the_server_is_gone";
        let output = command.args(["--exact", name]).env(ALONE, "").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        return;
    }
    let world = World::new();
    let url = format!("http://127.0.0.1:{}/", free_port());
    let sink = world.open(&json!({"url": url}), AddressRules::default());
    let body = "x".repeat(1000);
    push(&sink, &body);
    wait_until("a failure", || sink.status().is_up == Some(false));
    let before = resident_bytes();
    let mut most = before;
    for n in 0..100_000 {
        push(&sink, &body);
        if n % 1000 == 0 {
            // As fast as a data path can be, but no faster than the disk of this machine for so long: the next thousand
            // have their place in the 4 MiB also when nothing is written meanwhile.
            wait_until("room", || sink.status().held.memory_bytes < 2 << 20);
            most = most.max(resident_bytes());
        }
    }
    assert_eq!(dropped(&sink), []);
    let held = sink.status().held;
    assert_eq!(held.memory_items + held.disk_items, 100_001);
    let grown_mib = most.saturating_sub(before) >> 20;
    assert!(grown_mib < 32, "grown by {grown_mib} MiB for 100 MB of events");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_status_says_whether_to_try_again() {
    let world = World::new();
    let server = world.start(0, "503,429,500,200,404,302,204");
    let url = format!("http://127.0.0.1:{}/", server.port);
    let sink = world.open(&json!({"url": url}), AddressRules::default());
    for body in ["a", "b", "c", "d"] {
        push(&sink, body);
    }
    wait_until("the end", || sink.status().held.memory_items == 0);
    // 302 is not followed.
    assert_eq!(world.bodies(), ["a", "a", "a", "a", "b", "c", "d"]);
    let status = sink.status();
    assert_eq!((status.delivered, status.retried), (2, 3));
    assert_eq!(dropped(&sink), [(DropReason::Refused, 2)]);
    assert_eq!(status.last_error.as_deref(), Some("HTTP status 302"));
}

#[test]
fn one_that_the_server_always_fails_on_does_not_hold_up_the_others() {
    let world = World::new();
    let server = world.start(0, "500,503,500,500,200,501");
    let url = format!("http://127.0.0.1:{}/", server.port);
    let sink = world.open(&json!({"url": url, "max_retries": 2}), AddressRules::default());
    push(&sink, "poison");
    push(&sink, "next");
    push(&sink, "last");
    wait_until("three", || sink.status().held.memory_items == 0 && world.bodies().len() == 7);
    // The status of somebody on the way is no attempt; the count begins anew with each.
    assert_eq!(world.bodies(), ["poison", "poison", "poison", "poison", "next", "last", "last"]);
    assert_eq!(dropped(&sink), [(DropReason::Refused, 1)]);
}

#[test]
fn requests_are_as_configured_and_share_a_connection() {
    let world = World::new();
    let server = world.start(0, "");
    let config = json!({
        "url": format!("http://me:secret@127.0.0.1:{}/a?b=c", server.port),
        "method": "PUT", "headers": {"X-Own": "yes"},
        "content_type": "text/plain;charset=UTF-8",
    });
    let sink = world.open(&config, AddressRules::default());
    sink.push(Owner::nobody(), seal(b"body".to_vec(), "d/e", false), wall_ms()).unwrap();
    (0..20).for_each(|n| push(&sink, &n.to_string()));
    wait_until("all", || sink.status().delivered == 21);
    let requests = world.requests();
    let first = &requests[0];
    assert_eq!((&first["method"], &first["path"]), (&json!("PUT"), &json!("/a/d/e?b=c")));
    assert_eq!(first["body"], "body");
    let headers = &first["headers"];
    assert_eq!(headers["authorization"], "Basic bWU6c2VjcmV0", "{headers}");
    assert_eq!(headers["x-own"], "yes");
    assert_eq!(headers["content-type"], "text/plain;charset=UTF-8");
    assert!(requests.iter().all(|it| it["from"] == first["from"]), "keep-alive");
}

/// Python's server writes header and body one after the other; a late acknowledgement would cost 40 ms each.
#[test]
fn an_answer_in_two_parts_costs_no_wait() {
    let world = World::new();
    let server = world.start(0, "");
    let url = format!("http://127.0.0.1:{}/", server.port);
    let sink = world.open(&json!({"url": url}), AddressRules::default());
    let begun = Instant::now();
    (0..300).for_each(|n| push(&sink, &n.to_string()));
    wait_until("all", || sink.status().delivered == 300);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[test]
fn each_method_is_sent_and_two_have_no_body() {
    for (method, body) in [("GET", ""), ("DELETE", ""), ("PUT", "body"), ("POST", "body")] {
        let world = World::new();
        let server = world.start(0, "");
        let url = format!("http://127.0.0.1:{}/x", server.port);
        let sink = world.open(&json!({"url": url, "method": method}), AddressRules::default());
        push(&sink, "body");
        wait_until("it", || sink.status().delivered == 1);
        let requests = world.requests();
        assert_eq!((&requests[0]["method"], &requests[0]["body"]), (&json!(method), &json!(body)));
        let has_type = requests[0]["headers"].get("content-type").is_some();
        assert_eq!(has_type, !body.is_empty(), "{method}");
    }
}

#[test]
fn what_may_not_be_connected_to_is_not() {
    let world = World::new();
    let server = world.start(0, "");
    let port = server.port;
    let own = AddressRules { own_ports: Arc::new(move || vec![port]), ..AddressRules::default() };
    let closed = AddressRules { allow_private: false, ..AddressRules::default() };
    for (url, rules, expected) in [
        (format!("http://localhost:{port}/"), &own, "management API"),
        (format!("http://[::ffff:127.0.0.1]:{port}/"), &own, "management API"),
        (format!("http://127.1:{port}/"), &own, "management API"),
        (format!("http://2130706433:{port}/"), &own, "management API"),
        (format!("http://127.0.0.1:{port}/"), &closed, "rules.allow_private_addresses"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), &own, "metadata"),
    ] {
        let sink = world.open(&json!({"url": url}), rules.clone());
        push(&sink, "secret");
        wait_until("a failure", || sink.status().is_up == Some(false));
        let error = sink.status().last_error.unwrap();
        assert!(error.contains(expected), "{url}: {error}");
    }
    assert_eq!(world.requests(), [] as [Json; 0]);
    let allowed =
        AddressRules { allowed: vec![format!("127.0.0.1:{port}").parse().unwrap()], ..own };
    let url = format!("http://127.0.0.1:{port}/");
    let sink = world.open(&json!({"url": url}), allowed);
    wait_until("what is allowed", || sink.status().is_up == Some(true));
}

#[test]
fn https_checks_the_certificate() {
    let world = World::new();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = world.folder.path().join("cert.pem");
    let both = world.folder.path().join("both.pem");
    std::fs::write(&cert, key.cert.pem()).unwrap();
    std::fs::write(&both, key.cert.pem() + &key.signing_key.serialize_pem()).unwrap();
    let server = Server::start(0, &world.log(), "", Some(&both));
    let url = |host: &str| format!("https://{host}:{}/", server.port);
    let with_ca = |host: &str| json!({"url": url(host), "cacertfile": cert.to_str().unwrap()});

    let sink = world.open(&with_ca("127.0.0.1"), AddressRules::default());
    push(&sink, "over TLS");
    wait_until("a failure", || sink.status().is_up == Some(false));
    let error = sink.status().last_error.unwrap();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(world.requests(), [] as [Json; 0]);

    drop(sink);
    let sink = world.open(&with_ca("localhost"), AddressRules::default());
    wait_until("it", || sink.status().delivered == 1);
    assert_eq!(world.bodies(), ["over TLS"]);
}

#[test]
fn a_resource_is_alive_while_its_server_takes_connections() {
    let world = World::new();
    let (host, _) = host(None, AddressRules::default());
    let mut catalogue = Catalogue::default();
    host.register(&mut catalogue);
    let kind = catalogue.resource(WEB_HOOK).unwrap();
    assert_eq!((kind.provider(), kind.description()), ("emqx_web_hook", "WebHook Resource"));
    let server = world.start(0, "");
    let config = json!({"url": format!("http://127.0.0.1:{}/", server.port)});
    let config = config.as_object().unwrap();
    assert_eq!(kind.test(config), Ok(()));
    let resource = kind.create("web_hook:w", config).unwrap();
    assert!(resource.is_alive());
    server.kill();
    assert!(kind.test(config).is_err());
    assert!(resource.start().is_err());
    assert!(!resource.is_alive());
    let web_hook = resource.as_a::<WebHook>().unwrap();
    assert_eq!(web_hook.sink.status().pushed, 0);
    resource.stop();
    let config = json!({"url": "http://h/", "certfile": "c"});
    assert!(kind.create("web_hook:w", config.as_object().unwrap()).is_err());
}

#[test]
fn losses_are_told() {
    let (host, losses) = host(None, AddressRules::default());
    let config = json!({
        "url": format!("http://127.0.0.1:{}/", free_port()),
        "queue_memory_bytes": "64KB", "disk_cache": "off",
    });
    let config = WebHookConfig::new(&config::params(), config.as_object().unwrap(), None).unwrap();
    let sink_config = config.sink.clone();
    let client = Client::new(config, Arc::clone(&host.addresses)).unwrap();
    let sink = host.open_sink("web_hook:w", sink_config, Box::new(client)).unwrap();
    (0..100).for_each(|_| push(&sink, &"x".repeat(2000)));
    wait_until("word of it", || !losses.0.lock().is_empty());
    let (name, reason, n) = losses.0.lock()[0].clone();
    assert_eq!((&*name, reason), ("web_hook:w", DropReason::Full));
    assert!(n > 0);
    sink.close();
    let told: u64 = losses.0.lock().iter().map(|(_, _, n)| n).sum();
    assert_eq!(told, dropped(&sink).iter().map(|(_, n)| n).sum::<u64>());
}

#[test]
fn a_resource_that_is_made_again_takes_up_what_waits_and_one_that_is_deleted_forgets_it() {
    let world = World::new();
    let (host, _) = host(Some(world.folder.path()), AddressRules::default());
    let kind = WebHookType { params: config::params(), host };
    let url = format!("http://127.0.0.1:{}/", free_port());
    let create = || {
        let config = json!({"url": url});
        let resource = kind.create("web_hook:w", config.as_object().unwrap()).unwrap();
        resource.as_a::<WebHook>().unwrap()
    };
    let first = create();
    (0..10).for_each(|n| push(&first.sink, &n.to_string()));
    // The engine makes the second before it stops the first, and a rule may still have that one at hand.
    let second = create();
    push(&first.sink, "late");
    first.stop();
    push(&first.sink, "later");
    let n_held = |hook: &WebHook| {
        let held = hook.sink.status().held;
        held.memory_items + held.disk_items
    };
    wait_until("what waited", || n_held(&second) == 12);
    second.discard();
    let third = create();
    wait_until("an attempt", || third.sink.status().pushed == 0);
    assert_eq!(n_held(&third), 0);
    let folder = world.folder.path().join("web_hook%3aw");
    assert!(folder.is_dir());
    third.discard();
    assert!(!folder.exists());
}
