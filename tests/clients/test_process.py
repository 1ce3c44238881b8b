"""The broker as a process: signals, configuration, listeners, and what happens when descriptors run out."""

import json
import re
import signal
import socket
import struct
import subprocess
from contextlib import ExitStack, contextmanager, suppress

import pytest

import server
from api import Api
from mosquitto import pub, run as run_client, tcp
from server import DEFAULTS, environment, merge, run, write_toml
from storm import connect, subscribe
from waiting import DEADLINE_S, wait_until

CONNECT_V4 = bytes.fromhex("100c00044d5154540402003c0000")
CONNACK_V4 = bytes.fromhex("20020000")


def receive(sock, n):
    got = b""
    while len(got) < n:
        data = sock.recv(n - len(got))
        if not data:
            break
        got += data
    return got


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_tells_v5_clients_and_exits_with_zero(broker, mosquitto_sub, number):
    told = mosquitto_sub(*tcp(broker.tcp), "-V", "mqttv5", "-t", "a")
    older = mosquitto_sub(*tcp(broker.tcp), "-V", "mqttv311", "-t", "a")
    broker.signal(number)
    assert broker.wait() == 0
    told.lines.expect(r"Received DISCONNECT \(139\)")
    older.kill()
    assert "Received DISCONNECT" not in older.lines.text()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.tcp))


def test_what_is_ready_is_delivered_before_the_stop(start, paho):
    broker = start()
    sub, pub_client = paho(broker.tcp), paho(broker.tcp)
    sub.subscribe("a", 1)
    for n in range(200):
        pub_client.publish("a", str(n), 1)
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0
    assert sub.receive_payloads(200) == [str(n) for n in range(200)]


def test_a_stop_goes_through_with_a_client_that_reads_nothing(start):
    broker = start(node={"shutdown_timeout": "1s"})
    with socket.create_connection(("127.0.0.1", broker.tcp), DEADLINE_S) as deaf:
        deaf.sendall(CONNECT_V4)
        assert receive(deaf, 4) == CONNACK_V4
        broker.signal(signal.SIGTERM)
        assert broker.wait(5) == 0


SMALL_BUFFERS = {"tcp": {"external": {"sndbuf": "16KB"}}}


def a_client_that_is_behind(broker, paho):
    """4 MB wait for it, far more than sockets hold."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
    client.settimeout(DEADLINE_S)
    client.connect(("127.0.0.1", broker.tcp))
    client.sendall(connect("behind") + subscribe("a"))
    assert len(receive(client, 4 + 5)) == 4 + 5
    publisher = paho(broker.tcp)
    for _ in range(8):
        publisher.publish("a", b"x" * 500_000, 1)
    return client


def test_a_client_that_is_behind_gets_all_that_is_ready_before_the_stop(start, paho):
    broker = start(node={"shutdown_timeout": "1h"}, listener=SMALL_BUFFERS)
    with a_client_that_is_behind(broker, paho) as client:
        broker.signal(signal.SIGTERM)
        broker.log.expect("stopping")
        assert receive(client, 1 << 30).count(b"x") == 8 * 500_000
    assert broker.wait() == 0


def test_a_stop_waits_a_moment_only_for_a_client_that_is_behind_and_reads_nothing(start, paho):
    broker = start(node={"shutdown_timeout": "1h"}, listener=SMALL_BUFFERS)
    with a_client_that_is_behind(broker, paho):
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 0


@contextmanager
def a_deaf_client(broker):
    """It does not close when the broker has closed: its socket is waited for, for a second at most."""
    with socket.create_connection(("127.0.0.1", broker.tcp), DEADLINE_S) as client:
        client.sendall(CONNECT_V4)
        assert receive(client, 4) == CONNACK_V4
        yield


def test_a_stop_does_not_wait_for_who_has_not_said_who_it_is(start):
    everywhere = {
        protocol: {"external": {"enabled": True, "bind": "127.0.0.1:0"}}
        for protocol in ("ssl", "ws", "wss")
    }
    limits = {"node": {"shutdown_timeout": "1h"}, "mqtt": {"idle_timeout": "1h"}}
    broker = start(listener=everywhere, **limits)
    with ExitStack() as stack:
        nameless = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE_S))
            for port in (broker.tcp, broker.tcp, broker.ssl, broker.ws, broker.wss)
        ]
        nameless[0].sendall(CONNECT_V4[:5])
        # Accepted in order: once this one is served, those before are there.
        with a_deaf_client(broker):
            pass
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 0
        for sock in nameless:
            # One that was not accepted yet is reset.
            with suppress(ConnectionResetError):
                assert receive(sock, 1) == b""


def test_node_shutdown_timeout_bounds_a_stop(start):
    broker = start(node={"shutdown_timeout": "0s"})
    with a_deaf_client(broker):
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 0
    broker.log.expect("connections cut off at the end of node.shutdown_timeout: 1")
    broker.log.expect("stopped")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_stop_at_once(start, second):
    # A stop takes a second: a machine that holds the test up for longer gets another try.
    for _ in range(5):
        broker = start()
        with a_deaf_client(broker):
            broker.signal(signal.SIGTERM)
            broker.log.expect("stopping")
            broker.signal(second)
            code = broker.wait()
        if code != 0:
            break
    assert code == 130
    broker.log.expect("stopped at once, by a second signal")


def test_a_port_in_use_is_one_error_that_names_key_and_address(broker, tmp_path):
    config = tmp_path / "second.toml"
    address = f"127.0.0.1:{broker.tcp}"
    tables = merge(
        {"node": {"data_dir": str(tmp_path / "second")}},
        {
            "listener": {
                "tcp": {"external": {"bind": address}, "internal": {"enabled": False}},
                "ssl": {"external": {"enabled": False}},
                "ws": {"external": {"bind": "127.0.0.1:0"}},
                "wss": {"external": {"enabled": False}},
            }
        },
    )
    write_toml(config, tables)
    failed = run("--config", config)
    assert failed.returncode == 1
    lines = [line for line in failed.stderr.splitlines() if line and " INFO " not in line]
    assert len(lines) == 1, failed.stderr
    assert lines[0].startswith(f"listener.tcp.external.bind = {address}: ")
    assert "in use" in lines[0]


def test_check_reports_every_error_with_key_value_and_range(tmp_path):
    config = tmp_path / "wrong.toml"
    config.write_text(
        "[mqtt]\n"
        "max_packet_sise = \"1MB\"\n"
        "max_qos_allowed = 7\n"
        "\n"
        "[listener.tcp.external]\n"
        "bind = \"nowhere\"\n"
    )
    failed = run("--check", "--config", config)
    assert failed.returncode == 1
    for words in (
        "mqtt.max_packet_sise",
        "max_packet_size",
        "mqtt.max_qos_allowed",
        "7",
        "0 to 2",
        "listener.tcp.external.bind",
        "nowhere",
    ):
        assert words in failed.stderr
    for line in 2, 3, 6:
        assert f"{config}:{line}:" in failed.stderr
    config.write_text("[node]\nname = \"fine@127.0.0.1\"\n")
    fine = run("--check", "--config", config)
    assert fine.returncode == 0, fine.stderr
    assert "the configuration is fine: node fine@127.0.0.1" in fine.stderr


def settings(page):
    """The lines without the comments, which say where a value is from."""
    return [line for line in page.splitlines() if line and not line.startswith("#")]


def test_print_config_can_be_read_again(tmp_path):
    config = tmp_path / "mine.toml"
    write_toml(config, merge({"mqtt": {"max_packet_size": "77KB"}}, DEFAULTS))
    first = run("--print-config", "--config", config)
    assert first.returncode == 0, first.stderr
    assert "77KB" in first.stdout
    again = tmp_path / "again.toml"
    again.write_text(first.stdout)
    second = run("--print-config", "--config", again)
    assert second.returncode == 0, second.stderr
    assert settings(second.stdout) == settings(first.stdout)
    assert run("--check", "--config", again).returncode == 0


def test_the_environment_goes_before_the_file(tmp_path, monkeypatch):
    config = tmp_path / "mine.toml"
    write_toml(config, {"mqtt": {"max_inflight": 5}})
    over = {**environment(), "BROKER__MQTT__MAX_INFLIGHT": "9"}
    monkeypatch.setattr(server, "environment", lambda: over)
    assert "max_inflight = 9" in run("--print-config", "--config", config).stdout


def test_sighup_reads_log_levels_again(start, mosquitto_sub):
    broker = start()
    mosquitto_sub(*tcp(broker.tcp), "-i", "unseen", "-t", "a")
    assert "client connected" not in broker.log.text()
    broker.configure({"log": {"level": "debug"}})
    broker.signal(signal.SIGHUP)
    broker.log.expect("log levels read again")
    mosquitto_sub(*tcp(broker.tcp), "-i", "seen", "-t", "a")
    broker.log.expect('client connected client_id="seen"')
    assert '"unseen"' not in broker.log.text().split("log levels read again")[0]


def test_log_lines_can_be_json(start):
    broker = start(log={"format": "json"})
    assert broker.stop() == 0
    lines = [json.loads(line) for line in broker.log.all]
    assert {line["level"] for line in lines} == {"INFO"}
    assert any(line["message"].startswith("broker is ready") for line in lines)


V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 1883\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n"
    + bytes([0x21, 0x11])
    + struct.pack(">H", 12)
    + socket.inet_aton("203.0.113.7")
    + socket.inet_aton("192.0.2.1")
    + struct.pack(">HH", 4711, 1883)
)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_proxy_names_the_address_of_its_client(start, mosquitto_sub, header):
    proxied = {"bind": "127.0.0.1:0", "proxy_protocol": True, "proxy_protocol_peers": ["127.0.0.1"]}
    broker = start(allow_anonymous=True, listener={"tcp": {"proxied": proxied}})
    watcher = mosquitto_sub(*tcp(broker.tcp), "-q", 1, "-t", "$SYS/brokers/+/clients/+/connected")
    with socket.create_connection(
        ("127.0.0.1", broker.ports["mqtt:tcp:proxied"]), DEADLINE_S
    ) as client:
        client.sendall(header + CONNECT_V4)
        assert receive(client, 4) == CONNACK_V4
        assert '"ipaddress":"203.0.113.7"' in watcher.receive()


def test_a_proxied_listener_wants_the_header_and_a_known_proxy(start):
    broker = start(
        listener={
            "tcp": {
                "known": {
                    "bind": "127.0.0.1:0",
                    "proxy_protocol": True,
                    "proxy_protocol_peers": ["127.0.0.1"],
                },
                "foreign": {
                    "bind": "127.0.0.1:0",
                    "proxy_protocol": True,
                    "proxy_protocol_peers": ["192.0.2.0/24"],
                },
            }
        }
    )
    attempts = {"known": CONNECT_V4, "foreign": V1 + CONNECT_V4}
    for name, sent in attempts.items():
        port = broker.ports[f"mqtt:tcp:{name}"]
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
            try:
                client.sendall(sent)
                assert receive(client, 4) == b""
            except (ConnectionResetError, BrokenPipeError):
                pass
    pub(*tcp(broker.tcp), "-q", 1, "-t", "a", "-m", "x")


def test_access_rules_decide_who_may_connect(start):
    broker = start(listener={"tcp": {"closed": {"bind": "127.0.0.1:0", "access": ["deny all"]}}})
    port = broker.ports["mqtt:tcp:closed"]
    refused = run_client("mosquitto_pub", *tcp(port), "-t", "a", "-m", "x")
    assert refused.returncode != 0
    pub(*tcp(broker.tcp), "-q", 1, "-t", "a", "-m", "x")


def test_running_out_of_descriptors_is_survived_and_said(start, mosquitto_sub):
    broker = start(
        prefix=["prlimit", "--nofile=64:64"], broker={"sys_interval": "1s"}
    )
    bystander = mosquitto_sub(*tcp(broker.tcp), "-q", 1, "-t", "a")
    alarms = mosquitto_sub(*tcp(broker.tcp), "-t", "$SYS/brokers/+/alarms/#")
    crowd = [socket.create_connection(("127.0.0.1", broker.tcp), DEADLINE_S) for _ in range(90)]
    assert "too_many_open_files/alert" in alarms.receive()
    # Those within are served all the while.
    pub_inside = crowd[0]
    pub_inside.sendall(CONNECT_V4)
    assert receive(pub_inside, 4) == CONNACK_V4
    pub_inside.sendall(bytes.fromhex("3007000161") + b"full")
    assert bystander.receive() == "a full"
    for sock in crowd:
        sock.close()
    wait_until(
        lambda: run_client("mosquitto_pub", *tcp(broker.tcp), "-t", "a", "-m", "room").returncode
        == 0,
        "room again",
    )
    assert bystander.receive() == "a room"
    assert "too_many_open_files/clear" in alarms.receive()


def test_wrong_arguments_are_named():
    failed = run("--confg", "x")
    assert failed.returncode == 1
    assert "unknown argument --confg" in failed.stderr
    missing = run("--config", "/does/not/exist.toml")
    assert missing.returncode == 1
    assert "/does/not/exist.toml" in missing.stderr
    assert run("--version").stdout.startswith("broker-server ")


def test_e37_the_memory_of_its_control_group_is_the_limit(start, tmp_path):
    """70 % of it by default, and not of the machine's; in a mount namespace of its own the broker sees another group."""
    groups = tmp_path / "groups"
    limit = 200 << 20
    for folder, in_all, in_use in [
        (groups, "memory.max", "memory.current"),
        (groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ]:
        folder.mkdir()
        (folder / in_all).write_text(f"{limit}\n")
        (folder / in_use).write_text(f"{limit // 2}\n")
    shell = ("sh", "-c", 'mount --bind "$0" /sys/fs/cgroup && exec "$@"', groups)
    namespace = ("unshare", "--mount", "--propagation", "private")
    if subprocess.run([*namespace, *shell, "true"], capture_output=True).returncode:
        pytest.skip("mounting is not allowed")
    broker = start(prefix=(*namespace, *shell))
    metrics = Api(broker.management).request("GET", "/metrics", base="").text
    told = float(re.search(r"^mqtt_memory_limit_bytes\S* (\S+)$", metrics, re.MULTILINE).group(1))
    assert abs(told - limit * 0.7) < 1024, told
    pub(*tcp(broker.tcp), "-q", 1, "-t", "a", "-m", "x")
