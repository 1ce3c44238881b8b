"""What scripts/compare and scripts/compare-durability share: one run of a load, and the table of many."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
CLI = TARGET / "release/broker-cli"

COLUMNS = ["msg/s", "cpu us", "ack p50 ms", "ack p99 ms", "p50 ms", "p99 ms", "lost"]


def cpu_s(pid):
    """User and system time of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(cli, host, port, pid, flags):
    """One `bench pubsub` against a broker: its figures by column, or why there are none.

    CPU is the broker's own for each delivery, over the whole run, connecting included; without a pid there is none.
    """
    before = cpu_s(pid) if pid else None
    command = [cli, "bench", "pubsub", "-h", host, "-p", str(port), "--json", "--quiet", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        return {"error": done.stderr.strip()[-200:]}
    report = json.loads(done.stdout)
    received = report["received"]
    if not received["count"]:
        return {"error": "nothing came"}
    figures = {"msg/s": received["per_second"], "lost": received.get("lost", 0)}
    if pid:
        figures["cpu us"] = (cpu_s(pid) - before) * 1e6 / received["count"]
    acknowledged = report["published"].get("acknowledged", {})
    for prefix, part in ("ack ", acknowledged), ("", received):
        for quantile, us in (part.get("latency_us") or {}).items():
            figures[f"{prefix}{quantile} ms"] = us / 1e3
    return figures


def show(load, what, results):
    """One table: medians over the rounds, a row for each broker."""
    print(f"\n{load}: {what}")
    print("  " + " " * 10 + "".join(f"{column:>12}" for column in COLUMNS))
    for name, runs in results.items():
        good = [figures for figures in runs if "error" not in figures]
        if not good:
            print(f"  {name:10}  {runs[-1]['error']}")
            continue
        cells = ""
        for column in COLUMNS:
            measured = [figures[column] for figures in good if column in figures]
            digits = 0 if column in ("msg/s", "lost") else 2
            cells += f"{statistics.median(measured):>12,.{digits}f}" if measured else f"{'-':>12}"
        failed = len(runs) - len(good)
        print(f"  {name:10}{cells}" + (f"  ({failed} runs failed)" if failed else ""))
    sys.stdout.flush()


def compare(brokers, loads, rounds, measure):
    """All loads, each broker in turn within a round; prints a table for each load and returns every figure.

    `loads` are (what it is, flags) by name; `measure(broker, flags)` is one run.
    """
    everything = {}
    for load, (what, flags) in loads.items():
        results = {name: [] for name in brokers}
        for _ in range(rounds):
            for name in brokers:
                results[name].append(measure(name, flags))
        show(load, what, results)
        everything[load] = results
    return everything
