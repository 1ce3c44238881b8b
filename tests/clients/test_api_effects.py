"""What the management API orders, as real clients see it: publish, subscribe, kick, sessions, routes."""

import base64
import re

import pytest

import mqttjs
from api import NODE, Api, segment
from mosquitto import tcp
from paho_client import V5, V31, V311
from waiting import wait_until

VERSIONS = pytest.mark.parametrize("version", [V31, V311, V5], ids=["v3.1", "v3.1.1", "v5"])
# What stands for one thing in a path: each character that means something there.
ODD = [
    "a/b",
    "+",
    "#",
    "a/+/#",
    "50%",
    "%2F",
    "with blank",
    "温度/厨房",
    "a?b=c&d",
    "..",
    "';--",
    "ü+",
]
ODD_FILTERS = pytest.mark.parametrize("name", [name for name in ODD if name != "ü+"])
ODD_NAMES = pytest.mark.parametrize("name", ODD)


def newcomer(paho, broker, topic):
    """A client that comes now: what is retained on `topic` is what it gets."""
    client = paho(broker.tcp)
    client.subscribe(topic, 2)
    return client


# Publish


@pytest.mark.parametrize("qos", [0, 1, 2])
@VERSIONS
def test_what_is_published_arrives(broker, api, paho, version, qos):
    client = paho(broker.tcp, "c", version)
    client.subscribe("a/#", 2)
    api.post("/mqtt/publish", topic="a/b", payload="hello", qos=qos, client_id="nobody").done()
    message = client.receive()
    assert (message.topic, message.payload) == ("a/b", b"hello")
    assert (message.qos, message.retain) == (qos, False)


def test_qos_retain_and_payload_have_defaults(broker, api, paho):
    client = paho(broker.tcp)
    client.subscribe("a", 2)
    api.post("/mqtt/publish", topic="a").done()
    message = client.receive()
    assert (message.payload, message.qos, message.retain) == (b"", 0, False)
    assert newcomer(paho, broker, "a").received_nothing()


def test_parameters_are_those_of_the_body_alone(broker, api, paho):
    client = paho(broker.tcp)
    client.subscribe("a", 2)
    api.post("/mqtt/publish?qos=2&topic=b", topic="a", payload="x").done()
    assert client.receive().qos == 0


def test_text_is_utf_8(broker, api, mosquitto_sub):
    sub = mosquitto_sub(*tcp(broker.tcp), "-t", "#", "-q", "2", form="%t %q %r %p")
    api.post("/mqtt/publish", topic="室温/客厅", payload="21 °C", qos=2).done()
    assert sub.receive() == "室温/客厅 2 0 21 °C"


def test_base64_carries_any_bytes(broker, api, paho):
    client = paho(broker.tcp)
    client.subscribe("a")
    sent = bytes(range(256))
    payload = base64.b64encode(sent).decode()
    api.post("/mqtt/publish", topic="a", payload=payload, encoding="base64").done()
    api.post("/mqtt/publish", topic="a", payload=payload, encoding="plain").done()
    assert client.receive().payload == sent
    assert client.receive().payload == payload.encode()


@pytest.mark.parametrize("topics", ["a,b/c,d", ["a", "b/c", "d"]], ids=["commas", "list"])
def test_one_message_goes_to_several_topics(broker, api, paho, topics):
    client = paho(broker.tcp)
    client.subscribe("#", 1)
    api.post("/mqtt/publish", topics=topics, payload="x", qos=1).done()
    got = [client.receive() for _ in range(3)]
    assert sorted(message.topic for message in got) == ["a", "b/c", "d"]
    assert {(message.payload, message.qos) for message in got} == {(b"x", 1)}
    assert client.received_nothing()


def test_a_topic_may_hold_a_comma(broker, api, paho):
    client = paho(broker.tcp)
    client.subscribe("#")
    api.post("/mqtt/publish", topic="a,b", payload="x").done()
    assert client.receive().topic == "a,b"


def test_with_one_bad_topic_nothing_is_published(broker, api, paho):
    client = paho(broker.tcp)
    client.subscribe("#")
    kept = api.stats()["retained/count"]
    for topics in "a,b/#", ["a", ""], ["a", "b\0"]:
        api.post("/mqtt/publish", topics=topics, payload="x", retain=True).refused(115)
    assert client.received_nothing()
    assert api.stats()["retained/count"] == kept


def test_retained_messages_are_kept_and_cleared(broker, api, paho):
    kept = api.stats()["retained/count"]
    api.post("/mqtt/publish", topic="a", payload="kept", qos=1, retain=True).done()
    message = newcomer(paho, broker, "a").receive()
    assert (message.payload, message.retain, message.qos) == (b"kept", True, 1)
    assert api.stats()["retained/count"] == kept + 1
    api.post("/mqtt/publish", topic="a", payload="", retain=True).done()
    assert newcomer(paho, broker, "a").received_nothing()
    assert api.stats()["retained/count"] == kept


def test_a_client_that_is_away_gets_it_later(broker, api, paho):
    away(paho, broker, "c", "a")
    api.post("/mqtt/publish", topic="a", payload="late", qos=1).done()
    assert api.one("/sessions/c")["mqueue_len"] == 1
    assert paho(broker.tcp, "c", V311, clean=False).receive().payload == b"late"


def away(paho, broker, client_id, *filters):
    """A persistent session whose client has gone."""
    client = paho(broker.tcp, client_id, V311, clean=False)
    for topic_filter in filters:
        client.subscribe(topic_filter, 1)
    client.close()
    wait_until(lambda: is_away(Api(broker.management), client_id), f"{client_id} went")


def is_away(api, client_id):
    return api.one(f"/sessions/{segment(client_id)}")["binding"] == "undefined"


# Subscribe and unsubscribe


def rows(api, client_id):
    return sorted((row["topic"], row["qos"]) for row in api.get(f"/subscriptions/{client_id}"))


@VERSIONS
def test_a_client_is_subscribed_and_unsubscribed(broker, api, paho, version):
    client = paho(broker.tcp, "c", version)
    api.post("/mqtt/subscribe", client_id="c", topic="a/#", qos=1).done()
    row = {"client_id": "c", "node": NODE, "topic": "a/#", "qos": 1}
    assert api.get("/subscriptions/c") == [row]
    assert api.get(f"/nodes/{NODE}/subscriptions/c") == [row]
    assert row in api.get("/subscriptions")
    assert api.one("/sessions/c")["subscriptions_count"] == 1
    paho(broker.tcp).publish("a/b", "x", 2)
    assert client.receive().qos == 1
    api.post("/mqtt/unsubscribe", client_id="c", topic="a/#").done()
    assert api.get("/subscriptions/c") == []
    paho(broker.tcp).publish("a/b", "y", 1)
    assert client.received_nothing()
    api.post("/mqtt/unsubscribe", client_id="c", topic="a/#").done()


def test_a_subscription_made_by_the_client_can_be_taken_away(broker, api, paho):
    client = paho(broker.tcp, "c")
    client.subscribe("a")
    api.post("/mqtt/unsubscribe", client_id="c", topic="a").done()
    paho(broker.tcp).publish("a", "x", 1)
    assert client.received_nothing()


@pytest.mark.parametrize("topics", ["a,b/#", ["a", "b/#"]], ids=["commas", "list"])
def test_a_client_is_subscribed_to_several_topics(broker, api, paho, topics):
    paho(broker.tcp, "c")
    api.post("/mqtt/subscribe", client_id="c", topics=topics, qos=2).done()
    assert rows(api, "c") == [("a", 2), ("b/#", 2)]


def test_with_one_bad_filter_none_is_subscribed_to(broker, api, paho):
    paho(broker.tcp, "c")
    api.post("/mqtt/subscribe", client_id="c", topics=["a", "b/#/c"]).refused(115)
    assert rows(api, "c") == []


def test_a_subscription_again_replaces_its_qos(broker, api, paho):
    client = paho(broker.tcp, "c")
    client.subscribe("a", 0)
    api.post("/mqtt/subscribe", client_id="c", topic="a", qos=2).done()
    assert rows(api, "c") == [("a", 2)]
    client.subscribe("a", 1)
    assert rows(api, "c") == [("a", 1)]


def test_retained_messages_come_with_the_subscription(broker, api, paho):
    client = paho(broker.tcp, "c")
    paho(broker.tcp).publish("a", "kept", 1, retain=True)
    api.post("/mqtt/subscribe", client_id="c", topic="a", qos=1).done()
    message = client.receive()
    assert (message.payload, message.retain) == (b"kept", True)


@pytest.mark.parametrize("prefix", ["$share/g/", "$queue/"])
def test_a_shared_subscription_deals_out(broker, api, paho, prefix):
    clients = [paho(broker.tcp, name) for name in ("one", "two")]
    for name in "one", "two":
        api.post("/mqtt/subscribe", client_id=name, topic=f"{prefix}a", qos=1).done()
        assert rows(api, name) == [("a", 1)]
    assert api.get("/routes/a") == [{"topic": "a", "node": NODE}]
    publisher = paho(broker.tcp)
    for n in range(20):
        publisher.publish("a", str(n), 1)
    for client in clients:
        client.publish_to_self()
    got = [payloads_until_round_trip(client) for client in clients]
    assert sorted(got[0] + got[1], key=int) == [str(n) for n in range(20)]


def payloads_until_round_trip(client):
    got = []
    while not (message := client.receive()).topic.startswith("round-trip/"):
        got.append(message.payload.decode())
    return got


def test_a_subscription_lives_as_long_as_the_session(broker, api, paho):
    away(paho, broker, "kept")
    paho(broker.tcp, "clean", V311).close()
    api.post("/mqtt/subscribe", client_id="kept", topic="a", qos=1).done()
    wait_until(lambda: not api.get("/sessions/clean"), "the clean session ended")
    api.post("/mqtt/subscribe", client_id="clean", topic="a", qos=1).refused(112)
    paho(broker.tcp).publish("a", "x", 1)
    back = paho(broker.tcp, "kept", V311, clean=False)
    assert back.receive().payload == b"x"
    assert rows(api, "kept") == [("a", 1)]


def test_a_subscription_survives_a_restart(broker, api, paho):
    away(paho, broker, "c")
    api.post("/mqtt/subscribe", client_id="c", topic="a/+", qos=1).done()
    broker.kill()
    broker.restart()
    assert rows(Api(broker.management), "c") == [("a/+", 1)]
    paho(broker.tcp).publish("a/b", "x", 1)
    assert paho(broker.tcp, "c", V311, clean=False).receive().payload == b"x"


# Kick


def test_a_kicked_client_is_told_and_its_will_is_published(broker, api, paho):
    watcher = paho(broker.tcp)
    watcher.subscribe("will")
    client = paho(broker.tcp, "c", will={"topic": "will", "payload": "gone"})
    api.delete("/connections/c").done()
    assert client.disconnect_reason() == 0x98
    assert watcher.receive().payload == b"gone"
    wait_until(lambda: api.get("/connections/c") == [], "it is gone")
    api.delete("/connections/c").refused(112)


@pytest.mark.parametrize("version", [V31, V311], ids=["v3.1", "v3.1.1"])
def test_a_kicked_client_of_3_1_is_cut_off(broker, api, paho, version):
    client = paho(broker.tcp, "c", version)
    api.delete("/connections/c").done()
    assert client.disconnect_reason() is None


def test_a_kicked_client_on_websocket_is_told(start):
    broker = start(listener={"ws": {"external": {"enabled": True, "bind": "127.0.0.1:0"}}})
    url = f"ws://127.0.0.1:{broker.ws}/mqtt"
    client = mqttjs.Client(url, protocolVersion=5, clientId="c")
    Api(broker.management).delete("/connections/c").done()
    assert client.disconnect_reason() == 0x98
    client.wait_closed()
    client.close()


def test_the_session_of_a_kicked_client_stays_if_it_is_persistent(broker, api, paho):
    kept = paho(broker.tcp, "kept", V311, clean=False)
    kept.subscribe("a", 1)
    clean = paho(broker.tcp, "clean", V311)
    for client_id, client in ("kept", kept), ("clean", clean):
        api.delete(f"/connections/{client_id}").done()
        client.disconnect_reason()
    wait_until(lambda: is_away(api, "kept"), "it is away")
    wait_until(lambda: not api.get("/sessions/clean"), "its session ended")
    assert rows(api, "kept") == [("a", 1)]
    flags, _, _ = paho(broker.tcp, "kept", V311, clean=False).connack
    assert flags.session_present


def test_ends_of_connections_are_counted_by_reason(broker, api, paho):
    def shutdown_count():
        rows = api.get(f"/nodes/{NODE}/listeners")
        return next(row["shutdown_count"] for row in rows if row["protocol"] == "mqtt:tcp")

    assert shutdown_count() == []
    paho(broker.tcp, "normal").close()
    kicked = paho(broker.tcp, "kicked")
    api.delete("/connections/kicked").done()
    kicked.disconnect_reason()
    wait_until(lambda: shutdown_count() == {"kicked": 1}, "kicked")
    paho(broker.tcp, "lost").break_off()
    wait_until(lambda: shutdown_count() == {"kicked": 1, "closed": 1}, "closed")


# Sessions that are persistent


@pytest.mark.parametrize("base", ["", f"/nodes/{NODE}"], ids=["cluster", "node"])
def test_a_persistent_session_is_cleared(broker, api, paho, base):
    away(paho, broker, "c", "a")
    api.post("/mqtt/publish", topic="a", payload="lost", qos=1).done()
    api.delete(f"{base}/sessions/persistent/c").done()
    assert api.get("/sessions/c") == [] and api.get("/subscriptions/c") == []
    assert api.get("/routes/a") == []
    back = paho(broker.tcp, "c", V311, clean=False)
    flags, _, _ = back.connack
    assert not flags.session_present
    assert back.received_nothing()
    # Now it is connected.
    message = api.delete(f"{base}/sessions/persistent/c").refused(102)
    assert message == "running_session"
    assert not back.disconnected.qsize()


# Routes


def test_routes_are_the_filters_that_somebody_subscribed_to(broker, api, paho):
    one, two = paho(broker.tcp), paho(broker.tcp)
    one.subscribe("a/b")
    two.subscribe("a/b")
    one.subscribe("a/#")
    assert api.get("/routes/a%2Fb") == [{"topic": "a/b", "node": NODE}]
    assert api.get("/routes/a%2Fc") == []
    topics = sorted(row["topic"] for row in api.get("/routes"))
    assert topics == ["a/#", "a/b"]
    one.unsubscribe("a/b")
    assert len(api.get("/routes/a%2Fb")) == 1
    two.close()
    wait_until(lambda: api.get("/routes/a%2Fb") == [], "the route went with the last client")


# Names in paths


@ODD_NAMES
def test_client_ids_are_found_as_they_are(broker, api, paho, name):
    client = paho(broker.tcp, name)
    client.subscribe("a")
    other = paho(broker.tcp, "other")
    for base in "", f"/nodes/{segment(NODE)}":
        for end in "", "/":
            for kind in "connections", "sessions", "subscriptions":
                row = api.one(f"{base}/{kind}/{segment(name)}{end}")
                assert row and row["client_id"] == name, (base, kind, end)
    api.post("/mqtt/subscribe", client_id=name, topic="b").done()
    api.delete(f"/connections/{segment(name)}/").done()
    assert client.disconnect_reason() == 0x98
    assert not other.disconnected.qsize()


@ODD_FILTERS
def test_topics_are_found_as_they_are(broker, api, paho, name):
    paho(broker.tcp, "c").subscribe(name)
    for end in "", "/":
        assert api.get(f"/routes/{segment(name)}{end}") == [{"topic": name, "node": NODE}]
    # Escapes are taken off once, in either case of letters; `+` is no blank.
    lower = re.sub("%..", lambda escape: escape[0].lower(), segment(name))
    assert api.get(f"/routes/{lower}") == [{"topic": name, "node": NODE}]
    assert api.get(f"/routes/{segment(segment(name) + '%')}") == []
    api.post("/mqtt/unsubscribe", client_id="c", topic=name).done()
    assert api.get("/routes") == []


def test_a_plus_may_stand_unescaped(broker, api, paho):
    paho(broker.tcp).subscribe("+")
    assert api.get("/routes/+") == [{"topic": "+", "node": NODE}]


@ODD_NAMES
def test_user_names_are_found_as_they_are(broker, api, paho, name):
    for client_id in "one", "two":
        paho(broker.tcp, client_id, username=name)
    paho(broker.tcp, "three", username="somebody else")
    for base in "", f"/nodes/{NODE}":
        found = api.get(f"{base}/connection/username/{segment(name)}")
        assert sorted(row["client_id"] for row in found) == ["one", "two"]
        assert {row["username"] for row in found} == {name}


def test_slashes_at_the_end_or_doubled_do_not_matter(broker, api, paho):
    paho(broker.tcp, "c").subscribe("a")
    for route in api.get("/"):
        path = route["path"].replace(":node", NODE).replace(":clientid", "c")
        if route["method"] != "GET" or ":" in path or path.startswith("/auth_"):
            continue
        bare = "/" + path.strip("/")
        for form in bare, f"{bare}/", f"{bare}//", bare.replace("/", "//"):
            assert api.request("GET", form).done()["data"] is not None, form
