"""`emqx_auth_jwt`: tokens of PyJWT from real clients, key sets from a real web server."""

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import mosquitto
from api import NODE, Api
from mosquitto import tcp
from paho_client import V5, V311
from waiting import wait_until

SECRET = "a secret of more than thirty-two bytes, or PyJWT warns; and so on up to sixty-four"
WELL_KNOWN = "emqxsecret"
PLUGIN = f"/nodes/{NODE}/plugins/emqx_auth_jwt"
REFUSED_V5 = 0x87
UNAVAILABLE = 0x88
EXPIRED = 0xA0


def config(**keys):
    """Only who has a token comes in."""
    loaded = ["emqx_management", "emqx_retainer", "emqx_auth_jwt"]
    return {"allow_anonymous": False, "plugins": {"loaded": loaded}, "auth": {"jwt": keys}}


def token(key=SECRET, algorithm="HS256", kid=None, **claims):
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else None)


def come(paho, broker, text, user="bob", version=V5, client_id="c"):
    """The Reason Code (return code before MQTT 5.0) of the CONNACK."""
    client = paho(broker.tcp, client_id, version=version, username=user, password=text)
    code = client.reason()
    client.close()
    return code


def pem(key):
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form).decode()


@pytest.fixture(scope="module", name="keys")
def fixture_keys():
    return {
        "RS": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "ES384": ec.generate_private_key(ec.SECP384R1()),
        "ES512": ec.generate_private_key(ec.SECP521R1()),
    }


def jwk(key, kid):
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    kind = jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


class KeyServer:
    """Serves a key set; counts how often."""

    def __init__(self, *keys, tls=None):
        self.keys = list(keys)
        self.status = 200
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += 1
                body = json.dumps({"keys": outer.keys}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/jwk-set+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(name="serve_keys")
def fixture_serve_keys():
    servers = []

    def serve(*keys, **options):
        servers.append(KeyServer(*keys, **options))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def test_a_token_as_password_lets_in_and_nothing_else_does(start, paho, mosquitto_sub):
    broker = start(**config(secret=SECRET))
    sub = mosquitto_sub(*tcp(broker.tcp), "-t", "t", "-u", "sub", "-P", token())
    mosquitto.pub(*tcp(broker.tcp), "-t", "t", "-m", "hello", "-u", "bob", "-P", token(sub="x"))
    assert sub.receive() == "t hello"
    for algorithm in ("HS256", "HS384", "HS512"):
        assert come(paho, broker, token(algorithm=algorithm)) == 0
        assert come(paho, broker, token("other" * 20, algorithm)) == REFUSED_V5
    for bad in ("password", token() + "x", token(key=None, algorithm="none"), None):
        assert come(paho, broker, bad) == REFUSED_V5
        assert come(paho, broker, bad, version=V311) == REFUSED_V5  # paho shows it as MQTT 5.0's.
    refused = mosquitto.run("mosquitto_pub", *tcp(broker.tcp), "-t", "t", "-m", "x")
    assert "not authorised" in (refused.stderr + refused.stdout).lower()
    text = token(sub="secret-inside")
    come(paho, broker, text + "x")
    assert not [line for line in broker.log.all if text in line or SECRET in line]


def test_times_and_claims(start, paho):
    broker = start(**config(secret=SECRET, verify_claims={"sub": "%u", "id": "%c", "level": "3"}))
    right = {"sub": "bob", "id": "c", "level": 3}
    now = int(time.time())
    assert come(paho, broker, token(**right)) == 0
    assert come(paho, broker, token(**right, exp=now + 60, nbf=now - 1, iat=now - 1)) == 0
    for wrong in ({"sub": "eve"}, {"id": "d"}, {"level": 4}, {"exp": now - 1}, {"nbf": now + 60}):
        assert come(paho, broker, token(**{**right, **wrong})) == REFUSED_V5, wrong
    assert come(paho, broker, token(sub="bob", id="c")) == REFUSED_V5
    assert come(paho, broker, token(**right), user="eve") == REFUSED_V5


def test_the_end_of_a_token_ends_the_connection(start, paho):
    broker = start(**config(secret=SECRET))
    text = token(exp=int(time.time()) + 3)
    new, old = (
        paho(broker.tcp, f"c{v}", version=v, username="u", password=text) for v in (V5, V311)
    )
    assert new.reason() == old.reason() == 0
    stays = paho(broker.tcp, "stays", username="u", password=token(exp=int(time.time()) + 600))
    assert new.disconnect_reason() == EXPIRED
    assert old.disconnect_reason() is None
    stays.subscribe("t")
    assert stays.client.is_connected()


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512"])
def test_a_public_key_in_a_file(start, paho, tmp_path, keys, algorithm):
    key = keys.get(algorithm, keys["RS"])
    file = tmp_path / "key.pem"
    file.write_text(pem(key))
    broker = start(**config(pubkey=str(file)))
    assert come(paho, broker, token(key, algorithm)) == 0
    other = keys["ES384" if algorithm == "ES256" else "ES256"]
    assert come(paho, broker, token(other, "ES384" if algorithm == "ES256" else "ES256")) == (
        REFUSED_V5
    )
    # The secret that the plugin comes with is everybody's.
    assert come(paho, broker, token(WELL_KNOWN)) == REFUSED_V5


def test_keys_from_a_web_server_come_and_go(start, paho, serve_keys, keys):
    server = serve_keys(jwk(keys["RS"], "one"))
    broker = start(**config(jwks=server.url, jwks_refresh_interval="1s"))
    one, two = token(keys["RS"], "RS256", "one"), token(keys["ES256"], "ES256", "two")
    assert come(paho, broker, one) == 0
    assert come(paho, broker, two) == REFUSED_V5
    server.keys = [jwk(keys["ES256"], "two")]
    wait_until(lambda: come(paho, broker, two) == 0, "the new key counts")
    wait_until(lambda: come(paho, broker, one) == REFUSED_V5, "the old key is gone")
    server.status = 500
    asked = server.asked
    wait_until(lambda: server.asked > asked + 1, "it is asked again")
    assert come(paho, broker, two) == 0, "keys stay when they cannot be read"
    assert "broker-jwks" in broker.threads()
    api = Api(broker.management)
    api.put(f"{PLUGIN}/unload").done()
    wait_until(lambda: "broker-jwks" not in broker.threads(), "nothing is left of the plugin")


def test_the_server_of_the_keys_must_be_who_it_says_it_is(start, paho, serve_keys, keys, ca):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(ca.crt("server"), ca.key("server"))
    server = serve_keys(jwk(keys["ES256"], "k"), tls=tls)
    text = token(keys["ES256"], "ES256", "k")
    right = start(**config(jwks=server.url, jwks_cacertfile=str(ca.crt("ca"))))
    assert come(paho, right, text) == 0
    wrong = start(**config(jwks=server.url, jwks_cacertfile=str(ca.crt("stranger"))))
    assert come(paho, wrong, text) == UNAVAILABLE
    # Perhaps before it was ready.
    said = "keys of tokens cannot be read, there are none"
    wait_until(lambda: said in wrong.log.text(), "the reason in the log")


def test_the_plugin_is_loaded_and_reloaded_over_the_api(start, paho, tmp_path, keys):
    tables = config(secret=SECRET)
    tables["plugins"]["loaded"].remove("emqx_auth_jwt")
    broker = start(**tables)
    api = Api(broker.management)

    def is_active():
        plugins = api.get(f"/nodes/{NODE}/plugins")
        return next(p["active"] for p in plugins if p["name"] == "emqx_auth_jwt")

    assert not is_active()
    assert come(paho, broker, token()) == REFUSED_V5
    api.put(f"{PLUGIN}/load").done()
    assert is_active()
    assert come(paho, broker, token()) == 0

    # What is wrong is said by name, and what was in force stays so.
    tables["auth"]["jwt"] = {"pubkey": str(tmp_path / "none.pem")}
    broker.configure(tables)
    message = api.put(f"{PLUGIN}/reload").refused(102)
    assert "auth.jwt.pubkey" in message and "none.pem: No such file" in message
    assert come(paho, broker, token()) == 0

    # Files are read again.
    (tmp_path / "none.pem").write_text(pem(keys["RS"]))
    api.put(f"{PLUGIN}/reload").done()
    assert come(paho, broker, token()) == REFUSED_V5
    assert come(paho, broker, token(keys["RS"], "RS256")) == 0
    (tmp_path / "none.pem").write_text(pem(keys["ES256"]))
    api.put(f"{PLUGIN}/reload").done()
    assert come(paho, broker, token(keys["RS"], "RS256")) == REFUSED_V5

    api.put(f"{PLUGIN}/unload").done()
    assert not is_active()
    assert come(paho, broker, token(keys["ES256"], "ES256")) == REFUSED_V5


def test_the_api_shows_no_secret_and_changes_what_is_none(start, paho):
    broker = start(**config(secret=SECRET))
    api = Api(broker.management)
    path = f"/nodes/{NODE}/plugin_configs/emqx_auth_jwt"
    answer = api.request("GET", path)
    assert SECRET.encode() not in answer.body
    shown = {row["key"]: row["value"] for row in api.get(path)}
    assert shown["auth.jwt.secret"] == "******"
    assert shown["auth.jwt.from"] == "password"
    api.put(path, **{"auth.jwt.verify_claims": '{ sub = "%u" }'}).done()
    assert come(paho, broker, token(sub="bob")) == 0
    assert come(paho, broker, token(sub="eve")) == REFUSED_V5
    api.put(path, **{"auth.jwt.verify_claims": "off", "auth.jwt.from": "username"}).done()
    assert come(paho, broker, None, user=token(sub="eve")) == 0
    assert come(paho, broker, token()) == REFUSED_V5
    for key in ("secret", "pubkey", "jwks"):
        answer = api.put(path, **{f"auth.jwt.{key}": "/etc/passwd"})
        assert "read from the configuration file alone" in str(answer.json), str(answer)
    assert come(paho, broker, None, user=token()) == 0


def test_a_secret_that_was_reloaded_stays_when_another_key_changes(start, paho):
    broker = start(**config(secret=SECRET))
    api = Api(broker.management)
    newer = SECRET[::-1]
    broker.configure(config(secret=newer))
    assert come(paho, broker, token()) == 0, "a file counts when it is read"
    api.put(f"{PLUGIN}/reload").done()
    api.put(f"/nodes/{NODE}/plugin_configs/emqx_auth_jwt", **{"auth.jwt.leeway": "5s"}).done()
    assert come(paho, broker, token()) == REFUSED_V5
    assert come(paho, broker, token(newer, exp=int(time.time()) - 2)) == 0


def test_what_is_no_token_may_be_an_account(start, paho):
    tables = config(secret=SECRET)
    tables["plugins"]["loaded"].append("emqx_auth_username")
    tables["auth"]["user"] = {"1": {"username": "bob", "password": "builder"}}
    tables["auth"]["user"]["password_hash"] = "sha256"
    broker = start(**tables)
    assert come(paho, broker, token(), user="anybody") == 0
    assert come(paho, broker, "builder") == 0
    assert come(paho, broker, "wrong") == 0x86
    assert come(paho, broker, token("another" * 10)) == REFUSED_V5


def test_garbage_is_refused_where_anonymous_clients_are_let_in(start, paho):
    broker = start(**{**config(secret=SECRET), "allow_anonymous": True})
    assert come(paho, broker, "garbage") == REFUSED_V5
    assert come(paho, broker, None) == REFUSED_V5
    assert paho(broker.tcp, "anonymous").reason() == 0


def test_the_secret_that_everybody_knows_is_warned_of(start):
    broker = start(**config())
    assert [line for line in broker.log.all if "auth.jwt.secret is the one that EMQ X" in line]
