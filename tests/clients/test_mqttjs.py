"""MQTT.js from npm, over TCP, TLS, WebSocket and secure WebSocket."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from waiting import DEADLINE_S

SCRIPT = Path(__file__).with_name("mqttjs.mjs")
URLS = {
    "mqtt": lambda broker: f"mqtt://127.0.0.1:{broker.tcp}",
    "mqtts": lambda broker: f"mqtts://localhost:{broker.ssl}",
    "ws": lambda broker: f"ws://127.0.0.1:{broker.ws}/mqtt",
    "wss": lambda broker: f"wss://localhost:{broker.wss}/mqtt",
}


@pytest.fixture(name="observe")
def fixture_observe(start, ca):
    """Runs a scenario of mqttjs.mjs; what it observed."""

    def observe(scenario, scheme="mqtt", version=5, **tables):
        listeners = {
            "ssl": {"external": ca.listener()},
            "ws": {"external": {"enabled": True, "bind": "127.0.0.1:0"}},
            "wss": {"external": ca.listener()},
        }
        observe.broker = broker = start(listener=listeners, **tables)
        done = subprocess.run(
            ["node", SCRIPT, scenario, URLS[scheme](broker), str(version), str(broker.process.pid)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(ca.crt("ca"))},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return observe


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("scheme", URLS)
def test_messages_arrive_with_each_qos(observe, scheme, version):
    seen = observe("roundTrips", scheme, version)
    assert seen == [["a/b", qos, f"hello {qos}"] for qos in range(3)]


@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
def test_a_large_payload_arrives_whole(observe, scheme):
    assert observe("large", scheme) == {"sent": 700_000, "same": True}


def test_properties_travel_end_to_end(observe):
    seen = observe("properties", "ws")
    assert seen["userProperties"] == {"a": ["1", "2"], "b": "3"}
    assert seen["contentType"] == "text/plain"
    assert seen["responseTopic"] == "reply"
    assert seen["correlationData"] == "00ff"
    assert seen["subscriptionIdentifier"] == 9


@pytest.mark.parametrize("version", [4, 5])
def test_a_session_is_resumed_with_its_messages(observe, version):
    seen = observe("resume", "ws", version)
    assert seen == {"before": False, "after": True, "payloads": ["0", "1", "2", "3", "4"]}


def test_the_will_of_a_destroyed_stream_is_published(observe):
    assert observe("will", "ws") == ["will/a", "gone"]


def test_retained_messages_come_at_subscribe(observe):
    assert observe("retained") == [["kept", "here", True]]


def test_topic_aliases_go_both_ways(observe):
    seen = observe("aliases", mqtt={"max_topic_alias": 10})
    assert seen == [["a/long/topic", str(n)] for n in range(3)]


def test_the_taken_over_client_learns_why(observe):
    assert observe("takeOver") == 0x8E


def test_clients_learn_that_the_server_shuts_down(observe):
    assert observe("shutDown") == 0x8B
    assert observe.broker.wait() == 0


def test_an_oversize_packet_is_named(observe):
    assert observe("oversize", mqtt={"max_packet_size": "1KB"}) == 0x95
