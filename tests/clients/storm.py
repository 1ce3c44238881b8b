"""Clients that come and go without end, over bare sockets, so that many do so in a second."""

import socket
import threading

from waiting import DEADLINE_S, wait_until


def packet(kind, body):
    assert len(body) < 128
    return bytes([kind, len(body)]) + body


def text(value):
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def connect(client_id, keep=False):
    """CONNECT of 3.1.1."""
    return packet(0x10, text("MQTT") + bytes([4, 0 if keep else 2, 0, 60]) + text(client_id))


def subscribe(*filters):
    body = b"".join(text(topic_filter) + b"\0" for topic_filter in filters)
    return packet(0x82, b"\0\1" + body)


PINGREQ, DISCONNECT = b"\xc0\0", b"\xe0\0"


class Wire:
    """A connection that sends and takes bytes as they are."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data, answer):
        """Sends it and waits for an answer of so many bytes."""
        self.socket.sendall(data)
        return self.take(answer)

    def take(self, n):
        got = b""
        while len(got) < n:
            data = self.socket.recv(n - len(got))
            assert data, f"closed after {got!r}"
            got += data
        return got

    def close(self):
        self.socket.close()


class Storm:
    """A few threads whose clients connect, subscribe and leave, each under a name of its own."""

    def __init__(self, port, n_threads=3):
        self.port = port
        self.rounds = 0
        self.failed = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(n_threads)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.rounds >= 10 or self.failed, "the storm is up")
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()
        assert not self.failed, self.failed

    def _run(self, number):
        try:
            turn = 0
            while not self._ended.is_set():
                turn += 1
                self._come_and_go(f"storm-{number}-{turn}", turn)
        except (OSError, AssertionError) as error:
            self.failed.append(repr(error))

    def _come_and_go(self, client_id, turn):
        # Some sort before the permanent clients and some behind, whatever the order is.
        name = f"{turn % 10}-{client_id}"
        wire = Wire(self.port)
        wire.send(connect(name), 4)
        wire.send(subscribe(f"storm/{name}"), 5)
        if turn % 2:
            wire.socket.sendall(DISCONNECT)
        wire.close()
        with self._lock:
            self.rounds += 1
