"""Every event in every dialect, with a column for each that the language has, from clients that give it a value."""

import json
import re
import time

import paho.mqtt.client as mqtt
import pytest

from api import Api
from far_ends import HookServer
from paho_client import Client, options, properties
from waiting import wait_until

NODE = "emqx@127.0.0.1"
# Events by their name in `for` and in FROM, and behind `$events/`, where they have one.
EVENTS = {
    "message.publish": None,
    "message.deliver": "message_delivered",
    "message.acked": "message_acked",
    "message.dropped": "message_dropped",
    "client.connected": "client_connected",
    "client.disconnected": "client_disconnected",
    "client.subscribe": None,
    "client.unsubscribe": None,
    "session.subscribed": "session_subscribed",
    "session.unsubscribed": "session_unsubscribed",
}
LATER_NAMES = {"message.deliver": "message.delivered"}
MOUNTED = "tenants/alice/"

# Kinds of values: what must be there and cannot be foretold.
HOST = "127.0.0.1"


def address(value):
    return bool(re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", value))


def now_ms(value):
    return abs(value - time.time() * 1000) < 120_000


def message_id(value):
    return bool(re.fullmatch(r"[0-9A-F]{32}", value))


def rule_id(value):
    return re.fullmatch(r"\d+:\d+", value["rule_id"])


USER = {"User-Property": {"k": "v"}, "User-Property-Pairs": [{"key": "k", "value": "v"}]}
PUB_PROPS = {"Content-Type": "text/plain", "Response-Topic": "re", "Message-Expiry-Interval": 600, **USER}
WHO = {"username": "alice", "peername": address}
CERTIFIED = {
    **WHO,
    "client_id": "dev",
    "zone": "tenants",
    "auth_result": "success",
    "mountpoint": MOUNTED,
    "ws_cookie": {"id": "42"},
    "cn": "alice",
    "dn": lambda value: "CN=alice" in value,
    "timestamp": now_ms,
}
MESSAGE = {
    "id": message_id,
    "username": "bob",
    "topic": MOUNTED + "ev/1",
    "qos": 1,
    "payload": "hello",
    "flags": {"dup": False, "retain": False},
    "timestamp": now_ms,
}
OLD_MESSAGE = {**MESSAGE, "client_id": "pub", "peername": address, "retain": 0}
RECEIVED = {"client_id": "dev", "username": "alice", "from_clientid": "pub", "from_username": "bob"}
SUB_OPTS = {"nl": 0, "qos": 1, "rap": 1, "rh": 2}


def in_3(_):
    """Columns of 3.1 and 3.2, without `event`."""
    filters = [{"topic": "ev/#", "qos": 1, "sub_opts": SUB_OPTS}]
    gone = [{"topic": "ev/#", "sub_opts": {}}]
    connected = {
        "connack": 0,
        "connected_at": now_ms,
        "clean_start": True,
        "is_bridge": False,
        "keepalive": 60,
        "proto_ver": 5,
    }
    deliver = {key: CERTIFIED[key] for key in ("zone", "auth_result", "mountpoint", "ws_cookie")}
    topic = {"topic": "ev/#"}
    return {
        "message.publish": OLD_MESSAGE,
        "message.deliver": {**OLD_MESSAGE, **RECEIVED, **deliver},
        "message.acked": {**OLD_MESSAGE, **RECEIVED},
        "message.dropped": {**OLD_MESSAGE, "topic": "ev/none", "reason": "no_subscribers"},
        "client.connected": {**CERTIFIED, **connected},
        "client.disconnected": {**CERTIFIED, "reason_code": "normal"},
        "client.subscribe": {**CERTIFIED, **topic, "qos": 1, "topic_filters": filters},
        "client.unsubscribe": {**CERTIFIED, **topic, "topic_filters": gone},
        "session.subscribed": {**CERTIFIED, **topic, "qos": 1},
        "session.unsubscribed": {**CERTIFIED, **topic, "qos": 1},
    }


def in_4(port):
    """Columns of 4, without `event`."""
    common = {"metadata": rule_id, "timestamp": now_ms}
    message = {
        **MESSAGE,
        **common,
        "clientid": "pub",
        "peerhost": HOST,
        "headers": {"peerhost": HOST, "proto_ver": 5, "protocol": "mqtt", "username": "bob"},
        "pub_props": PUB_PROPS,
        "publish_received_at": now_ms,
    }
    received = {"clientid": "dev", "username": "alice", "from_clientid": "pub", "from_username": "bob"}
    client = {**common, **WHO, "clientid": "dev", "sockname": f"127.0.0.1:{port}"}
    subscription = {**common, "clientid": "dev", "username": "alice", "peerhost": HOST, "topic": "ev/#", "qos": 1}
    return {
        "message.publish": message,
        "message.deliver": {**message, **received},
        "message.acked": {**message, **received, "puback_props": {}},
        "message.dropped": {**message, "topic": "ev/none", "reason": "no_subscribers"},
        "client.connected": {
            **client,
            "mountpoint": MOUNTED,
            "proto_name": "MQTT",
            "proto_ver": 5,
            "keepalive": 60,
            "clean_start": True,
            "receive_maximum": 7,
            "expiry_interval": 300,
            "is_bridge": False,
            "conn_props": {"Session-Expiry-Interval": 300, "Receive-Maximum": 7, **USER},
            "connected_at": now_ms,
        },
        "client.disconnected": {**client, "reason": "normal", "disconn_props": {"Session-Expiry-Interval": 0, **USER}, "disconnected_at": now_ms},
        "session.subscribed": {**subscription, "sub_props": {"Subscription-Identifier": 3, **USER}},
        "session.unsubscribed": {**subscription, "unsub_props": USER},
    }


def rules():
    """Each rule by its number: event, dialect, `for`, statement, and how it spells the event."""
    for hook, later in EVENTS.items():
        yield hook, "for", hook, 'SELECT * FROM "ev/#", "tenants/#"', hook.replace(".", "_")
        yield hook, "3.2", None, f'SELECT * FROM "{hook}"', hook
        if hook == "message.publish":
            yield hook, "4", None, 'SELECT * FROM "tenants/#"', hook
        elif later:
            yield hook, "4", None, f'SELECT * FROM "$events/{later}"', LATER_NAMES.get(hook, hook)


RULES = list(rules())


@pytest.fixture(scope="module")
def rows(start_for_all, tmp_path_factory, ca):
    """The first row of each rule, after clients have done everything once; and the port they came in by."""
    verified = ca.listener(
        cacertfile=str(ca.crt("ca")), verify="verify_peer", fail_if_no_peer_cert=True, zone="tenants"
    )
    broker = start_for_all(
        listener={"wss": {"external": verified}}, zone={"tenants": {"mountpoint": "tenants/%u/"}}
    )
    api = Api(broker.management)
    hook = HookServer(tmp_path_factory.mktemp("hook"))
    config = {"url": hook.url}
    made = api.post("/resources", name="w", type="web_hook", config=config).done()["data"]
    for number, (_, _, name, rawsql, _) in enumerate(RULES):
        params = {"$resource": made["id"], "path": f"/{number}"}
        actions = [{"name": "data_to_webserver", "params": params}]
        body = {"name": str(number), "rawsql": rawsql, "actions": actions}
        api.post("/rules", **body, **({"for": name} if name else {})).done()
    act(broker, ca)
    wait_until(lambda: all_of(hook), "a row of each rule")
    found = all_of(hook)
    hook.kill()
    return found, broker.wss


def all_of(hook):
    """Rows by the number of their rule, once each has one of the client or topic it is about."""
    found = {}
    for request in hook.requests():
        row = json.loads(request["body"])
        is_ours = row.get("client_id", row.get("clientid")) in ("dev", "pub")
        is_other = row["event"].startswith("client") and "dev" not in (row.get("client_id"), row.get("clientid"))
        if is_ours and not is_other:
            found.setdefault(int(request["path"].rsplit("/", 1)[1]), row)
    return found if len(found) == len(RULES) else None


def act(broker, ca):
    user = {"UserProperty": ("k", "v")}
    dev = Client(
        broker.wss,
        "dev",
        transport="websockets",
        ca=ca,
        certificate="alice",
        username="alice",
        headers={"Cookie": "id=42"},
        connect=properties("CONNECT", SessionExpiryInterval=300, ReceiveMaximum=7, **user),
    )
    of_subscribe = properties("SUBSCRIBE", SubscriptionIdentifier=3, **user)
    subscription = options(1, retainAsPublished=True, retainHandling=2)
    assert dev.subscribe("ev/#", subscription=subscription, properties=of_subscribe) == [1]
    pub = Client(broker.tcp, "pub", username="bob")
    of_publish = properties(
        "PUBLISH", ContentType="text/plain", ResponseTopic="re", MessageExpiryInterval=600, **user
    )
    pub.publish(MOUNTED + "ev/1", b"hello", qos=1, properties=of_publish)
    assert dev.receive().payload == b"hello"
    pub.publish("ev/none", b"hello", qos=1, properties=of_publish)
    result, mid = dev.client.unsubscribe("ev/#", properties=properties("UNSUBSCRIBE", **user))
    assert result == mqtt.MQTT_ERR_SUCCESS
    dev._wait_for_ack(mid)  # pylint: disable=protected-access
    dev.client.disconnect(properties=properties("DISCONNECT", SessionExpiryInterval=0, **user))
    dev.disconnected.get(timeout=30)
    dev.client.loop_stop()
    pub.close()


@pytest.mark.parametrize("number", range(len(RULES)), ids=[f"{hook}-{dialect}" for hook, dialect, *_ in RULES])
def test_each_column_of_each_event_in_each_dialect(rows, number):
    found, port = rows
    hook, dialect, _, _, event = RULES[number]
    row = found[number]
    expected = (in_4 if dialect == "4" else in_3)(port)[hook]
    expected = {**expected, "event": event, "node": NODE}
    assert sorted(row) == sorted(expected)
    for name, value in expected.items():
        is_right = value(row[name]) if callable(value) else row[name] == value
        assert is_right, f"{name}: {row[name]!r}"
