"""The document of the management API, request by request, against a broker with real clients.

For each request it prints: the status, and keys, nesting and JSON types of the answer, which have to be those of the
printed one. What is not compared as printed stands in api_deviations.py.
"""

import re
from contextlib import contextmanager, nullcontext

import pytest

import api_document
import api_lists
from api import NODE, segment
from api_deviations import DEVIATIONS, definition, deviations, expected, extra, printed_path
from api_document import fill, placeholders
from api_shape import AnyOf, differences, has_place, put
from api_world import KINDS, OFFLINE, WILDCARD, World
from waiting import wait_until

DOCUMENT = api_document.read()
# Plugins that the document shows as active, and that are other pieces of work. What comes to exist has to go from here:
# a test sees to it.
PLUGINS_LATER = ("emqx_dashboard",)
CLIENTS = {
    "/connections/${clientid}": KINDS,
    "/nodes/${node}/connections/${clientid}": KINDS,
}
PAGED = [s for s, example in DOCUMENT.examples() if s.definition and "meta" in example.answer]


@pytest.fixture(name="world", scope="module")
def fixture_world(start_for_all):
    world = World(start_for_all)
    yield world
    world.close()


def check(answer, section, example):
    assert answer.status == 200, str(answer)
    found = differences(expected(section, example), answer.json, extra(section))
    assert not found, "\n".join([str(answer), *found])


# What is asked: the request as printed, and the same about other clients and topics.


def variants(section, example):
    """Names of what the request is filled with; `printed` leaves it as it is."""
    names = placeholders(section)
    if example.method == "GET" and "clientid" in names:
        kinds = CLIENTS.get(section.definition, (*KINDS, OFFLINE))
        return ["printed", *kinds]
    if example.method == "DELETE" and "clientid" in names:
        return ["printed", *KINDS]
    if "topic" in names:
        return ["printed", WILDCARD]
    if "client_id" in (example.body or {}) and section.definition.startswith("/mqtt/"):
        kinds = KINDS if section.definition == "/mqtt/publish" else (*KINDS, OFFLINE)
        return ["printed", *kinds]
    return ["printed"]


@contextmanager
def kicked(world, variant):
    """A client that is there to be kicked."""
    if variant == "printed":
        yield {}
        world.restart_mosquitto()
        return
    client_id = f"to-be-kicked-{variant}"
    world.connect(variant, client_id)
    yield {"clientid": client_id}
    wait_until(lambda: not world.api.get(f"/connections/{client_id}"), "it was kicked")


@contextmanager
def unloaded(world, _):
    world.api.put(f"/nodes/{NODE}/plugins/emqx_auth_clientid/unload")
    yield {}


@contextmanager
def loaded(world, _):
    world.api.put(f"/nodes/{NODE}/plugins/emqx_auth_clientid/load")
    yield {}
    assert not plugin(world, "emqx_auth_clientid")["active"]


@contextmanager
def banned(world, _):
    """A row for the list to show, and for the deletion to take away."""
    ban = {"who": "nobody", "as": "client_id", "reason": "x", "desc": "x", "by": "x"}
    world.api.post("/banned", **ban, until=4102444800).done()
    yield {}
    world.api.delete("/banned/nobody", **{"as": "client_id"})


@contextmanager
def alarm(world, _):
    wait_until(lambda: world.api.get(f"/alarms/present/{NODE}"), "an alarm")
    yield {}


@contextmanager
def past_alarm(world, _):
    with alarm(world, _):
        world.api.delete(f"/alarms/present/{NODE}/cpu_high_watermark").done()
        yield {}


RESOURCE = {"name": "test-resource", "type": "built_in", "config": {"a": 1}}
RULE = {
    "name": "test-rule",
    "for": "message.publish",
    "rawsql": 'select * from "t/a"',
    "actions": [
        {"name": "built_in:inspect_action", "params": {"$resource": "built_in:test-resource"}}
    ],
}


@contextmanager
def resource(world, _):
    """The two of the list."""
    web_hook = {"name": "webhook1", "type": "web_hook", "config": {"url": "http://host-name/chats"}}
    for body in (RESOURCE, web_hook):
        world.api.post("/resources", **body).done()
    yield {}
    for name in ("built_in:test-resource", "web_hook:webhook1"):
        world.api.delete(f"/resources/{name}").done()


@contextmanager
def rule(world, _):
    """One that is bound to a resource, as in the answers."""
    world.api.post("/resources", **RESOURCE).done()
    made = world.api.post("/rules", **RULE).done()["data"]
    yield {"rule_id": segment(made["id"])}
    world.api.delete("/rules/" + segment(made["id"])).done()
    world.api.delete("/resources/built_in:test-resource").done()


@contextmanager
def no_rule(world, _):
    """What the request makes is taken away."""
    yield {}
    for made in world.api.get("/rules"):
        world.api.delete("/rules/" + segment(made["id"])).done()


SETTINGS = {
    ("POST", "/rules"): no_rule,
    ("GET", "/rules"): rule,
    ("GET", "/rules/${rule_id}"): rule,
    ("DELETE", "/rules/${rule_id}"): rule,
    ("GET", "/resources"): resource,
    ("GET", "/resources/:resource_id"): resource,
    ("DELETE", "/resources/:resource_id"): resource,
    ("POST", "/resources"): resource,
    ("GET", "/resource_types/${type}/resources"): resource,
    ("DELETE", "/connections/${clientid}"): kicked,
    ("PUT", "/nodes/${node}/plugins/${plugin}/load"): unloaded,
    ("PUT", "/nodes/${node}/plugins/${plugin}/unload"): loaded,
    ("GET", "/banned/"): banned,
    ("GET", "/alarms/present"): alarm,
    ("GET", "/alarms/present/${node}"): alarm,
    ("GET", "/alarms/history"): past_alarm,
    ("GET", "/alarms/history/${node}"): past_alarm,
}


def plugin(world, name):
    plugins = world.api.get(f"/nodes/{NODE}/plugins")
    return next(plugin for plugin in plugins if plugin["name"] == name)


def cases():
    for section, example in DOCUMENT.examples():
        if section.definition is None:
            continue
        for variant in variants(section, example):
            name = f"{example.method} {definition(section)} {variant}"
            yield pytest.param(section, example, variant, id=name)


@pytest.mark.parametrize("section, example, variant", cases())
def test_the_answer_is_as_documented(world, section, example, variant):
    setting = SETTINGS.get((example.method, definition(section)))
    with setting(world, variant) if setting else nullcontext({}) as made:
        values = dict(made)
        if variant != "printed":
            values = {"clientid": segment(variant), "topic": segment(variant), **values}
        body = None if any(d.no_body for d in deviations(section)) else example.body
        if body and variant != "printed":
            body = {**body, "client_id": variant}
        path = fill(definition(section), printed_path(section, example), values)
        check(world.api.request(example.method, path, body), section, example)


@pytest.mark.parametrize("section", PAGED, ids=lambda section: section.definition)
def test_a_page_past_the_end_is_as_documented(world, section):
    """The section on paging shows an answer without rows, for all lists that are paged."""
    [example] = [e for s, e in DOCUMENT.examples() if s.title == "分页参数与分页信息"]
    path = fill(section.definition, section.examples[0].path.partition("?")[0], {})
    asked = {"page": 4711, "limit": 33}
    answer = world.api.request("GET", f"{path}?_page=4711&_limit=33")
    assert not differences(example.answer, answer.json), str(answer)
    assert answer.json["data"] == []
    assert {key: answer.json["meta"][key] for key in asked} == asked


def test_the_documented_failure_is_so_for_what_is_loaded(world):
    [example] = [e for _, e in DOCUMENT.examples() if "message" in e.answer]
    answer = world.api.request(example.method, example.path)
    assert (answer.status, answer.json) == (200, example.answer), str(answer)


@pytest.mark.parametrize("name", PLUGINS_LATER)
def test_a_plugin_that_comes_later_is_not_there(world, name):
    """If it can be loaded, it is to be taken from `PLUGINS_LATER`."""
    message = world.api.put(f"/nodes/{NODE}/plugins/{name}/load").refused(102)
    assert message == f"{name} is not in this build of the broker"


def test_a_ban_is_answered_with_what_was_sent(world):
    [example] = [e for _, e in DOCUMENT.examples() if str(e) == "POST /banned/"]
    answer = world.api.request(example.method, example.path, example.body)
    assert answer.json == example.answer, str(answer)


def test_plugins_have_the_documented_names_and_descriptions(world):
    [example] = [e for s, e in DOCUMENT.examples() if s.definition == "/nodes/${node}/plugins/"]

    def shown(plugins):
        return [(plugin["name"], plugin["description"]) for plugin in plugins]

    def active(plugins):
        return {plugin["name"] for plugin in plugins if plugin["active"]}

    answered, printed = world.api.get(f"/nodes/{NODE}/plugins"), example.answer["data"]
    assert shown(answered) == shown(printed)
    # Delayed messages are part of this broker unless they are turned off.
    assert active(answered) == active(printed) - set(PLUGINS_LATER) | {"emqx_delayed_publish"}


def test_the_documented_actions_are_literally_there(world):
    [listed] = [e for _, e in DOCUMENT.examples() if e.path == "/actions"]
    for action in listed.answer["data"]:
        assert world.api.get("/actions/" + segment(action["name"])) == action
        assert action in world.api.get("/actions")
    # Those that came with later versions are for the same events.
    shown = [e for _, e in DOCUMENT.examples() if e.path == "/actions?for=client.connected"]
    [inspect] = shown[0].answer["data"]
    answered = world.api.get("/actions", **{"for": "client.connected"})
    assert [action for action in answered if action["name"].startswith("built_in:")] == [inspect]
    assert {action["for"] for action in answered} == {"$any"}


@pytest.mark.parametrize("path", ["/rules", "/resources"])
def test_what_is_made_is_answered_as_it_was_sent(world, path):
    [example] = [e for _, e in DOCUMENT.examples() if str(e) == f"POST {path}"]
    made = world.api.request("POST", path, example.body).done()["data"]
    assert world.api.get(f"{path}/{segment(made['id'])}") == made
    for action in made.get("actions", ()):
        del action["id"], action["metrics"]
    assert {key: made[key] for key in example.body} == example.body
    world.api.delete(f"{path}/{segment(made['id'])}").done()


# The list of the API.


def listed():
    [example] = [e for s, e in DOCUMENT.examples() if definition(s) == "/"]
    return example.answer["data"]


def test_the_list_of_the_api_is_literally_the_documented_one(world):
    assert world.api.get("/") == listed()


# What the document lists and does not show.


def pattern(method, path):
    """To compare paths of the list with those of sections and scenarios."""
    parts = path.partition("?")[0].strip("/").split("/")
    return method, tuple(":" if re.match(r":|\$", part) else part for part in parts)


def test_every_listed_route_is_asked_for():
    asked = {pattern(e.method, definition(s)) for s, e in DOCUMENT.examples() if s.definition}
    asked |= {
        pattern(step.method, step.path) for steps in api_lists.SCENARIOS.values() for step in steps
    }
    missing = [r for r in listed() if pattern(r["method"], r["path"]) not in asked]
    assert not missing, missing


@pytest.mark.parametrize("name", api_lists.SCENARIOS)
def test_what_is_only_listed_answers_as_its_original(world, name):
    for client_id in ("away-1", "away-2") if name == "persistent sessions" else ():
        world.leave_session(client_id)
    [connection] = [
        e.answer["data"][0]
        for s, e in DOCUMENT.examples()
        if s.definition == "/connections/${clientid}" and e.method == "GET"
    ]
    for step in api_lists.SCENARIOS[name]:
        values = {"node": NODE, **step.values}
        path = re.sub(r":(\w+)", lambda found: segment(values[found[1]]), step.path)
        answer = world.api.request(step.method, "/" + path.lstrip("/"), step.body)
        assert answer.status == 200, str(answer)
        example = step.answer
        if example.get("data") == [api_lists.CONNECTION]:
            example = {"code": 0, "data": [connection]}
        found = differences(with_expiry(example), answer.json, api_lists.MAY_HAVE)
        assert not found, "\n".join([str(answer), *found])


def with_expiry(example):
    """`expired` of an application is a time or the text `undefined`."""
    for place in ("data.expired", "data[].expired"):
        if has_place(example, place):
            return put(example, place, AnyOf(1, "undefined"))
    return example


# The test itself: it must not pass by overlooking something.


def test_no_part_of_the_document_is_ignored():
    text = DOCUMENT.text
    examples = DOCUMENT.examples()
    assert len([s for s in DOCUMENT.sections if s.definition]) == text.count("API 定义:") == 54
    assert len(examples) == len(re.findall("^返回数据", text, re.MULTILINE)) == 57
    bodies = [e.body for _, e in examples if e.body]
    assert len(bodies) + len(examples) == len(re.findall("^{$", text, re.MULTILINE)) == 64
    lines = re.findall("^(?:GET|POST|PUT|DELETE) ", text, re.MULTILINE)
    asked = [e.path for s, e in examples if e.path and not (is_bare(s) and e.path == s.definition)]
    assert len(lines) == 54 + len(asked) == 105
    assert len(listed()) == 87
    assert [p.name for s in DOCUMENT.sections for p in s.parameters] == [
        *("name", "for", "rawsql", "actions", "name", "params", "description"),
        *("name", "type", "config", "description"),
    ]


def is_bare(section):
    """Whether its example has no line of its own: the definition is the request."""
    return section.definition in ("/rules", "/resources", "/resource_types")


def test_every_inconsistency_of_the_document_is_decided_on():
    assert sorted(d.number for d in DEVIATIONS) == list(range(1, 34))
    definitions = {section.definition for section in DOCUMENT.sections}
    titles = {section.title for section in DOCUMENT.sections}
    for deviation in DEVIATIONS:
        assert set(deviation.sections) <= definitions, deviation
        assert not deviation.title or deviation.title in titles, deviation


@pytest.mark.parametrize(
    "example, answer, found",
    [
        ({"a": 1}, {"a": 2}, []),
        ({"a": 1}, {"a": "1"}, ["a: text '1' instead of integer 1"]),
        ({"a": "2.75"}, {"a": 2.75}, ["a: number 2.75 instead of text '2.75'"]),
        ({"a": "2.75"}, {"a": "2.7"}, ["a: '2.7' has not the form of '2.75' (load)"]),
        ({"a": True}, {"a": 1}, ["a: integer 1 instead of boolean True"]),
        ({"a": 1}, {"a": True}, ["a: boolean True instead of integer 1"]),
        ({"a": 1}, {"a": None}, ["a: null None instead of integer 1"]),
        ({"a": 1}, {}, ["answer: lacks a"]),
        ({"a": 1}, {"a": 1, "b": 2}, ["answer: b is not in the example"]),
        ([{"a": 1}], [], ["answer: is empty, nothing to compare"]),
        ([{"a": 1}, {"b": 1}], [{"a": 1}, {"a": ""}], ["[].a: text '' instead of integer 1"]),
        ({"a": {"b": [1]}}, {"a": {"b": [1, "2"]}}, ["a.b[]: text '2' instead of integer 1"]),
        ({"a": AnyOf(1, "x")}, {"a": "y"}, []),
        ({"a": "3 minutes, 59 seconds"}, {"a": "1 days,18 hours, 45 minutes, 1 seconds"}, []),
        (
            {"a": "3 minutes, 59 seconds"},
            {"a": "59"},
            ["a: '59' has not the form of '3 minutes, 59 seconds' (uptime)"],
        ),
    ],
)
def test_the_comparison_finds(example, answer, found):
    assert differences(example, answer) == found
