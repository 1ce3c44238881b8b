"""Where the contract test does not take the document at its word, each with its reason.

The numbers are those of the list of the document's inconsistencies in the specification of the API, D.5. Everything
that is not here is compared as it is printed.
"""

from dataclasses import dataclass, field

from api import NODE
from api_document import fill
from api_shape import AnyOf, Anything, Empty, MapOf, has_place, put

NODE_SESSION = "/nodes/${node}/sessions/${clientid}"
LISTENERS = ("/listeners/", "/nodes/${node}/listeners")
TIME = "2019-07-10 16:54:35"


@dataclass(frozen=True)
class Deviation:
    """One inconsistency of the document and what follows for the comparison."""

    number: int
    reason: str
    # Definitions of the sections concerned.
    sections: tuple = ()
    # The title of the section whose request is misprinted, and the path that is meant.
    title: str = ""
    path: str = ""
    # Keys that an answer may have beside those of the example, by the place of their object.
    may_have: dict = field(default_factory=dict)
    # What stands in the example instead, by place, for requests with this method.
    instead: dict = field(default_factory=dict)
    method: str = "GET"
    # The body that is printed is not sent.
    no_body: bool = False


def as_printed(number, reason, *sections):
    """The document is odd there, and followed to the letter."""
    return Deviation(number, reason, sections)


def values(number, reason, *sections):
    """The document disagrees with itself in values, which are compared with reality in other tests."""
    return Deviation(number, reason, sections)


# Parameters by name; what a default may be depends on the type.
PARAMETERS = MapOf(MapOf(Anything))
RESOURCE_TYPE = {"name": "x", "provider": "x", "params": PARAMETERS, "description": "x"}

DEVIATIONS = [
    Deviation(1, "`ß` is a slip of the keyboard", title="获取当前 REST API 列表", path="/"),
    as_printed(2, "memory is text in the list, a number for one node", "/nodes/", "/nodes/${node}"),
    Deviation(
        3,
        "the single answers lack `node`; to add it does no harm",
        ("/brokers/${node}", "/nodes/${node}"),
        may_have={"data": {"node"}},
    ),
    as_printed(4, "load averages are texts of two decimals", "/nodes/", "/nodes/${node}"),
    as_printed(5, "`1 days,18 hours` has no blank behind the comma", "/brokers/", "/nodes/"),
    as_printed(6, "no user name is the text `undefined`", "/connections/"),
    values(7, "`username` is empty if sent empty, `undefined` if not sent", "/sessions/"),
    Deviation(
        8,
        "the body belongs to publish; the row pairs 7200 s with a clean start of another year",
        (NODE_SESSION,),
        no_body=True,
    ),
    Deviation(
        9,
        "`shutdown_count` is an empty array or an object",
        LISTENERS,
        instead={
            "data[].listeners[].shutdown_count": AnyOf(Empty, MapOf(1)),
            "data[].shutdown_count": AnyOf(Empty, MapOf(1)),
        },
    ),
    values(10, "`max_conns` and `acceptors` are as configured", *LISTENERS),
    as_printed(11, "stats stand flat beside `node`, metrics in `metrics`", "/stats/", "/metrics/"),
    Deviation(
        12,
        "a node's history is printed under the path of its present alarms",
        title="获取节点历史告警信息",
        path="/alarms/history/${node}",
    ),
    as_printed(13, "the number in `desc` of an alarm is text", "/alarms/history"),
    as_printed(14, "`until` lies in the past and is accepted", "/banned/"),
    Deviation(
        15,
        "the list is printed empty; a row is what was sent, and `by`",
        ("/banned/",),
        instead={
            "data": [
                {"who": "x", "as": "client_id", "reason": "x", "desc": "x", "by": "x", "until": 1}
            ]
        },
    ),
    as_printed(16, "HTTP status above 500 is said, 200 is what the original sends with its code"),
    as_printed(17, "routes have `meta`, so they are paged", "/routes/"),
    Deviation(
        18,
        "the rule's answer has a `$resource` that the request lacks",
        ("/rules",),
        instead={"data.actions[].params": {"a": 1}},
        method="POST",
    ),
    as_printed(19, "paths of rules without a trailing slash", "/rules"),
    as_printed(20, "the row `description` fell out of the table", "/rules"),
    as_printed(21, "actions of one hook", "/actions?for=${hook_type}"),
    as_printed(22, "`Repubilsh`", "/actions?for=${hook_type}"),
    Deviation(
        23,
        "the list of resource types shows resources",
        ("/resource_types",),
        instead={"data": [RESOURCE_TYPE]},
    ),
    as_printed(24, "not in the list of the API", "/resource_types/${type}/actions"),
    as_printed(25, "`attrs` is the text `undefined`", "/resources"),
    as_printed(26, "names, paths and descriptions of the list keep their misprints", "/ß"),
    as_printed(27, "endpoints of 3.2 are listed beside versions of 3.1", "/ß"),
    values(28, "`datatpye` of configurations is misspelled in the original's source only"),
    as_printed(29, "stray text around it and two forms of placeholders are the parser's business"),
    Deviation(
        30,
        "keys of an action's parameter are optional; single actions are compared literally",
        ("/actions?for=${hook_type}", "/resource_types/${type}/actions"),
        instead={"data[].params": PARAMETERS},
    ),
    values(31, "two examples of one session differ: two moments", "/sessions/"),
    values(32, "loading what is active fails"),
    values(33, "`recv_cnt` need not be `recv_pkt`; protocol name and version are real ones"),
]

# Examples of the document that are empty arrays, filled with what its other examples show for them.
ALARM = {"id": "cpu_high_watermark", "desc": "82.60344181007542"}
FILLED = {
    "/alarms/present": {"data[].alarms": [ALARM]},
    "/alarms/present/${node}": {"data": [ALARM]},
}

# A configuration has the keys that its type asks for.
CONFIGS = {"/resources": {"data[].config": MapOf(Anything)}}

# What an alarm says beside `desc`.
ALARM_SAYS = {"severity", "title", "summary", "timestamp", "details"}

COUNTED = ("suboptions", "rules", "actions", "resources")
STATS = {f"{what}/{part}" for what in COUNTED for part in ("count", "max")}
METRICS = {"rules.matched", "actions.success", "actions.failure"}
RULE = {"metrics", "on_action_failed"}
RULE_ACTION = {"id", "metrics"}

# Keys that this broker adds: scripts read by name.
ADDITIONS = {
    # Also of the section that prints a node's history under this path.
    "/alarms/present/${node}": {"data[]": ALARM_SAYS},
    "/alarms/present": {"data[].alarms[]": ALARM_SAYS},
    "/alarms/history": {"data[].alarms[]": ALARM_SAYS},
    # To name a listener that is to be stopped or started, and to tell whether it is.
    "/listeners/": {"data[].listeners[]": {"id", "running"}},
    "/nodes/${node}/listeners": {"data[]": {"id", "running"}},
    # The original has them too, as its sources show.
    "/stats/": {"data[]": STATS},
    "/nodes/${node}/stats/": {"data": STATS},
    "/metrics/": {"data[].metrics": METRICS},
    "/nodes/${node}/metrics/": {"data": METRICS},
    # Of one rule, and in a list: what 3.2 has, and what becomes of actions.
    "/rules": {
        "data": RULE,
        "data.actions[]": RULE_ACTION,
        "data[]": RULE,
        "data[].actions[]": RULE_ACTION,
    },
    "/rules/${rule_id}": {"data": RULE, "data.actions[]": RULE_ACTION},
    # Descriptors in use beside the limit.
    "/nodes/${node}": {"data": {"active_fds"}},
}


def deviations(section):
    """What concerns a section of the document."""
    return [d for d in DEVIATIONS if section.definition in d.sections or section.title == d.title]


def definition(section):
    """Its path with placeholders, misprints corrected."""
    return next((d.path for d in deviations(section) if d.path), section.definition)


def printed_path(section, example):
    """The path of the example, misprints corrected."""
    if definition(section) == section.definition:
        return example.path
    # The example of a misprinted definition has the same misprint.
    return fill(definition(section), definition(section).replace("${node}", NODE), {})


def expected(section, example):
    """The example, with what deviates put in."""
    answer = example.answer
    concerned = [d for d in deviations(section) if d.method == example.method]
    places = {place: what for d in concerned for place, what in d.instead.items()}
    if example.method == "GET":
        places.update(FILLED.get(definition(section), {}))
        places.update(CONFIGS.get(definition(section), {}))
    for place, what in places.items():
        if has_place(answer, place):
            answer = put(answer, place, what)
    return answer


def extra(section):
    """Keys that its answer may have beside those of the example, as `differences` takes them."""
    found = {}
    additions = ADDITIONS.get(section.definition, {})
    for places in [additions, *(d.may_have for d in deviations(section))]:
        for place, keys in places.items():
            found[place] = found.get(place, set()) | keys
    return found
