"""An hour without the server of a web hook, in little: memory stays flat, and all of it arrives."""

import json
from pathlib import Path

import pytest

from api import Api, segment
from far_ends import HookServer
from mosquitto import pub, tcp
from waiting import wait_until

# An hour's pauses, of a minute each in the end, in a second: what matters is how often it is tried.
PAUSES = {"retry_interval": "1ms", "retry_interval_max": "15ms"}
ATTEMPTS = 60
MESSAGES = 100_000
# Then the 4 MB of the buffer in memory have been full.
FIRST = 20_000
GROWN_BYTES_MAX = 16 << 20


def resident_bytes(broker):
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


@pytest.fixture
def hook(tmp_path):
    server = HookServer(tmp_path, program="hook_lines.py")
    yield server
    server.kill()


def publish(broker, numbers):
    """A message with each number, at QoS 1."""
    # Kept in memory they would be twice what it may grow by.
    pad = "x" * 300
    lines = "".join(f'{{"n": {n}, "pad": "{pad}"}}\n' for n in numbers)
    pub(*tcp(broker.tcp), "-q", 1, "-t", "numbers", "-l", input=lines)


def test_an_outage_costs_no_memory_and_no_message(start, hook):
    broker = start()
    api = Api(broker.management)
    config = {"url": hook.url, **PAUSES}
    made = api.post("/resources", name="w", type="web_hook", config=config).done()["data"]
    actions = [{"name": "web_hook:publish_action", "params": {"$resource": made["id"]}}]
    rule = {"name": "r", "for": "message.publish", "rawsql": 'SELECT payload.n AS n, payload.pad AS pad FROM "numbers"'}
    api.post("/rules", **rule, actions=actions).done()

    def buffer():
        return api.get(f"/resource_status/{segment(made['id'])}")["metrics"][0]

    def waiting():
        of = buffer()
        return of["memory"]["items"] + of["disk"]["items"]

    hook.kill()
    publish(broker, range(FIRST))
    wait_until(lambda: buffer()["disk"]["items"] > FIRST // 2, "memory has been full")
    before = most = resident_bytes(broker)
    for begin in range(FIRST, MESSAGES, FIRST):
        publish(broker, range(begin, begin + FIRST))
        most = max(most, resident_bytes(broker))
    wait_until(lambda: buffer()["retried"] > ATTEMPTS, "it is tried again and again")
    assert (waiting(), buffer()["dropped"]["full"]) == (MESSAGES, 0)
    assert buffer()["memory"]["bytes"] <= 5 << 20
    most = max(most, resident_bytes(broker))

    hook.start()
    wait_until(lambda: buffer()["delivered"] == MESSAGES, "all are delivered", timeout_s=300)
    most = max(most, resident_bytes(broker))
    assert most - before < GROWN_BYTES_MAX, f"from {before >> 20} to {most >> 20} MiB"
    assert sum(buffer()["dropped"].values()) == 0 and waiting() == 0
    numbers = [json.loads(line)["n"] for line in hook.lines()]
    assert list(dict.fromkeys(numbers)) == list(range(MESSAGES))
    # At least once, and what is repeated is what was on its way.
    assert len(numbers) <= MESSAGES + 32
