"""mosquitto_pub, mosquitto_sub and mosquitto_rr of Debian."""

import getpass
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest

from far_ends import MOSQUITTO
from mosquitto import pub, run, tcp, tls
from waiting import DEADLINE_S, wait_until

VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_arrives_with_each_qos(broker, mosquitto_sub, version):
    sub = mosquitto_sub(*tcp(broker.tcp), "-V", version, "-q", 2, "-t", "a/+", form="%t %q %p")
    for qos in 0, 1, 2:
        pub(*tcp(broker.tcp), "-V", version, "-q", qos, "-t", "a/b", "-m", f"hello {qos}")
        assert sub.receive() == f"a/b {qos} hello {qos}"


@pytest.mark.parametrize("sub_version", VERSIONS)
@pytest.mark.parametrize("pub_version", VERSIONS)
def test_versions_talk_to_each_other(broker, mosquitto_sub, pub_version, sub_version):
    sub = mosquitto_sub(*tcp(broker.tcp), "-V", sub_version, "-q", 1, "-t", "#")
    pub(*tcp(broker.tcp), "-V", pub_version, "-q", 1, "-t", "x", "-m", "from another")
    assert sub.receive() == "x from another"


def test_qos_is_the_lower_of_publisher_and_subscription(broker, mosquitto_sub):
    sub = mosquitto_sub(*tcp(broker.tcp), "-q", 1, "-t", "a", form="%q")
    for qos, delivered in ("0", "0"), ("1", "1"), ("2", "1"):
        pub(*tcp(broker.tcp), "-q", qos, "-t", "a", "-m", "x")
        assert sub.receive() == delivered


@pytest.mark.parametrize("version", VERSIONS)
def test_a_retained_message_waits_for_subscribers_until_it_is_cleared(
    broker, mosquitto_sub, version
):
    args = [*tcp(broker.tcp), "-V", version]
    pub(*args, "-q", 1, "-r", "-t", "state/door", "-m", "open")
    assert mosquitto_sub(*args, "-t", "state/#", form="%r %t %p").receive() == "1 state/door open"
    pub(*args, "-q", 1, "-r", "-n", "-t", "state/door")
    late = mosquitto_sub(*args, "-t", "state/#", form="%r %t %p")
    pub(*args, "-q", 1, "-t", "state/window", "-m", "shut")
    assert late.receive() == "0 state/window shut"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_will_of_a_client_that_vanished_is_published(broker, mosquitto_sub, version):
    args = [*tcp(broker.tcp), "-V", version]
    watcher = mosquitto_sub(*args, "-q", 1, "-t", "will/#")
    will = ["--will-topic", "will/a", "--will-payload", "gone", "--will-qos", 1]
    polite = mosquitto_sub(*args, "-C", 1, "-t", "x", *will)
    pub(*args, "-t", "x", "-m", "last")
    polite.process.wait(DEADLINE_S)
    vanishing = mosquitto_sub(*args, "-t", "x", *will)
    vanishing.kill()
    assert watcher.receive() == "will/a gone"
    pub(*args, "-q", 1, "-t", "will/end", "-m", "-")
    # One will only: who says goodbye leaves none [MQTT-3.14.4-3].
    assert watcher.receive() == "will/end -"


def test_a_goodbye_with_will_publishes_it(broker, mosquitto_sub):
    # At SIGTERM mosquitto_sub says DISCONNECT with 0x04 Disconnect with Will Message.
    args = [*tcp(broker.tcp), "-V", "mqttv5"]
    watcher = mosquitto_sub(*args, "-q", 1, "-t", "will/#")
    leaving = mosquitto_sub(*args, "-t", "x", "--will-topic", "will/a", "--will-payload", "bye")
    leaving.disconnect()
    assert watcher.receive() == "will/a bye"


def test_a_thousand_lines_arrive_in_order(broker, mosquitto_sub):
    sub = mosquitto_sub(*tcp(broker.tcp), "-q", 2, "-t", "lines", form="%p")
    lines = [f"line {n}" for n in range(1000)]
    pub(*tcp(broker.tcp), "-q", 2, "-t", "lines", "-l", input="\n".join(lines) + "\n")
    assert [sub.receive() for _ in lines] == lines


def test_a_large_payload_arrives_whole(broker, tmp_path):
    blob = tmp_path / "blob"
    blob.write_bytes(bytes(range(256)) * 2048)
    args = tcp(broker.tcp)
    pub(*args, "-q", 1, "-r", "-t", "blob", "-f", blob)
    got = run("mosquitto_sub", *args, "-t", "blob", "-C", 1, "-F", "%l")
    assert got.stdout.strip() == str(256 * 2048)
    got = run("mosquitto_sub", *args, "-t", "blob", "-C", 1, "-F", "%x")
    assert bytes.fromhex(got.stdout.strip()) == blob.read_bytes()


def test_a_user_property_arrives(broker, mosquitto_sub):
    sub = mosquitto_sub(*tcp(broker.tcp), "-V", "mqttv5", "-t", "a", form="%P %C %R %p")
    pub(
        *(*tcp(broker.tcp), "-V", "mqttv5", "-t", "a", "-m", "21"),
        *("-D", "publish", "user-property", "unit", "celsius"),
        *("-D", "publish", "content-type", "text/plain"),
        *("-D", "publish", "response-topic", "reply/here"),
    )
    assert sub.receive() == "unit:celsius text/plain reply/here 21"


def test_request_and_response_by_mosquitto_rr(broker, mosquitto_sub):
    args = [*tcp(broker.tcp), "-V", "mqttv5"]
    requests = mosquitto_sub(*args, "-t", "ask", form="%R %D %p")
    answers = []
    ask = ["-t", "ask", "-e", "answer/1", "-m", "ping", "-D", "publish", "correlation-data", "k7"]
    asking = threading.Thread(
        target=lambda: answers.append(run("mosquitto_rr", *args, *ask).stdout)
    )
    asking.start()
    assert requests.receive() == "answer/1 k7 ping"
    pub(*args, "-t", "answer/1", "-m", "pong", "-D", "publish", "correlation-data", "k7")
    asking.join()
    assert answers == ["pong\n"]


def test_anonymous_clients_are_refused_where_the_configuration_says_so(start):
    broker = start(allow_anonymous=False)
    for version, words in ("mqttv311", "not authorised"), ("mqttv5", "Not authorized"):
        refused = run("mosquitto_pub", *tcp(broker.tcp), "-V", version, "-t", "a", "-m", "x")
        assert refused.returncode != 0
        assert words in refused.stderr


def test_sys_topics_have_the_names_of_emqx(start, mosquitto_sub):
    broker = start(node={"name": "one@127.0.0.1"}, broker={"sys_interval": "1s"})
    sub = mosquitto_sub(*tcp(broker.tcp), "-t", "$SYS/#")
    names = [
        "version [0-9.]+",
        "uptime .* seconds",
        "datetime 20",
        "stats/connections/count 1",
        "stats/subscriptions/count 1",
        "metrics/packets/connect 1",
        "metrics/messages/received [0-9]+",
    ]
    for name in names:
        sub.lines.expect(f"^MSG \\$SYS/brokers/one@127.0.0.1/{name}")


def test_a_wildcard_does_not_match_topics_that_begin_with_a_dollar(start, mosquitto_sub):
    # [MQTT-4.7.2-1]
    broker = start(broker={"sys_interval": "1s"})
    all_sub = mosquitto_sub(*tcp(broker.tcp), "-t", "#")
    sys_sub = mosquitto_sub(*tcp(broker.tcp), "-t", "$SYS/brokers/+/uptime")
    sys_sub.receive()
    sys_sub.receive()
    pub(*tcp(broker.tcp), "-t", "plain", "-m", "x")
    assert all_sub.receive() == "plain x"


def test_a_unix_socket_serves_clients(start, mosquitto_sub, tmp_path):
    path = tmp_path / "broker.sock"
    broker = start(listener={"unix": {"local": {"bind": str(path)}}})
    sub = mosquitto_sub("--unix", path, "-q", 1, "-t", "a")
    pub("--unix", path, "-q", 1, "-t", "a", "-m", "through the file system")
    assert sub.receive() == "a through the file system"
    pub(*tcp(broker.tcp), "-t", "a", "-m", "over tcp")
    assert sub.receive() == "a over tcp"
    broker.stop()
    assert not path.exists()


@pytest.mark.parametrize("version", VERSIONS)
def test_tls_with_our_own_authority(start, mosquitto_sub, ca, version):
    broker = start(listener={"ssl": {"external": ca.listener()}})
    args = [*tls(broker.ssl, ca), "-V", version]
    sub = mosquitto_sub(*args, "-q", 2, "-t", "secret")
    pub(*args, "-q", 2, "-t", "secret", "-m", "whispered")
    assert sub.receive() == "secret whispered"


def test_a_client_does_not_trust_a_foreign_authority(start, ca):
    broker = start(listener={"ssl": {"external": ca.listener()}})
    args = ["-h", "localhost", "-p", broker.ssl, "--cafile", ca.crt("stranger")]
    refused = run("mosquitto_pub", *args, "-t", "a", "-m", "x")
    assert refused.returncode != 0


def test_the_certificate_of_a_client_names_its_user(start, mosquitto_sub, ca):
    verified = ca.listener(
        cacertfile=str(ca.crt("ca")),
        verify="verify_peer",
        fail_if_no_peer_cert=True,
        peer_cert_as_username="cn",
        zone="tenants",
    )
    broker = start(
        listener={"ssl": {"external": verified}}, zone={"tenants": {"mountpoint": "tenants/%u/"}}
    )
    watcher = mosquitto_sub(*tcp(broker.tcp), "-q", 1, "-t", "tenants/#")
    pub(*tls(broker.ssl, ca, "alice"), "-q", 1, "-t", "a", "-m", "mine", "-u", "mallory")
    assert watcher.receive() == "tenants/alice/a mine"


def test_a_client_certificate_is_asked_for_and_checked(start, ca):
    verified = ca.listener(
        cacertfile=str(ca.crt("ca")), verify="verify_peer", fail_if_no_peer_cert=True
    )
    broker = start(listener={"ssl": {"external": verified}})
    without = run("mosquitto_pub", *tls(broker.ssl, ca), "-q", 1, "-t", "a", "-m", "x")
    assert without.returncode != 0
    foreign = tls(broker.ssl, ca, "stranger")
    assert run("mosquitto_pub", *foreign, "-q", 1, "-t", "a", "-m", "x").returncode != 0
    pub(*tls(broker.ssl, ca, "alice"), "-q", 1, "-t", "a", "-m", "x")


def test_a_certificate_is_optional_where_it_is_not_demanded(start, ca):
    broker = start(
        listener={
            "ssl": {
                "external": ca.listener(cacertfile=str(ca.crt("ca")), verify="verify_peer")
            }
        }
    )
    pub(*tls(broker.ssl, ca), "-q", 1, "-t", "a", "-m", "x")
    pub(*tls(broker.ssl, ca, "alice"), "-q", 1, "-t", "a", "-m", "x")


def test_the_certificate_made_at_first_start_serves(start):
    broker = start(listener={"ssl": {"external": {"enabled": True, "bind": "127.0.0.1:0"}}})
    made = broker.data_dir / "certs/server.crt"
    assert f"self-signed one; clients cannot verify it file={made}" in broker.log.text()
    pub("-h", "localhost", "-p", broker.ssl, "--cafile", made, "-q", 1, "-t", "a", "-m", "x")


@pytest.fixture(name="bridge")
def fixture_bridge(tmp_path):
    """Starts a mosquitto that is bridged to a port, with these topics."""
    started = []

    def start(port, *topics, version="mqttv311"):
        config = tmp_path / "bridge.conf"
        with free_port() as own:
            lines = [
                *(f"listener {own} 127.0.0.1", "allow_anonymous true", f"user {getpass.getuser()}"),
                *("connection ours", f"address 127.0.0.1:{port}", f"bridge_protocol_version {version}"),
                *("restart_timeout 1",
                # The older one drops what is larger; the newer one says in its CONNECT what it takes.
                "message_size_limit 1000" if version == "mqttv311" else "bridge_max_packet_size 1000",
                # It would publish to $SYS, which is no client's here.
                "notifications false", *(f"topic {topic}" for topic in topics)),
            ]
        config.write_text("\n".join(lines) + "\n")
        started.append(subprocess.Popen([MOSQUITTO, "-c", config], stderr=subprocess.DEVNULL))
        return own

    yield start
    for process in started:
        process.terminate()
        process.wait(DEADLINE_S)


@contextmanager
def free_port():
    """A port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        yield free.getsockname()[1]


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_b20_a_mosquitto_that_is_bridged_both_ways_makes_no_loop(broker, mosquitto_sub, bridge, version):
    """Also where both sides give topics other names, and where one takes no messages of that size."""
    far_port = bridge(broker.tcp, '# both 1', '"" both 1 there/x here/x', version=version)
    wait_until(
        lambda: run("mosquitto_pub", *tcp(far_port), "-q", 1, "-t", "probe", "-m", "x").returncode == 0,
        "the other broker listens",
    )
    here = mosquitto_sub(*tcp(broker.tcp), "-q", 1, "-t", "#", form="%t %l")
    there = mosquitto_sub(*tcp(far_port), "-q", 1, "-t", "#", form="%t %l")
    wait_until(lambda: crossed(far_port, here), "the bridge is up")
    pub(*tcp(broker.tcp), "-q", 1, "-t", "a", "-m", "from here")
    pub(*tcp(far_port), "-q", 1, "-t", "b", "-m", "from there")
    # Above what the other one takes, which may cost the bridge its connection but not what comes behind it.
    pub(*tcp(broker.tcp), "-q", 1, "-t", "large", "-m", "x" * 5000)
    for n in range(20):
        pub(*tcp(broker.tcp), "-q", 1, "-t", "here/x", "-m", "x" * (n + 1))
    pub(*tcp(broker.tcp), "-q", 1, "-t", "end", "-m", "12345678")
    for sub in here, there:
        wait_until(lambda sub=sub: "end 8" in sub.received(), "the end is there")
        for message in "a 9", "b 10":
            assert sub.received().count(message) == 1, sub.received()
    assert len(here.received()) < 100 and len(there.received()) < 100


def crossed(far_port, sub):
    pub(*tcp(far_port), "-q", 1, "-t", "up", "-m", "x")
    return "up 1" in sub.received()
