"""Metrics and statistics of the management API move with real traffic, by what it was and by nothing else."""

import time

import pytest

from api import NODE, Api
from paho_client import V5, V311, properties
from storm import DISCONNECT, PINGREQ, Storm, Wire, connect, subscribe
from waiting import wait_until


class Counted:
    """What moved between its start and now."""

    def __init__(self, read):
        self.read = read
        self.before = read()

    def moved(self):
        after = self.read()
        assert after.keys() == self.before.keys()
        return {
            key: after[key] - self.before[key] for key in after if after[key] != self.before[key]
        }

    def expect(self, expected, view=lambda moved: moved):
        """Exactly this moved. A turn's counts are published behind its answers: the client may be faster."""
        try:
            wait_until(lambda: view(self.moved()) == expected, "it moves", timeout_s=5)
        except AssertionError:
            assert view(self.moved()) == expected  # pytest shows the difference
            raise


def without_bytes(moved):
    return {key: value for key, value in moved.items() if not key.startswith("bytes/")}


@pytest.fixture(name="metrics")
def fixture_metrics(api):
    return lambda: Counted(api.metrics)


# PUBLISH of topic `a`, payload `x`, with Packet Identifier 1.
PUBLISH = {0: b"\x30\4\0\1ax", 1: b"\x32\6\0\1a\0\1x", 2: b"\x34\6\0\1a\0\1x"}
PUBACK, PUBREC, PUBREL, PUBCOMP = b"\x40\2\0\1", b"\x50\2\0\1", b"\x62\2\0\1", b"\x70\2\0\1"
UNSUBSCRIBE = b"\xa2\5\0\1\0\1a"


def test_each_packet_moves_its_counters_by_one(broker, api, metrics):
    """One client, packet by packet; the round trip of a PINGREQ tells that a packet without answer was read."""
    wire = Wire(broker.tcp)

    def step(data, answer, **expected):
        count = metrics()
        wire.send(data, answer)
        names = {name.replace("_", "/"): n for name, n in expected.items()}
        names["bytes/received"] = len(data)
        if answer:
            names["bytes/sent"] = answer
        count.expect(names)

    pair = {"packets_received": 1, "packets_sent": 1}
    step(connect("c"), 4, packets_connect=1, packets_connack=1, **pair)
    step(PINGREQ, 2, packets_pingreq=1, packets_pingresp=1, **pair)
    ping = {"packets_pingreq": 1, "packets_pingresp": 1, "packets_sent": 1}
    arrives = {"packets_publish_received": 1, "messages_received": 1, "messages_dropped": 1}
    step(PUBLISH[0] + PINGREQ, 2, packets_received=2, messages_qos0_received=1, **ping, **arrives)
    step(PUBLISH[1], 4, packets_puback_sent=1, messages_qos1_received=1, **pair, **arrives)
    step(PUBLISH[2], 4, packets_pubrec_sent=1, messages_qos2_received=1, **pair, **arrives)
    step(PUBREL, 4, packets_pubrel_received=1, packets_pubcomp_sent=1, **pair)
    # Released already.
    step(
        PUBREL,
        4,
        packets_pubrel_received=1,
        packets_pubrel_missed=1,
        packets_pubcomp_sent=1,
        **pair,
    )
    for data, kind in (PUBACK, "puback"), (PUBCOMP, "pubcomp"):
        counted = {f"packets_{kind}_received": 1, f"packets_{kind}_missed": 1}
        step(data + PINGREQ, 2, packets_received=2, **counted, **ping)
    step(subscribe("a"), 5, packets_subscribe=1, packets_suback=1, **pair)
    step(UNSUBSCRIBE, 4, packets_unsubscribe=1, packets_unsuback=1, **pair)
    count = metrics()
    wire.send(DISCONNECT, 0)
    wait_until(lambda: not api.get("/connections/c"), "it went")
    expected = {"packets/disconnect/received": 1, "packets/received": 1, "bytes/received": 2}
    count.expect(expected)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_is_counted_in_and_out_by_qos(broker, paho, metrics, qos):
    sub, publisher = paho(broker.tcp), paho(broker.tcp)
    sub.subscribe("a", 2)
    count = metrics()
    publisher.publish("a", "x", qos)
    sub.receive()
    acks = {0: [], 1: ["puback"], 2: ["pubrec", "pubcomp"]}[qos]
    expected = {
        **dict.fromkeys(["packets/publish/received", "messages/received"], 1),
        **dict.fromkeys(["packets/publish/sent", "messages/sent"], 1),
        **dict.fromkeys([f"messages/qos{qos}/received", f"messages/qos{qos}/sent"], 1),
        **{f"packets/{ack}/{way}": 1 for ack in acks for way in ("sent", "received")},
        **({"packets/pubrel/sent": 1, "packets/pubrel/received": 1} if qos == 2 else {}),
    }
    packets = sum(n for key, n in expected.items() if key.startswith("packets/")) // 2
    expected |= {"packets/received": packets, "packets/sent": packets}
    count.expect(expected, without_bytes)


def test_what_the_api_publishes_is_no_traffic_until_it_is_sent(broker, api, metrics):
    count = metrics()
    api.post("/mqtt/publish", topic="a", payload="x", qos=1).done()
    count.expect({"messages/dropped": 1})
    sub, count = Wire(broker.tcp), metrics()
    sub.send(connect("c"), 4)
    sub.send(subscribe("a"), 5)
    wait_until(lambda: count.moved().get("bytes/sent") == 4 + 5, "its answers are counted")
    count = metrics()
    api.post("/mqtt/publish", topic="a", payload="x", qos=1).done()
    sub.take(6)
    sent = ["packets/publish/sent", "messages/sent", "messages/qos0/sent", "packets/sent"]
    # Fixed header 2, topic 3, payload 1.
    count.expect({**dict.fromkeys(sent, 1), "bytes/sent": 6})


def test_a_kick_is_a_disconnect_sent(broker, api, paho, metrics):
    client = paho(broker.tcp, "c")
    count = metrics()
    api.delete("/connections/c").done()
    client.disconnect_reason()
    count.expect({"packets/disconnect/sent": 1, "packets/sent": 1}, without_bytes)


def test_retained_messages_are_a_gauge(broker, paho, metrics, api):
    publisher = paho(broker.tcp)
    count = metrics()
    publisher.publish("a", "x", 1, retain=True)
    publisher.publish("b", "x", 1, retain=True)
    publisher.publish("a", "y", 1, retain=True)
    assert count.moved()["messages/retained"] == 2
    publisher.publish("a", "", 1, retain=True)
    assert count.moved()["messages/retained"] == 1
    stats, kept = api.stats(), count.before["messages/retained"]
    assert (stats["retained/count"], stats["retained/max"]) == (kept + 1, kept + 2)


def test_qos_2_beyond_the_bound_is_counted(start, paho):
    broker = start(zone={"external": {"max_awaiting_rel": 1}})
    api = Api(broker.management)
    wire = Wire(broker.tcp)
    wire.send(connect("c"), 4)
    wire.send(PUBLISH[2], 4)
    count = Counted(api.metrics)
    wire.socket.sendall(b"\x34\6\0\1a\0\2x")
    wait_until(lambda: count.moved().get("messages/qos2/dropped") == 1, "it was dropped")
    wire.close()


def test_expired_messages_are_counted(broker, api, paho):
    client = paho(broker.tcp, "c", V311, clean=False)
    client.subscribe("a", 1)
    client.close()
    wait_until(lambda: not api.get("/connections/c"), "it went")
    count = Counted(api.metrics)
    expiry = properties("PUBLISH", MessageExpiryInterval=1)
    paho(broker.tcp).publish("a", "x", 1, properties=expiry)
    published = time.monotonic()
    wait_until(lambda: time.monotonic() > published + 1.5, "it expired")
    assert paho(broker.tcp, "c", V311, clean=False).received_nothing()
    assert count.moved()["messages/expired"] == 1


def test_sums_hold_in_every_snapshot(broker, api, paho):
    client = paho(broker.tcp)
    client.subscribe("a", 2)
    with Storm(broker.tcp):
        for n in range(30):
            client.publish("a", "x", n % 3)
            check_sums(api.metrics())


RECEIVED = [
    *("connect", "publish/received", "puback/received", "pubrec/received", "pubrel/received"),
    *("pubcomp/received", "subscribe", "unsubscribe", "pingreq", "disconnect/received", "auth"),
]
SENT = [
    *("connack", "publish/sent", "puback/sent", "pubrec/sent", "pubrel/sent", "pubcomp/sent"),
    *("suback", "unsuback", "pingresp", "disconnect/sent"),
]


def check_sums(metrics):
    for way, kinds in ("received", RECEIVED), ("sent", SENT):
        assert metrics[f"packets/{way}"] == sum(metrics[f"packets/{kind}"] for kind in kinds)
        by_qos = sum(metrics[f"messages/qos{qos}/{way}"] for qos in range(3))
        assert metrics[f"messages/{way}"] == metrics[f"packets/publish/{way}"] == by_qos


def test_the_list_and_the_node_show_the_same(broker, api, paho):
    paho(broker.tcp).subscribe("a")
    for kind in "metrics", "stats":
        [row] = api.get(f"/{kind}/")
        assert row["node"] == NODE
        listed = (
            row["metrics"] if kind == "metrics" else {k: v for k, v in row.items() if k != "node"}
        )
        assert listed == api.get(f"/nodes/{NODE}/{kind}/")


# Statistics


def counts(api):
    return {
        key.removesuffix("/count"): n for key, n in api.stats().items() if key.endswith("/count")
    }


DOCUMENTED = {
    *("connections", "sessions", "sessions/persistent", "topics", "routes"),
    *("subscribers", "subscriptions", "subscriptions/shared", "retained"),
}


def documented(moved):
    return {key: n for key, n in moved.items() if key in DOCUMENTED}


def test_statistics_follow_clients_and_subscriptions(broker, api, paho):
    start = Counted(lambda: counts(api))

    def expect(**expected):
        wanted = {name.replace("_", "/"): n for name, n in expected.items() if n}
        start.expect(wanted, documented)

    one = paho(broker.tcp, "one")
    expect(connections=1, sessions=1)
    kept = paho(broker.tcp, "kept", V311, clean=False)
    expect(connections=2, sessions=2, sessions_persistent=1)
    both = {"connections": 2, "sessions": 2, "sessions_persistent": 1}
    one.subscribe("a/#")
    expect(**both, topics=1, routes=1, subscribers=1, subscriptions=1)
    one.subscribe("a/#", 1)
    expect(**both, topics=1, routes=1, subscribers=1, subscriptions=1)
    kept.subscribe("a/#", 1)
    expect(**both, topics=1, routes=1, subscribers=2, subscriptions=2)
    one.subscribe("$share/g/a/#")
    kept.subscribe("$share/g/a/#")
    shared = {"subscribers": 2, "subscriptions": 4, "subscriptions_shared": 2}
    expect(**both, topics=2, routes=2, **shared)
    kept.close()
    away = {"connections": 1, "sessions": 2, "sessions_persistent": 1}
    expect(**away, topics=2, routes=2, **shared)
    one.unsubscribe("$share/g/a/#")
    one.close()
    ours = {"subscribers": 1, "subscriptions": 2, "subscriptions_shared": 1}
    expect(sessions=1, sessions_persistent=1, topics=2, routes=2, **ours)
    api.delete("/sessions/persistent/kept").done()
    expect()
    stats = api.stats()
    assert (stats["connections/max"], stats["sessions/max"]) == (2, 2)
    assert (stats["sessions/persistent/max"], stats["routes/max"], stats["topics/max"]) == (1, 2, 2)
    assert (stats["subscribers/max"], stats["subscriptions/max"]) == (2, 4)
    assert stats["subscriptions/shared/max"] == 2


def test_the_highest_value_is_kept_although_nobody_looked(broker, api):
    """Who samples now and then misses it."""
    before = api.stats()["connections/max"]
    for _ in range(20):
        wires = [Wire(broker.tcp) for _ in range(before + 3)]
        for n, wire in enumerate(wires):
            wire.send(connect(f"c{n}"), 4)
        for wire in wires:
            wire.close()
    wait_until(lambda: api.stats()["connections/count"] == 0, "all went")
    assert api.stats()["connections/max"] >= before + 3


def test_persistent_are_sessions_made_without_clean_start(broker, api, paho):
    """As the original counts them, also when one of 5.0 outlives its connection."""
    start = Counted(lambda: counts(api))
    expiry = properties("CONNECT", SessionExpiryInterval=100)
    paho(broker.tcp, "clean", V5, connect=expiry)
    paho(broker.tcp, "kept", V5, clean=False, connect=expiry)
    start.expect({"connections": 2, "sessions": 2, "sessions/persistent": 1}, documented)


def test_connections_of_listeners_and_node_are_those_of_the_statistics(broker, api, paho):
    paho(broker.tcp, "one"), paho(broker.tcp, "two")
    rows = api.get(f"/nodes/{NODE}/listeners")
    [listener] = [row for row in rows if row["protocol"] == "mqtt:tcp"]
    assert listener["current_conns"] == api.stats()["connections/count"] == 2
    assert listener["listen_on"].endswith(str(broker.tcp))
    assert api.get(f"/nodes/{NODE}")["connections"] == 2
    assert api.get("/nodes")[0]["connections"] == 2
    [own] = [row for row in rows if row["protocol"] == "http:management"]
    assert own["listen_on"].endswith(str(broker.management)) and own["current_conns"] >= 1
