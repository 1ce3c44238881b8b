"""What the tests ask for: brokers, certificates, clients; all of it gone after the test."""

from contextlib import contextmanager

import pytest

import certificates
import mosquitto
import paho_client
from api import Api
from server import Server


@pytest.fixture
def start(tmp_path):
    """Starts a broker with tables of its configuration given as keywords."""
    with brokers(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def start_for_all(tmp_path_factory):
    """Starts a broker that the tests of a file share."""
    with brokers(tmp_path_factory.mktemp("shared")) as start:
        yield start


@contextmanager
def brokers(tmp_path):
    servers = []

    def start(prefix=(), **tables):
        folder = tmp_path / f"broker{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, tables, prefix))
        return servers[-1]

    yield start
    codes = [server.stop() for server in servers if server.process.poll() is None]
    panics = [line for server in servers for line in server.log.all if "panicked" in line]
    assert not panics
    assert all(code == 0 for code in codes), f"exit codes {codes}"


@pytest.fixture
def broker(start):
    """A broker with the defaults and one TCP listener."""
    return start()


@pytest.fixture
def api(broker):
    """The management API of `broker`."""
    return Api(broker.management)


@pytest.fixture
def mosquitto_sub():
    """Starts a mosquitto_sub and waits until it is subscribed."""
    started = []

    def subscribe(*args, **options):
        started.append(mosquitto.Sub(*args, **options))
        return started[-1]

    yield subscribe
    for sub in started:
        sub.kill()


@pytest.fixture
def paho():
    """Connects a paho-mqtt client."""
    clients = []

    def connect(*args, **options):
        clients.append(paho_client.Client(*args, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    """An authority that has signed `server`, `alice` and, as another one, `stranger`."""
    return certificates.Authority(tmp_path_factory.mktemp("ca"))
