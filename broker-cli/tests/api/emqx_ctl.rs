//! Called as emqx_ctl: the lines of EMQ X 3.1, to the blank.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::server::{Request, Server, data, ok};
use crate::{Outcome, program, scratch};

/// Runs a link of that name to the program.
fn emqx_ctl(server: &Server, line: &str) -> Outcome {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let folder = scratch(&format!("emqx-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&folder).unwrap();
    let link = folder.join("emqx_ctl");
    symlink(env!("CARGO_BIN_EXE_broker-cli"), &link).unwrap();
    let mut command = program(&link);
    let output = command.args(line.split(' ')).env("BROKER_API", server.url()).output().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    output.into()
}

#[track_caller]
fn assert_prints(server: &Server, line: &str, expected: &str) {
    let outcome = emqx_ctl(server, line);
    assert_eq!(outcome.stdout, expected, "{line}: {outcome:?}");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{line}");
}

#[track_caller]
fn assert_fails_with(server: &Server, line: &str, expected: &str) {
    let outcome = emqx_ctl(server, line);
    assert_eq!(outcome.stdout, expected, "{line}: {outcome:?}");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (1, ""), "{line}");
}

/// A broker that answers as the document's examples do. Its clock is two hours ahead of UTC.
fn documented() -> Server {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let local = local(now + 7200);
    Server::start(move |request: &Request| {
        let path = request.line.split('?').next().unwrap();
        let broker = json!({
            "datetime": local, "node": "emqx@127.0.0.1", "node_status": "Running", "otp_release": "R21/10.3.2",
            "sysdescr": "EMQ X Broker", "uptime": "3 minutes, 59 seconds", "version": "v3.1.0",
        });
        let node = json!({
            "connections": 1, "load1": "2.75", "load15": "2.87", "load5": "2.57", "max_fds": 7168,
            "memory_total": 80_162_816, "memory_used": 62_254_160, "name": "emqx@127.0.0.1", "node_status": "Running",
            "process_available": 262_144, "process_used": 331, "active_fds": 12,
        });
        let connection = json!({
            "client_id": "mosquitto_mqtt", "clean_start": true, "username": "undefined", "ipaddress": "127.0.0.1",
            "port": 64896, "connected_at": "1970-01-01 02:00:09",
        });
        let session = json!({
            "awaiting_rel_len": 6, "binding": "local", "clean_start": true, "client_id": "c", "deliver_msg": 7,
            "created_at": "1970-01-01 02:00:09", "enqueue_msg": 8, "expiry_interval": 0, "inflight_len": 3,
            "max_awaiting_rel": 100, "max_inflight": 32, "mqueue_dropped": 5, "mqueue_len": 4,
            "subscriptions_count": 2, "username": "",
        });
        let app = json!({"app_id": "a", "name": "n", "desc": "d", "status": true, "expired": "undefined"});
        data(&match path.trim_start_matches("GET /api/v3/") {
            "brokers" => json!([broker]),
            "brokers/emqx@127.0.0.1" => broker,
            "nodes" => json!([node]),
            "nodes/emqx@127.0.0.1" => node,
            "nodes/emqx@127.0.0.1/metrics" => {
                json!({"packets/disconnect/received": 3, "bytes/sent": 116})
            }
            "nodes/emqx@127.0.0.1/stats" => json!({"routes/count": 1, "retained/count": 3}),
            "connections" | "connections/mosquitto_mqtt" => json!([connection]),
            "sessions" | "sessions/c" => json!([session]),
            "routes" | "routes/t2%2F%23" => json!([{"topic": "t2/#", "node": "emqx@127.0.0.1"}]),
            "subscriptions" => json!([{"client_id": "c", "topic": "t", "qos": 1, "node": "n"}]),
            "plugins" => json!([{"node": "emqx@127.0.0.1", "plugins": [{
                "name": "emqx_auth_http", "version": "v3.1.0", "active": false,
                "description": "EMQ X Authentication/ACL with HTTP API",
            }]}]),
            "listeners" => json!([{"node": "emqx@127.0.0.1", "listeners": [
                {"acceptors": 8, "current_conns": 2, "listen_on": "0.0.0.0:1883", "max_conns": 1_024_000,
                 "protocol": "mqtt:tcp", "shutdown_count": {"closed": 2, "kicked": 1}},
                {"acceptors": 2, "current_conns": 0, "listen_on": "8080", "max_conns": 512,
                 "protocol": "http:management", "shutdown_count": []},
            ]}]),
            "nodes/emqx@127.0.0.1/log/level" => json!({"level": "info", "targets": {}}),
            "traces" => {
                json!([{"kind": "client_id", "value": "c", "level": "debug", "destination": "log/c.log"}])
            }
            "apps" => json!([app]),
            "apps/a" => app,
            "auth_username" | "auth_clientid" => json!(["one", "two"]),
            "retained" => json!([{"topic": "a"}, {"topic": "b"}]),
            "rules" | "rules/r:1" => json!([{
                "id": "r:1", "name": "r", "for": "message.publish", "rawsql": "SELECT * FROM x", "enabled": true,
                "actions": [{"name": "built_in:republish_action", "params": {"target_topic": "y"}}],
                "description": "d",
            }]),
            "actions" | "actions/a" => json!([{
                "name": "a", "app": "emqx_rule_engine", "for": "message.publish", "type": "built_in",
                "params": {"target_topic": {"type": "string", "required": true, "format": "topic", "title": "T",
                                            "description": "D"}},
                "description": "d",
            }]),
            "resources" | "resource_types/web_hook/resources" => json!([{
                "id": "web_hook:w", "name": "w", "type": "web_hook", "config": {"url": "http://h"},
                "attrs": "undefined", "description": "d",
            }]),
            "resource_types" => json!([
                {"name": "built_in", "provider": "emqx_rule_engine", "params": {}, "description": "d"}
            ]),
            _ => json!([]),
        })
    })
}

fn local(unix_s: u64) -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{unix_s}"), "+%F %T"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn looks_print_the_lines_of_the_original() {
    let server = documented();
    for (line, expected) in [
        ("status", "Node 'emqx@127.0.0.1' is started\nemqx v3.1.0 is running\n"),
        ("broker stats", "retained/count                : 3\nroutes/count                  : 1\n"),
        ("broker metrics", "bytes/sent              : 116\npackets/disconnect/recei: 3\n"),
        ("cluster status", "Cluster status: [{running_nodes,['emqx@127.0.0.1']}]\n"),
        (
            "clients list",
            "Connection(mosquitto_mqtt, clean_start=true, username=undefined, peername=127.0.0.1:64896, connected_at=9)\n",
        ),
        (
            "clients show mosquitto_mqtt",
            "Connection(mosquitto_mqtt, clean_start=true, username=undefined, peername=127.0.0.1:64896, connected_at=9)\n",
        ),
        (
            "sessions list",
            "Session(c, clean_start=true, expiry_interval=0, subscriptions_count=2, max_inflight=32, inflight=3, \
             mqueue_len=4, mqueue_dropped=5, awaiting_rel=6, deliver_msg=7, enqueue_msg=8, created_at=9)\n",
        ),
        ("sessions list persistent", ""),
        ("routes list", "t2/# -> emqx@127.0.0.1\n"),
        ("routes show t2/#", "t2/# -> emqx@127.0.0.1\n"),
        ("routes show nobody", ""),
        ("subscriptions list", "c -> t\n"),
        (
            "plugins list",
            "Plugin(emqx_auth_http, version=v3.1.0, description=EMQ X Authentication/ACL with HTTP API, active=false)\n",
        ),
        (
            "listeners",
            "listener on mqtt:tcp:0.0.0.0:1883\n  \
               acceptors       : 8\n  \
               max_conns       : 1024000\n  \
               current_conn    : 2\n  \
               shutdown_count  : [{closed,2},{kicked,1}]\n\
             listener on http:management:8080\n  \
               acceptors       : 2\n  \
               max_conns       : 512\n  \
               current_conn    : 0\n  \
               shutdown_count  : []\n",
        ),
        (
            "vm",
            "cpu/load1               : 2.75\n\
             cpu/load5               : 2.57\n\
             cpu/load15              : 2.87\n\
             memory/total            : 80162816\n\
             memory/used             : 62254160\n\
             process/limit           : 262144\n\
             process/count           : 331\n\
             io/max_fds              : 7168\n\
             io/active_fds           : 12\n\
             ports/count             : 1\n\
             ports/limit             : 7168\n",
        ),
        ("vm io", "io/max_fds              : 7168\nio/active_fds           : 12\n"),
        ("log primary-level", "info\n"),
        ("log handlers list", "LogHandler(id=console, level=info, destination=console)\n"),
        ("trace list", "Trace(client_id=c, level=debug, destination=\"log/c.log\")\n"),
        (
            "mgmt list",
            "app_id: a, secret: ******, name: n, desc: d, status: true, expired: undefined\n",
        ),
        (
            "mgmt lookup a",
            "app_id: a\nsecret: ******\nname: n\ndesc: d\nstatus: true\nexpired: undefined\n",
        ),
        ("users list", "one\ntwo\n"),
        ("clientid list", "one\ntwo\n"),
        ("retainer info", "retained/total: 3\n"),
        ("retainer topics", "a\nb\n"),
        (
            "rules list",
            "rule(id='r:1', name='r', for='message.publish', rawsql='SELECT * FROM x', \
             actions=[{\"name\":\"built_in:republish_action\",\"params\":{\"target_topic\":\"y\"}}], \
             enabled='true', description='d')\n",
        ),
        (
            "rule-actions list",
            "action(name='a', app='emqx_rule_engine', for='message.publish', type='built_in', \
             params=#{target_topic => #{description => <<\"D\">>,format => topic,required => true,title => <<\"T\">>,\
             type => string}}, description='d')\n",
        ),
        (
            "resources list -t web_hook",
            "resource(id='web_hook:w', name='w', type='web_hook', config=#{<<\"url\">> => <<\"http://h\">>}, \
             attrs=undefined, description='d')\n",
        ),
        (
            "resource-types list",
            "resource_type(name='built_in', provider='emqx_rule_engine', params=#{}, on_create=undefined, \
             description='d')\n",
        ),
    ] {
        assert_prints(&server, line, expected);
    }
    let broker = emqx_ctl(&server, "broker").stdout;
    let expected = "sysdescr  : EMQ X Broker\nversion   : v3.1.0\nuptime    : 3 minutes, 59 seconds\ndatetime  : ";
    assert!(broker.starts_with(expected), "{broker}");
    for line in ["clients show x", "sessions show x", "subscriptions show x", "mgmt lookup x"] {
        assert_fails_with(&server, line, "Not Found.\n");
    }
}

#[test]
fn changes_print_the_lines_of_the_original() {
    let server = Server::start(|request: &Request| match request.line.as_str() {
        "GET /api/v3/brokers" => data(&json!([{"node": "n"}])),
        "GET /api/v3/nodes/n/listeners" => {
            data(&json!([{"protocol": "mqtt:tcp", "listen_on": "0.0.0.0:1883"}]))
        }
        "GET /api/v3/apps/a" => data(&json!({"app_id": "a", "name": "n", "status": true})),
        "POST /api/v3/apps" => data(&json!({"secret": "xyz"})),
        "PUT /api/v3/nodes/n/log/level" => data(&json!({"level": "debug", "targets": {}})),
        "DELETE /api/v3/retained" => data(&json!({"cleaned": 2})),
        "POST /api/v3/rules" => data(&json!({"id": "r:1"})),
        "POST /api/v3/resources" => data(&json!({"id": "web_hook:w"})),
        _ => ok(r#"{"code":0}"#),
    });
    for (line, expected) in [
        ("clients kick c", ""),
        ("sessions clean-persistent c", "Clean persistent session successfully.\n"),
        ("subscriptions add c t 1", "ok\n"),
        ("subscriptions del c t", "ok\n"),
        (
            "plugins load emqx_auth_http",
            "Start apps: [emqx_auth_http]\nPlugin emqx_auth_http loaded successfully.\n",
        ),
        ("plugins unload emqx_auth_http", "Plugin emqx_auth_http unloaded successfully.\n"),
        ("plugins reload emqx_auth_http", "Plugin emqx_auth_http reloaded successfully.\n"),
        ("listeners stop mqtt:tcp 1883", "Stop mqtt:tcp listener on 1883 successfully.\n"),
        ("mgmt insert a name", "AppSecret: xyz\n"),
        ("mgmt update a true", "update successfully.\n"),
        ("mgmt delete a", "ok\n"),
        ("log set-level debug", "debug\n"),
        ("log primary-level debug", "debug\n"),
        ("log handlers set-level console debug", "debug\n"),
        ("trace start client c log/c.log", "trace client_id c successfully\n"),
        ("trace stop client c", "stop tracing client_id c successfully\n"),
        ("admins add u p t", "ok\n"),
        ("admins passwd u p", "ok\n"),
        ("users add u p", "ok\n"),
        ("acl reload", ""),
        ("acl cache-clean", ""),
        ("retainer clean", "Cleaned 2 retained messages\n"),
        ("rules create r message.publish x [] -d d", "Rule r:1 created\n"),
        ("rules delete r:1", "ok\n"),
        ("resources create w web_hook -c {} -d d", "Resource web_hook:w created\n"),
        ("resources test w web_hook", "Test creating resource successfully (dry-run)\n"),
        ("resources delete web_hook:w", "ok\n"),
    ] {
        assert_prints(&server, line, expected);
    }
}

#[test]
fn refusals_print_the_lines_of_the_original() {
    for (line, message, expected) in [
        ("clients kick c", "not_found", "Not Found.\n"),
        ("sessions clean-persistent c", "not_found", "Not Found.\n"),
        (
            "sessions clean-persistent c",
            "running_session",
            "Couldn't clean a session with a valid connection.\n",
        ),
        ("subscriptions add c t 1", "session_not_found", "Error: Session not found!\n"),
        ("subscriptions del c t", "session_not_found", "Error: Session not found!\n"),
        ("plugins load p --node n", "already_started", "load plugin error: already_started\n"),
        ("plugins unload p --node n", "not_started", "unload plugin error: not_started\n"),
        (
            "plugins unload emqx_management --node n",
            "x",
            "Plugin emqx_management can not be unloaded \n",
        ),
        ("plugins reload p --node n", "not_found", "Reload plugin error: not_found\n"),
        ("mgmt insert a n", "alread_existed", "Error: already existed\n"),
        ("admins add u p", "x", "Error: x\n"),
        ("users add u p", "existed", "{error,existed}\n"),
        ("trace start client c f", "already_exists", "[error] trace client_id c: already_exists\n"),
        ("trace stop client c", "not_found", "[error] stop tracing client_id c: not_found\n"),
    ] {
        let server = Server::with(ok(json!({"code": 102, "message": message}).to_string()));
        assert_fails_with(&server, line, expected);
    }
    for (line, code, message, expected) in [
        ("rules show r:1", 404, "Not Found", "Cannot found r:1\n"),
        ("rule-actions show a", 404, "Not Found", "Cannot found a\n"),
        ("resources show web_hook:w", 404, "Not Found", "Cannot found web_hook:w\n"),
        ("resource-types show t", 404, "Not Found", "Cannot found t\n"),
        ("resources start r", 400, "Resource r Not Found", "Cannot found r\n"),
        (
            "rules create r h x []",
            400,
            "Bad Arguments: {required_field_missing,target_topic}",
            "Invalid options: {required_field_missing,target_topic}\n",
        ),
        (
            "resources create w t",
            400,
            "Resource Type t Not Found",
            "Invalid options: Resource Type t Not Found\n",
        ),
        (
            "resources delete r",
            400,
            "Bad Arguments: {dependency_exists,{rule_name,<<\"r1\">>}}",
            "Cannot delete resource as {dependency_exists,{rule_name,<<\"r1\">>}}\n",
        ),
    ] {
        let server = Server::with(ok(json!({"code": code, "message": message}).to_string()));
        assert_fails_with(&server, line, expected);
    }
    let server = Server::with(data(&json!([])));
    let outcome = emqx_ctl(&server, "subscriptions add c t 5");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (2, "QoS should be 0, 1, 2\n"));
    assert_fails_with(
        &server,
        "listeners stop mqtt:tcp 1 --node n",
        "Failed to stop mqtt:tcp listener on 1, error:no listener is 'mqtt:tcp 1'; there are \n",
    );
}
