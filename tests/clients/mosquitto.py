"""Debian's mosquitto_pub, mosquitto_sub and mosquitto_rr."""

import subprocess

from waiting import DEADLINE_S, Lines


def tcp(port):
    return ["-h", "127.0.0.1", "-p", str(port)]


def tls(port, ca, client=None):
    args = ["-h", "localhost", "-p", str(port), "--cafile", str(ca.crt("ca"))]
    if client:
        args += ["--cert", str(ca.crt(client)), "--key", str(ca.key(client))]
    return args


def run(program, *args, input=None):
    return subprocess.run(
        [program, *map(str, args)],
        input=input,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def pub(*args, input=None):
    """Publishes; it must succeed."""
    done = run("mosquitto_pub", *args, input=input)
    assert done.returncode == 0, f"mosquitto_pub {args}: {done.stderr}{done.stdout}"
    return done


class Sub:
    """A mosquitto_sub that is subscribed. `receive()` gives what `-F` makes of the next message."""

    def __init__(self, *args, form="%t %p", wait_for="Subscribed"):
        # The debug output says when the subscription stands; stdbuf so that it says so at once.
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", "mosquitto_sub", "-d", "-F", f"MSG {form}", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = Lines(self.process.stdout)
        self.lines.expect(wait_for)

    def receive(self):
        return self.lines.expect("^MSG (.*)$").group(1)

    def received(self):
        """All so far."""
        return [line[4:] for line in self.lines.text().split("\n") if line.startswith("MSG ")]

    def disconnect(self):
        """Ends with a DISCONNECT."""
        self.process.terminate()
        self.process.wait(DEADLINE_S)

    def kill(self):
        """Ends without a word."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
