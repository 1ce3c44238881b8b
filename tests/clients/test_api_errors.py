"""What the management API refuses: codes and messages of the original, and which field is wrong."""

import re
import time

import pytest

import api_document
from api import NODE, Api, basic, segment
from paho_client import V311
from storm import Wire, connect
from test_api_contract import listed

UNKNOWN_NODE = "emqx@nowhere"


@pytest.fixture(name="shared", scope="module")
def fixture_shared(start_for_all):
    """The API of a broker to which nothing is done that succeeds; with one client, `here`."""
    broker = start_for_all()
    wire = Wire(broker.tcp)
    api = Api(broker.management)
    api.broker = broker
    wire.send(connect("here"), 4)
    yield api
    wire.close()


# Who asks


BAD_HEADERS = [
    None,
    *("", "Basic", "Basic ", "Basic !!!", "Bearer x", "Basic YWRtaW4=", "Basic gIA6gA=="),
    *(basic("admin", "wrong"), basic("nobody", "public"), basic("admin", ""), basic("", "")),
]


@pytest.mark.parametrize("n, header", enumerate(BAD_HEADERS), ids=lambda value: str(value))
def test_without_the_right_secret_nothing_is_told(shared, n, header):
    # From an address of its own: who fails often has to wait.
    api = Api(shared.port, source=f"127.0.1.{n + 1}")
    for path in ("/brokers",) if header else ("/brokers", "/no-such-path", "/"):
        answer = api.request("GET", path, headers={"Authorization": header})
        assert answer.status == 401, str(answer)
        assert answer.headers["www-authenticate"] == 'Basic Realm="minirest-server"'
        assert "broker" not in answer.text


def test_who_fails_often_has_to_wait_and_others_have_not(shared):
    api = Api(shared.port, secret="wrong", source="127.0.2.1")
    begin = time.monotonic()
    assert [api.request("GET", "/brokers").status for _ in range(6)] == [401] * 6
    # 100, 200 and 400 ms before the last three.
    assert time.monotonic() - begin >= 0.7
    assert shared.get("/brokers")
    assert Api(shared.port, source="127.0.2.2").get("/brokers")


def test_the_scheme_is_known_in_any_case(shared):
    header = shared.authorization.replace("Basic", "basic")
    assert shared.request("GET", "/brokers", headers={"Authorization": header}).status == 200


def test_the_status_page_asks_nobody(shared):
    answer = shared.request("GET", "/status", base="", headers={"Authorization": None})
    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert answer.text.rstrip("\n") == f"Node {NODE} is started\nemqx is running"
    assert shared.request("POST", "/status", {}, base="").status in (400, 404, 405)


# What is asked for


@pytest.mark.parametrize("path", ["/no-such-path", "/brokers/x/y/z", "/nodes/x/y", "/connection"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_an_unknown_path_is_not_found(shared, path, method):
    answer = shared.request(method, path)
    assert (answer.status, answer.text) == (404, "Not found.")


@pytest.mark.parametrize("method, path", [("POST", "/brokers"), ("DELETE", "/stats"), ("PUT", "/")])
def test_a_known_path_with_another_method_names_those_it_has(shared, method, path):
    answer = shared.request(method, path)
    assert answer.status in (404, 405), str(answer)
    if answer.status == 405:
        assert "GET" in answer.headers["allow"]


def requests(wanted):
    """Method and path of the documented routes whose path has a place of this name."""
    for route in listed():
        names = re.findall(r":(\w+)", route["path"])
        is_closed = route["path"].startswith("/auth_")
        if wanted in names and not is_closed:
            yield route["method"], "/" + route["path"].strip("/")


def body_of(method):
    return {} if method in ("POST", "PUT") else None


@pytest.mark.parametrize("method, path", requests("node"))
def test_an_unknown_node_is_named(shared, method, path):
    path = re.sub(r":\w+", "x", path.replace(":node", segment(UNKNOWN_NODE)))
    message = shared.request(method, path, body_of(method)).refused(102, status=404)
    assert message == f"node {UNKNOWN_NODE} not found"


def test_the_own_node_may_be_written_either_way(shared):
    for node in NODE, segment(NODE), "%65mqx%40127.0.0.1":
        assert shared.get(f"/nodes/{node}")["name"] == NODE


@pytest.mark.parametrize("escape", ["%", "%2", "%zz", "a%+1"])
@pytest.mark.parametrize("name", ["clientid", "topic", "who", "username", "name", "appid", "node"])
def test_an_escape_that_is_none_is_refused(shared, name, escape):
    for method, path in requests(name):
        if name != "node":
            path = path.replace(":node", NODE)
        path = re.sub(r":\w+", "x", path.replace(f":{name}", escape))
        answer = shared.request(method, path, body_of(method))
        assert answer.status == 400, str(answer)
        answer.refused(108, status=400)


# Bodies

WITH_BODY = [
    *[("POST", f"/mqtt/{verb}") for verb in ("publish", "subscribe", "unsubscribe")],
    *[("POST", "/banned"), ("POST", "/apps"), ("POST", "/users"), ("POST", "/auth")],
    *[("PUT", "/users/admin"), ("PUT", "/change_pwd/admin"), ("PUT", "/apps/admin")],
    *[("PUT", "/configs/mqtt"), ("PUT", f"/nodes/{NODE}/configs/mqtt")],
    *[("PUT", f"/nodes/{NODE}/plugin_configs/emqx_retainer")],
]
EACH_WITH_BODY = pytest.mark.parametrize("method, path", WITH_BODY)


@EACH_WITH_BODY
@pytest.mark.parametrize("body", [b"{", b'{"topic": }', b"topic=a", b"\xff\xfe", b'{"a":1}}'])
def test_a_body_that_is_no_json_is_refused_with_the_place(shared, method, path, body):
    message = shared.request(method, path, body).refused(109, status=400)
    assert re.search(r"\d", message), message


@EACH_WITH_BODY
@pytest.mark.parametrize("body", [b"[]", b"1", b'"topic"', b"null", b"true"])
def test_json_that_is_no_object_is_refused(shared, method, path, body):
    answer = shared.request(method, path, body)
    assert answer.status == 400, str(answer)
    assert answer.json["code"] in (108, 109), str(answer)


def test_a_body_without_end_is_refused(shared):
    body = b'{"topic":"a","payload":"' + b"x" * (9 << 20) + b'"}'
    answer = shared.request("POST", "/mqtt/publish", body)
    assert answer.status in (400, 413), str(answer)
    shared.close()
    assert shared.get("/brokers")


def test_nesting_without_end_is_refused(shared):
    body = b'{"topic":' + b"[" * 200_000
    assert shared.request("POST", "/mqtt/publish", body).status == 400
    assert shared.get("/brokers")


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", None, "application/x-www-form-urlencoded"]
)
def test_the_content_type_does_not_matter(shared, kind):
    body = b'{"topic":"a"}'
    answer = shared.request("POST", "/mqtt/publish", body, headers={"Content-Type": kind})
    answer.done()


# Method, path, body, code, message or the field that it names.
TOO_LONG = "x" * 65_536
REFUSED = [
    ("publish", {}, 115, "bad_topic"),
    ("publish", {"topic": ""}, 115, "bad_topic"),
    ("publish", {"topic": "a/#"}, 115, "bad_topic"),
    ("publish", {"topic": "a/+/b"}, 115, "bad_topic"),
    ("publish", {"topic": "a\0b"}, 115, "bad_topic"),
    ("publish", {"topic": TOO_LONG}, 115, "bad_topic"),
    ("publish", {"topics": []}, 115, "bad_topic"),
    ("publish", {"topics": ""}, 115, "bad_topic"),
    ("publish", {"topics": "a,,b"}, 115, "bad_topic"),
    ("publish", {"topic": 1}, 108, re.compile("topic")),
    ("publish", {"topic": "a", "payload": 1}, 108, re.compile("payload")),
    ("publish", {"topic": "a", "payload": {"a": 1}}, 108, re.compile("payload")),
    ("publish", {"topic": "a", "qos": 3}, 108, re.compile("qos")),
    ("publish", {"topic": "a", "qos": -1}, 108, re.compile("qos")),
    ("publish", {"topic": "a", "qos": "1"}, 108, re.compile("qos")),
    ("publish", {"topic": "a", "qos": 1.5}, 108, re.compile("qos")),
    ("publish", {"topic": "a", "retain": "true"}, 108, re.compile("retain")),
    ("publish", {"topic": "a", "retain": 1}, 108, re.compile("retain")),
    ("publish", {"topic": "a", "encoding": "rot13"}, 108, re.compile("encoding")),
    ("publish", {"topic": "a", "payload": "!", "encoding": "base64"}, 108, re.compile("payload")),
    ("publish", {"topic": "a", "client_id": 7}, 108, re.compile("client_id")),
    ("publish", {"topics": ["a", 1]}, 108, re.compile("topics")),
    ("subscribe", {"client_id": "nobody", "topic": "a"}, 112, "session_not_found"),
    ("subscribe", {"client_id": "here", "topic": "a/#/b"}, 115, "bad_topic"),
    ("subscribe", {"client_id": "here", "topic": ""}, 115, "bad_topic"),
    ("subscribe", {"client_id": "here", "topic": "$share/g"}, 115, "bad_topic"),
    ("subscribe", {"client_id": "here", "topic": "$share//a"}, 115, "bad_topic"),
    ("subscribe", {"client_id": "here"}, 115, "bad_topic"),
    # The topic comes first.
    ("subscribe", {"client_id": "nobody", "topic": "a#"}, 115, "bad_topic"),
    ("subscribe", {"client_id": "here", "topic": "a", "qos": 3}, 108, re.compile("qos")),
    ("subscribe", {"client_id": "here", "topic": "a", "qos": "1"}, 108, re.compile("qos")),
    ("subscribe", {"client_id": 1, "topic": "a"}, 108, re.compile("client_id")),
    ("subscribe", {"topic": "a"}, 107, re.compile("client_id")),
    ("unsubscribe", {"client_id": "nobody", "topic": "a"}, 112, "session_not_found"),
    ("unsubscribe", {"client_id": "here", "topic": "a/#/b"}, 115, "bad_topic"),
    ("unsubscribe", {"client_id": "here"}, 115, "bad_topic"),
    ("unsubscribe", {"topic": "a"}, 107, re.compile("client_id")),
]


def check_message(message, expected):
    if isinstance(expected, str):
        assert message == expected
    else:
        assert expected.search(message), message


@pytest.mark.parametrize("verb, body, code, message", REFUSED, ids=lambda value: str(value)[:60])
def test_messages_and_subscriptions_that_are_wrong(shared, verb, body, code, message):
    check_message(shared.post(f"/mqtt/{verb}", **body).refused(code), message)
    assert shared.get("/subscriptions/here") == []


BAN_KINDS = "value of 'as' must be one of: ['client_id', 'username', 'ip_address']"
BAN = {"who": "x", "as": "client_id"}
WRONG_BANS = [
    ({}, 107, "missing mandatory params: ['who', 'as']"),
    ({"who": "x"}, 107, re.compile("as")),
    ({"as": "client_id"}, 107, re.compile("who")),
    ({"who": "x", "as": "peerhost"}, 108, BAN_KINDS),
    ({"who": "x", "as": "ip_address"}, 108, re.compile("who")),
    ({"who": "1.2.3.4/33", "as": "ip_address"}, 108, re.compile("who")),
    ({"who": "1.2.3", "as": "ip_address"}, 108, re.compile("who")),
    ({"who": 1, "as": "client_id"}, 108, re.compile("who")),
    ({**BAN, "until": "tomorrow"}, 108, re.compile("until")),
    ({**BAN, "until": 1.5}, 108, re.compile("until")),
    ({**BAN, "until": -1}, 108, re.compile("until")),
    ({**BAN, "reason": 1}, 108, re.compile("reason")),
    ({**BAN, "desc": []}, 108, re.compile("desc")),
    ({**BAN, "by": {}}, 108, re.compile("by")),
]


@pytest.mark.parametrize("body, code, message", WRONG_BANS, ids=lambda value: str(value)[:60])
def test_bans_that_are_wrong(shared, body, code, message):
    check_message(shared.post("/banned", **body).refused(code), message)
    assert shared.get("/banned") == []


def test_bans_are_lifted_by_who_and_kind(shared):
    message = shared.delete("/banned/x").refused(107)
    assert message == "missing mandatory params: ['as']"
    assert shared.delete("/banned/x?as=peerhost").refused(108) == BAN_KINDS
    shared.delete("/banned/x?as=client_id").done()
    shared.delete("/banned/1.2.3.4?as=ip_address").done()


# Method, path, body, code, message.
ELSEWHERE = [
    ("DELETE", "/connections/nobody", None, 112, "not_found"),
    ("DELETE", "/sessions/persistent/nobody", None, 102, "not_found"),
    ("DELETE", f"/nodes/{NODE}/sessions/persistent/nobody", None, 102, "not_found"),
    ("DELETE", "/sessions/persistent/here", None, 102, "running_session"),
    ("PUT", f"/nodes/{NODE}/plugins/emqx_management/load", None, 102, "already_started"),
    ("PUT", f"/nodes/{NODE}/plugins/emqx_auth_http/unload", None, 102, "not_started"),
    (
        "PUT",
        f"/nodes/{NODE}/plugins/emqx_management/unload",
        None,
        102,
        re.compile("emqx_management"),
    ),
    ("PUT", f"/nodes/{NODE}/plugins/no_such/load", None, 102, "not_found"),
    ("PUT", f"/nodes/{NODE}/plugins/no_such/unload", None, 102, "not_found"),
    ("PUT", f"/nodes/{NODE}/plugins/no_such/reload", None, 102, "not_found"),
    ("GET", f"/nodes/{NODE}/plugin_configs/no_such", None, 102, "not_found"),
    (
        "PUT",
        "/configs/mqtt",
        {"key": "mqtt.no_such", "value": "1"},
        108,
        re.compile("mqtt.no_such"),
    ),
    ("PUT", "/configs/mqtt", {"key": "mqtt.max_packet_size"}, 107, re.compile("value")),
    ("PUT", "/configs/mqtt", {"value": "1"}, 107, re.compile("key")),
    ("PUT", "/configs/mqtt", {"key": "mqtt.max_qos_allowed", "value": 1}, 108, re.compile("value")),
    (
        "PUT",
        f"/nodes/{NODE}/configs/mqtt",
        {"key": "mqtt.max_qos_allowed", "value": "7"},
        108,
        re.compile("mqtt.max_qos_allowed"),
    ),
    (
        "PUT",
        f"/nodes/{NODE}/plugin_configs/emqx_retainer",
        {"retainer.no_such": "1"},
        108,
        re.compile("retainer.no_such"),
    ),
    ("POST", "/apps", {"name": "x"}, 107, re.compile("app_id")),
    ("POST", "/apps", {"app_id": "x"}, 107, re.compile("name")),
    ("POST", "/apps", {"app_id": "a:b", "name": "x"}, 108, re.compile("app_id")),
    ("POST", "/apps", {"app_id": "x", "name": "x", "status": "on"}, 108, re.compile("status")),
    ("POST", "/apps", {"app_id": "x", "name": "x", "expired": "soon"}, 108, re.compile("expired")),
    ("POST", "/apps", {"app_id": "admin", "name": "x"}, 102, "alread_existed"),
    ("PUT", "/apps/nobody", {"name": "x"}, 102, "ont_found"),
    ("POST", "/users", {"username": "x"}, 102, "Username or password undefined"),
    ("POST", "/users", {"password": "x"}, 102, "Username or password undefined"),
    ("POST", "/users", {"username": 1, "password": "x"}, 108, re.compile("username")),
    ("POST", "/users", {"username": "admin", "password": "x"}, 102, re.compile("(?i)exist")),
    ("PUT", "/users/nobody", {"tags": "x"}, 102, "username_not_found"),
    ("PUT", "/users/admin", {}, 107, re.compile("tags")),
    ("DELETE", "/users/admin", None, 102, "Cannot delete admin"),
    ("DELETE", "/users/nobody", None, 102, "Username Not Found"),
    ("POST", "/auth", {}, 102, "Username undefined"),
    ("POST", "/auth", {"username": "admin"}, 102, "Password undefined"),
    ("PUT", "/change_pwd/admin", {"old_pwd": "x"}, 107, re.compile("new_pwd")),
    ("PUT", "/change_pwd/admin", {"new_pwd": "x"}, 107, re.compile("old_pwd")),
]


@pytest.mark.parametrize("method, path, body, code, message", ELSEWHERE, ids=lambda v: str(v)[:60])
def test_what_else_is_refused(shared, method, path, body, code, message):
    check_message(shared.request(method, path, body).refused(code), message)


def test_nobody_learns_which_users_there_are(shared):
    one = shared.post("/auth", username="admin", password="wrong").refused(102)
    other = shared.post("/auth", username="nobody", password="wrong").refused(102)
    assert one == other


def test_an_unknown_application_is_an_empty_list(shared):
    assert shared.get("/apps/nobody") == []
    shared.delete("/apps/nobody").done()


ACCOUNTS = [("auth_clientid", "clientid"), ("auth_username", "username")]


@pytest.mark.parametrize("table, key", ACCOUNTS)
def test_accounts_are_not_there_without_their_plugin(shared, table, key):
    for method, path in ("GET", ""), ("POST", ""), ("GET", "/x"), ("PUT", "/x"), ("DELETE", "/x"):
        answer = shared.request(method, f"/{table}{path}", body_of(method))
        assert (answer.status, answer.text) == (404, "Not found."), str(answer)


@pytest.mark.parametrize("table, key", ACCOUNTS)
def test_accounts_that_are_wrong(broker, api, table, key):
    api.put(f"/nodes/{NODE}/plugins/emqx_{table}/load").done()
    assert key in api.post(f"/{table}", password="x").refused(107)
    assert "password" in api.post(f"/{table}", **{key: "x"}).refused(107)
    assert key in api.post(f"/{table}", **{key: 1, "password": "x"}).refused(108)
    assert key in api.post(f"/{table}", **{key: "", "password": "x"}).refused(108)
    assert "password" in api.post(f"/{table}", **{key: "x", "password": ""}).refused(108)
    assert api.get(f"/{table}") == []
    api.post(f"/{table}", **{key: "x", "password": "x"}).done()
    # The original spells the two in two ways.
    word = "exitsted" if key == "clientid" else "existed"
    assert api.post(f"/{table}", **{key: "x", "password": "y"}).refused(102) == word
    assert api.put(f"/{table}/nobody", password="x").refused(102) == f"no{word}"
    answer = api.request("GET", f"/{table}/nobody")
    assert answer.json["code"] in (102, 404) and answer.status == 200, str(answer)
    api.delete(f"/{table}/nobody").done()


def test_what_is_refused_changes_nothing(broker, api, paho):
    """Several fields, one of them wrong: none is taken over."""
    paho(broker.tcp, "c", V311)
    api.post("/mqtt/subscribe", client_id="c", topics=["a", "b"], qos=9).refused(108)
    assert api.get("/subscriptions/c") == []
    api.put("/apps/admin", name="changed", status="no").refused(108)
    assert api.get("/apps/admin")["name"] != "changed"
    settings = {"retainer.max_retained_messages": "7", "retainer.max_payload_size": "x"}
    api.put(f"/nodes/{NODE}/plugin_configs/emqx_retainer", **settings).refused(108)
    shown = api.get(f"/nodes/{NODE}/plugin_configs/emqx_retainer")
    assert "7" not in [
        row["value"] for row in shown if row["key"].endswith("max_retained_messages")
    ]


def test_every_documented_route_refuses_in_json(shared):
    """Whatever is in the places of its path, no request is answered with an error of the server."""
    for route in listed():
        for fill in "x", "%00", "..%2F..", "%E6%B8%A9", "x" * 5000, "'%22%3B--":
            path = re.sub(r":\w+", fill, "/" + route["path"].strip("/"))
            if route["method"] != "GET":
                continue
            answer = shared.request("GET", path)
            assert answer.status in (200, 400, 404), str(answer)
            if answer.text != "Not found.":
                assert "code" in answer.json


def test_all_documented_failures_have_a_test():
    """The document names one code in an example; the tables above have it."""
    codes = {e.answer["code"] for _, e in api_document.read().examples()} - {0}
    assert codes <= {code for *_, code, _ in ELSEWHERE}
