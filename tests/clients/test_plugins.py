"""Plugins come and go under traffic, again and again, and leave nothing behind."""

from pathlib import Path

import pytest

from api import NODE, Api
from waiting import wait_until

# Those that can go while the clients of the test stay.
NAMES = (
    "emqx_auth_clientid",
    "emqx_auth_username",
    "emqx_delayed_publish",
    "emqx_recon",
    "emqx_reloader",
    "emqx_retainer",
    "emqx_rule_engine",
    "emqx_statsd",
    "emqx_web_hook",
)
ROUNDS = 100


def state(broker):
    """How many threads and open descriptors it has."""
    n_descriptors = len(list(Path(f"/proc/{broker.process.pid}/fd").iterdir()))
    return len(broker.threads()), n_descriptors


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_loads_leave_nothing_behind(start, paho, name):
    nobody = "http://127.0.0.1:9"
    broker = start(
        plugins={"loaded": ["emqx_management"]},
        web={"hook": {"api": {"url": nobody}}},
        statsd={"push": {"gateway": {"server": nobody}}, "interval": "1s"},
        recon={"gc_interval": "1s"},
    )
    api = Api(broker.management)

    def order(what):
        api.put(f"/nodes/{NODE}/plugins/{name}/{what}").done()

    def round_of(n):
        order("load")
        order("reload")
        assert alice.publish(f"t/{n % 2}", b"x", qos=1) in (0, 0x10)
        order("unload")

    alice = paho(broker.tcp, "alice")
    alice.subscribe("t/0", 1)
    # What is made once stays: connections of the API, a file of the store.
    for n in range(3):
        round_of(n)
    wait_until(lambda: n_of_plugins(broker) == 0, "its threads end")
    before = state(broker)
    for n in range(ROUNDS):
        round_of(n)
    wait_until(lambda: n_of_plugins(broker) == 0, "its threads end")
    wait_until(
        lambda: all(now <= then for now, then in zip(state(broker), before)),
        f"no more than {before[0]} threads and {before[1]} descriptors",
    )
    # The client was there all the time.
    assert alice.publish("t/0", b"y", qos=1) == 0


def test_what_was_ordered_is_so_after_a_restart(start):
    nobody = "http://127.0.0.1:9"
    broker = start(web={"hook": {"api": {"url": nobody}}})

    def active():
        plugins = Api(broker.management).get(f"/nodes/{NODE}/plugins")
        return {plugin["name"] for plugin in plugins if plugin["active"]}

    defaults = active()
    assert "emqx_recon" in defaults
    orders = {"emqx_statsd": "load", "emqx_web_hook": "load", "emqx_reloader": "load", "emqx_recon": "unload"}
    for name, what in orders.items():
        Api(broker.management).put(f"/nodes/{NODE}/plugins/{name}/{what}").done()
    wanted = defaults - {"emqx_recon"} | {"emqx_statsd", "emqx_web_hook", "emqx_reloader"}
    assert active() == wanted
    broker.stop()
    broker.restart()
    assert active() == wanted
    wait_until(lambda: any("statsd" in name for name in broker.threads()), "it is at work")
    assert not any("recon" in name for name in broker.threads())


def n_of_plugins(broker):
    """Threads that belong to a plugin."""
    return sum(
        1 for name in broker.threads() if any(part in name for part in ("statsd", "recon", "emqx_we"))
    )


def test_recon_gives_back_at_intervals_what_a_burst_has_left(start, paho):
    tables = {"recon": {"gc_interval": "1s"}, "log": {"targets": {"broker_plugins": "debug"}}}
    broker = start(**tables)
    # A table that is empty is let go at once.
    paho(broker.tcp, "keeper").subscribe("burst/kept")
    crowd = paho(broker.tcp, "crowd")
    for n in range(300):
        crowd.subscribe(f"burst/{n}")
    crowd.close()
    broker.log.expect("memory given back to the allocator bytes=[1-9]")
    broker.log.expect("memory given back to the allocator bytes=0")
    order = f"/nodes/{NODE}/plugins/emqx_recon/unload"
    Api(broker.management).put(order).done()
    wait_until(lambda: n_of_plugins(broker) == 0, "its thread ends")
