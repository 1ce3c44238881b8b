"""What rules send to: an HTTP server and another broker, processes of their own that can be killed."""

import getpass
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from waiting import DEADLINE_S, Lines, wait_until

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class HookServer:
    """`hook_server.py`; it keeps its port and its file over a restart. With a `ca` it asks for certificates.

    `hook_lines.py` in its place is faster: of it there are lines, with the bodies alone.
    """

    def __init__(self, folder, ca=None, program="hook_server.py"):
        self.program = Path(__file__).with_name(program)
        self.tls = [ca.crt("server"), ca.key("server"), ca.crt("ca")] if ca else []
        self.file = folder / "requests"
        self.file.touch()
        self.port = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, self.program, str(self.port), self.file, *self.tls],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if self.tls else None,
            text=True,
        )
        self.port = int(Lines(self.process.stdout).expect(r"^(\d+)$").group(1))

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE_S)

    @property
    def url(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/hook"

    def lines(self):
        return self.file.read_text().split("\n")[:-1]

    def requests(self):
        """All so far; a line that was being written when it was killed is none."""
        return [json.loads(line) for line in self.lines()]

    def bodies(self):
        return [json.loads(request["body"]) for request in self.requests()]


class FarBroker:
    """A mosquitto with a store; it keeps its port and its sessions over a restart. With a `ca` it asks for certificates."""

    def __init__(self, folder, ca=None):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        tls = ""
        if ca:
            tls = f"cafile {ca.crt('ca')}\ncertfile {ca.crt('server')}\nkeyfile {ca.key('server')}\nrequire_certificate true\n"
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\n{tls}"
            # Else it gives root's rights up, and with them the folder.
            f"user {getpass.getuser()}\npersistence true\npersistence_location {folder}/\nmax_queued_messages 0\n"
        )
        self.start()

    def start(self):
        self.process = subprocess.Popen([MOSQUITTO, "-c", self.config], stderr=subprocess.DEVNULL)
        wait_until(self.listens, "the other broker listens")

    def listens(self):
        assert self.process.poll() is None, "the other broker ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self):
        """Ends it so that it keeps its sessions."""
        self.process.terminate()
        self.process.wait(DEADLINE_S)
