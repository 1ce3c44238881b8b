"""Sessions of real clients across a broker that is killed."""

import time

import pytest

from mosquitto import pub, tcp
from paho_client import V5, V311, properties
from waiting import DEADLINE_S

# paho sends all it has when it is back, whatever window it keeps else.
STORE = {"mqtt": {"max_mqueue_len": 0, "max_awaiting_rel": 0}}
# What waits for a session comes before its SUBACK.
CONNECTED = "received CONNACK"


def persistent(version):
    """What makes a session outlive its connection."""
    expiry = properties("CONNECT", SessionExpiryInterval=3600) if version == V5 else None
    return {"version": version, "clean": False, "connect": expiry}


def receive_numbers(client, n, deadline_s=DEADLINE_S * 3):
    """Numbers in the order they came, until `n` different ones are there."""
    numbers, until = [], time.monotonic() + deadline_s
    while len(set(numbers)) < n:
        numbers.append(int(client.receive(until - time.monotonic()).payload))
    return numbers


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("qos", [1, 2])
def test_paho_sessions_go_on_after_each_kill(start, paho, version, qos):
    broker = start(**STORE)
    session = persistent(version)
    away = paho(broker.tcp, "away", **session)
    away.subscribe("numbers", qos)
    away.close()
    subscriber = paho(broker.tcp, "subscriber", **session)
    subscriber.subscribe("numbers", qos)
    publisher = paho(broker.tcp, "publisher", **session)
    published = []
    for _ in range(3):
        first = len(published)
        for n in range(first, first + 400):
            published.append(publisher.publish_later("numbers", str(n), qos))
        published[first + 100]()
        broker.kill()
        broker.restart()
        subscriber.reconnect()
        publisher.reconnect()
    for n, wait in enumerate(published):
        if n % 400 != 100:
            wait()
    away = paho(broker.tcp, "away", **session)
    assert away.connack[0].session_present
    for client in subscriber, away:
        numbers = receive_numbers(client, len(published))
        assert list(dict.fromkeys(numbers)) == list(range(len(published)))
        if qos == 2:
            assert len(numbers) == len(published)


def test_paho_retained_messages_and_subscriptions_are_there_after_a_kill(start, paho):
    broker = start(**STORE)
    client = paho(broker.tcp, "client", **persistent(V5))
    client.subscribe("later/#", 1)
    client.publish("state", b"on", 1, retain=True)
    client.publish("other", b"on", 1, retain=True)
    client.publish("other", b"", 1, retain=True)
    broker.kill()
    broker.restart()
    fresh = paho(broker.tcp)
    fresh.subscribe("state", 1)
    fresh.subscribe("other", 1)
    message = fresh.receive()
    assert (message.topic, message.payload, message.retain) == ("state", b"on", True)
    assert fresh.received_nothing()
    client = paho(broker.tcp, "client", **persistent(V5))
    assert client.connack[0].session_present
    fresh.publish("later/x", b"now", 1)
    assert client.receive().payload == b"now"


@pytest.mark.parametrize("version", [["-V", "mqttv311"], ["-V", "mqttv5", "-x", "3600"]])
def test_mosquitto_gets_what_was_published_while_it_was_away(start, mosquitto_sub, version):
    broker = start(**STORE)
    session = [*tcp(broker.tcp), *version, "-c", "-i", "sub", "-q", "2", "-t", "news"]
    mosquitto_sub(*session).disconnect()
    pub(*tcp(broker.tcp), *version, "-q", "2", "-t", "news", "-m", "first")
    broker.kill()
    broker.restart()
    pub(*tcp(broker.tcp), *version, "-q", "2", "-t", "news", "-m", "second")
    broker.kill()
    broker.restart()
    sub = mosquitto_sub(*session, wait_for=CONNECTED)
    assert [sub.receive(), sub.receive()] == ["news first", "news second"]
    sub.disconnect()
    pub(*tcp(broker.tcp), *version, "-q", "2", "-t", "news", "-m", "third")
    broker.kill()
    broker.restart()
    sub = mosquitto_sub(*session, wait_for=CONNECTED)
    assert sub.receive() == "news third"


def test_mosquitto_comes_back_by_itself(start, mosquitto_sub):
    broker = start(**STORE)
    sub = mosquitto_sub(*tcp(broker.tcp), "-c", "-i", "sub", "-q", "2", "-t", "news")
    for n in range(4):
        pub(*tcp(broker.tcp), "-q", "2", "-t", "news", "-m", str(n))
        broker.kill()
        broker.restart()
    assert [sub.receive() for _ in range(4)] == [f"news {n}" for n in range(4)]


def test_mosquitto_will_of_a_client_that_was_connected_comes_after_the_kill(start, mosquitto_sub):
    broker = start(**STORE)
    session = [*tcp(broker.tcp), "-V", "mqttv5", "-x", "3600", "-c"]
    mosquitto_sub(*session, "-i", "watcher", "-q", "1", "-t", "will").disconnect()
    will = ["--will-topic", "will", "--will-payload", "gone", "--will-qos", "1"]
    connected = mosquitto_sub(*session, "-i", "connected", "-t", "x", *will)
    broker.kill()
    connected.kill()
    broker.restart()
    again = ["-i", "watcher", "-q", "1", "-t", "will"]
    watcher = mosquitto_sub(*session, *again, wait_for=CONNECTED)
    assert watcher.receive() == "will gone"
