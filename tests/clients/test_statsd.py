"""emqx_statsd: metrics pushed to the push gateway of Prometheus, Debian's and some that fail."""

import re
import shutil
import socket
import subprocess
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from api import NODE, Api
from paho_client import V311
from waiting import Lines, wait_until

NAME = "emqx_statsd"
PUSHGATEWAY = shutil.which("prometheus-pushgateway")
# Those of the original, but for its runtime's.
PACKETS = """auth received sent connect connack disconnect_received disconnect_sent subscribe suback unsubscribe
    unsuback publish_received publish_sent puback_received puback_sent puback_missed pubrec_received pubrec_sent
    pubrec_missed pubrel_received pubrel_sent pubrel_missed pubcomp_received pubcomp_sent pubcomp_missed pingreq
    pingresp""".split()
MESSAGES = """received sent dropped retained qos0_received qos0_sent qos1_received qos1_sent qos2_received
    qos2_expired qos2_sent qos2_dropped qos2_forward""".split()
COUNTERS = {
    *(f"emqx_packets_{name}" for name in PACKETS),
    *(f"emqx_messages_{name}" for name in MESSAGES),
    "emqx_bytes_received",
    "emqx_bytes_sent",
    "process_cpu_seconds_total",
}
GAUGES = {
    *(
        f"emqx_{of}_{what}"
        for of in ("connections", "retained", "routes", "sessions", "subscriptions", "topics")
        for what in ("count", "max")
    ),
    *(f"emqx_vm_{what}" for what in ("cpu_use", "cpu_idle", "run_queue", "process_messages_in_queues")),
    *(f"process_{what}" for what in ("resident_memory_bytes", "open_fds", "max_fds")),
}


class Gateway:
    """An HTTP server that keeps what it is sent, and answers as it is told."""

    def __init__(self):
        self.status = 200
        self.requests = []
        self.open = 0
        self.most = 0
        self.go_on = threading.Event()
        self.go_on.set()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                gateway.open += 1
                gateway.most = max(gateway.most, gateway.open)
                gateway.requests.append((self.path, self.headers["Content-Type"], body.decode()))
                gateway.go_on.wait()
                gateway.open -= 1
                self.send_response(gateway.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def gateway():
    gateway = Gateway()
    yield gateway
    gateway.close()


@pytest.fixture
def pushgateway(tmp_path):
    """The URL of Debian's."""
    if PUSHGATEWAY is None:
        pytest.skip("no prometheus-pushgateway here; scripts/setup installs it where it can be had")
    # It takes no port of the system's choice that it would tell.
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [PUSHGATEWAY, f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    Lines(process.stderr).expect("Listening on")
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()
    process.stderr.close()


def tables(server, load=True, **statsd):
    loaded = ["emqx_management", "emqx_retainer"] + ([NAME] if load else [])
    statsd = {"push": {"gateway": {"server": server}}, "interval": 1000, **statsd}
    return {"plugins": {"loaded": loaded}, "statsd": statsd}


def order(api, what):
    return api.put(f"/nodes/{NODE}/plugins/{NAME}/{what}")


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def samples(text, labels=""):
    """Values and types by name; of a push gateway's those with these labels."""
    line = re.compile(rf"(\w+){re.escape(labels)} (\S+)")
    values = {found[1]: float(found[2]) for found in map(line.fullmatch, text.splitlines()) if found}
    types = dict(re.findall(r"# TYPE (\w+) (\w+)", text))
    return values, {name: types[name] for name in values}


def test_a_push_gateway_shows_what_has_happened(start, pushgateway, paho):
    broker = start(**tables(pushgateway))
    sleeper = paho(broker.tcp, "sleeper", version=V311, clean=False)
    sleeper.subscribe("t/+", 1)
    sleeper.close()
    alice = paho(broker.tcp, "alice")
    alice.subscribe("own", 0)
    for n in range(5):
        alice.publish("t/1", str(n).encode(), qos=1)
    alice.publish("own", b"kept", qos=2, retain=True)
    labels = '{instance="emqx~127.0.0.1",job="emqx"}'

    def pushed():
        values, types = samples(fetch(pushgateway + "/metrics"), labels)
        return values.get("emqx_messages_qos2_received") == 1 and (values, types)

    values, types = wait_until(pushed, "the gateway has it")
    # And it adds when it was pushed.
    names = {name for name in values if not name.startswith("push_")}
    assert names == COUNTERS | GAUGES
    assert {types[name] for name in COUNTERS} == {"counter"}
    assert {types[name] for name in GAUGES} == {"gauge"}
    expected = {
        "emqx_packets_connect": 2,
        "emqx_packets_subscribe": 2,
        "emqx_packets_publish_received": 6,
        "emqx_packets_puback_sent": 5,
        "emqx_packets_pubrel_received": 1,
        "emqx_messages_qos1_received": 5,
        "emqx_connections_count": 1,
        "emqx_sessions_count": 2,
        "emqx_subscriptions_count": 2,
        "emqx_vm_process_messages_in_queues": 5,
    }
    assert {name: values[name] for name in expected} == expected
    # With those of $SYS.
    assert values["emqx_messages_retained"] == values["emqx_retained_count"] >= 1
    assert values["emqx_bytes_received"] > 100 and values["emqx_bytes_sent"] > 50
    assert values["emqx_vm_cpu_use"] + values["emqx_vm_cpu_idle"] == pytest.approx(100)
    assert 0 < values["process_cpu_seconds_total"] < 600
    assert values["process_resident_memory_bytes"] > 1 << 20
    assert 10 < values["process_open_fds"] < values["process_max_fds"]


def test_a_request_is_the_originals(start, gateway):
    broker = start(**tables(gateway.url + "/behind/"))
    wait_until(lambda: gateway.requests, "a push")
    path, content_type, body = gateway.requests[0]
    assert path == "/behind/metrics/job/emqx/instance/emqx~127.0.0.1"
    assert content_type == "text/plain"
    assert body.startswith("# TYPE emqx_packets_auth counter\n# HELP emqx_packets_auth \nemqx_packets_auth 0\n")
    # Not before an interval has passed, and then again and again.
    wait_until(lambda: len(gateway.requests) >= 2, "another one")
    assert "push gateway" not in broker.log.text()


def test_failures_are_told_once_and_so_is_their_end(start, gateway):
    gateway.status = 500
    broker = start(**tables(gateway.url))
    wait_until(lambda: len(gateway.requests) >= 3, "three pushes")
    broker.log.expect(f"push gateway does not take the metrics server={gateway.url}: it answers 500")
    gateway.status = 202
    broker.log.expect(f"push gateway takes the metrics again server={gateway.url}")
    assert broker.log.text().count("push gateway does not take") == 1


def n_connected(url):
    """Connections to a server of this machine."""
    port = f":{int(url.rsplit(':')[-1]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[2].endswith(port) and row[3] == "01")


def test_a_gateway_that_hangs_holds_up_nobody_and_gets_one_request(start, gateway, paho):
    gateway.go_on.clear()
    broker = start(**tables(gateway.url))
    api = Api(broker.management)
    wait_until(lambda: gateway.requests, "a push")
    alice = paho(broker.tcp, "alice")
    for _ in range(20):
        alice.publish("t", b"x", qos=1)
        order(api, "reload")
        assert n_connected(gateway.url) <= 1
    # Given up after the interval, and told.
    broker.log.expect("push gateway does not take the metrics .*: timeout")
    order(api, "unload")
    wait_until(lambda: threads(broker) == [], "its thread ends")
    assert n_connected(gateway.url) == 0


def threads(broker):
    """Names of the plugin's threads."""
    return [name for name in broker.threads() if "statsd" in name]


def descriptors(broker):
    return len(list(Path(f"/proc/{broker.process.pid}/fd").iterdir()))


def test_a_hundred_loads_leave_nothing_behind(start, gateway, paho):
    broker = start(**tables(gateway.url, load=False))
    api = Api(broker.management)
    alice = paho(broker.tcp, "alice")
    order(api, "load")
    wait_until(lambda: gateway.requests, "a push")
    order(api, "unload")
    wait_until(lambda: threads(broker) == [], "its thread ends")
    before = wait_until(lambda: descriptors(broker), "its descriptors")
    for n in range(100):
        order(api, "load")
        order(api, "reload")
        alice.publish("t", str(n).encode(), qos=1)
        order(api, "unload")
    wait_until(lambda: threads(broker) == [], "its thread ends")
    wait_until(lambda: descriptors(broker) <= before, "nothing is left open")
    assert gateway.most == 1


def test_the_api_shows_it_if_a_key_says_so(start, gateway):
    broker = start(**tables(gateway.url, load=False))
    api = Api(broker.management)
    text = lambda: api.request("GET", f"/{NAME}")
    assert text().status == 404, "not loaded"
    order(api, "load")
    assert text().status == 404, "not asked for"
    api.put(f"/nodes/{NODE}/plugin_configs/{NAME}", **{"statsd.api.enabled": "true"}).done()
    answer = text()
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain")
    values, _ = samples(answer.text)
    assert set(values) == COUNTERS | GAUGES
    order(api, "unload")
    assert text().status == 404, "unloaded"
    assert Api(broker.management, secret="wrong").request("GET", f"/{NAME}").status == 401


def test_a_wrong_key_is_refused_and_changes_nothing(start, gateway):
    given = tables(gateway.url)
    broker = start(**given)
    api = Api(broker.management)
    given["statsd"]["push"]["gateway"]["server"] = "ftp://me:s3cret@h"
    broker.configure(given)
    message = order(api, "reload").refused(102)
    assert message.startswith("parse_config_file_failed: statsd.push.gateway.server: "), message
    assert "s3cret" not in message
    given["statsd"]["interval"] = 10
    broker.configure(given)
    assert "statsd.interval = 10: must be a duration from 1s to 1d" in order(api, "reload").refused(102)
    seen = len(gateway.requests)
    wait_until(lambda: len(gateway.requests) > seen, "it goes on as before")
