"""SCRAM with both of its hashes, by a client that computes them with Python's hashlib."""

import base64
import hashlib
import hmac
import socket

import pytest

from waiting import DEADLINE_S

CONNACK, AUTH = 2, 15


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return len(data).to_bytes(2, "big") + data


def properties(method, data):
    """Authentication Method and Authentication Data, with their length."""
    made = b"\x15" + text(method) + b"\x16" + text(data)
    return length(len(made)) + made


def length(number):
    out = b""
    while True:
        number, low = divmod(number, 128)
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def packet(kind, body):
    return bytes([kind << 4]) + length(len(body)) + body


def receive(stream):
    """Kind and body of the next packet, which is short."""
    kind = stream.read(1)[0] >> 4
    n, shift = 0, 0
    while True:
        byte = stream.read(1)[0]
        n |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return kind, stream.read(n)


def authentication_data(body):
    """Behind the method; what the broker sends of both stands in this order in AUTH and CONNACK alike."""
    at = body.index(b"\x15\x00\x0dSCRAM-SHA-") + 16
    assert body[at] == 0x16
    n = int.from_bytes(body[at + 1 : at + 3], "big")
    return body[at + 3 : at + 3 + n].decode()


def log_in(port, method, digest, password):
    """The Reason Code of the CONNACK, and whether the broker has proved to know the password as well."""
    nonce, method = "fyko+d2lbbFgONRv9qkxdawL", f"SCRAM-SHA-{method}"
    bare = f"n=alice,r={nonce}"
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
        stream = client.makefile("rb")
        head = text("MQTT") + b"\x05\x02\x00\x3c" + properties(method, "n,," + bare)
        client.sendall(packet(1, head + text("scram")))
        kind, body = receive(stream)
        if kind == CONNACK:
            return body[1], False
        assert kind == AUTH and body[0] == 0x18
        first = authentication_data(body)
        fields = dict(part.split("=", 1) for part in first.split(","))
        assert fields["r"].startswith(nonce)
        salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])

        def mac(key, message):
            return hmac.new(key, message.encode(), digest).digest()

        salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, rounds)
        key = mac(salted, "Client Key")
        last = f"c=biws,r={fields['r']}"
        said = f"{bare},{first},{last}"
        signature = mac(hashlib.new(digest, key).digest(), said)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        client.sendall(packet(AUTH, b"\x18" + properties(method, f"{last},p={proof}")))
        kind, body = receive(stream)
        assert kind == CONNACK
        if body[1]:
            return body[1], False
        ours = base64.b64encode(mac(mac(salted, "Server Key"), said)).decode()
        return 0, authentication_data(body) == f"v={ours}"


@pytest.mark.parametrize("method", [256, 512])
def test_who_knows_the_password_is_let_in(start, method):
    broker = start(auth={f"scram_sha_{method}": {"users": {"alice": "pencil"}}})
    digest = f"sha{method}"
    assert log_in(broker.tcp, method, digest, "pencil") == (0, True)
    assert log_in(broker.tcp, method, digest, "pen") == (0x86, False)
    # The other method is not offered.
    other = 768 - method
    assert log_in(broker.tcp, other, f"sha{other}", "pencil") == (0x8C, False)
