"""A broker of its own for a test: its configuration, its process, the ports the system chose."""

import copy
import json
import os
import signal
import subprocess
from pathlib import Path

from waiting import DEADLINE_S, Lines, wait_until

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("BROKER_SERVER", ROOT / "target/release/broker-server"))
if not PROGRAM.is_absolute():
    PROGRAM = ROOT / PROGRAM

DEFAULTS = {
    "listener": {
        "tcp": {"external": {"bind": "127.0.0.1:0"}, "internal": {"enabled": False}},
        "ssl": {"external": {"enabled": False}},
        "ws": {"external": {"enabled": False}},
        "wss": {"external": {"enabled": False}},
    },
    # A machine that builds this may have little space, and a disk that others use as well.
    "store": {"min_free_bytes": "64MB", "slow_sync": "1m"},
    "management": {"listener": {"http": {"bind": "127.0.0.1:0"}}},
}


def write_toml(path, tables):
    """Writes nested dicts of strings, numbers, booleans and lists as TOML."""
    lines = []

    def write(table, name):
        values = {key: value for key, value in table.items() if not isinstance(value, dict)}
        if values and name:
            lines.append(f"[{name}]")
        lines.extend(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.items())
        for key, value in table.items():
            if isinstance(value, dict):
                write(value, f"{name}.{json.dumps(key)}" if name else json.dumps(key))

    write(tables, "")
    path.write_text("\n".join(lines) + "\n")


def merge(base, over):
    """`base` with the values of `over`, table by table."""
    for key, value in over.items():
        if isinstance(value, dict):
            merge(base.setdefault(key, {}), value)
        else:
            base[key] = value
    return base


def environment():
    """Ours, without what would configure the broker or its log."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("BROKER__", "RUST_LOG"))}


class Server:
    """A running broker. `tcp`, `ssl`, `ws` and `wss` are the ports of its external listeners."""

    def __init__(self, folder, tables, prefix=()):
        self.folder = folder
        self.data_dir = folder / "data"
        self.config = folder / "broker.toml"
        self.tables = tables
        self.prefix = prefix
        self.configure(tables)
        self.launch()

    def launch(self):
        """Starts the process and waits until it is ready."""
        self.process = subprocess.Popen(
            [*self.prefix, PROGRAM, "--config", self.config],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.log = Lines(self.process.stderr)
        self.log.expect("broker is ready")
        self.ports = {}
        for line in self.log.all:
            if " listening name=" in line and "127.0.0.1:" in line:
                name, port = line.split("name=")[1].split(" address=127.0.0.1:")
                self.ports[name] = int(port)

    def configure(self, tables):
        """Writes the configuration; the running broker takes over what it can at SIGHUP."""
        base = merge({"node": {"data_dir": str(self.data_dir)}}, copy.deepcopy(DEFAULTS))
        write_toml(self.config, merge(base, tables))

    @property
    def management(self):
        """The port of the management API."""
        return self.ports["http:management"]

    def __getattr__(self, protocol):
        try:
            return self.ports[f"mqtt:{protocol}:external"]
        except KeyError:
            raise AttributeError(protocol) from None

    def threads(self):
        """The names of its threads."""
        names = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                names.append((task / "comm").read_text().strip())
            except OSError:
                # It has ended meanwhile.
                pass
        return names

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def restart(self):
        """Starts it again on its folder, and on the port it had."""
        bind = {"listener": {"tcp": {"external": {"bind": f"127.0.0.1:{self.tcp}"}}}}
        self.configure(merge(copy.deepcopy(self.tables), bind))
        wait_until(self.launches, "the port to be free again")

    def launches(self):
        """Whether it starts: a connection of another test may go out from its port meanwhile."""
        try:
            self.launch()
            return True
        except AssertionError:
            if "address already in use" not in self.log.text():
                raise
            return False

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """Stops it as an operator does; returns the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout_s=DEADLINE_S):
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def run(*args, timeout_s=DEADLINE_S):
    """Runs the program to its end, for what does not start a broker."""
    return subprocess.run(
        [PROGRAM, *args], capture_output=True, text=True, timeout=timeout_s, env=environment()
    )
