"""Bans of the management API: who is connected is cut off, who comes is refused, and nobody else."""

import time

import pytest

from api import Api, segment
from paho_client import V5, V31, V311
from waiting import wait_until

FOREVER = 4102444800
BANNED, NOT_AUTHORIZED = 0x8A, 0x87
# What each ban concerns of the client below.
BANS = [
    ("client_id", "bad/client"),
    ("username", "bad user"),
    ("ip_address", "127.0.0.2"),
    ("ip_address", "127.0.0.2/31"),
]
BANS = pytest.mark.parametrize("kind, who", BANS, ids=lambda value: value)
VERSIONS = pytest.mark.parametrize("version", [V31, V311, V5], ids=["v3.1", "v3.1.1", "v5"])


@pytest.fixture(name="connect")
def fixture_connect(broker, paho):
    """Connects the client that bans concern, or one that shares with it what is not given."""

    def connect(version=V5, client_id="bad/client", username="bad user", source="127.0.0.2"):
        return paho(broker.tcp, client_id, version, username=username, source=source)

    return connect


@pytest.fixture(name="others")
def fixture_others(connect):
    """Clients that have all but one thing in common with the banned one."""

    def others(kind):
        differ = {"client_id": "good", "username": "good", "source": "127.0.0.1"}
        key = "source" if kind == "ip_address" else kind
        common = {} if key == "client_id" else {"client_id": "good"}
        return [connect(**{**common, key: differ[key]})]

    return others


@BANS
@VERSIONS
def test_a_ban_cuts_off_and_keeps_out(api, connect, others, kind, who, version):
    spared = others(kind)
    client = connect(version)
    assert client.reason() == 0
    api.post("/banned", **{"who": who, "as": kind}).done()
    assert client.disconnect_reason() == (0x98 if version == V5 else None)
    assert connect(version).reason() == (BANNED if version == V5 else NOT_AUTHORIZED)
    assert [other.disconnected.qsize() for other in spared] == [0]
    assert [other.reason() for other in others(kind)] == [0]
    api.request("DELETE", f"/banned/{segment(who)}?as={kind}").done()
    assert api.get("/banned") == []
    assert connect(version).reason() == 0


def test_the_list_shows_what_was_sent(api):
    until = int(time.time()) + 1000
    ban = {"who": "x", "as": "username", "reason": "r", "desc": "d", "by": "me", "until": until}
    assert api.post("/banned/", **ban).done()["data"] == ban
    assert api.get("/banned") == [ban]
    short = {"who": "y", "as": "client_id"}
    assert api.post("/banned/", **short).done()["data"] == short
    missing = dict.fromkeys(("reason", "desc", "by", "until"), "undefined")
    assert [row for row in api.get("/banned") if row["who"] == "y"] == [{**short, **missing}]


def test_a_ban_again_takes_the_place_of_the_first(api, connect):
    who = {"who": "bad/client", "as": "client_id"}
    api.post("/banned", **who, reason="first", until=FOREVER).done()
    api.post("/banned", **who, reason="second", until=FOREVER).done()
    assert [row["reason"] for row in api.get("/banned")] == ["second"]
    api.post("/banned", **who, until=int(time.time()) - 10).done()
    assert connect().reason() == 0


def test_a_ban_ends_when_it_says(api, connect):
    client = connect()
    until = int(time.time()) + 3
    api.post("/banned", **{"who": "bad user", "as": "username", "until": until}).done()
    assert client.disconnect_reason() == 0x98
    assert connect().reason() == BANNED
    wait_until(lambda: connect().reason() == 0, "the ban is over")
    assert until <= time.time()
    wait_until(lambda: api.get("/banned") == [], "it is swept away", timeout_s=60)


def test_a_ban_that_is_over_has_no_effect(api, connect):
    client = connect()
    past = {"who": "bad user", "as": "username", "until": 1536146187}
    assert api.post("/banned", **past).done()["data"] == past
    assert connect(client_id="second").reason() == 0
    assert not client.disconnected.qsize()


def test_lifting_concerns_the_kind_that_is_named(api, connect):
    api.post("/banned", **{"who": "bad user", "as": "username"}).done()
    for kind in "client_id", "username":
        assert connect().reason() == BANNED
        api.request("DELETE", f"/banned/bad%20user?as={kind}").done()
    assert connect().reason() == 0


def test_the_session_of_a_banned_client_stays(broker, api, paho):
    client = paho(broker.tcp, "c", V311, clean=False)
    client.subscribe("a", 1)
    api.post("/banned", **{"who": "c", "as": "client_id"}).done()
    client.disconnect_reason()
    api.post("/mqtt/publish", topic="a", payload="x", qos=1).done()
    api.request("DELETE", "/banned/c?as=client_id").done()
    assert paho(broker.tcp, "c", V311, clean=False).receive().payload == b"x"


def test_a_ban_survives_a_restart(broker, api, paho):
    ban = {"who": "127.0.0.0/8", "as": "ip_address", "reason": "r", "desc": "d", "by": "b"}
    ban["until"] = FOREVER
    api.post("/banned", **ban).done()
    broker.kill()
    broker.restart()
    assert Api(broker.management).get("/banned") == [ban]
    assert paho(broker.tcp).reason() == BANNED


def test_a_ban_of_ipv6_and_of_forms_of_an_address(api):
    """One address is one ban, however it is written."""
    for who in "::1", "0:0:0:0:0:0:0:1":
        api.post("/banned", **{"who": who, "as": "ip_address"}).done()
    assert len(api.get("/banned")) == 1
    api.request("DELETE", f"/banned/{segment('::1')}?as=ip_address").done()
    assert api.get("/banned") == []
