"""OCSP stapling: what openssl's clients see of an openssl responder's answer, fetched or from a file."""

import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import certificates
from api import Api
from test_tls import s_client
from waiting import wait_until


class Responder:
    """Has `openssl ocsp` answer over HTTP; `forge`, if set, is sent instead."""

    def __init__(self, ca):
        outer = self
        self.ca, self.signer, self.forge, self.n_asked = ca, "ca", None, 0

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                outer.n_asked += 1
                assert self.headers["Content-Type"] == "application/ocsp-request"
                request = self.rfile.read(int(self.headers["Content-Length"]))
                body = outer.forge or outer.ca.answer(request, outer.signer)
                self.send_response(200)
                self.send_header("Content-Type", "application/ocsp-response")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def own_ca(tmp_path):
    return certificates.Authority(tmp_path / "ca")


@pytest.fixture
def responder(own_ca):
    responder = Responder(own_ca)
    own_ca.sign("server", "/CN=localhost", f"authorityInfoAccess = OCSP;URI:{responder.url}")
    own_ca.enter("server")
    yield responder
    responder.close()


def with_issuer(ca, **keys):
    """Keys of a listener whose certificate has that of its issuer behind it."""
    chain = ca.folder / "chain.crt"
    chain.write_text(ca.crt("server").read_text() + ca.crt("ca").read_text())
    return {**ca.listener(), "certfile": str(chain), **keys}


def start_all(start, ca, **keys):
    listener = {"external": with_issuer(ca, **keys)}
    https = with_issuer(ca, **keys)
    return start(
        listener={"ssl": listener, "wss": listener}, management={"listener": {"https": https}}
    )


def stapled(port, ca, version="-tls1_3"):
    """`good`, `revoked`, or `None` where nothing is stapled; as openssl has verified it."""
    code, said = s_client(
        *(port, version, "-status", "-CAfile", ca.crt("ca"), "-verify_return_error")
    )
    assert code == 0, said
    if "OCSP response: no response sent" in said:
        return None
    assert "OCSP Response Status: successful" in said, said
    return said.split("Cert Status: ")[1].split()[0]


def alarms(api):
    up = {alarm["id"] for node in api.get("/alarms/present") for alarm in node["alarms"]}
    return {name for name in up if name.startswith("ocsp_")}


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_responders_answer_is_stapled_everywhere(start, own_ca, responder, version):
    broker = start_all(start, own_ca, ocsp_stapling="fetch")
    for port in broker.ssl, broker.wss, broker.ports["https:management"]:
        wait_until(lambda port=port: stapled(port, own_ca, version) == "good", "an answer")
    assert not alarms(Api(broker.management))


def test_who_may_sign_for_the_authority_is_believed_and_nobody_else(start, own_ca, responder):
    own_ca.sign("delegate", "/CN=responder", "extendedKeyUsage = OCSPSigning")
    responder.signer = "alice"
    broker = start_all(start, own_ca, ocsp_stapling="fetch")
    api = Api(broker.management)
    wait_until(lambda: "ocsp_not_stapled/listener.ssl.external" in alarms(api), "an alarm")
    assert stapled(broker.ssl, own_ca) is None
    responder.signer = "delegate"
    broker.signal(signal.SIGHUP)
    wait_until(lambda: stapled(broker.ssl, own_ca) == "good", "an answer")
    wait_until(lambda: not alarms(api), "no alarm any more")


def test_what_is_no_good_answer_is_not_stapled(start, own_ca, responder):
    responder.forge = b"<html>"
    broker = start_all(start, own_ca, ocsp_stapling="fetch")
    api = Api(broker.management)
    wait_until(lambda: "ocsp_not_stapled/listener.wss.external" in alarms(api), "an alarm")
    assert stapled(broker.wss, own_ca) is None
    responder.forge = None
    broker.signal(signal.SIGHUP)
    wait_until(lambda: stapled(broker.wss, own_ca) == "good", "an answer")
    # An answer that holds is kept while there is no other, but not once the certificate is revoked.
    responder.forge = b"<html>"
    n_asked = responder.n_asked
    broker.signal(signal.SIGHUP)
    wait_until(lambda: responder.n_asked >= n_asked + 3, "to be asked for all listeners")
    assert stapled(broker.wss, own_ca) == "good"
    responder.forge = None
    own_ca.revoke("server")
    broker.signal(signal.SIGHUP)
    wait_until(lambda: stapled(broker.wss, own_ca) is None, "no answer any more")


def test_an_answer_from_a_file_is_read_again(start, own_ca, responder):
    path = own_ca.folder / "staple.der"
    path.write_bytes(own_ca.answer(own_ca.question("server")))
    broker = start_all(start, own_ca, ocsp_stapling=str(path))
    assert stapled(broker.ssl, own_ca) == "good"
    path.write_bytes(own_ca.answer(own_ca.question("alice")))
    broker.signal(signal.SIGHUP)
    line = broker.log.expect("the old certificate stays: (listener.ssl.*)").group(1)
    assert line == f"listener.ssl.external.ocsp_stapling = {path}: about another certificate"
    assert stapled(broker.ssl, own_ca) == "good"
