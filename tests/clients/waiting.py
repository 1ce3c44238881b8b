"""Waiting for what programs print and for conditions, each with a deadline instead of a sleep."""

import re
import threading
import time

DEADLINE_S = 30


def wait_until(condition, what, timeout_s=DEADLINE_S):
    """Asks again until `condition()` is true; returns its value."""
    until = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"{what}: not within {timeout_s} s"
        time.sleep(0.01)


class Lines:
    """The lines of a stream, read by a thread; `expect` goes on behind the line it found last."""

    def __init__(self, stream):
        self.all = []
        self._at = 0
        self._ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            with self._changed:
                self.all.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def expect(self, pattern, timeout_s=DEADLINE_S):
        """The match of the next line in which `pattern` is found."""
        until = time.monotonic() + timeout_s
        with self._changed:
            at = self._at
            while True:
                while at < len(self.all):
                    found = re.search(pattern, self.all[at])
                    at += 1
                    if found:
                        self._at = at
                        return found
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    text = "\n".join(self.all)
                    raise AssertionError(f"no line has {pattern!r}, there are:\n{text}")
                self._changed.wait(left)

    def text(self):
        with self._changed:
            return "\n".join(self.all)
