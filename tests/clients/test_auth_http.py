"""emqx_auth_http: a web server says who may connect and what they may do."""

import time

import pytest

import mosquitto
from api import NODE, Api
from auth_server import AuthServer
from paho_client import V311
from waiting import wait_until

NAME = "emqx_auth_http"
UNAVAILABLE, NOT_AUTHORIZED, MISSING = 0x88, 0x87, 0x86


@pytest.fixture
def web():
    server = AuthServer()
    yield server
    server.kill()


def tables(web, load=True, **http):
    url = f"http://127.0.0.1:{web.port}"
    loaded = ["emqx_management", "emqx_retainer"] + ([NAME] if load else [])
    requests = {
        "auth_req": {"url": f"{url}/auth"},
        "super_req": {"url": f"{url}/superuser"},
        "acl_req": {"url": f"{url}/acl"},
    }
    return {
        "allow_anonymous": False,
        "acl_nomatch": "deny",
        "plugins": {"loaded": loaded},
        "auth": {"http": {**requests, **http}},
    }


def is_active(api):
    plugins = api.get("/plugins")
    rows = plugins[0]["plugins"] if "plugins" in plugins[0] else plugins
    return next(row["active"] for row in rows if row["name"] == NAME)


def order(api, what):
    return api.request("PUT", f"/nodes/{NODE}/plugins/{NAME}/{what}")


def test_the_server_says_who_may_connect(start, web, paho):
    port = start(**tables(web)).tcp
    alice = paho(port, "meter-1", username="alice", password="secret")
    assert alice.reason() == 0
    asked = web.of("/auth")
    assert asked == [{"clientid": "meter-1", "username": "alice", "password": "secret"}]
    assert web.asked[0][0] == "POST"
    assert web.of("/superuser") == [{"clientid": "meter-1", "username": "alice"}]
    assert paho(port, "m2", username="alice", password="wrong").reason() == NOT_AUTHORIZED
    assert paho(port, "m3", username="alice", password="x", version=V311).connack[1].is_failure
    # The server passes; nobody else decides.
    assert paho(port, "m4", username="stranger", password="x").reason() == NOT_AUTHORIZED
    n_asked = len(web.asked)
    assert paho(port, "m5").reason() == MISSING
    assert paho(port, "m6", username="alice").reason() == MISSING
    assert len(web.asked) == n_asked


def test_no_name_adds_a_parameter(start, web, paho):
    port = start(**tables(web)).tcp
    hostile = ["x&username=root", "x#y", "x=y", "x%26y", "x\r\nHost: y", "x y+z", "ü&amp;", "?a=b"]
    for client_id in hostile:
        assert paho(port, client_id, username="bob", password="a&b=c#d%2").reason() == 0
    names = [[name for name, _ in pairs] for _, path, pairs in web.asked if path == "/auth"]
    assert names == [["clientid", "username", "password"]] * len(hostile)
    assert [asked["clientid"] for asked in web.of("/auth")] == hostile


def test_rights_are_the_servers_too(start, web, paho):
    port = start(**tables(web)).tcp
    alice = paho(port, "m&topic=write/x", username="alice", password="secret")
    assert alice.subscribe("read/a", 1) == [1]
    assert alice.subscribe("secret/#", 1) == [NOT_AUTHORIZED]
    assert alice.publish("write/a", qos=1) in (0, 0x10)
    assert alice.publish("read/a", qos=1) == NOT_AUTHORIZED
    # Passed on: to acl_nomatch.
    assert alice.publish("other/a", qos=1) == NOT_AUTHORIZED
    first = web.of("/acl")[0]
    assert first == {
        "access": "1",
        "username": "alice",
        "clientid": "m&topic=write/x",
        "ipaddr": "127.0.0.1",
        "topic": "read/a",
    }
    n_asked = len(web.asked)
    assert alice.publish("write/a", qos=1) in (0, 0x10)
    assert len(web.asked) == n_asked, "the answer is remembered"
    root = paho(port, "r", username="root", password="secret")
    assert root.subscribe("secret/#", 1) == [1]
    assert len(web.of("/acl")) == 5, "nobody is asked about a superuser"


def test_what_is_remembered_of_rights(start, web, paho):
    """enable_acl_cache, acl_cache_max_size, acl_cache_ttl, of a zone or of all; and the flush."""
    off = {"listener": {"tcp": {"off": {"bind": "127.0.0.1:0", "zone": "off"}}}}
    small = {"acl_cache_max_size": 2, "acl_cache_ttl": "1h", "zone": {"off": {"enable_acl_cache": False}}}
    broker = start(**tables(web), **small, **off)
    alice = paho(broker.tcp, "m1", username="alice", password="secret")

    def asks(client, topic):
        before = len(web.of("/acl"))
        assert client.publish(f"write/{topic}", qos=1) in (0, 0x10)
        return len(web.of("/acl")) - before

    assert [asks(alice, topic) for topic in "abab"] == [1, 1, 0, 0]
    # A third one takes the place of the oldest.
    assert [asks(alice, topic) for topic in "cbab"] == [1, 0, 1, 1]
    Api(broker.management).request("DELETE", f"/nodes/{NODE}/acl-cache")
    assert [asks(alice, topic) for topic in "bb"] == [1, 0]
    forgetful = paho(broker.ports["mqtt:tcp:off"], "m2", username="alice", password="secret")
    assert [asks(forgetful, topic) for topic in "aa"] == [1, 1]

    short = start(**tables(web), acl_cache_ttl="100ms")
    alice = paho(short.tcp, "m1", username="alice", password="secret")
    assert asks(alice, "a") == 1
    wait_until(lambda: asks(alice, "a") == 1, "the answer is forgotten")


def test_a_will_and_a_delayed_message_wait_for_the_server(start, web, paho):
    config = tables(web)
    config["plugins"]["loaded"].append("emqx_delayed_publish")
    port = start(**config).tcp
    root = paho(port, "r", username="root", password="secret")
    root.subscribe("#", 1)
    alice = {"username": "alice", "password": "secret"}
    will = {"topic": "secret/a", "payload": "gone"}
    assert paho(port, "m1", will=will, **alice).reason() == NOT_AUTHORIZED
    will = {"topic": "write/a", "payload": "gone"}
    leaving = paho(port, "m2", will=will, **alice)
    assert leaving.reason() == 0
    assert [asked["topic"] for asked in web.of("/acl")] == ["secret/a", "write/a"]
    assert paho(port, "m3", will=will, version=V311, **alice).reason() == 0
    leaving.client.socket().shutdown(2)
    assert root.receive().payload == b"gone"
    client = paho(port, "m4", **alice)
    assert client.publish("$delayed/1/secret/a", qos=1) == NOT_AUTHORIZED
    assert client.publish("$delayed/1/write/b", b"late", qos=1) in (0, 0x10)
    assert web.of("/acl")[-1]["topic"] == "write/b"
    assert root.receive().payload == b"late"


def test_mosquitto_clients(start, web, mosquitto_sub):
    port = start(**tables(web)).tcp
    login = ["-u", "root", "-P", "secret"]
    sub = mosquitto_sub(*mosquitto.tcp(port), *login, "-t", "write/#")
    mosquitto.pub(*mosquitto.tcp(port), "-u", "alice", "-P", "secret", "-t", "write/1", "-m", "hi")
    assert sub.receive() == "write/1 hi"
    login = ["-u", "alice", "-P", "wrong"]
    refused = mosquitto.run("mosquitto_pub", *mosquitto.tcp(port), *login, "-t", "write/1", "-m", "x")
    assert refused.returncode != 0


def test_a_server_that_is_gone_refuses_until_it_is_back(start, web, paho):
    server = start(**tables(web))
    alice = paho(server.tcp, "m1", username="alice", password="secret")
    assert alice.publish("write/a", qos=1) in (0, 0x10)
    web.kill()
    assert paho(server.tcp, "m2", username="alice", password="secret").reason() == UNAVAILABLE
    assert alice.publish("write/b", qos=1) == NOT_AUTHORIZED
    web.start()
    assert paho(server.tcp, "m3", username="alice", password="secret").reason() == 0
    assert alice.publish("write/b", qos=1) in (0, 0x10), "a failure is not remembered"
    log = "\n".join(server.log.all)
    assert "auth.http.auth_req: http://127.0.0.1" in log
    assert "secret" not in log


def test_a_slow_server_delays_nobody_else(start, web, paho):
    request = {"timeout": "5s", "connect_timeout": "5s"}
    port = start(**tables(web, request=request)).tcp
    alice = paho(port, "m1", username="root", password="secret")
    alice.subscribe("t", 1)
    web.delay_s = 30
    waiting = [
        paho(port, f"slow{n}", username="alice", password="secret", wait=False) for n in range(50)
    ]
    begun = time.monotonic()
    longest = 0
    while time.monotonic() - begun < 1.5:
        before = time.monotonic()
        alice.publish("t", b"x", qos=1)
        alice.receive()
        longest = max(longest, time.monotonic() - before)
    # Far from the five seconds of those who wait, on a machine that is busy.
    assert longest < 2.5
    assert not waiting[-1].is_answered()
    # The first of them, after the time-out.
    waiting[0].wait()
    assert waiting[0].reason() == UNAVAILABLE
    web.delay_s = 0


def test_redirects_are_not_followed(start, web, paho):
    moved = {"url": f"http://127.0.0.1:{web.port}/moved"}
    port = start(**tables(web, auth_req=moved)).tcp
    assert paho(port, "m", username="alice", password="secret").reason() == NOT_AUTHORIZED
    assert web.of("/open") == []


def test_it_is_loaded_reloaded_and_unloaded(start, web, paho):
    server = start(**tables(web, load=False))
    api = Api(server.management)
    assert not is_active(api)
    assert paho(server.tcp, "m1", username="alice", password="secret").reason() == NOT_AUTHORIZED
    order(api, "load").done()
    assert is_active(api)
    assert order(api, "load").refused(102) == "already_started"
    alice = paho(server.tcp, "m2", username="alice", password="secret")
    assert alice.reason() == 0

    # A wrong configuration changes nothing.
    for wrong, key in [
        ({"auth_req": {"url": "ftp://hidden.example/"}}, "auth.http.auth_req.url"),
        ({"auth_req": {"url": "http://x", "params": "a=%t"}}, "auth.http.auth_req.params"),
        ({"auth_req": {"url": "http://x", "method": "put"}}, "auth.http.auth_req.method"),
        ({"headers": {"a b": "hidden"}}, "auth.http.headers"),
        ({"ssl": {"certfile": "c.pem"}}, "auth.http.ssl.certfile"),
    ]:
        server.configure(tables(web, load=False, **wrong))
        message = order(api, "reload").refused(102)
        assert message.startswith("parse_config_file_failed") and key in message
        assert "hidden" not in message
        assert paho(server.tcp, "m3", username="alice", password="secret").reason() == 0

    form = {
        "url": f"http://127.0.0.1:{web.port}/auth?key=hidden",
        "method": "get",
        "params": "username=%u,password=%P,kind=plain,ip=%a,cn=%cn",
    }
    server.configure(tables(web, load=False, auth_req=form, headers={"X-Token": "hidden"}))
    order(api, "reload").done()
    assert paho(server.tcp, "m4", username="alice", password="secret").reason() == 0
    method, _, pairs = [asked for asked in web.asked if asked[1] == "/auth"][-1]
    assert method == "GET"
    assert dict(pairs) == {
        "key": "hidden",
        "username": "alice",
        "password": "secret",
        "kind": "plain",
        "ip": "127.0.0.1",
        "cn": "undefined",
    }
    assert web.headers[-1]["x-token" if "x-token" in web.headers[-1] else "X-Token"] == "hidden"
    shown = api.request("GET", f"/nodes/{NODE}/plugin_configs/{NAME}")
    assert shown.status == 200 and "hidden" not in shown.text

    order(api, "unload").done()
    assert not is_active(api)
    assert alice.publish("write/a", qos=1) in (0, 0x10, NOT_AUTHORIZED), "it stays connected"
    n_asked = len(web.asked)
    assert paho(server.tcp, "m5", username="alice", password="secret").reason() == NOT_AUTHORIZED
    assert len(web.asked) == n_asked
    assert "hidden" not in "\n".join(server.log.all)


def test_unloading_ends_its_threads(start, web, paho):
    server = start(**tables(web))
    assert "broker-asking" not in server.threads()
    paho(server.tcp, "m1", username="alice", password="secret")
    assert "broker-asking" in server.threads()
    order(Api(server.management), "unload").done()
    wait_until(lambda: "broker-asking" not in server.threads(), "no thread is left")


def test_with_certificates(start, web, paho, ca):
    form = {
        "url": f"https://localhost:{web.port}/auth",
        "params": "username=%u,password=%P,cn=%C,dn=%dn",
    }
    files = {"cacertfile": str(ca.crt("ca"))}
    config = tables(web, auth_req=form, ssl=files)
    del config["auth"]["http"]["super_req"], config["auth"]["http"]["acl_req"]
    verified = {"cacertfile": str(ca.crt("ca")), "verify": "verify_peer"}
    config["listener"] = {"ssl": {"external": ca.listener(**verified)}}
    web.kill()
    web.start(ca)
    server = start(**config)
    login = {"username": "alice", "password": "secret"}
    assert paho(server.ssl, "m", ca=ca, certificate="alice", **login).reason() == 0
    dn = "CN=alice,OU=Devices,O=Test"
    assert web.of("/auth") == [{**login, "cn": "alice", "dn": dn}]
    # One whose certificate nobody vouches for is not asked.
    files["cacertfile"] = str(ca.crt("stranger"))
    server.configure(config)
    order(Api(server.management), "reload").done()
    assert paho(server.tcp, "m", **login).reason() == UNAVAILABLE
    assert len(web.of("/auth")) == 1
