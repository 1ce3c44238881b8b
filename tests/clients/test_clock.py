"""A wall clock that is set while the broker runs (attack case 36), with Debian's libfaketime.

Sessions, keep alives and tokens of who is connected go by the monotonic clock; bans and Message Expiry by the wall clock,
since both outlive the process and say a time of day.
"""

import threading
import time
from pathlib import Path

import jwt
import pytest

from api import Api
from paho_client import V5, properties
from waiting import wait_until

SECRET = "a secret of more than thirty-two bytes, or PyJWT warns; and so on up to sixty-four"
BANNED, NOT_AUTHORIZED, EXPIRED = 0x8A, 0x87, 0xA0
DAY_S = 86_400
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="needs Debian's libfaketime")


class Clock:
    """The wall clock of a broker: so many seconds beside the machine's."""

    def __init__(self, folder):
        self.file = folder / "clock"
        self.set(0)
        self.prefix = (
            *("env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={self.file}"),
            *("FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"),
        )

    def set(self, offset_s):
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        # At once, or it would be read half.
        new.rename(self.file)

    def seen(self, api):
        """The time of day as the broker has it, of an event that it tells of itself."""
        return api.get("/brokers/emqx@127.0.0.1")["datetime"]


@pytest.fixture(name="clock")
def fixture_clock(tmp_path):
    return Clock(tmp_path)


def durable(expiry_s):
    return properties("CONNECT", SessionExpiryInterval=expiry_s)


def sleeper(paho, broker, client_id, expiry_s, clean=False):
    return paho(broker.tcp, client_id, clean=clean, connect=durable(expiry_s))


def is_present(client):
    return client.connack[0].session_present


JUMPS = pytest.mark.parametrize("offset_s", [DAY_S, -DAY_S], ids=["forward", "back"])


@JUMPS
def test_e36_sessions_wait_as_long_as_was_agreed(start, paho, clock, offset_s):
    broker = start(prefix=clock.prefix)
    api = Api(broker.management)
    before = clock.seen(api)
    stays = paho(broker.tcp, "stays")
    stays.subscribe("a", 1)
    for client_id, expiry_s in [("long", 60), ("short", 2)]:
        client = sleeper(paho, broker, client_id, expiry_s)
        client.subscribe("kept", 1)
        client.close()
    stays.publish("kept", "kept", qos=1)
    clock.set(offset_s)
    assert clock.seen(api)[:10] != before[:10], "the broker sees another day"
    # Who is connected stays so, and is served.
    stays.publish("a", "x", qos=1)
    assert stays.receive().payload == b"x"
    back = sleeper(paho, broker, "long", 60)
    assert is_present(back), "a minute has not passed"
    assert back.receive().payload == b"kept"
    # Nor does a session live on because the day has.
    wait_until(lambda: all(it["client_id"] != "short" for it in api.get("/sessions")), "it is over")
    assert not is_present(sleeper(paho, broker, "short", 2))
    assert stays.disconnected.empty()


@JUMPS
def test_e36_sessions_survive_a_restart_at_another_time(start, paho, clock, offset_s):
    broker = start(prefix=clock.prefix)
    for client_id, expiry_s in [("ever", 0xFFFFFFFF), ("year", 400 * DAY_S)]:
        client = sleeper(paho, broker, client_id, expiry_s)
        client.subscribe("kept", 1)
        client.close()
    paho(broker.tcp).publish("kept", "kept", qos=1, retain=True)
    broker.kill()
    clock.set(offset_s)
    broker.restart()
    for client_id in "ever", "year":
        client = sleeper(paho, broker, client_id, 60)
        assert is_present(client), client_id
        assert client.receive().payload == b"kept"
    # What was written at another time is no bar to what is written now.
    publisher = paho(broker.tcp)
    assert publisher.publish("kept", "again", qos=1, retain=True) == 0
    publisher.subscribe("kept", 1)
    assert publisher.receive().payload == b"again"


@JUMPS
def test_e36_a_message_is_passed_on_with_no_more_than_it_had(start, paho, clock, offset_s):
    broker = start(prefix=clock.prefix)
    publisher = paho(broker.tcp)
    client = sleeper(paho, broker, "away", 1000)
    client.subscribe("queued", 1)
    client.close()
    for topic, retain in [("queued", False), ("retained", True)]:
        expiry = properties("PUBLISH", MessageExpiryInterval=100)
        publisher.publish(topic, "expires", qos=1, retain=retain, properties=expiry)
        publisher.publish(topic + "/x", "x", qos=1)
    publisher.publish("queued", "stays", qos=1)
    clock.set(offset_s)
    back = sleeper(paho, broker, "away", 1000)
    late = paho(broker.tcp)
    late.subscribe("retained", 1)
    got = back.receive()
    if offset_s > 0:
        # Its time of day has passed: it is late.
        assert got.payload == b"stays"
        assert late.received_nothing()
    else:
        for message in got, late.receive():
            assert message.payload == b"expires"
            assert 90 <= message.properties.MessageExpiryInterval <= 100
        assert back.receive().payload == b"stays"


@JUMPS
def test_e36_a_ban_ends_at_the_time_it_names(start, paho, clock, offset_s):
    broker = start(prefix=clock.prefix)
    api = Api(broker.management)
    until = int(time.time()) + DAY_S // 2
    api.post("/banned", **{"who": "bad", "as": "client_id", "until": until}).done()
    assert paho(broker.tcp, "bad").reason() == BANNED
    clock.set(offset_s)
    assert paho(broker.tcp, "bad").reason() == (0 if offset_s > 0 else BANNED)
    clock.set(0)
    wait_until(lambda: paho(broker.tcp, "good").reason() == 0, "others come in")


@JUMPS
def test_e36_a_token_lets_in_by_the_clock_and_ends_when_it_was_to(start, paho, clock, offset_s):
    loaded = ["emqx_management", "emqx_auth_jwt"]
    broker = start(
        prefix=clock.prefix,
        allow_anonymous=False,
        plugins={"loaded": loaded},
        auth={"jwt": {"secret": SECRET, "from": "password"}},
    )

    def come(expires_in_s, client_id):
        token = jwt.encode({"exp": int(time.time()) + expires_in_s}, SECRET, "HS256")
        return paho(broker.tcp, client_id, version=V5, username="bob", password=token)

    short, long = come(3, "short"), come(3600, "long")
    assert (short.reason(), long.reason()) == (0, 0)
    began = time.monotonic()
    clock.set(offset_s)
    # A token is judged by the time of day at which it comes.
    assert come(3600, "late").reason() == (NOT_AUTHORIZED if offset_s > 0 else 0)
    # Who is in stays until the token's time is over, and not a day longer.
    assert short.disconnect_reason() == EXPIRED
    assert time.monotonic() - began < 20
    assert long.disconnected.empty()
    long.publish("a", "x", qos=1)


def test_e36_a_clock_that_never_rests_stops_nothing(start, paho, clock):
    broker = start(prefix=clock.prefix)
    stop = threading.Event()

    def turn():
        n = 0
        while not stop.is_set():
            n += 1
            # An hour of daylight saving, leap seconds, 1970 and the end of 32 bits.
            clock.set([3600, -3600, 1, -1, -int(time.time()) + 1, 2**31][n % 6])
            time.sleep(0.002)

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        client = paho(broker.tcp, "c")
        client.subscribe("t/#", 2)
        for n in range(200):
            expiry = properties("PUBLISH", MessageExpiryInterval=0xFFFFFFFE)
            assert client.publish(f"t/{n}", str(n), qos=n % 3, retain=n % 5 == 0, properties=expiry) < 0x80
        assert sorted(map(int, client.receive_payloads(200))) == list(range(200))
        publisher = paho(broker.tcp)
        publisher.publish("$delayed/1/t/delayed", "delayed", qos=1)
        assert client.receive().payload == b"delayed"
        assert client.disconnected.empty()
    finally:
        stop.set()
        thread.join()
