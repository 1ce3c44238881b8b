"""Requests of the endpoints that the document only lists, with the answers their originals give.

Each scenario leaves things as it found them. A step is the name and path as listed, what stands in the path, the
body, and an example of the answer.
"""

from dataclasses import dataclass, replace

from api_shape import Anything, MapOf

OK = {"code": 0}
CONNECTION = "a connection as the document's section shows it"
NODE_CONFIG = "/nodes/:node/configs/"
PLUGIN_CONFIG = "/nodes/:node/plugin_configs/:plugin"
CONFIG = [{"key": "x", "value": "x", "datatpye": "x", "app": "x"}]
PERSISTENT = "/sessions/persistent/:clientid"
RESOURCE = {"name": "listed", "type": "built_in", "config": {"a": 1}}
RESOURCE_MADE = {**RESOURCE, "id": "x", "attrs": "x", "description": ""}
TEXTS = {"en": "x", "zh": "x"}
EVENT = {
    "event": "x",
    "title": TEXTS,
    "description": TEXTS,
    "test_columns": MapOf(Anything),
    "columns": ["x"],
    "sql_example": "x",
}
APP = {"app_id": "x", "name": "x", "desc": "x", "status": True, "expired": 4102444800}


@dataclass(frozen=True)
class Step:
    method: str
    path: str
    values: dict
    body: dict | None
    answer: dict


def data(value):
    return {"code": 0, "data": value}


def with_path(step, **values):
    """The step with what stands in its path."""
    return replace(step, values=values)


def get(path, answer, **values):
    return Step("GET", path, values, None, answer)


def post(path, body, answer=OK):
    return Step("POST", path, {}, body, answer)


def put(path, body, answer=OK, **values):
    return Step("PUT", path, values, body, answer)


def delete(path, **values):
    return Step("DELETE", path, values, None, OK)


def accounts(table, key):
    """The five endpoints of `auth_clientid` or `auth_username`, whose plugin has to be loaded."""
    plugin = f"emqx_{table}"
    one = {key: "someone"}
    return [
        put("/nodes/:node/plugins/:plugin/load", None, plugin=plugin),
        post(f"/{table}", {**one, "password": "first"}),
        get(f"/{table}", data(["someone"])),
        get(f"/{table}/:{key}", data({**one, "password": "x"}), **one),
        put(f"/{table}/:{key}", {"password": "second"}, **one),
        delete(f"/{table}/:{key}", **one),
        put("/nodes/:node/plugins/:plugin/unload", None, plugin=plugin),
    ]


SCENARIOS = {
    "auth_clientid": accounts("auth_clientid", "clientid"),
    "auth_username": accounts("auth_username", "username"),
    "users": [
        post("/users/", {"username": "eve", "password": "first", "tags": "viewer"}),
        post("/auth", {"username": "eve", "password": "first"}),
        get("/users/", data([{"username": "admin", "tags": "administrator"}])),
        put("/users/:name", {"tags": "editor"}, name="eve"),
        put("/change_pwd/:username", {"old_pwd": "first", "new_pwd": "second"}, username="eve"),
        post("/auth", {"username": "eve", "password": "second"}),
        delete("/users/:name", name="eve"),
    ],
    "apps": [
        post("/apps/", {**APP, "app_id": "made"}, data({"secret": "x"})),
        get("/apps/", data([APP])),
        get("/apps/:appid", data({**APP, "secret": "x"}), appid="made"),
        put("/apps/:appid", {"name": "other"}, appid="made"),
        delete("/apps/:appid", appid="made"),
    ],
    "configs": [
        get("/configs/", data([{"node": "x", "config": CONFIG}])),
        get(NODE_CONFIG, data(CONFIG)),
        put("/configs/:app", {"key": "log.level", "value": "info"}, app="log"),
        put("/nodes/:node/configs/:app", {"key": "log.level", "value": "info"}, app="log"),
    ],
    "plugin configs": [
        get(
            PLUGIN_CONFIG,
            data([{"key": "x", "value": "x", "desc": "x", "required": True}]),
            plugin="emqx_retainer",
        ),
        put(
            PLUGIN_CONFIG,
            {"retainer.max_retained_messages": "1000000"},
            plugin="emqx_retainer",
        ),
    ],
    "resources": [
        post("/resources/", RESOURCE, data(RESOURCE_MADE)),
        get("/resource_status/:id", data({"is_alive": True}), id="built_in:listed"),
        with_path(post("/resources/:id", None), id="built_in:listed"),
        delete("/resources/:id", id="built_in:listed"),
    ],
    "rule events": [get("/rule_events/", data([EVENT]))],
    "reload": [put("/nodes/:node/plugins/:plugin/reload", None, plugin="emqx_retainer")],
    "persistent sessions": [
        delete(PERSISTENT, clientid="away-1"),
        delete("nodes/:node/sessions/persistent/:clientid", clientid="away-2"),
    ],
    "connections by user name": [
        get("/connection/username/:username", data([CONNECTION]), username="five"),
        get("/nodes/:node/connection/username/:username", data([CONNECTION]), username="five"),
    ],
}

# `expired` is a text if there is no end; `role` and `read_only` tell what an application may do.
# Keys that applications and keys of the configuration have here as well.
CONFIG_MAY_HAVE = {"descr", "changeable", "kept"}
MAY_HAVE = {
    "data": {"role", "read_only"},
    "data[]": {"role", "read_only"} | CONFIG_MAY_HAVE,
    "data[].config[]": CONFIG_MAY_HAVE,
}
