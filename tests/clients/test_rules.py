"""Rules over the management API, with real clients on one side and a real HTTP server or broker on the other."""

import json
import re
import socket
import threading

import pytest

from api import Api, segment
from far_ends import FarBroker, HookServer
from mosquitto import pub, tcp
from waiting import wait_until

# What one message makes of one rule, in each of the three ways to name what a rule is about.
DIALECTS = {
    "3.1": (
        "message.publish",
        'SELECT payload.t AS t, client_id, qos FROM "plant/#" WHERE t > 20',
    ),
    "3.2": (
        None,
        'SELECT payload.t AS t, client_id, qos FROM "message.publish" '
        "WHERE topic =~ 'plant/#' AND payload.t > 20",
    ),
    "4": (
        None,
        'SELECT payload.t AS t, clientid AS client_id, qos FROM "plant/#" WHERE payload.t > 20',
    ),
}


@pytest.fixture
def hook(tmp_path):
    server = HookServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def far(tmp_path):
    broker = FarBroker(tmp_path)
    yield broker
    broker.stop()


def make_rule(api, rawsql, action, params, hook=None):
    """Makes a rule with one action; returns its path."""
    body = {"name": "r", "rawsql": rawsql, "actions": [{"name": action, "params": params}]}
    if hook:
        body["for"] = hook
    made = api.post("/rules", **body).done()["data"]
    return "/rules/" + segment(made["id"])


def make_web_hook(api, url, **config):
    config = {"url": url, **config}
    made = api.post("/resources", name="w", type="web_hook", config=config).done()["data"]
    assert made["id"] == "web_hook:w"
    return made["id"]


def counts(api, path):
    """What has become of the runs of a rule's action."""
    return api.get(path)["actions"][0]["metrics"][0]


def status_of(api, resource):
    """Whether a resource is alive, and what its buffer has done and holds."""
    status = api.get(f"/resource_status/{segment(resource)}")
    return status["is_alive"], status["metrics"][0]


def exposed(api, name):
    """Samples of one family of `GET /metrics`, by what stands between the braces."""
    text = api.request("GET", "/metrics", base="").text
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.M)
    return {label: float(value) for label, value in found}


def publish_numbers(broker, numbers, topic="numbers"):
    """One message with each number, acknowledged, one after the other."""
    lines = "".join(f'{{"n": {n}}}\n' for n in numbers)
    pub(*tcp(broker.tcp), "-q", 1, "-t", topic, "-l", input=lines)


def numbers_of(bodies):
    return [body["n"] for body in bodies]


def all_in_order(found, n):
    """Whether each number is there, repetitions left out in their order."""
    return list(dict.fromkeys(found)) == list(range(n))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_rule_filters_and_republishes(broker, api, mosquitto_sub, dialect):
    hook, rawsql = DIALECTS[dialect]
    path = make_rule(api, rawsql, "built_in:republish_action", {"target_topic": "hot"}, hook)
    sub = mosquitto_sub(*tcp(broker.tcp), "-q", 1, "-t", "hot", form="%t %q %p")
    for payload in '{"t": 20}', "no JSON", '{"t": 25.5}', '{"t": 21, "more": [1]}':
        pub(*tcp(broker.tcp), "-i", "sensor", "-q", 1, "-t", "plant/7", "-m", payload)
    pub(*tcp(broker.tcp), "-i", "sensor", "-q", 1, "-t", "other", "-m", '{"t": 99}')
    for t in 25.5, 21:
        topic, qos, payload = sub.receive().split(" ", 2)
        assert (topic, qos) == ("hot", "1")
        assert json.loads(payload) == {"t": t, "client_id": "sensor", "qos": 1}
    shown = api.get(path)
    assert shown["metrics"][0]["matched"] == 2
    assert shown["actions"][0]["metrics"][0]["success"] == 2
    assert api.delete(path).done() == {"code": 0}
    pub(*tcp(broker.tcp), "-q", 1, "-t", "plant/7", "-m", '{"t": 30}')
    pub(*tcp(broker.tcp), "-q", 1, "-t", "hot", "-m", "end")
    assert sub.receive() == "hot 1 end"


def test_what_is_inspected_is_a_line_of_the_log(broker, api):
    rawsql = 'SELECT payload.t AS t, clientid FROM "plant/#"'
    path = make_rule(api, rawsql, "built_in:inspect_action", {"why": "to see"})
    pub(*tcp(broker.tcp), "-i", "sensor", "-q", 1, "-t", "plant/7", "-m", '{"t": 25}')
    line = broker.log.expect(r"INFO .*actions::inspect\] inspect rule=(r:\d+) (.*)$")
    assert segment(line.group(1)) == path.rsplit("/", 1)[1]
    shown = re.fullmatch(r"output=(\{.*\}) columns=(\{.*\}) params=(\{.*\})", line.group(2))
    output, columns, params = (json.loads(text) for text in shown.groups())
    assert (output, params) == ({"t": 25, "clientid": "sensor"}, {"why": "to see"})
    assert columns["topic"] == "plant/7" and columns["payload"] == '{"t": 25}'
    wait_until(lambda: counts(api, path)["success"] == 1, "it counts")


def test_messages_wait_for_a_server_that_is_killed(broker, api, hook):
    resource = make_web_hook(api, hook.url, headers={"x-token": "s3cret"})
    rule = ('SELECT payload.n AS n, topic FROM "numbers"', "web_hook:publish_action")
    path = make_rule(api, *rule, {"$resource": resource}, "message.publish")
    publish_numbers(broker, range(100))
    wait_until(lambda: len(hook.requests()) >= 100, "a hundred requests")
    first = hook.requests()[0]
    assert (first["method"], first["path"]) == ("POST", "/hook")
    assert first["headers"]["content-type"] == "application/json"
    assert first["headers"]["x-token"] == "s3cret"
    assert json.loads(first["body"]) == {"n": 0, "topic": "numbers"}
    assert status_of(api, resource)[0]

    hook.kill()
    publish_numbers(broker, range(100, 400))
    api.post(f"/resources/{segment(resource)}").refused(400)
    is_alive, buffer = status_of(api, resource)
    assert not is_alive and buffer["is_up"] is False and buffer["last_error"]
    assert counts(api, path)["success"] == 100
    hook.start()
    assert api.post(f"/resources/{segment(resource)}").done() == {"code": 0}
    wait_until(lambda: counts(api, path)["success"] == 400, "all are there")
    assert all_in_order(numbers_of(hook.bodies()), 400)
    assert counts(api, path)["dropped"] == counts(api, path)["failed"] == 0
    assert counts(api, path)["retried"] > 0
    # The secret was sent, and is not shown.
    assert "s3cret" not in json.dumps([api.get(path), api.get("/resources")])


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_waits_survives_the_broker(start, hook, end):
    broker = start()
    api = Api(broker.management)
    resource = make_web_hook(api, hook.url)
    rule = ('SELECT payload.n AS n FROM "numbers"', "web_hook:publish_action")
    make_rule(api, *rule, {"$resource": resource}, "message.publish")
    hook.kill()
    publish_numbers(broker, range(300))
    if end == "kill":
        # While the server is away it takes a second; but for one batch, which is in delivery and in a file of its own.
        wait_until(lambda: status_of(api, resource)[1]["disk"]["items"] >= 300 - 32, "they are in files")
        broker.kill()
    else:
        assert broker.stop() == 0
    broker.restart()
    hook.start()
    wait_until(lambda: len(set(numbers_of(hook.bodies()))) == 300, "all are there")
    assert all_in_order(numbers_of(hook.bodies()), 300)


class Publisher:
    """Publishes one number after the other until it is stopped; `n` says how many."""

    def __init__(self, client):
        self.client, self.n, self.is_stopped = client, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        # Not as fast as it could: each of them is a request in the end.
        while not self.is_stopped.wait(0.002):
            assert self.client.publish("numbers", json.dumps({"n": self.n}).encode(), qos=1) in (0, 0x10)
            self.n += 1

    def stop(self):
        self.is_stopped.set()
        self.thread.join()
        return self.n


@pytest.mark.parametrize("disk_cache", ["on", "off"])
def test_a_resource_that_is_changed_loses_nothing(broker, api, hook, paho, disk_cache):
    resource = make_web_hook(api, hook.url, disk_cache=disk_cache)
    rule = ('SELECT payload.n AS n FROM "numbers"', "web_hook:publish_action")
    path = make_rule(api, *rule, {"$resource": resource}, "message.publish")
    publisher = Publisher(paho(broker.tcp))
    wait_until(hook.requests, "a request")
    hook.kill()
    # Takes connections and never answers: each change finds a request under way.
    with socket.create_server(("127.0.0.1", hook.port)):
        for change in range(4):
            seen = publisher.n
            make_web_hook(api, hook.url, disk_cache=disk_cache, headers={"x-change": str(change)})
            wait_until(lambda: publisher.n > seen + 20, "more messages")
            api.post(f"/resources/{segment(resource)}").done()
        n = publisher.stop()
    hook.start()
    api.post(f"/resources/{segment(resource)}").done()
    wait_until(lambda: len(set(numbers_of(hook.bodies()))) == n, "all are there")
    assert all_in_order(numbers_of(hook.bodies()), n)
    assert hook.requests()[-1]["headers"]["x-change"] == "3"
    wait_until(lambda: counts(api, path)["success"] == n, "the action counts them all")
    assert api.get(path)["metrics"][0]["matched"] == n
    assert counts(api, path)["failed"] == counts(api, path)["dropped"] == counts(api, path)["waiting"] == 0
    # What the buffers before have done is still told of.
    assert exposed(api, "mqtt_rule_resource_delivered_total")[""] == n


def test_a_resource_that_is_deleted_and_made_again_begins_anew(broker, api, hook):
    rule = ('SELECT payload.n AS n FROM "numbers"', "web_hook:publish_action")
    for numbers in range(50), range(50, 60):
        resource = make_web_hook(api, hook.url)
        path = make_rule(api, *rule, {"$resource": resource}, "message.publish")
        if 0 in numbers:
            hook.kill()
        publish_numbers(broker, numbers)
        if 0 in numbers:
            # What waits for it goes with it, as nobody asks for it any more.
            api.delete(path).done()
            api.delete(f"/resources/{segment(resource)}").done()
            hook.start()
    wait_until(lambda: len(hook.bodies()) >= 10, "the new ones")
    assert numbers_of(hook.bodies()) == list(range(50, 60))


def test_what_is_lost_is_counted_and_an_alarm(broker, api, hook):
    # There is room for some of them: 64 KiB is the least.
    resource = make_web_hook(api, hook.url, queue_memory_bytes="64KB", disk_cache="off")
    rule = ('SELECT payload.n AS n, payload.pad AS pad FROM "numbers"', "data_to_webserver")
    path = make_rule(api, *rule, {"$resource": resource})
    hook.kill()
    lines = "".join(json.dumps({"n": n, "pad": "x" * 4096}) + "\n" for n in range(100))
    pub(*tcp(broker.tcp), "-q", 1, "-t", "numbers", "-l", input=lines)
    wait_until(lambda: counts(api, path)["dropped"] > 50, "most are dropped")

    def alarms():
        [node] = api.get("/alarms/present")
        return {alarm["id"]: alarm for alarm in node["alarms"]}

    alarm = wait_until(lambda: alarms().get("resource_drops/web_hook:w"), "an alarm")
    assert alarm["severity"] == "error"

    def told():
        """All of them are dropped or wait, by all that tells of it."""
        of, (_, buffer) = counts(api, path), status_of(api, resource)
        n, held = buffer["dropped"]["full"], buffer["memory"]
        assert sum(buffer["dropped"].values()) == n and buffer["disk"] == {"items": 0, "bytes": 0}
        dropped = exposed(api, "mqtt_rule_resource_dropped_total")
        return (
            n + held["items"] == buffer["pushed"] == 100
            and (of["dropped"], of["waiting"]) == (n, held["items"])
            and held["bytes"] > 4096 * held["items"]
            and dropped == {f'reason="{reason}"': of for reason, of in buffer["dropped"].items()}
            and exposed(api, "mqtt_rule_resource_held")['place="memory"'] == held["items"]
            and exposed(api, "mqtt_rule_resource_held_bytes")['place="memory"'] == held["bytes"]
            and exposed(api, "mqtt_rule_resource_retried_total")[""] >= buffer["retried"] > 0
        )

    wait_until(told, "the counts agree")
    hook.start()
    api.post(f"/resources/{segment(resource)}").done()

    def ended():
        of = counts(api, path)
        return of["success"] and of["success"] + of["dropped"] == 100

    wait_until(ended, "the rest is delivered")
    dropped = counts(api, path)["dropped"]
    found = numbers_of(hook.bodies())
    assert len(found) == 100 - dropped
    # The oldest went, but for those that were on their way when the room ended.
    gaps = [(a, b) for a, b in zip(found, found[1:]) if b != a + 1]
    assert found[-1] == 99 and found == sorted(found) and len(gaps) <= 1, found


def test_events_of_clients_fill_a_template(broker, api, hook):
    resource = make_web_hook(api, hook.url)
    template = {"who": "${client_id}", "what": "${event}", "version": "${proto_ver}", "to": ["x"]}
    params = {"$resource": resource, "template": template}
    rule = ('SELECT * FROM "#"', "web_hook:event_action")
    make_rule(api, *rule, params, "client.connected")
    pub(*tcp(broker.tcp), "-i", "visitor", "-V", "mqttv5", "-t", "x", "-m", "x")
    wait_until(hook.requests, "a request")
    assert hook.bodies() == [
        {"who": "visitor", "what": "client_connected", "version": 5, "to": ["x"]}
    ]


def test_cookies_of_a_websocket_are_a_column(start, hook, paho):
    broker = start(listener={"ws": {"external": {"enabled": True, "bind": "127.0.0.1:0"}}})
    api = Api(broker.management)
    resource = make_web_hook(api, hook.url)
    rule = ('SELECT ws_cookie.id AS id, ws_cookie FROM "#"', "web_hook:publish_action")
    make_rule(api, *rule, {"$resource": resource}, "client.connected")
    paho(broker.ws, transport="websockets", headers={"Cookie": "id=42; theme=dark"})
    wait_until(hook.requests, "a request")
    assert hook.bodies() == [{"id": "42", "ws_cookie": {"id": "42", "theme": "dark"}}]


def test_a_bridge_goes_on_when_the_other_broker_is_back(broker, api, far, mosquitto_sub):
    config = {
        "bridge_name": "b",
        "address": f"127.0.0.1:{far.port}",
        "mountpoint": "from/${node}/",
        "reconnect_interval": "1s",
    }
    made = api.post("/resources", name="b", type="bridge_mqtt", config=config).done()["data"]
    rule = ('SELECT payload.n AS n, topic FROM "numbers"', "data_to_mqtt_broker")
    path = make_rule(api, *rule, {"$resource": made["id"], "forward_topic": "${topic}"})
    session = [*tcp(far.port), "-c", "-i", "away", "-q", 1, "-t", "from/#"]
    mosquitto_sub(*session).disconnect()
    publish_numbers(broker, range(50))
    wait_until(lambda: counts(api, path)["success"] == 50, "all are acknowledged")
    assert status_of(api, made["id"])[0]
    far.stop()
    publish_numbers(broker, range(50, 200))
    far.start()
    wait_until(lambda: counts(api, path)["success"] == 200, "all are acknowledged")
    # What waits comes before the subscription is confirmed.
    sub = mosquitto_sub(*session, form="%q %t %p", wait_for="CONNACK")
    found = []
    while len(set(found)) < 200:
        qos, topic, payload = sub.receive().split(" ", 2)
        assert (qos, topic) == ("1", "from/emqx@127.0.0.1/numbers")
        found.append(json.loads(payload)["n"])
    assert all_in_order(found, 200)
    assert counts(api, path)["dropped"] == 0


def tls_of(ca, name=None):
    """Keys of a resource that trusts the authority, and shows the certificate of that name."""
    keys = {"cacertfile": str(ca.crt("ca"))}
    if name:
        keys |= {"certfile": str(ca.crt(name)), "keyfile": str(ca.key(name))}
    return keys


def test_a_web_hook_shows_its_certificate(broker, api, tmp_path, ca):
    hook = HookServer(tmp_path, ca)
    try:
        resource = make_web_hook(api, hook.url, retry_interval="50ms", **tls_of(ca))
        rule = ('SELECT payload.n AS n FROM "numbers"', "web_hook:publish_action")
        path = make_rule(api, *rule, {"$resource": resource}, "message.publish")
        publish_numbers(broker, range(3))
        wait_until(lambda: counts(api, path)["retried"], "without one nothing is taken")
        assert hook.requests() == []
        # Signed by somebody else.
        make_web_hook(api, hook.url, retry_interval="50ms", **tls_of(ca, "stranger"))
        wait_until(lambda: status_of(api, resource)[1]["retried"], "nor with that of a stranger")
        assert hook.requests() == []
        make_web_hook(api, hook.url, **tls_of(ca, "alice"))
        wait_until(lambda: len(hook.requests()) == 3, "all are there")
        assert {request["peer"] for request in hook.requests()} == {"alice"}
        assert numbers_of(hook.bodies()) == [0, 1, 2]
    finally:
        hook.kill()


def test_a_bridge_shows_its_certificate(broker, api, tmp_path, ca):
    far = FarBroker(tmp_path, ca)
    try:
        config = {"bridge_name": "b", "address": f"127.0.0.1:{far.port}", "mountpoint": "from/", "ssl": "on"}

        def test(**tls):
            return api.post("/resources", test=True, name="b", type="bridge_mqtt", config={**config, **tls})

        test(**tls_of(ca)).refused(400)
        test(**tls_of(ca, "stranger")).refused(400)
        # An authority that has not signed the broker's.
        test(**{**tls_of(ca, "alice"), "cacertfile": str(ca.crt("stranger"))}).refused(400)
        test(**tls_of(ca, "alice")).done()
        config |= tls_of(ca, "alice")
        made = api.post("/resources", name="b", type="bridge_mqtt", config=config).done()["data"]
        rule = ('SELECT payload.n AS n FROM "numbers"', "data_to_mqtt_broker")
        path = make_rule(api, *rule, {"$resource": made["id"]})
        publish_numbers(broker, range(3))
        wait_until(lambda: counts(api, path)["success"] == 3, "all are acknowledged")
        assert status_of(api, made["id"])[0]
    finally:
        far.stop()


def test_d29_a_redirect_leads_nowhere(broker, api, hook):
    resource = make_web_hook(api, hook.url)
    params = {"$resource": resource}
    make_rule(api, 'SELECT payload FROM "t"', "web_hook:publish_action", params, "message.publish")
    for payload in "answer-302", "last":
        pub(*tcp(broker.tcp), "-q", 1, "-t", "t", "-m", payload)
    wait_until(lambda: any("last" in it["body"] for it in hook.requests()), "the last message")
    assert {it["path"] for it in hook.requests()} == {"/hook"}, "nobody goes to Location"


def test_d29_what_a_message_says_becomes_no_other_topic(broker, api, mosquitto_sub):
    """Not a filter, not the broker's own, not what cannot be sent; and it is no path to what comes after it."""
    params = {"target_topic": "${to}", "target_qos": 1, "payload_tmpl": "${payload}"}
    make_rule(api, 'SELECT payload.to AS to, payload FROM "in"', "republish", params)
    # In the topics' place, what SQL or a template would make something of is text.
    params = {"target_topic": "out/${who}/end", "target_qos": 1, "payload_tmpl": "${who}"}
    make_rule(api, 'SELECT payload.who AS who FROM "who"', "republish", params)
    sub = mosquitto_sub(*tcp(broker.tcp), "-V", "mqttv5", "-q", 1, "-t", "#", "-t", "$SYS/own/#", "-t", "$events/own")
    topics = ["$SYS/own/x", "$events/own", "a/+", "#", "", "a\0b", "x" * 65_536]
    for topic in topics:
        pub(*tcp(broker.tcp), "-q", 1, "-t", "in", "-s", input=json.dumps({"to": topic}))
    for who in ["' OR 1=1 --", "${payload}", "\"}", "../..", "+", "a/#"]:
        pub(*tcp(broker.tcp), "-q", 1, "-t", "who", "-s", input=json.dumps({"who": who}))
    pub(*tcp(broker.tcp), "-q", 1, "-t", "in", "-m", json.dumps({"to": "good"}))
    wait_until(lambda: any(it.startswith("good ") for it in sub.received()), "the good one")
    made = [it.split(" {")[0] for it in sub.received() if not it.startswith(("in ", "who "))]
    assert [it for it in made if it.startswith("$")] == []
    assert sorted(it for it in made if it.startswith("out/")) == sorted(
        f"out/{who}/end {who}" for who in ["' OR 1=1 --", "${payload}", "\"}", "../.."]
    )
    assert sorted(it for it in made if not it.startswith("out/")) == ["good"]


def test_d29_neither_nesting_nor_expressions_take_the_broker_along(broker, api, mosquitto_sub):
    params = {"target_topic": "out", "target_qos": 1, "payload_tmpl": "${x}"}
    deep = 'SELECT payload.a.b AS x, json_decode(payload) AS y FROM "deep"'
    make_rule(api, deep, "republish", params)
    slow = "SELECT regex_match(payload, '^(a+)+$') AS x, regex_replace(payload, '(a|aa)+$', 'b') AS y FROM \"slow\""
    make_rule(api, slow, "republish", params)
    sub = mosquitto_sub(*tcp(broker.tcp), "-q", 1, "-t", "out", "-t", "still")
    for opened in "[", '{"a":', '[{"b":':
        pub(*tcp(broker.tcp), "-q", 1, "-t", "deep", "-s", input=opened * 100_000)
        pub(*tcp(broker.tcp), "-q", 1, "-t", "deep", "-s", input=opened * 127)
    pub(*tcp(broker.tcp), "-q", 1, "-t", "slow", "-s", input="a" * 100_000 + "!")
    pub(*tcp(broker.tcp), "-q", 1, "-t", "still", "-m", "here")
    wait_until(lambda: "still here" in sub.received(), "the bystander's message")
    assert "out false" in sub.received(), "the expression was tried, in time"
