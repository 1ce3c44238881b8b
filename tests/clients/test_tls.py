"""openssl s_client: versions, certificates, their reload, and what a peer without TLS meets."""

import re
import signal
import socket
import ssl
import subprocess
import time

import pytest

from api import Api
from certificates import openssl
from mosquitto import pub, run, tls
from waiting import DEADLINE_S, wait_until

CONNECT = bytes.fromhex("100c00044d5154540402003c0000")


def s_client(port, *args):
    """What s_client says of a handshake after which the peer closes its side."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"localhost:{port}", *map(str, args)],
        input=b"",
        capture_output=True,
        timeout=DEADLINE_S,
    )
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def subject(port, ca):
    code, said = s_client(port, "-CAfile", ca.crt("ca"), "-verify_return_error")
    assert code == 0, said
    return re.search(r"^subject=(.*)$", said, re.MULTILINE).group(1).replace(" ", "")


@pytest.mark.parametrize(
    ("configured", "tls12", "tls13"),
    [
        (["tlsv1.2", "tlsv1.3"], True, True),
        (["tlsv1.2"], True, False),
        (["tlsv1.3"], False, True),
    ],
)
def test_the_configured_versions_are_spoken_and_no_other(start, ca, configured, tls12, tls13):
    broker = start(listener={"ssl": {"external": ca.listener(tls_versions=configured)}})
    for flag, name, offered in ("-tls1_2", "TLSv1.2", tls12), ("-tls1_3", "TLSv1.3", tls13):
        code, said = s_client(broker.ssl, flag, "-CAfile", ca.crt("ca"), "-verify_return_error")
        assert (code == 0) == offered, said
        assert (f"New, {name}, Cipher is" in said) == offered
    # Older ones never, whatever the client is ready for.
    code, _ = s_client(broker.ssl, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert code != 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake_and_then_silence_is_closed_at_the_deadline(start, ca, version):
    broker = start(mqtt={"idle_timeout": "1s"}, listener={"ssl": {"external": ca.listener()}})
    context = ssl.create_default_context(cafile=str(ca.crt("ca")))
    context.maximum_version = version
    # Without the key it would be 15 s.
    with socket.create_connection(("127.0.0.1", broker.ssl), 10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            began = time.monotonic()
            try:
                assert client.recv(1) == b""
            except (ConnectionResetError, ssl.SSLEOFError):
                pass
            assert time.monotonic() - began > 0.5
            pub(*tls(broker.ssl, ca), "-q", 1, "-t", "a", "-m", "x")


def test_the_certificate_is_the_configured_one(start, ca):
    broker = start(listener={"ssl": {"external": ca.listener()}})
    assert subject(broker.ssl, ca) == "CN=localhost"
    code, _ = s_client(broker.ssl, "-CAfile", ca.crt("stranger"), "-verify_return_error")
    assert code != 0


def test_sighup_reloads_certificates_for_new_connections(start, ca, mosquitto_sub):
    ca.sign("renewed", "/CN=before")
    broker = start(listener={"ssl": {"external": ca.listener("renewed")}})
    old = mosquitto_sub(*tls(broker.ssl, ca), "-q", 1, "-t", "a")
    assert subject(broker.ssl, ca) == "CN=before"
    ca.sign("renewed", "/CN=after")
    assert subject(broker.ssl, ca) == "CN=before"
    broker.signal(signal.SIGHUP)
    broker.log.expect("certificates read again")
    assert subject(broker.ssl, ca) == "CN=after"
    # Who is connected stays so.
    pub(*tls(broker.ssl, ca), "-q", 1, "-t", "a", "-m", "still here")
    assert old.receive() == "a still here"


def test_a_broken_certificate_leaves_the_old_one_in_force(start, ca):
    ca.sign("broken", "/CN=good")
    broker = start(listener={"ssl": {"external": ca.listener("broken")}})
    ca.crt("broken").write_text("not a certificate\n")
    broker.signal(signal.SIGHUP)
    line = broker.log.expect("the old certificate stays: (.*)").group(1)
    assert line.startswith(f"listener.ssl.external.certfile = {ca.crt('broken')}: ")
    assert subject(broker.ssl, ca) == "CN=good"


def test_the_self_signed_certificate_survives_a_restart(start):
    listener = {"ssl": {"external": {"enabled": True, "bind": "127.0.0.1:0"}}}
    first = start(listener=listener)
    made = first.data_dir / "certs/server.crt"
    fingerprint = openssl("x509", "-in", made, "-noout", "-fingerprint").stdout
    code, said = s_client(first.ssl, "-CAfile", made, "-verify_return_error")
    assert code == 0, said
    assert first.stop() == 0
    start(listener=listener, node={"data_dir": str(first.data_dir)})
    assert openssl("x509", "-in", made, "-noout", "-fingerprint").stdout == fingerprint


def test_the_distinguished_name_can_be_the_user(start, ca, mosquitto_sub):
    verified = ca.listener(
        cacertfile=str(ca.crt("ca")),
        verify="verify_peer",
        fail_if_no_peer_cert=True,
        peer_cert_as_username="dn",
    )
    broker = start(listener={"ssl": {"external": verified}})
    events = mosquitto_sub(*tls(broker.ssl, ca, "alice"), "-t", "$events/client_connected")
    pub(*tls(broker.ssl, ca, "alice"), "-i", "second", "-t", "a", "-m", "x")
    told = events.receive()
    assert '"clientid":"second"' in told
    assert '"username":"CN=alice,OU=Devices,O=Test"' in told


def test_plain_text_at_a_tls_listener_is_hung_up_on(start, ca):
    broker = start(listener={"ssl": {"external": ca.listener()}})
    with socket.create_connection(("127.0.0.1", broker.ssl), DEADLINE_S) as plain:
        plain.sendall(CONNECT)
        said = b""
        while data := plain.recv(4096):
            said += data
    assert not said.startswith(b"\x20"), "a CONNACK without TLS"
    pub(*tls(broker.ssl, ca), "-q", 1, "-t", "a", "-m", "x")


def test_a_handshake_has_a_deadline(start, ca):
    broker = start(listener={"ssl": {"external": ca.listener(handshake_timeout="200ms")}})
    with socket.create_connection(("127.0.0.1", broker.ssl), DEADLINE_S) as silent:
        assert silent.recv(1) == b""
    wait_until(
        lambda: run("mosquitto_pub", *tls(broker.ssl, ca), "-t", "a", "-m", "x").returncode == 0,
        "others connect",
    )


def test_a09_renegotiation_is_refused_and_disturbs_nobody(start, ca, mosquitto_sub):
    broker = start(listener={"ssl": {"external": ca.listener(tls_versions=["tlsv1.2"])}})
    bystander = mosquitto_sub(*tls(broker.ssl, ca), "-q", 1, "-t", "a")
    for _ in range(5):
        attacker = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"localhost:{broker.ssl}", "-tls1_2"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        # A line that is R alone asks for a new handshake.
        said, _ = attacker.communicate(b"R\n", timeout=DEADLINE_S)
        assert b"RENEGOTIATING" in said, said
        assert b"ssl3_read_bytes:no renegotiation" in said and attacker.returncode != 0, said
    pub(*tls(broker.ssl, ca), "-q", 1, "-t", "a", "-m", "still here")
    assert bystander.receive() == "a still here"


def with_name(ca, name, common_name):
    """A certificate for clients whose CN is these bytes in a PrintableString: what openssl reads, and would not write."""
    ca.sign(name, "/CN=" + "A" * len(common_name))
    der = openssl("x509", "-in", ca.crt(name), "-outform", "DER").stdout
    length = bytes([len(common_name)])
    der = der.replace(b"\x0c" + length + b"A" * len(common_name), b"\x13" + length + common_name)
    assert common_name in der
    # Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }, signed anew.
    assert der[4:6] == b"\x30\x82"
    end = 8 + int.from_bytes(der[6:8], "big")
    tbs, algorithm = der[4:end], der[end : end + 2 + der[end + 1]]
    signature = b"\0" + openssl("dgst", "-sha256", "-sign", ca.key("ca"), input=tbs).stdout
    whole = tbs + algorithm + b"\x03" + bytes([len(signature)]) + signature
    pem = ssl.DER_cert_to_PEM_cert(b"\x30\x82" + len(whole).to_bytes(2, "big") + whole)
    ca.crt(name).write_text(pem)


@pytest.mark.parametrize(
    ("common_name", "as_dn"),
    [
        (b"alice\xff", "CN=#1306616c696365ff"),
        (b"alice\xc3\x28\xed\xa0\x80", "CN=#130a616c696365c328eda080"),
        (b"alice\0", "CN=#1306616c69636500"),
    ],
    ids=["latin", "broken", "null"],
)
@pytest.mark.parametrize("field", ["cn", "dn"])
def test_a09_a_name_that_is_no_text_is_nobodys(start, ca, common_name, as_dn, field, mosquitto_sub):
    verified = ca.listener(
        cacertfile=str(ca.crt("ca")),
        verify="verify_peer",
        fail_if_no_peer_cert=True,
        peer_cert_as_username=field,
    )
    broker = start(listener={"ssl": {"external": verified}})
    bystander = mosquitto_sub(*tls(broker.ssl, ca, "alice"), "-q", 1, "-t", "a")
    with_name(ca, "odd", common_name)
    if field == "cn":
        done = run("mosquitto_pub", *tls(broker.ssl, ca, "odd"), "-t", "a", "-m", "x")
        assert done.returncode != 0, "let in without the name that it was to have"
        wanted = ["alice"]
    else:
        # A distinguished name has a form for what is no text, and that is another one than alice's.
        mosquitto_sub(*tls(broker.ssl, ca, "odd"), "-t", "b")
        wanted = ["CN=alice,OU=Devices,O=Test", as_dn]
    names = [it["username"] for it in Api(broker.management).get("/connections")]
    assert sorted(names) == sorted(wanted)
    pub(*tls(broker.ssl, ca, "alice"), "-q", 1, "-t", "a", "-m", "still here")
    assert bystander.receive() == "a still here"
