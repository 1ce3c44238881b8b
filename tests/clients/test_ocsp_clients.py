"""OCSP about clients' certificates: who comes in by the word of a responder, at ssl, wss and the API's https."""

import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import certificates
from api import NODE, Api
from mosquitto import pub, run, tcp, tls
from paho_client import Client
from test_crl import NOT_AUTHORIZED, ask, https_connection, own_ca, verifying
from waiting import DEADLINE_S, Lines, wait_until

IN, REFUSED = ("Success", "Success", 200), ("Not authorized", "Not authorized", 403)


class OpensslResponder:
    """`openssl ocsp -port`, which goes by what the authority has revoked."""

    def __init__(self, ca, signer="ca"):
        ca.crl()  # It needs the authority's index.
        self.process = subprocess.Popen(
            [
                *("openssl", "ocsp", "-port", "0", "-nmin", "60"),
                *("-index", ca.folder / "index.txt", "-CA", ca.crt("ca")),
                *("-rsigner", ca.crt(signer), "-rkey", ca.key(signer)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = Lines(self.process.stdout)
        port = self.lines.expect(r"ACCEPT .*:(\d+)").group(1)
        self.url = f"http://127.0.0.1:{port}/"
        self.ca, self.n_looks = ca, 0

    def look(self):
        """Has it see that the index has changed, which it looks for when it has answered somebody.

        It goes by inode and time, in seconds; an inode may be one that it has seen before.
        """
        self.n_looks += 1
        os.utime(self.ca.folder / "index.txt", (self.n_looks, self.n_looks))
        certificates.openssl(
            *("ocsp", "-url", self.url, "-issuer", self.ca.crt("ca"), "-cert", self.ca.crt("ca")),
            *("-CAfile", self.ca.crt("ca")),
        )

    def close(self):
        self.process.kill()
        self.process.wait()


class Responder:
    """Answers by `say(handler, request)`, from threads of its own, and counts."""

    def __init__(self, say):
        outer = self
        self.say, self.n_asked = say, 0

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                outer.n_asked += 1
                try:
                    outer.say(self, self.rfile.read(int(self.headers["Content-Length"])))
                except OSError:
                    pass  # The broker has had enough.

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def send(handler, body, status=200):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def says(body):
    return lambda handler, _: send(handler, body)


@pytest.fixture
def responders():
    """Those that a test makes are closed with it."""
    with ExitStack() as made:

        def keep(responder):
            made.callback(responder.close)
            return responder

        yield keep


def start_all(start, ca, url, mode="hard", more=None, **keys):
    # So long that no machine is too busy for it, unless that is what is tried.
    keys = {"ocsp_check": mode, "ocsp_responder": url, "ocsp_timeout": "30s", **keys}
    mqtt = {"external": verifying(ca, **keys)}
    return start(
        mqtt={"idle_timeout": "1m"},
        listener={"ssl": mqtt, "wss": mqtt},
        management={"listener": {"https": verifying(ca, **keys)}},
        **(more or {}),
    )


def outcome(broker, ca, name):
    """What becomes of a client with that certificate at ssl, wss and https."""
    found = []
    for transport, port in ("tcp", broker.ssl), ("websockets", broker.wss):
        client = Client(port, transport=transport, ca=ca, certificate=name)
        found.append(str(client.connack[1]))
        client.close()
    with https_connection(broker.ports["https:management"], ca, name) as connection:
        found.append(ask(connection)[0])
    return tuple(found)


def alarms(broker):
    up = {
        alarm["id"]: alarm for node in Api(broker.management).get("/alarms/present") for alarm in node["alarms"]
    }
    return {name: str(alarm) for name, alarm in up.items() if name.startswith("ocsp_")}


def alarm(broker, url):
    return alarms(broker)[f"ocsp_unanswered/{url.removesuffix('/')}"]


@pytest.mark.parametrize("mode", ["soft", "hard"])
@pytest.mark.parametrize("named_by", ["operator", "certificate"])
def test_who_is_good_comes_in_and_who_is_revoked_or_unknown_does_not(
    start, own_ca, responders, mode, named_by
):
    responder = responders(OpensslResponder(own_ca))
    names = "alice", "bob", "nobody"
    for name in names:
        more = [f"authorityInfoAccess = OCSP;URI:{responder.url}"] if named_by == "certificate" else []
        own_ca.sign(name, f"/CN={name}", *more)
    own_ca.enter("alice")
    own_ca.enter("bob")
    own_ca.revoke("bob")
    responder.look()
    url = responder.url if named_by == "operator" else "certificate"
    broker = start_all(start, own_ca, url, mode)
    found = [outcome(broker, own_ca, name) for name in names]
    assert found == [IN, REFUSED, REFUSED], f"{alarms(broker)} {responder.lines.text()}"
    assert not alarms(broker)
    # Clients of 3.1.1 are told in their words.
    done = run("mosquitto_pub", *tls(broker.ssl, own_ca, "bob"), "-V", "311", "-t", "a", "-m", "x")
    assert "not authorised" in done.stderr, done
    rows = Api(broker.management).get(f"/nodes/{NODE}/listeners")
    counts = {row["protocol"]: row["shutdown_count"] for row in rows}
    assert counts["mqtt:ssl"] == {"certificate_revoked": 2, "not_authorized": 1}
    assert counts["mqtt:wss"] == {"certificate_revoked": 1, "not_authorized": 1}


def test_who_may_sign_for_the_authority_is_believed(start, own_ca, responders):
    own_ca.sign("delegate", "/CN=responder", "extendedKeyUsage = OCSPSigning")
    responder = responders(OpensslResponder(own_ca, "delegate"))
    own_ca.enter("alice")
    responder.look()
    broker = start_all(start, own_ca, responder.url)
    assert outcome(broker, own_ca, "alice") == IN


def nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.mark.parametrize(("mode", "expected"), [("soft", IN), ("hard", REFUSED)])
def test_without_an_answer_soft_lets_in_and_hard_does_not(start, own_ca, mode, expected):
    url = nobody_listens()
    broker = start_all(start, own_ca, url, mode)
    assert outcome(broker, own_ca, "alice") == expected
    assert "refused" in alarm(broker, url)


def test_nothing_but_an_answer_that_can_be_believed_counts(start, own_ca, responders):
    own_ca.enter("alice")
    own_ca.enter("bob")
    good = own_ca.question("alice")
    asked_by_others = own_ca.folder / "nonce.der"
    certificates.openssl(
        *("ocsp", "-issuer", own_ca.crt("ca"), "-cert", own_ca.crt("alice")),
        *("-reqout", asked_by_others),
    )
    forged = own_ca.answer(good)
    lies = {
        "no answer": (b"<html>", "not an OCSP response"),
        "signed by a client": (own_ca.answer(good, "alice"), "not signed by the issuer"),
        "changed": (forged.replace(b"Test authority", b"Best authority", 1), "not signed by the issuer"),
        "out of date": (own_ca.answer(good, ago="2 hours ago"), "not in date"),
        "about another": (own_ca.answer(own_ca.question("bob")), "about another certificate"),
        "kept from before": (own_ca.answer(asked_by_others.read_bytes()), "to another question"),
        "too long": (b"\x30" * 100_000, "longer than"),
    }
    responder = responders(Responder(None))
    soft = start_all(start, own_ca, responder.url, "soft")
    hard = start_all(start, own_ca, responder.url, "hard")
    for what, (lie, why) in lies.items():
        responder.say = says(lie)
        assert outcome(hard, own_ca, "alice") == REFUSED, what
        assert outcome(soft, own_ca, "alice") == IN, what
        assert why in alarm(hard, responder.url), what
    responder.say = lambda handler, _: send(handler, b"", 503)
    assert outcome(hard, own_ca, "alice") == REFUSED
    # An answer that was made in advance, without a nonce, is one; and it is kept.
    responder.say = says(forged)
    assert outcome(hard, own_ca, "alice") == IN
    assert not alarms(hard)
    n_asked = responder.n_asked
    responder.say = says(b"<html>")
    assert outcome(hard, own_ca, "alice") == IN
    assert responder.n_asked == n_asked


def hangs(handler, _):
    handler.connection.settimeout(DEADLINE_S)
    handler.rfile.read(1)


def never_ends(handler, _):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"\x30" * 65_536)


def drips(handler, _):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.connection.settimeout(0.1)
    while True:
        handler.wfile.write(b"\x30")
        try:
            if not handler.rfile.read(1):
                return
        except OSError:
            pass


@pytest.mark.parametrize("say", [hangs, never_ends, drips])
def test_a_responder_that_does_not_come_to_an_end_is_given_up(start, own_ca, responders, say):
    responder = responders(Responder(say))
    soft = start_all(start, own_ca, responder.url, "soft", ocsp_timeout="400ms")
    hard = start_all(start, own_ca, responder.url, "hard", ocsp_timeout="400ms")
    assert outcome(hard, own_ca, "alice") == REFUSED
    assert outcome(soft, own_ca, "alice") == IN


def test_who_waits_for_an_answer_holds_nobody_up_and_shares_it(start, own_ca, responders):
    own_ca.enter("alice")
    go_on = threading.Event()

    def when_told(handler, request):
        go_on.wait(DEADLINE_S)
        send(handler, own_ca.answer(request))

    responder = responders(Responder(when_told))
    broker = start_all(
        start, own_ca, responder.url, more={"node": {"io_threads": 1}}
    )
    waiting = [
        Client(port, f"{transport}{i}", transport=transport, ca=own_ca, certificate="alice", wait=False)
        for i in range(5)
        for transport, port in (("tcp", broker.ssl), ("websockets", broker.wss))
    ]
    wait_until(lambda: responder.n_asked == 1, "to be asked")
    # There is one loop, and it serves the others.
    pub(*tcp(broker.tcp), "-q", 1, "-t", "a", "-m", "x")
    assert not any(client.is_answered() for client in waiting)
    go_on.set()
    for client in waiting:
        client.wait()
        assert str(client.connack[1]) == "Success"
        assert client.publish("a", b"x", qos=1) in (0, 16)
        client.close()
    assert responder.n_asked == 1


def test_who_goes_while_an_answer_is_awaited_leaves_nothing(start, own_ca, responders):
    go_on = threading.Event()

    def when_told(handler, request):
        go_on.wait(DEADLINE_S)
        send(handler, own_ca.answer(request))

    own_ca.enter("alice")
    responder = responders(Responder(when_told))
    broker = start_all(start, own_ca, responder.url)
    context = ssl.create_default_context(cafile=str(own_ca.crt("ca")))
    context.load_cert_chain(str(own_ca.crt("alice")), str(own_ca.key("alice")))
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", broker.ssl), DEADLINE_S) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(bytes.fromhex("100c00044d5154540402003c0000"))
    wait_until(lambda: responder.n_asked == 1, "to be asked")
    go_on.set()
    rows = lambda: Api(broker.management).get(f"/nodes/{NODE}/listeners")
    wait_until(lambda: all(row["current_conns"] == 0 for row in rows() if row["protocol"] == "mqtt:ssl"), "all to be gone")
    assert outcome(broker, own_ca, "alice") == IN


@pytest.mark.parametrize("revoked", ["from the first", "meanwhile"])
def test_who_is_revoked_before_its_connect_is_told_in_answer_to_it(start, own_ca, responders, revoked):
    """Whether the verdict or the CONNECT is there first is a matter of chance."""
    responder = responders(OpensslResponder(own_ca))
    own_ca.enter("bob")
    if revoked == "from the first":
        own_ca.revoke("bob")
    responder.look()
    broker = start_all(start, own_ca, responder.url, ocsp_refresh="1s")
    context = ssl.create_default_context(cafile=str(own_ca.crt("ca")))
    context.load_cert_chain(str(own_ca.crt("bob")), str(own_ca.key("bob")))
    with socket.create_connection(("127.0.0.1", broker.ssl), DEADLINE_S) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            if revoked == "meanwhile":
                assert outcome(broker, own_ca, "bob") == IN
                own_ca.revoke("bob")
                responder.look()
            wait_until(lambda: outcome(broker, own_ca, "bob") == REFUSED, "to be told")
            client.sendall(bytes.fromhex("100c00044d5154540402003c0000"))
            assert client.recv(5) == bytes.fromhex("20020005")


def test_who_is_connected_is_cut_off_once_the_responder_says_so(start, own_ca, responders):
    responder = responders(OpensslResponder(own_ca))
    own_ca.enter("alice")
    own_ca.enter("bob")
    responder.look()
    broker = start_all(start, own_ca, responder.url, ocsp_refresh="1s")
    clients = {
        (name, transport): Client(port, name + transport, transport=transport, ca=own_ca, certificate=name)
        for name in ("alice", "bob")
        for transport, port in (("tcp", broker.ssl), ("websockets", broker.wss))
    }
    https = broker.ports["https:management"]
    with https_connection(https, own_ca, "alice") as good, https_connection(
        https, own_ca, "bob"
    ) as bad:
        assert ask(good)[0] == ask(bad)[0] == 200
        own_ca.revoke("bob")
        for transport in "tcp", "websockets":
            assert clients["bob", transport].disconnect_reason() == NOT_AUTHORIZED
        status, _, will_close = wait_until(
            lambda: (told := ask(bad))[0] != 200 and told, "the API to know of it"
        )
        assert (status, will_close) == (403, True)
        assert ask(good)[0] == 200
    assert outcome(broker, own_ca, "bob") == REFUSED
    # Nobody is cut off because the responder is gone, and who was revoked stays so.
    responder.close()
    wait_until(lambda: alarms(broker), "an alarm")
    for transport in "tcp", "websockets":
        assert clients["alice", transport].publish("a", b"x", qos=1) in (0, 16)
    assert outcome(broker, own_ca, "alice") == IN, "the last answer holds for an hour"
    assert outcome(broker, own_ca, "bob") == REFUSED
    for client in clients.values():
        client.close()


def test_sighup_has_all_asked_again(start, own_ca, responders):
    responder = responders(OpensslResponder(own_ca))
    own_ca.enter("bob")
    responder.look()
    broker = start_all(start, own_ca, responder.url)
    bob = Client(broker.ssl, "bob", ca=own_ca, certificate="bob")
    own_ca.revoke("bob")
    responder.look()
    broker.signal(signal.SIGHUP)
    assert bob.disconnect_reason() == NOT_AUTHORIZED
    bob.close()


def test_a_session_of_tls_that_is_resumed_is_asked_about_too(start, own_ca, responders):
    responder = responders(OpensslResponder(own_ca))
    own_ca.enter("bob")
    responder.look()
    broker = start_all(start, own_ca, responder.url, ocsp_refresh="1s")
    context = ssl.create_default_context(cafile=str(own_ca.crt("ca")))
    context.load_cert_chain(str(own_ca.crt("bob")), str(own_ca.key("bob")))
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def connack(session=None):
        with socket.create_connection(("127.0.0.1", broker.ssl), DEADLINE_S) as plain:
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as client:
                client.sendall(bytes.fromhex("100c00044d5154540402003c0000"))
                return client.recv(4), client.session_reused, client.session

    said, _, session = connack()
    assert said == b"\x20\x02\x00\x00"
    own_ca.revoke("bob")
    refused = lambda: (told := connack(session))[0] == b"\x20\x02\x00\x05" and told
    _, is_resumed, _ = wait_until(refused, "to be refused")
    assert is_resumed


def test_a_certificate_leads_nowhere_it_must_not(start, own_ca):
    own_ca.sign("alice", "/CN=alice", "authorityInfoAccess = OCSP;URI:http://169.254.169.254/latest")
    own_ca.sign("bob", "/CN=bob")
    soft = start_all(start, own_ca, "certificate", "soft")
    hard = start_all(start, own_ca, "certificate", "hard")
    assert outcome(soft, own_ca, "alice") == IN
    assert outcome(hard, own_ca, "alice") == REFUSED
    assert "cloud metadata" in alarm(hard, "http://169.254.169.254/")
    # The broker's own API is none to be asked either.
    own = f"http://127.0.0.1:{hard.management}/api/v3/brokers"
    own_ca.sign("carol", "/CN=carol", f"authorityInfoAccess = OCSP;URI:{own}")
    assert outcome(hard, own_ca, "carol") == REFUSED
    assert "management API" in alarm(hard, f"http://127.0.0.1:{hard.management}/")
    # A certificate that names nobody: there is no answer.
    assert outcome(soft, own_ca, "bob") == IN
    assert outcome(hard, own_ca, "bob") == REFUSED


def test_who_need_not_show_a_certificate_is_not_asked_about(start, own_ca):
    keys = {"cacertfile": str(own_ca.crt("ca")), "verify": "verify_peer"}
    keys |= {"ocsp_check": "hard", "ocsp_responder": nobody_listens()}
    broker = start(listener={"ssl": {"external": own_ca.listener(**keys)}})
    pub(*tls(broker.ssl, own_ca), "-q", 1, "-t", "a", "-m", "x")
    done = run("mosquitto_pub", *tls(broker.ssl, own_ca, "alice"), "-t", "a", "-m", "x")
    assert re.search("not authorised", done.stderr), done
