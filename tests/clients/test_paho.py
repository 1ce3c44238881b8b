"""paho-mqtt: MQTT 5.0 properties, sessions, WebSocket, and what the broker adds to MQTT."""

import json
import time

import pytest

from paho_client import V5, V31, V311, options, properties
from waiting import wait_until

VERSIONS = pytest.mark.parametrize("version", [V31, V311, V5], ids=["v3.1", "v3.1.1", "v5"])


@VERSIONS
@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_messages_arrive_with_each_qos(start, paho, version, transport):
    broker = start(listener={"ws": {"external": {"enabled": True, "bind": "127.0.0.1:0"}}})
    port = broker.tcp if transport == "tcp" else broker.ws
    client = paho(port, "one", version, transport=transport)
    client.subscribe("a/#", 2)
    for qos in 0, 1, 2:
        client.publish("a/b", f"hello {qos}", qos)
        message = client.receive()
        assert (message.topic, message.qos, message.payload) == ("a/b", qos, b"hello %d" % qos)


@VERSIONS
@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_messages_arrive_over_tls(start, paho, ca, version, transport):
    broker = start(
        listener={"ssl": {"external": ca.listener()}, "wss": {"external": ca.listener()}}
    )
    port = broker.ssl if transport == "tcp" else broker.wss
    client = paho(port, "one", version, transport=transport, ca=ca)
    client.subscribe("a", 2)
    big = bytes(range(256)) * 1000
    client.publish("a", big, 2)
    assert client.receive().payload == big


def test_the_connack_names_the_limits(start, paho):
    broker = start(mqtt={"max_packet_size": "64KB", "server_keepalive": 30, "max_topic_alias": 7})
    flags, reason, props = paho(broker.tcp).connack
    assert reason.value == 0 and not flags.session_present
    assert props.AssignedClientIdentifier
    assert props.MaximumPacketSize == 65536
    assert props.ServerKeepAlive == 30
    assert props.TopicAliasMaximum == 7


def test_properties_travel_end_to_end(broker, paho):
    sub, pub = paho(broker.tcp), paho(broker.tcp)
    sub.subscribe("a", 1, properties=properties("SUBSCRIBE", SubscriptionIdentifier=77))
    sent = properties(
        "PUBLISH",
        UserProperty=[("b", "2"), ("a", "1"), ("b", "3")],
        ContentType="text/plain",
        ResponseTopic="reply",
        CorrelationData=b"\x00\xff",
        PayloadFormatIndicator=1,
        MessageExpiryInterval=600,
    )
    pub.publish("a", "x", 1, properties=sent)
    got = sub.receive().properties
    assert got.UserProperty == [("b", "2"), ("a", "1"), ("b", "3")]
    assert got.ContentType == "text/plain"
    assert got.ResponseTopic == "reply"
    assert got.CorrelationData == b"\x00\xff"
    assert got.PayloadFormatIndicator == 1
    assert 599 <= got.MessageExpiryInterval <= 600
    assert got.SubscriptionIdentifier == [77]


def test_a_topic_alias_stands_for_its_topic(start, paho):
    broker = start(mqtt={"max_topic_alias": 10})
    sub, pub = paho(broker.tcp), paho(broker.tcp)
    sub.subscribe("a/long/topic")
    alias = properties("PUBLISH", TopicAlias=1)
    pub.publish("a/long/topic", "1", properties=alias)
    pub.publish("", "2", properties=alias)
    first, second = sub.receive(), sub.receive()
    assert [first.payload, second.payload] == [b"1", b"2"]
    assert second.topic == "a/long/topic"


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", [V311, V5], ids=["v3.1.1", "v5"])
def test_a_session_keeps_messages_while_its_client_is_away(broker, paho, version, qos):
    connect = properties("CONNECT", SessionExpiryInterval=600) if version == V5 else None
    keeper = paho(broker.tcp, "keeper", version, clean=False, connect=connect)
    assert not keeper.connack[0].session_present
    keeper.subscribe("news/#", 2)
    keeper.close()
    pub = paho(broker.tcp)
    for n in range(50):
        pub.publish("news/a", str(n), qos)
    keeper = paho(broker.tcp, "keeper", version, clean=False, connect=connect)
    assert keeper.connack[0].session_present
    assert keeper.receive_payloads(50) == [str(n) for n in range(50)]
    assert keeper.received_nothing()


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", [V311, V5], ids=["v3.1.1", "v5"])
def test_unacknowledged_messages_come_again_in_order(broker, paho, version, qos):
    connect = properties("CONNECT", SessionExpiryInterval=600) if version == V5 else None
    args = (broker.tcp, "slow", version)
    slow = paho(*args, clean=False, connect=connect, manual_ack=True)
    slow.subscribe("work", qos)
    pub = paho(broker.tcp)
    for n in range(3):
        pub.publish("work", str(n), qos)
    if qos == 1:
        first = slow.receive()
        assert not first.dup
        slow.ack(first)
        assert slow.receive_payloads(2) == ["1", "2"]
        # The answer to a round trip shows that the broker has the acknowledgement.
        assert slow.received_nothing()
    else:
        # paho-mqtt shows QoS 2 at PUBREL and answers by itself: nothing may come twice.
        assert slow.receive_payloads(3) == ["0", "1", "2"]
    slow.break_off()
    again = paho(*args, clean=False, connect=connect)
    assert again.connack[0].session_present
    if qos == 1:
        first, second = again.receive(), again.receive()
        assert [first.payload, second.payload] == [b"1", b"2"]
        assert first.dup and second.dup
    assert again.received_nothing()


def test_clean_start_ends_the_old_session(broker, paho):
    connect = properties("CONNECT", SessionExpiryInterval=600)
    paho(broker.tcp, "c", clean=False, connect=connect).subscribe("a", 1)
    fresh = paho(broker.tcp, "c", clean=True, connect=connect)
    assert not fresh.connack[0].session_present
    paho(broker.tcp).publish("a", "for the old session", 1)
    assert fresh.received_nothing()


def test_a_session_expires(broker, paho):
    connect = properties("CONNECT", SessionExpiryInterval=1)
    paho(broker.tcp, "brief", clean=False, connect=connect).close()

    def is_gone():
        again = paho(broker.tcp, "brief", clean=False, connect=connect)
        again.close()
        return not again.connack[0].session_present

    assert not is_gone()
    # Each look begins a new second, so look once, behind it.
    watcher = paho(broker.tcp)
    watcher.subscribe("later")
    watcher.publish("$delayed/2/later", "now")
    watcher.receive()
    assert is_gone()


def test_the_old_connection_is_told_of_the_takeover(broker, paho):
    old = paho(broker.tcp, "same")
    paho(broker.tcp, "same")
    # paho-mqtt does not read a Reason Code without properties; MQTT.js does, see test_mqttjs.py.
    assert old.disconnected.get(timeout=5).is_disconnect_packet_from_server


def test_a_will_waits_for_its_delay(broker, paho):
    watcher = paho(broker.tcp)
    watcher.subscribe("will/#", 1)
    will = {
        "topic": "will/a",
        "payload": "gone",
        "qos": 1,
        "properties": properties("WILLMESSAGE", WillDelayInterval=1, ContentType="text/plain"),
    }
    connect = properties("CONNECT", SessionExpiryInterval=60)
    mortal = paho(broker.tcp, "mortal", connect=connect, will=will)
    begun = time.monotonic()
    mortal.break_off()
    message = watcher.receive()
    assert time.monotonic() - begun >= 1
    assert (message.payload, message.properties.ContentType) == (b"gone", "text/plain")


def test_a_will_is_not_sent_if_the_client_is_back_in_time(broker, paho):
    watcher = paho(broker.tcp)
    watcher.subscribe("will/#", 1)
    will = {
        "topic": "will/a",
        "payload": "gone",
        "properties": properties("WILLMESSAGE", WillDelayInterval=1),
    }
    connect = properties("CONNECT", SessionExpiryInterval=60)
    paho(broker.tcp, "phoenix", connect=connect, will=will).break_off()
    assert paho(broker.tcp, "phoenix", clean=False, connect=connect).connack[0].session_present
    watcher.publish("$delayed/2/will/end", "-")
    assert watcher.receive().topic == "will/end"


def test_subscription_options_are_honoured(broker, paho):
    client, other = paho(broker.tcp), paho(broker.tcp)
    other.publish("kept", "old", 1, retain=True)
    client.subscribe("own", subscription=options(1, noLocal=True))
    client.publish("own", "mine")
    client.subscribe("kept", subscription=options(1, retainHandling=2))
    client.subscribe("flag", subscription=options(1, retainAsPublished=True))
    other.publish("flag", "x", 1, retain=True)
    message = client.receive()
    assert (message.topic, message.retain) == ("flag", True)
    # Retain Handling 1 sends for a new subscription only.
    again = paho(broker.tcp)
    again.subscribe("kept", subscription=options(1, retainHandling=1))
    assert again.receive().payload == b"old"
    again.subscribe("kept", subscription=options(1, retainHandling=1))
    assert again.received_nothing()


def test_reason_codes_say_what_happened(start, paho):
    broker = start(mqtt={"wildcard_subscription": False, "max_qos_allowed": 1})
    client = paho(broker.tcp)
    assert client.connack[2].MaximumQoS == 1
    assert client.subscribe("a", 2) == [1]
    assert client.subscribe("a/#", 1) == [0xA2]
    assert client.publish("nobody/there", "x", 1) == 0x10
    assert client.unsubscribe("never/subscribed") == [0x11]
    assert client.unsubscribe("a") == [0x00]


def test_receive_maximum_bounds_what_is_under_way(broker, paho):
    slow = paho(broker.tcp, connect=properties("CONNECT", ReceiveMaximum=2), manual_ack=True)
    slow.subscribe("a", 1)
    pub = paho(broker.tcp)
    for n in range(5):
        pub.publish("a", str(n), 1)
    first, second = slow.receive(), slow.receive()
    # A QoS 0 message overtakes nothing it must not: it comes although the window is full.
    slow.subscribe("b", 0)
    pub.publish("b", "free")
    assert slow.receive().payload == b"free"
    slow.ack(first)
    assert slow.receive().payload == b"2"
    slow.ack(second)
    assert slow.receive().payload == b"3"


def test_a_message_expires_in_the_queue(broker, paho):
    connect = properties("CONNECT", SessionExpiryInterval=600)
    keeper = paho(broker.tcp, "keeper", clean=False, connect=connect)
    keeper.subscribe("a", 1)
    keeper.close()
    pub = paho(broker.tcp)
    pub.publish("a", "short", 1, properties=properties("PUBLISH", MessageExpiryInterval=1))
    pub.publish("a", "long", 1, properties=properties("PUBLISH", MessageExpiryInterval=100))
    pub.subscribe("tick")
    pub.publish("$delayed/2/tick", "")
    pub.receive()
    keeper = paho(broker.tcp, "keeper", clean=False, connect=connect)
    message = keeper.receive()
    assert message.payload == b"long"
    assert message.properties.MessageExpiryInterval <= 98


@pytest.mark.parametrize("share", ["$share/group/jobs/+", "$queue/jobs/+"])
def test_members_of_a_shared_subscription_divide_the_messages(start, paho, share):
    broker = start(broker={"shared_subscription_strategy": "round_robin"})
    members = [paho(broker.tcp) for _ in range(3)]
    everything = paho(broker.tcp)
    for member in members:
        assert member.subscribe(share, 1) == [1]
    everything.subscribe("jobs/#", 1)
    pub = paho(broker.tcp)
    for n in range(30):
        pub.publish("jobs/a", str(n), 1)
    shares = [member.receive_payloads(10) for member in members]
    assert sorted(int(n) for one in shares for n in one) == list(range(30))
    assert everything.receive_payloads(30) == [str(n) for n in range(30)]
    assert all(member.received_nothing() for member in members)


def test_another_member_gets_what_one_did_not_acknowledge(start, paho):
    broker = start(
        broker={"shared_subscription_strategy": "sticky", "shared_dispatch_ack_enabled": True}
    )
    members = [paho(broker.tcp, f"m{n}", manual_ack=True) for n in range(2)]
    for member in members:
        member.subscribe("$share/g/jobs", 1)
    paho(broker.tcp).publish("jobs", "important", 1)
    # Which one got it is the broker's choice.
    holder = wait_until(
        lambda: next((m for m in members if not m._messages.empty()), None), "a member gets it"
    )
    other = next(m for m in members if m is not holder)
    assert holder.receive().payload == b"important"
    holder.break_off()
    assert other.receive().payload == b"important"


def test_a_delayed_message_comes_later(broker, paho):
    client = paho(broker.tcp)
    client.subscribe("#", 1)
    begun = time.monotonic()
    client.publish("$delayed/1/later/a", "late", 1)
    client.publish("soon", "early", 1)
    assert client.receive().payload == b"early"
    message = client.receive()
    assert time.monotonic() - begun >= 1
    assert (message.topic, message.payload, message.qos) == ("later/a", b"late", 1)


def test_events_tell_of_clients_and_sessions(broker, paho):
    watcher = paho(broker.tcp, "watcher")
    watcher.subscribe("$events/#")

    def event(name, client_id="alice"):
        while True:
            message = watcher.receive()
            told = json.loads(message.payload)
            if message.topic == f"$events/{name}" and told["clientid"] == client_id:
                return told

    alice = paho(broker.tcp, "alice", V311, username="al")
    connected = event("client_connected")
    assert connected["username"] == "al" and connected["proto_ver"] == 4
    alice.subscribe("x", 1)
    subscribed = event("session_subscribed")
    assert subscribed["topic"] == "x" and subscribed["qos"] == 1
    alice.publish("nobody/listens", "x", 1)
    assert event("message_dropped")["topic"] == "nobody/listens"
    alice.unsubscribe("x")
    assert event("session_unsubscribed")["topic"] == "x"
    alice.close()
    assert event("client_disconnected")["reason"] == "normal"


def test_presence_is_told_on_sys_topics(broker, paho):
    watcher = paho(broker.tcp, "watcher")
    watcher.subscribe("$SYS/brokers/+/clients/#", 1)
    bob = paho(broker.tcp, "bob")
    message = watcher.receive()
    assert message.topic == "$SYS/brokers/emqx@127.0.0.1/clients/bob/connected"
    assert json.loads(message.payload)["ipaddress"] == "127.0.0.1"
    bob.close()
    assert watcher.receive().topic.endswith("/clients/bob/disconnected")


def test_modules_rewrite_topics_and_subscribe_clients(start, paho):
    broker = start(
        module={
            "rewrite": {"rule": ["x/# ^x/y/(.+)$ z/y/$1"]},
            "subscription": {"1": {"topic": "inbox/%c", "qos": 1}},
        }
    )
    carol = paho(broker.tcp, "carol")
    carol.subscribe("z/#", 1)
    pub = paho(broker.tcp)
    pub.publish("x/y/1", "rewritten", 1)
    assert carol.receive().topic == "z/y/1"
    pub.publish("inbox/carol", "you have mail", 1)
    assert carol.receive().payload == b"you have mail"


def test_a_packet_over_the_maximum_is_refused(start, paho):
    broker = start(mqtt={"max_packet_size": "1KB"})
    client, bystander = paho(broker.tcp), paho(broker.tcp)
    client.client.publish("a", b"x" * 2000)
    assert client.disconnected.get(timeout=5).is_disconnect_packet_from_server
    bystander.publish_to_self()
    assert bystander.receive().topic.startswith("round-trip/")
