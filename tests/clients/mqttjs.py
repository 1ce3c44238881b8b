"""MQTT.js from npm, connected until the test ends it."""

import json
import subprocess
from pathlib import Path

from waiting import DEADLINE_S, Lines

SCRIPT = Path(__file__).with_name("mqttjs_stay.mjs")


class Client:
    """A client over WebSocket or TCP, subscribed to `filters` with QoS 1; `options` are those of MQTT.js."""

    def __init__(self, url, *filters, **options):
        self.process = subprocess.Popen(
            ["node", SCRIPT, url, json.dumps(options), *filters],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = Lines(self.process.stdout)
        self.lines.expect("^ready$")

    def receive(self):
        """Topic, payload, QoS and RETAIN of the next message."""
        return json.loads(self.lines.expect("^message (.*)$").group(1))

    def disconnect_reason(self):
        """The Reason Code of the broker's DISCONNECT."""
        return int(self.lines.expect(r"^disconnect (\d+)$").group(1))

    def wait_closed(self):
        self.lines.expect("^closed$")

    def close(self):
        """Ends the process, without a DISCONNECT."""
        self.process.stdin.close()
        self.process.wait(DEADLINE_S)


def over_websocket(port, *filters, **options):
    return Client(f"ws://127.0.0.1:{port}/mqtt", *filters, protocolVersion=4, **options)
