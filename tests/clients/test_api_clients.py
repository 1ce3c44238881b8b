"""What the management API shows of each client and session is what that client is."""

import time

import pytest

from api import NODE, Api
from api_world import KINDS, MOSQUITTO, OFFLINE, World
from mosquitto import tcp
from paho_client import V5, V311, properties
from storm import PINGREQ, Wire, connect
from waiting import wait_until

COUNTERS = {
    *("recv_oct", "recv_cnt", "recv_pkt", "recv_msg"),
    *("send_oct", "send_cnt", "send_pkt", "send_msg"),
}


@pytest.fixture(name="world", scope="module")
def fixture_world(start_for_all):
    world = World(start_for_all)
    yield world
    world.close()


# Client id: what its connection shows.
CONNECTIONS = {
    MOSQUITTO: {"proto_name": "MQIsdp", "proto_ver": 3, "username": "undefined"},
    "v311": {"proto_name": "MQTT", "proto_ver": 4, "username": "undefined"},
    "v5": {"proto_name": "MQTT", "proto_ver": 5, "username": "five"},
    "persistent": {"proto_name": "MQTT", "proto_ver": 4, "username": "kept", "clean_start": False},
    "websocket": {
        **{"proto_name": "MQTT", "proto_ver": 4, "username": ""},
        **{"conn_mod": "emqx_ws_connection", "peercert": "undefined"},
    },
}
USUAL = {
    **{"node": NODE, "zone": "external", "ipaddress": "127.0.0.1", "is_bridge": False},
    **{"conn_mod": "emqx_connection", "peercert": "nossl", "keepalive": 60, "clean_start": True},
}


@pytest.mark.parametrize("client_id", CONNECTIONS)
def test_a_connection_is_shown_as_it_is(world, client_id):
    row = world.api.one(f"/connections/{client_id}")
    known = {**USUAL, **CONNECTIONS[client_id], "client_id": client_id}
    assert {key: row[key] for key in known} == known
    in_list = [r for r in world.api.get("/connections") if r["client_id"] == client_id]
    assert [{key: r[key] for key in known} for r in in_list] == [known]
    if client_id in ("v311", "v5", "persistent"):
        assert row["port"] == world.clients[client_id].local_port()
    assert abs(at(row["connected_at"]) - time.time()) < 120
    assert row["heap_size"] > 0 and row["reductions"] > 0


def at(text):
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


# Client id: what its session shows.
SESSIONS = {
    MOSQUITTO: {"username": "undefined"},
    "v311": {"username": "undefined"},
    "v5": {"username": "five", "expiry_interval": 300},
    "persistent": {"username": "kept", "clean_start": False, "expiry_interval": 7200},
    "websocket": {"username": ""},
    OFFLINE: {
        **{"username": "kept", "clean_start": False, "expiry_interval": 7200},
        **{"binding": "undefined", "mqueue_len": 1, "enqueue_msg": 1},
    },
}
USUAL_SESSION = {
    **{"node": NODE, "binding": "local", "clean_start": True, "expiry_interval": 0},
    **{"subscriptions_count": 1, "max_subscriptions": 0, "max_inflight": 32, "inflight_len": 0},
    **{"max_mqueue": 1000, "mqueue_len": 0, "mqueue_dropped": 0, "awaiting_rel_len": 0},
    **{"max_awaiting_rel": 100},
}


@pytest.mark.parametrize("client_id", SESSIONS)
def test_a_session_is_shown_as_it_is(world, client_id):
    row = world.api.one(f"/sessions/{client_id}")
    known = {**USUAL_SESSION, **SESSIONS[client_id], "client_id": client_id}
    assert {key: row[key] for key in known} == known
    in_list = [r for r in world.api.get("/sessions") if r["client_id"] == client_id]
    assert [{key: r[key] for key in known} for r in in_list] == [known]
    assert abs(at(row["created_at"]) - time.time()) < 120
    assert row["heap_size"] > 0


def test_lists_hold_who_is_there_and_nobody_else(world):
    connected = {*KINDS, MOSQUITTO, "mqttjs_ab9069449e"}
    ids = {row["client_id"] for row in world.api.get("/connections")}
    assert ids == connected
    assert {row["client_id"] for row in world.api.get("/sessions")} == connected | {OFFLINE}
    assert {row["client_id"] for row in world.api.get("/subscriptions")} == connected | {OFFLINE}
    assert world.api.get(f"/connections/{OFFLINE}") == []
    assert len(world.api.get("/nodes")) == 1
    assert world.api.get(f"/nodes/{NODE}")["connections"] == len(connected)


@pytest.mark.parametrize("path", ["connections", "sessions", "subscriptions"])
@pytest.mark.parametrize("base", ["", f"/nodes/{NODE}"], ids=["cluster", "node"])
def test_of_an_unknown_client_there_is_nothing(world, base, path):
    assert world.api.get(f"{base}/{path}/nobody-of-this-name") == []
    assert world.api.get(f"{base}/connection/username/nobody-of-this-name") == []


def test_a_bridge_is_told_by_its_protocol_level(broker, api):
    wire = Wire(broker.tcp)
    packet = bytearray(connect("bridge"))
    packet[8] |= 0x80
    wire.send(bytes(packet), 4)
    row = api.one("/connections/bridge")
    assert (row["is_bridge"], row["proto_ver"]) == (True, 4)
    wire.close()


def test_an_assigned_client_id_is_shown(broker, api, paho):
    assigned = paho(broker.tcp).connack[2].AssignedClientIdentifier
    assert api.one(f"/connections/{assigned}")["client_id"] == assigned


def test_the_limits_are_those_of_the_client_and_the_zone(start, paho):
    broker = start(zone={"external": {"max_subscriptions": 7, "max_mqueue_len": 9}})
    window = properties("CONNECT", ReceiveMaximum=5, SessionExpiryInterval=0)
    paho(broker.tcp, "c", connect=window)
    row = Api(broker.management).one("/sessions/c")
    shown = row["max_inflight"], row["max_subscriptions"], row["max_mqueue"]
    assert shown == (5, 7, 9)


def moved(before, after):
    return {key: after[key] - before[key] for key in COUNTERS if after[key] != before[key]}


def test_counters_of_a_connection_move_exactly(broker, api):
    """Three PINGREQs are 6 bytes in 3 packets, as the document's examples show it."""

    def row(**expected):
        """What was written is counted when it is written: the client may be faster than that."""
        wait_until(lambda: expected.items() <= api.one("/connections/c").items(), f"{expected}")
        return api.one("/connections/c")

    wire = Wire(broker.tcp)
    wire.send(connect("c"), 4)
    row(recv_pkt=1, recv_cnt=1, recv_oct=len(connect("c")), recv_msg=0)
    first = row(send_pkt=1, send_cnt=1, send_oct=4, send_msg=0)
    for _ in range(3):
        wire.send(PINGREQ, 2)
    second = row(send_oct=10)
    assert moved(first, second) == dict.fromkeys(
        ["recv_pkt", "recv_cnt", "send_pkt", "send_cnt"], 3
    ) | {
        "recv_oct": 6,
        "send_oct": 6,
    }
    assert second["reductions"] > first["reductions"]
    # PUBLISH, QoS 0, of topic `a` with payload `xy`.
    wire.send(bytes.fromhex("3005000161") + b"xy" + PINGREQ, 2)
    third = moved(second, row(send_oct=12))
    assert (third["recv_msg"], third["recv_pkt"], third["recv_oct"]) == (1, 2, 9)
    wire.close()


def test_a_queue_that_overflows_is_counted_with_its_session(start, paho):
    broker = start(zone={"external": {"max_mqueue_len": 3}})
    api = Api(broker.management)
    client = paho(broker.tcp, "c", V311, clean=False)
    client.subscribe("a", 1)
    client.close()
    wait_until(lambda: api.one("/sessions/c")["binding"] == "undefined", "the client went")
    for n in range(5):
        api.post("/mqtt/publish", topic="a", payload=str(n), qos=1).done()
    row = api.one("/sessions/c")
    assert (row["mqueue_len"], row["mqueue_dropped"], row["max_mqueue"]) == (3, 2, 3)
    back = paho(broker.tcp, "c", V311, clean=False)
    assert back.receive_payloads(3) == ["2", "3", "4"]
    wait_until(lambda: api.one("/sessions/c")["inflight_len"] == 0, "acknowledged")
    row = api.one("/sessions/c")
    assert (row["mqueue_len"], row["deliver_msg"], row["binding"]) == (0, 3, "local")


def test_what_is_unacknowledged_is_in_flight(broker, api, paho):
    client = paho(broker.tcp, "c", manual_ack=True)
    client.subscribe("a", 1)
    for n in range(3):
        api.post("/mqtt/publish", topic="a", payload=str(n), qos=1).done()
    messages = [client.receive() for _ in range(3)]
    assert api.one("/sessions/c")["inflight_len"] == 3
    for message in messages:
        client.ack(message)
    wait_until(lambda: api.one("/sessions/c")["inflight_len"] == 0, "acknowledged")
    assert api.one("/sessions/c")["deliver_msg"] == 3


def test_qos_2_awaits_its_release(broker, api):
    wire = Wire(broker.tcp)
    wire.send(connect("c"), 4)
    wire.send(bytes.fromhex("3406") + b"\0\1a\0\1x", 4)
    assert api.one("/sessions/c")["awaiting_rel_len"] == 1
    wire.send(bytes.fromhex("62020001"), 4)
    assert api.one("/sessions/c")["awaiting_rel_len"] == 0
    wire.close()


def test_a_client_of_mosquitto_is_shown_with_its_subscriptions(broker, api, mosquitto_sub):
    mosquitto_sub(*tcp(broker.tcp), "-i", "m", "-t", "a/#", "-t", "b", "-q", "2")
    rows = sorted(api.get("/subscriptions/m"), key=lambda row: row["topic"])
    assert rows == [
        {"client_id": "m", "node": NODE, "topic": topic, "qos": 2} for topic in ("a/#", "b")
    ]


def test_a_session_tells_where_its_connection_went(broker, api, paho):
    lasting = properties("CONNECT", SessionExpiryInterval=100)
    first = paho(broker.tcp, "c", V5, connect=lasting, username="u")
    first.subscribe("a")
    first.close()
    wait_until(lambda: api.get("/connections/c") == [], "it went")
    assert api.one("/sessions/c")["binding"] == "undefined"
    paho(broker.tcp, "c", V5, clean=False, username="u")
    row = api.one("/sessions/c")
    assert (row["binding"], row["subscriptions_count"], row["username"]) == ("local", 1, "u")
