"""Logins at a rate, each by a connection of its own: `login_storm.py PORT KIND RATE SECONDS` prints what they were answered.

`password` names an account and guesses its password; `scram` begins an exchange of SCRAM-SHA-256 and sends a wrong proof.
"""

import base64
import json
import selectors
import socket
import sys
import time
from collections import Counter

from test_scram import packet, properties, text

CONNACK, AUTH = 2, 15
OPEN_MAX = 800


def connect(kind, n):
    """CONNECT of 5.0."""
    client_id = text(f"storm{n}")
    if kind == "password":
        body = b"\0" + client_id + text("bob") + text(f"guess {n}")
        return packet(1, text("MQTT") + b"\x05\xc2\0\x3c" + body)
    first = properties("SCRAM-SHA-256", f"n,,n=bob,r=nonce{n}")
    return packet(1, text("MQTT") + b"\x05\x02\0\x3c" + first + client_id)


def proof(answer):
    """A proof that is none, for the nonce and salt that the broker has sent."""
    nonce = answer[answer.index(b"r=") + 2 :].split(b",")[0]
    made = b"c=biws,r=" + nonce + b",p=" + base64.b64encode(bytes(32))
    return packet(15, b"\x18" + properties("SCRAM-SHA-256", made))


def run(port, kind, rate, seconds):
    """Reason Codes by how often they came, and how many connections were made."""
    selector = selectors.DefaultSelector()
    answers, open_sockets, made = Counter(), 0, 0
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        while made < now * rate and open_sockets < OPEN_MAX:
            stream = socket.create_connection(("127.0.0.1", port))
            stream.sendall(connect(kind, made))
            stream.setblocking(False)
            selector.register(stream, selectors.EVENT_READ)
            made += 1
            open_sockets += 1
        for key, _ in selector.select(0.001):
            try:
                data = key.fileobj.recv(512)
            except OSError:
                data = b""
            if data and data[0] >> 4 == AUTH:
                key.fileobj.sendall(proof(data))
                continue
            answers[f"{data[3]:#x}" if data[:1] == b"\x20" else "closed"] += 1
            selector.unregister(key.fileobj)
            key.fileobj.close()
            open_sockets -= 1
    return {"made": made, "answers": answers}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))))
