"""TLS-PSK and emqx_psk_file: Debian's mosquitto clients and openssl s_client, at ssl and wss."""

import os
import socket
import subprocess
import time

import pytest

import server
from api import NODE, Api
from mosquitto import pub, run, tcp, tls
from waiting import DEADLINE_S, wait_until

CIPHERS = ["PSK-AES128-GCM-SHA256", "PSK-AES256-CBC-SHA", "ECDHE-PSK-AES128-CBC-SHA256"]
PLUGIN = "emqx_psk_file"


@pytest.fixture(scope="module", autouse=True)
def in_this_build(tmp_path_factory):
    """A build without the feature says so, at the start and of the plugin."""
    config = tmp_path_factory.mktemp("psk") / "broker.toml"
    server.write_toml(config, {"listener": {"ssl": {"external": {"psk_ciphers": CIPHERS}}}})
    done = server.run("--config", config, "--check")
    if done.returncode != 0:
        assert "listener.ssl.external.psk_ciphers" in done.stderr, done
        assert "TLS-PSK is not in this build" in done.stderr, done
        # scripts/test has built it in: a test that leaves it out has not passed.
        assert "REQUIRE_PSK" not in os.environ
        pytest.skip("this build has no TLS-PSK")


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "psk.txt"
    path.write_text("client1:1234\nclient2:ab:cd\n")
    return path


def start_psk(start, keys, ciphers=CIPHERS, **more):
    listener = {"enabled": True, "bind": "127.0.0.1:0", "psk_ciphers": ciphers, **more}
    return start(
        listener={"ssl": {"external": listener}, "wss": {"external": listener}},
        psk={"file": {"path": str(keys)}},
        plugins={"loaded": ["emqx_management", "emqx_retainer", PLUGIN]},
    )


def psk(port, identity, secret):
    """What mosquitto is given: the bytes of the secret, in hexadecimal."""
    return [*tcp(port), "--psk", secret.encode().hex(), "--psk-identity", identity]


def is_let_in(port, identity, secret, *more):
    done = run("mosquitto_pub", *psk(port, identity, secret), *more, "-q", 1, "-t", "a", "-m", "x")
    return done.returncode == 0


def s_client(port, identity, secret, *args, input=b""):
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}"),
            *("-psk_identity", identity, "-psk", secret.encode().hex(), "-tls1_2", *args),
        ],
        input=input,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def test_who_has_the_key_publishes_and_is_sent_messages(start, keys, mosquitto_sub):
    broker = start_psk(start, keys)
    sub = mosquitto_sub(*psk(broker.ssl, "client1", "1234"), "-q", 1, "-t", "a")
    pub(*psk(broker.ssl, "client2", "ab:cd"), "-q", 1, "-t", "a", "-m", "hello")
    assert sub.receive() == "a hello"
    # More than a record, and than one write takes, both ways.
    large = "x" * 200_000
    pub(*psk(broker.ssl, "client2", "ab:cd"), "-q", 1, "-t", "a", "-s", input=large)
    assert sub.receive() == f"a {large}"


def test_a_wrong_key_and_an_unknown_identity_fail_alike(start, keys):
    broker = start_psk(start, keys)
    assert is_let_in(broker.ssl, "client1", "1234")
    assert not is_let_in(broker.ssl, "client1", "4321")
    assert not is_let_in(broker.ssl, "nobody", "1234")

    def alerts(identity):
        said = s_client(broker.ssl, identity, "no such key", "-cipher", CIPHERS[0])
        return [line.split(":")[5] for line in said.splitlines() if "alert" in line and ":error:" in line]

    assert alerts("client1") == alerts("nobody") != []
    # Nobody comes in with a certificate, or without TLS.
    assert run("openssl", "s_client", "-connect", f"127.0.0.1:{broker.ssl}", "-tls1_3", input="").returncode != 0


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("protocol", ["ssl", "wss"])
def test_each_cipher_suite_is_spoken(start, keys, cipher, protocol):
    broker = start_psk(start, keys)
    port = getattr(broker, protocol)
    said = s_client(port, "client1", "1234", "-cipher", cipher)
    assert f"New, TLSv1.2, Cipher is {cipher}" in said or f"Cipher    : {cipher}" in said, said
    other = s_client(port, "client1", "1234", "-cipher", "PSK-AES256-GCM-SHA384")
    assert "handshake failure" in other, other
    # A session is not taken up again.
    assert "TLS session ticket:" not in said


def test_a_websocket_is_opened_and_carries_mqtt(start, keys):
    broker = start_psk(start, keys)
    upgrade = (
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    connect = bytes.fromhex("100c00044d5154540402003c0000")
    frame = b"\x82" + bytes([0x80 | len(connect)]) + bytes(4) + connect
    process = subprocess.Popen(
        [
            *("openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{broker.wss}", "-tls1_2"),
            *("-psk_identity", "client1", "-psk", b"1234".hex()),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.stdin.write(upgrade)
        process.stdin.flush()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = process.stdout.read(1)
            assert byte, head
            head += byte
        assert head.startswith(b"HTTP/1.1 101"), head
        process.stdin.write(frame)
        process.stdin.flush()
        assert process.stdout.read(6) == b"\x82\x04\x20\x02\x00\x00"
    finally:
        process.kill()
        process.wait()


def order(broker, what):
    return Api(broker.management).put(f"/nodes/{NODE}/plugins/{PLUGIN}/{what}")


def test_a_reload_brings_new_keys_and_an_unload_ends_new_handshakes(start, keys, mosquitto_sub):
    broker = start_psk(start, keys)
    sub = mosquitto_sub(*psk(broker.ssl, "client1", "1234"), "-q", 1, "-t", "a")
    keys.write_text("client1:4321\nclient3:efgh\n")
    assert is_let_in(broker.ssl, "client1", "1234"), "until it is told to"
    order(broker, "reload").done()
    assert not is_let_in(broker.ssl, "client1", "1234")
    assert is_let_in(broker.ssl, "client1", "4321")
    assert not is_let_in(broker.ssl, "client2", "ab:cd")
    # What cannot be read leaves the old keys.
    keys.write_text("client1:\n")
    assert order(broker, "reload").refused(102).endswith("line 1: the secret is empty or longer than 256 bytes")
    assert is_let_in(broker.ssl, "client3", "efgh")
    order(broker, "unload").done()
    assert not is_let_in(broker.ssl, "client3", "efgh")
    # Who is connected stays so.
    pub(*tcp(broker.tcp), "-q", 1, "-t", "a", "-m", "still here")
    wait_until(lambda: sub.receive() == "a still here", "the last message")
    keys.write_text("client1:1234\n")
    order(broker, "load").done()
    assert is_let_in(broker.ssl, "client1", "1234")


def test_a_handshake_has_a_deadline_and_rubbish_an_end(start, keys):
    broker = start_psk(start, keys, handshake_timeout="300ms")
    for sent in b"", b"\x16\x03\x01\x00\x05\x01":
        with socket.create_connection(("127.0.0.1", broker.ssl), DEADLINE_S) as silent:
            began = time.monotonic()
            silent.sendall(sent)
            assert silent.recv(1) == b""
            assert time.monotonic() - began > 0.2
    with socket.create_connection(("127.0.0.1", broker.ssl), DEADLINE_S) as plain:
        plain.sendall(bytes.fromhex("100c00044d5154540402003c0000") * 100)
        said = b""
        try:
            while data := plain.recv(4096):
                said += data
        except ConnectionResetError:
            pass
        assert not said.startswith(b"\x20")
    assert is_let_in(broker.ssl, "client1", "1234")


def test_no_client_has_the_handshake_done_again(start, keys):
    broker = start_psk(start, keys)
    assert "no renegotiation" in s_client(broker.ssl, "client1", "1234", input=b"R\n")


def test_suites_that_are_broken_are_left_out_and_that_is_told(start, keys):
    ciphers = ["PSK-AES128-CBC-SHA", "PSK-3DES-EDE-CBC-SHA", "PSK-RC4-SHA"]
    broker = start_psk(start, keys, ciphers)
    text = "\n".join(broker.log.all)
    for cipher in ciphers[1:]:
        assert f"listener.ssl.external.psk_ciphers: {cipher} is not offered" in text
    assert is_let_in(broker.ssl, "client1", "1234")
    said = s_client(broker.ssl, "client1", "1234", "-cipher", "PSK-3DES-EDE-CBC-SHA:@SECLEVEL=0")
    assert "Cipher is PSK" not in said, said


@pytest.mark.parametrize(
    ("keys_of_listener", "why"),
    [
        ({"psk_ciphers": ["PSK-NULL-SHA"]}, "is no cipher suite with a pre-shared key"),
        ({"psk_ciphers": ["PSK-RC4-SHA"]}, "names none that is offered"),
        ({"psk_ciphers": CIPHERS, "tls_versions": ["tlsv1.3"]}, "needs tlsv1.2"),
        ({"psk_ciphers": CIPHERS, "verify": "verify_peer", "cacertfile": "ca.pem"}, "shows no certificates"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(tmp_path, keys_of_listener, why):
    config = tmp_path / "broker.toml"
    server.write_toml(config, {"listener": {"ssl": {"external": keys_of_listener}}})
    done = server.run("--config", config, "--check")
    assert done.returncode != 0
    assert "listener.ssl.external.psk_ciphers" in done.stderr and why in done.stderr, done


def test_a_listener_with_certificates_is_beside_it(start, keys, ca):
    listener = {"enabled": True, "bind": "127.0.0.1:0", "psk_ciphers": CIPHERS}
    broker = start(
        listener={"ssl": {"external": listener, "other": ca.listener()}},
        psk={"file": {"path": str(keys)}},
        plugins={"loaded": ["emqx_management", "emqx_retainer", PLUGIN]},
    )
    wait_until(lambda: "mqtt:ssl:other" in broker.ports, "both listeners")
    pub(*tls(broker.ports["mqtt:ssl:other"], ca), "-q", 1, "-t", "a", "-m", "x")
    pub(*psk(broker.ssl, "client1", "1234"), "-q", 1, "-t", "a", "-m", "x")
