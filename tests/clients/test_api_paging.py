"""Lists of the management API page by page: at rest, while clients come and go, and with many readers."""

import threading
from collections import Counter

import pytest

from api import NODE, Api
from api_deviations import expected as expected_answer, extra
from api_document import read
from api_shape import differences
from storm import Storm, Wire, connect, subscribe
from waiting import wait_until

# How many there are of each; more than a few pages, and not a whole number of them.
N = 53
LIMITS = [1, 7, 52, 53, 54, 10_000]


def name(n):
    return f"permanent-{n:03}"


@pytest.fixture(name="crowd", scope="module")
def fixture_crowd(start_for_all):
    """The API of a broker with `N` clients, sessions, subscriptions, routes and bans."""
    broker = start_for_all()
    api = Api(broker.management)
    wires = [Wire(broker.tcp) for _ in range(N)]
    for n, wire in enumerate(wires):
        wire.send(connect(name(n)), 4)
        wire.send(subscribe(name(n)), 5)
        api.post("/banned", **{"who": name(n) + "-banned", "as": "client_id"}).done()
    api.broker = broker
    yield api
    for wire in wires:
        wire.close()


# Path, and what tells its rows apart.
LISTS = {
    "/connections/": "client_id",
    f"/nodes/{NODE}/connections/": "client_id",
    "/sessions/": "client_id",
    f"/nodes/{NODE}/sessions/": "client_id",
    "/subscriptions/": "topic",
    f"/nodes/{NODE}/subscriptions/": "topic",
    "/routes/": "topic",
    "/banned/": "who",
}
EACH_LIST = pytest.mark.parametrize("path", LISTS)


def walk(api, path, limit):
    """All rows, page by page, to the first page without any; what `meta` says of each."""
    rows, metas = [], []
    for number in range(1, 100_000):
        page, meta = api.page(path, number, limit)
        assert len(page) <= limit
        assert (meta["page"], meta["limit"]) == (number, limit)
        metas.append(meta)
        if not page:
            return rows, metas
        rows += [row[LISTS[path]] for row in page]
    raise AssertionError("no last page")


def permanent(rows):
    return [row for row in rows if row.startswith("permanent-")]


def is_at_rest(api):
    stats = api.stats()
    return stats["connections/count"] == stats["sessions/count"] == stats["routes/count"] == N


@EACH_LIST
@pytest.mark.parametrize("limit", LIMITS)
def test_at_rest_pages_are_disjoint_complete_and_stable(crowd, path, limit):
    wait_until(lambda: is_at_rest(crowd), "nobody but the permanent clients is there")
    rows, metas = walk(crowd, path, limit)
    assert len(rows) == len(set(rows)) == N
    assert {meta["count"] for meta in metas} == {N}
    assert len(metas) == -(-N // limit) + 1
    assert walk(crowd, path, limit)[0] == rows
    assert walk(crowd, path, 5)[0] == rows


@EACH_LIST
def test_a_page_alone_is_the_same_as_in_a_sequence(crowd, path):
    wait_until(lambda: is_at_rest(crowd), "nobody but the permanent clients is there")
    rows, _ = walk(crowd, path, 10)
    for number in 3, 1, 6, 2:
        page, _ = crowd.page(path, number, 10)
        assert [row[LISTS[path]] for row in page] == rows[(number - 1) * 10 : number * 10]


@EACH_LIST
def test_without_parameters_it_is_the_first_page_of_10000(crowd, path):
    _, meta = crowd.page(path)
    assert (meta["page"], meta["limit"]) == (1, 10_000)
    _, meta = crowd.page(path, limit=10_001)
    assert meta["limit"] == 10_000
    _, meta = crowd.page(path, number=3, limit=10**12)
    assert (meta["page"], meta["limit"]) == (3, 10_000)


@EACH_LIST
@pytest.mark.parametrize("parameter", ["_page", "_limit"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "", "1e3", "%20", "0x10"])
def test_what_is_no_whole_number_from_1_is_refused_by_name(crowd, path, parameter, value):
    answer = crowd.request("GET", f"{path}?{parameter}={value}")
    assert parameter in answer.refused(108, status=400)


# Four pages are enough to be overtaken between them, and few enough to be walked often.
@EACH_LIST
@pytest.mark.parametrize("limit", [3, 20])
def test_while_clients_come_and_go_every_permanent_one_is_seen_once(crowd, path, limit):
    with Storm(crowd.broker.tcp) as storm:
        before = storm.rounds
        for _ in range(5):
            rows, _ = walk(crowd, path, limit)
            seen = Counter(permanent(rows))
            assert sorted(seen) == sorted(expected(path))
            assert set(seen.values()) == {1}, seen.most_common(3)
            assert max(Counter(rows).values()) == 1, Counter(rows).most_common(3)
        wait_until(lambda: storm.rounds > before + 20, "clients came and went meanwhile")
    wait_until(lambda: is_at_rest(crowd), "the storm is over")
    for _, meta in [crowd.page(path, 1, 1), crowd.page(path, 99, 1)]:
        assert meta["count"] == N


def expected(path):
    return [name(n) + ("-banned" if path == "/banned/" else "") for n in range(N)]


class Passers:
    """Entries older than the permanent ones, and between them, that leave one by one; and others that come."""

    def __init__(self, broker, api):
        self.broker, self.api = broker, api
        self.here = []
        self.n = 0

    def add(self, name):
        wire = Wire(self.broker.tcp)
        wire.send(connect(name), 4)
        wire.send(subscribe(name), 5)
        # A ban of nobody.
        self.api.post("/banned", **{"who": f"{name}-banned", "as": "client_id"}).done()
        return name, wire

    def come(self):
        self.n += 1
        self.here.append(self.add(f"passer-{self.n:03}"))

    def leave(self):
        """The oldest goes, and is gone when this returns."""
        gone, wire = self.here.pop(0)
        wire.close()
        self.api.delete(f"/banned/{gone}-banned", **{"as": "client_id"}).done()
        wait_until(lambda: not self.api.get(f"/sessions/{gone}"), f"{gone} went")


@EACH_LIST
@pytest.mark.parametrize("limit", [2, 3, 7])
def test_what_goes_and_comes_between_two_pages_moves_no_other(broker, api, path, limit):
    """Counting from the front alone would skip entries when older ones go."""
    passers, stays = Passers(broker, api), []
    for n in range(15):
        passers.come()
        stays.append(passers.add(f"permanent-{n:03}"))
    rows, number = [], 0
    while True:
        number += 1
        page, meta = api.page(path, number, limit)
        assert meta["page"] == number
        if not page:
            break
        rows += [row[LISTS[path]] for row in page]
        if len(passers.here) > 1:
            passers.leave()
        if number % 3 == 0 and passers.n < 25:
            passers.come()
    end = "-banned" if path == "/banned/" else ""
    assert permanent(rows) == [name + end for name, _ in stays]
    assert max(Counter(rows).values()) == 1
    wires = [wire for _, wire in [*stays, *passers.here]]
    assert meta["count"] == len(wires)
    for wire in wires:
        wire.close()


def test_while_bans_come_and_go_every_permanent_one_is_seen_once(crowd):
    ended = threading.Event()
    failed = []

    def churn():
        api = Api(crowd.port)
        n = 0
        while not ended.is_set() and not failed:
            n += 1
            who = f"{n % 10}-{n}"
            try:
                api.post("/banned", **{"who": who, "as": "client_id"}).done()
                api.request("DELETE", f"/banned/{who}?as=client_id").done()
            except (AssertionError, OSError) as error:
                failed.append(repr(error))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(5):
            rows, _ = walk(crowd, "/banned/", 3)
            assert Counter(permanent(rows)) == Counter(expected("/banned/"))
    finally:
        ended.set()
        thread.join()
    assert not failed


READERS, READS = 4, 15
READ_ONLY = ("brokers", "nodes", "connections", "sessions", "subscriptions", "routes")
READ_ONLY += ("metrics", "stats", "listeners", "plugins", "banned")


def test_readers_never_fail_during_a_storm(crowd):
    """Every documented list, by several threads at a time, has the documented shape in every answer."""
    shapes = documented_lists()
    assert len(shapes) >= 20
    failed = []

    def read_all():
        api = Api(crowd.port)
        try:
            for _ in range(READS):
                for path, (example, keys) in shapes.items():
                    answer = api.request("GET", path)
                    found = differences(example, answer.done(), keys)
                    assert not found, [str(answer), *found]
        except (AssertionError, OSError) as error:
            failed.append(str(error)[:2000])

    with Storm(crowd.broker.tcp) as storm:
        before = storm.rounds
        threads = [threading.Thread(target=read_all) for _ in range(READERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert storm.rounds > before
    assert not failed, failed[0]


def documented_lists():
    """Requests that only read, with what their answers must be like."""
    shapes = {}
    for section, example in read().examples():
        if example.method != "GET" or not section.definition.strip("/").startswith(READ_ONLY):
            continue
        path = example.path.replace("mosquitto_mqtt", name(0))
        path = path.replace("/routes/t", f"/routes/{name(0)}")
        # The bans of this file have but what they need.
        is_banned = section.definition == "/banned/"
        answer = example.answer if is_banned else expected_answer(section, example)
        shapes[path] = (answer, extra(section))
    return shapes
