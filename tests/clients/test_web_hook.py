"""emqx_web_hook: what happens to clients and messages, as JSON to a web server."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api import NODE, Api
from paho_client import V311
from waiting import wait_until

NAME = "emqx_web_hook"
HERE = Path(__file__).parent


class HookServer:
    """`hook_server.py` in a process of its own, and what it was sent."""

    def __init__(self, file):
        self.file = file
        self.port = 0
        file.touch()
        self.start()

    def start(self):
        command = [sys.executable, HERE / "hook_server.py", str(self.port), self.file]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def requests(self):
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def bodies(self, action=None):
        # As pairs, for their order is the original's.
        def pairs(found):
            return [list(pair) for pair in found]

        bodies = [json.loads(it["body"], object_pairs_hook=pairs) for it in self.requests()]
        return [body for body in bodies if action in (None, body[0][1])]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def web(tmp_path):
    server = HookServer(tmp_path / "hooks")
    yield server
    server.kill()


def tables(web, load=True, path="/hook?key=k", **hook):
    loaded = ["emqx_management", "emqx_retainer"] + ([NAME] if load else [])
    api = {"url": f"http://127.0.0.1:{web.port}{path}"}
    return {"plugins": {"loaded": loaded}, "web": {"hook": {"api": api, **hook}}}


def order(api, what):
    return api.request("PUT", f"/nodes/{NODE}/plugins/{NAME}/{what}")


def about(pairs):
    """Without the times, which are looked at on their own."""
    times = {"connected_at", "ts"}
    now = time.time()
    for name, value in pairs:
        if name in times:
            assert now - 60 < value <= now + 1, (name, value)
    return [[name, value] for name, value in pairs if name not in times]


def test_every_body_is_the_originals(start, web, paho):
    broker = start(**tables(web))
    bob = paho(broker.tcp, "hook-client", username="bob", password="x")
    assert bob.subscribe("t/+", 1) == [1]
    alice = paho(broker.tcp, "alice")
    alice.publish("t/1", b'{"x": "\xc3\xbc"}', qos=1)
    wait_until(lambda: web.bodies("message_acked"), "the acknowledgement is told of")
    bob.unsubscribe("t/+")
    bob.close()
    wait_until(lambda: web.bodies("session_terminated"), "the end is told of")
    message = [
        ["from_client_id", "alice"],
        ["from_username", "undefined"],
        ["topic", "t/1"],
        ["qos", 1],
        ["retain", False],
        ["payload", '{"x": "ü"}'],
    ]
    opts = ["opts", [["qos", 1], ["rh", 0], ["rap", 0], ["nl", 0]]]
    who = [["client_id", "hook-client"], ["username", "bob"]]
    expected = {
        "session_created": who,
        "client_connected": who
        + [["keepalive", 60], ["ipaddress", "127.0.0.1"], ["proto_ver", 5], ["conn_ack", 0]],
        "client_subscribe": who + [["topic", "t/+"], opts],
        "session_subscribed": who[:1] + [["topic", "t/+"], opts],
        "message_publish": message,
        "message_deliver": who + message,
        "message_acked": who[:1] + message,
        "client_unsubscribe": who + [["topic", "t/+"], ["opts", []]],
        "session_unsubscribed": who[:1] + [["topic", "t/+"]],
        "client_disconnected": who + [["reason", "normal"]],
        "session_terminated": who[:1] + [["reason", "normal"]],
    }
    for action, fields in expected.items():
        assert about(web.bodies(action)[0]) == [["action", action], *fields]
    request = web.requests()[0]
    assert (request["method"], request["path"]) == ("POST", "/hook?key=k")
    assert request["headers"]["content-type"] == "application/json"
    # In the order in which it happened.
    of_bob = [body[0][1] for body in web.bodies() if ["client_id", "hook-client"] in body]
    first = ["session_created", "client_connected", "client_subscribe", "session_subscribed"]
    assert of_bob[:4] == first and of_bob[-2:] == ["client_disconnected", "session_terminated"]


def test_a_session_is_told_of_when_it_is_made_and_when_it_ends(start, web, paho):
    broker = start(**tables(web))
    api = Api(broker.management)

    def stay():
        return paho(broker.tcp, "stays", version=V311, clean=False)

    def of_sessions():
        names = {"session_created", "session_terminated"}
        bodies = [dict(body) for body in web.bodies() if body[0][1] in names]
        return [(body["action"], body.get("reason")) for body in bodies]

    stay().close()
    stay().close()
    wait_until(lambda: len(web.bodies("client_disconnected")) == 2, "both ends are told of")
    # It was there the second time, and is there still.
    assert of_sessions() == [("session_created", None)]
    api.delete("/sessions/persistent/stays").done()
    paho(broker.tcp, "stays", version=V311, clean=False)
    paho(broker.tcp, "stays", version=V311, clean=True).close()
    expected = [
        ("session_created", None),
        ("session_terminated", "kicked"),
        ("session_created", None),
        ("session_terminated", "discarded"),
        ("session_created", None),
        ("session_terminated", "normal"),
    ]
    wait_until(lambda: len(of_sessions()) == len(expected), "all of it is told of")
    assert of_sessions() == expected


@pytest.mark.parametrize("encoding, payload", [("base64", "Pz8/Pw=="), ("base62", "Pz89CPD")])
def test_rules_say_what_is_told(start, web, paho, encoding, payload):
    rule = {
        "client": {"connected": [], "disconnected": [], "subscribe": [], "unsubscribe": []},
        "session": {"created": [], "subscribed": [], "unsubscribed": [], "terminated": []},
        "message": {
            "publish": {
                "1": '{"action": "on_message_publish", "topic": "a/#"}',
                "2": '{"action": "on_message_publish", "topic": "a/b"}',
            },
            "deliver": [],
            "acked": [],
        },
    }
    broker = start(**tables(web, rule=rule, encode_payload=encoding))
    alice = paho(broker.tcp, "alice")
    for topic in ("x", "a/b", "a/c"):
        alice.publish(topic, b"????", qos=1)
    wait_until(lambda: len(web.bodies()) >= 3, "three requests")
    told = [dict(body)["topic"] for body in web.bodies()]
    assert told == ["a/b", "a/b", "a/c"], "a request for each rule that fits"
    assert dict(web.bodies()[0])["payload"] == payload


def threads(broker):
    """Names of the plugin's threads."""
    folder = Path(f"/proc/{broker.process.pid}/task")
    names = [(task / "comm").read_text().strip() for task in folder.iterdir()]
    return [name for name in names if "emqx_we" in name]


def test_unloaded_it_leaves_nothing_behind(start, web, paho):
    broker = start(**tables(web, load=False))
    api = Api(broker.management)
    assert threads(broker) == []
    for _ in range(3):
        order(api, "load")
        wait_until(lambda: len(threads(broker)) == 2, "its threads have their names")
        order(api, "reload")
        wait_until(lambda: len(threads(broker)) == 2, "the old threads end")
        order(api, "unload")
        wait_until(lambda: threads(broker) == [], "its threads end")
    paho(broker.tcp, "unseen").publish("t", b"x", qos=1)
    order(api, "load")
    paho(broker.tcp, "seen").publish("t", b"x", qos=1)
    wait_until(lambda: web.bodies("message_publish"), "the message is told of")
    connected = [dict(body)["client_id"] for body in web.bodies("client_connected")]
    assert connected == ["seen"]


def test_a_server_that_is_away_holds_nobody_up(start, web, paho):
    broker = start(**tables(web))
    web.kill()
    alice = paho(broker.tcp, "alice")
    begun = time.monotonic()
    for number in range(50):
        assert alice.publish("t", str(number).encode(), qos=1) in (0, 0x10)
    assert time.monotonic() - begun < 20


def test_a_reload_loses_nothing_that_waits(start, web, paho):
    broker = start(**tables(web))
    api = Api(broker.management)
    web.kill()
    alice = paho(broker.tcp, "alice")
    for number in range(20):
        alice.publish("t", str(number).encode(), qos=1)
        if number % 5 == 0:
            order(api, "reload")
    web.start()
    order(api, "reload")
    wait_until(lambda: len(web.bodies("message_publish")) >= 20, "all are told of")
    payloads = [dict(body)["payload"] for body in web.bodies("message_publish")]
    assert list(dict.fromkeys(payloads)) == [str(number) for number in range(20)]


def published(web):
    return [dict(body)["payload"] for body in web.bodies("message_publish")]


def test_an_event_that_is_refused_holds_up_no_other(start, web, paho):
    broker = start(**tables(web))
    api = Api(broker.management)
    alice = paho(broker.tcp, "alice")
    payloads = ["first", "answer-404", "answer-302", "answer-422", "last"]
    for payload in payloads:
        alice.publish("t", payload.encode(), qos=1)
    wait_until(lambda: "last" in published(web), "the last is told of")
    # Each once, and none of them to where it was sent on.
    assert published(web) == payloads
    assert {request["path"] for request in web.requests()} == {"/hook?key=k"}

    def n_refused():
        alarm = alarm_of(api, "resource_drops/emqx_web_hook")
        return alarm and alarm["details"]["refused"]

    wait_until(lambda: n_refused() == "3", "an alarm that counts them")


def alarm_of(api, name):
    [node] = api.get("/alarms/present")
    return next((alarm for alarm in node["alarms"] if alarm["id"] == name), None)


def test_a_server_with_a_fault_is_asked_again(start, web, paho):
    broker = start(**tables(web))
    alice = paho(broker.tcp, "alice")
    alice.publish("t", b"answer-500", qos=1)
    alice.publish("t", b"behind", qos=1)
    wait_until(lambda: published(web).count("answer-500") >= 2, "it is repeated")
    # In their order.
    assert "behind" not in published(web)


@pytest.mark.parametrize("goal", ["management", "metadata"])
def test_it_goes_neither_to_the_management_api_nor_to_metadata(start, web, paho, goal):
    given = tables(web, load=False)
    broker = start(**given)
    address = f"127.0.0.1:{broker.management}" if goal == "management" else "169.254.169.254"
    given["web"]["hook"]["api"]["url"] = f"http://{address}/api/v3/"
    broker.configure(given)
    order(Api(broker.management), "load")
    paho(broker.tcp, "alice")
    broker.log.expect(f"sink does not deliver: .*{goal}.* sink=emqx_web_hook")


def test_topics_of_the_broker_are_told_once_and_to_whom_they_concern(start, web, paho):
    publish = {
        "1": '{"action": "on_message_publish"}',
        "2": '{"action": "on_message_publish", "topic": "$own/#"}',
        "3": '{"action": "on_message_publish", "topic": "$own/+/b"}',
    }
    quiet = {
        "client": {"connected": [], "disconnected": []},
        "session": {"created": [], "terminated": []},
    }
    broker = start(**tables(web, rule={**quiet, "message": {"publish": publish, "deliver": [], "acked": []}}))
    alice = paho(broker.tcp, "alice")
    for topic in ("$own/a", "$own/a/b", "t"):
        alice.publish(topic, topic.encode(), qos=1)
    wait_until(lambda: "t" in published(web), "the last is told of")
    assert published(web) == ["$own/a", "$own/a/b", "$own/a/b", "t"]


def test_what_is_too_large_is_dropped_and_counted(start, web, paho):
    broker = start(**tables(web), zone={"external": {"max_packet_size": "4MB"}})
    alice = paho(broker.tcp, "alice")
    alice.publish("t", b"x" * (2 << 20), qos=1)
    alice.publish("t", b"small", qos=1)
    wait_until(lambda: "small" in published(web), "the small one is told of")
    assert published(web) == ["small"]
    broker.log.expect("sink has dropped items reason=refused n=[12] sink=emqx_web_hook")
