"""Revocation lists of an openssl CA: who is refused in the handshake, and who is cut off when a new one is read."""

import http.client
import signal
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import certificates
from api import NODE, Api, basic
from mosquitto import pub, run, tls
from paho_client import Client
from test_tls import s_client
from waiting import DEADLINE_S, wait_until

# What a client is told when its certificate is not valid any more.
NOT_AUTHORIZED = 0x87
STALE = ("-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z")


@pytest.fixture
def own_ca(tmp_path):
    """An authority of the test's own, which it can have revoke; `bob` beside `alice`."""
    ca = certificates.Authority(tmp_path / "ca")
    ca.sign("bob", "/O=Test/OU=Devices/CN=bob")
    return ca


def verifying(ca, **keys):
    """Keys of a listener that asks for certificates and goes by the list of `ca`."""
    return ca.listener(
        cacertfile=str(ca.crt("ca")), verify="verify_peer", fail_if_no_peer_cert=True, **keys
    )


def start_all(start, ca, **keys):
    """A broker whose listeners ssl and wss, and that of the API for https, go by the same keys."""
    mqtt = {"external": verifying(ca, **keys)}
    https = verifying(ca, **keys)
    return start(
        listener={"ssl": mqtt, "wss": mqtt}, management={"listener": {"https": https}}
    )


def ports(broker):
    return broker.ssl, broker.wss, broker.ports["https:management"]


def shake_hands(port, ca, name, *args):
    return s_client(
        *(port, "-CAfile", ca.crt("ca"), "-cert", ca.crt(name), "-key", ca.key(name), *args)
    )


def is_let_in(port, ca, name):
    return run("mosquitto_pub", *tls(port, ca, name), "-t", "a", "-m", "x").returncode == 0


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_revoked_certificate_is_refused_with_the_right_alert(start, own_ca, version):
    own_ca.revoke("bob")
    broker = start_all(start, own_ca, crlfile=[str(own_ca.crl())])
    for port in ports(broker):
        code, said = shake_hands(port, own_ca, "alice", version)
        assert "alert" not in said, said
        # With version 1.3 the client is through before the server has looked: it has to wait.
        _, said = shake_hands(port, own_ca, "bob", version, "-ign_eof")
        assert "alert certificate revoked" in said, said
    assert is_let_in(broker.ssl, own_ca, "alice")
    assert not is_let_in(broker.ssl, own_ca, "bob")


@contextmanager
def https_connection(port, ca, name):
    context = ssl.create_default_context(cafile=str(ca.crt("ca")))
    context.load_cert_chain(str(ca.crt(name)), str(ca.key(name)))
    connection = http.client.HTTPSConnection(
        "localhost", port, timeout=DEADLINE_S, context=context
    )
    yield connection
    connection.close()


def ask(connection):
    headers = {"Authorization": basic("admin", "public")}
    connection.request("GET", "/api/v3/brokers", headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.will_close


def test_who_is_connected_is_cut_off_by_the_list_that_revokes_it(start, own_ca):
    broker = start_all(start, own_ca, crlfile=[str(own_ca.crl())])
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
        own_ca.crl()
        broker.signal(signal.SIGHUP)
        for transport in "tcp", "websockets":
            assert clients["bob", transport].disconnect_reason() == NOT_AUTHORIZED
            assert clients["alice", transport].publish("a", b"x", qos=1) in (0, 16)
        broker.log.expect("certificates read again")
        status, _, will_close = ask(bad)
        assert (status, will_close) == (403, True)
        assert ask(good)[0] == 200
    assert not is_let_in(broker.ssl, own_ca, "bob")
    rows = Api(broker.management).get(f"/nodes/{NODE}/listeners")
    counts = {row["protocol"]: row["shutdown_count"] for row in rows}
    assert counts["mqtt:ssl"]["certificate_revoked"] == counts["mqtt:wss"]["certificate_revoked"] == 1
    for client in clients.values():
        client.close()


def test_a_session_cannot_be_resumed_past_a_list(start, own_ca):
    broker = start_all(start, own_ca, crlfile=[str(own_ca.crl())])
    ticket = own_ca.folder / "ticket.pem"
    code, said = s_client(
        *(broker.ssl, "-tls1_2", "-CAfile", own_ca.crt("ca"), "-sess_out", ticket),
        *("-cert", own_ca.crt("bob"), "-key", own_ca.key("bob")),
    )
    assert code == 0, said
    resume = (broker.ssl, "-tls1_2", "-CAfile", own_ca.crt("ca"), "-sess_in", ticket)
    certificate = ("-cert", own_ca.crt("bob"), "-key", own_ca.key("bob"))
    assert "Reused, TLSv1.2" in s_client(*resume, *certificate)[1]
    own_ca.revoke("bob")
    own_ca.crl()
    broker.signal(signal.SIGHUP)
    broker.log.expect("certificates read again")
    assert "alert certificate revoked" in s_client(*resume, *certificate)[1]


def test_a_list_that_cannot_be_read_leaves_the_old_one_in_force(start, own_ca):
    own_ca.revoke("bob")
    path = own_ca.crl()
    broker = start_all(start, own_ca, crlfile=[str(path)])
    path.write_text("no list\n")
    broker.signal(signal.SIGHUP)
    line = broker.log.expect("the old certificate stays: (listener.ssl.*)").group(1)
    assert line == f"listener.ssl.external.crlfile = {path}: holds no revocation list"
    api = Api(broker.management)
    wait_until(lambda: "crl_unreadable/listener.ssl.external" in alarms(api), "an alarm")
    assert is_let_in(broker.ssl, own_ca, "alice")
    assert not is_let_in(broker.ssl, own_ca, "bob")
    own_ca.crl()
    broker.signal(signal.SIGHUP)
    wait_until(lambda: not alarms(api), "no alarm any more")


def alarms(api):
    """Those about revocation lists that are up."""
    up = {alarm["id"] for node in api.get("/alarms/present") for alarm in node["alarms"]}
    return {name for name in up if name.startswith("crl_")}


@pytest.mark.parametrize(("check", "lets_in"), [("chain", False), ("best_effort", True)])
def test_a_list_that_is_out_of_date_lets_nobody_in_unless_told_so(start, own_ca, check, lets_in):
    own_ca.revoke("bob")
    broker = start_all(start, own_ca, crlfile=[str(own_ca.crl("list", *STALE))], crl_check=check)
    api = Api(broker.management)
    wait_until(lambda: "crl_expired/listener.ssl.external" in alarms(api), "an alarm")
    assert is_let_in(broker.ssl, own_ca, "alice") == lets_in
    assert not is_let_in(broker.ssl, own_ca, "bob")
    own_ca.crl()
    broker.signal(signal.SIGHUP)
    wait_until(lambda: not alarms(api), "no alarm any more")
    assert is_let_in(broker.ssl, own_ca, "alice")


class ListServer:
    """Gives a file over HTTP, or an error; counts how often it was asked."""

    def __init__(self, path):
        outer = self
        self.path, self.n_asked, self.status = path, 0, 200

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.n_asked += 1
                body = outer.path.read_bytes() if outer.status == 200 else b"none"
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/list.crl"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def list_server(own_ca):
    server = ListServer(own_ca.crl())
    yield server
    server.close()


def test_a_list_is_fetched_again_and_again(start, own_ca, list_server):
    first = list_server.path.read_bytes()
    broker = start_all(start, own_ca, crl_url=[list_server.url], crl_refresh="1s")
    wait_until(lambda: is_let_in(broker.ssl, own_ca, "bob"), "the first list to come")
    bob = Client(broker.ssl, "bob", ca=own_ca, certificate="bob")
    own_ca.revoke("bob")
    own_ca.crl()
    assert bob.disconnect_reason() == NOT_AUTHORIZED
    assert not is_let_in(broker.ssl, own_ca, "bob")
    assert is_let_in(broker.ssl, own_ca, "alice")
    # What is no list, or does not come, changes nothing.
    api = Api(broker.management)
    list_server.status = 500
    wait_until(lambda: "crl_unreadable/listener.wss.external" in alarms(api), "an alarm")
    assert not is_let_in(broker.ssl, own_ca, "bob")
    assert is_let_in(broker.ssl, own_ca, "alice")
    list_server.status = 200
    wait_until(lambda: not alarms(api), "no alarm any more")
    # Nor does one that was signed before, whoever has kept it.
    second = list_server.path.read_bytes()
    list_server.path.write_bytes(first)
    wait_until(lambda: "crl_unreadable/listener.wss.external" in alarms(api), "an alarm")
    assert not is_let_in(broker.ssl, own_ca, "bob")
    list_server.path.write_bytes(second)
    broker.signal(signal.SIGHUP)
    wait_until(lambda: not alarms(api), "no alarm any more")
    bob.close()


def test_until_a_list_has_been_fetched_nobody_is_let_in(start, own_ca, list_server):
    list_server.status = 404
    broker = start_all(start, own_ca, crl_url=[list_server.url])
    wait_until(lambda: list_server.n_asked, "a request")
    _, said = shake_hands(broker.ssl, own_ca, "alice", "-ign_eof")
    assert "alert unknown ca" in said, said
    list_server.status = 200
    broker.signal(signal.SIGHUP)
    wait_until(lambda: is_let_in(broker.ssl, own_ca, "alice"), "the list to come")


def test_a_list_in_der_is_read_as_well(start, own_ca):
    own_ca.revoke("bob")
    path = own_ca.crl()
    der = path.with_suffix(".der")
    certificates.openssl("crl", "-in", path, "-outform", "DER", "-out", der)
    broker = start_all(start, own_ca, crlfile=[str(der)])
    pub(*tls(broker.ssl, own_ca, "alice"), "-t", "a", "-m", "x")
    assert not is_let_in(broker.ssl, own_ca, "bob")
