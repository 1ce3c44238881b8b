"""Mosquitto's own files: passwords that mosquitto_passwd has written, and rules, under Mosquitto's clients."""

import signal
import subprocess

import mosquitto
from api import Api
from waiting import wait_until

ACL = """\
topic read open/#

user alice
topic readwrite both/#
topic deny both/secret
pattern readwrite own/%u/#
"""


def passwd(path, name, password, *options):
    if not path.exists():
        path.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", *options, "-b", path, name, password], check=True)


def login(port, name, password):
    return [*mosquitto.tcp(port), "-u", name, "-P", password]


def files(tmp_path):
    rules, users = tmp_path / "aclfile", tmp_path / "passwd"
    rules.write_text(ACL)
    passwd(users, "alice", "secret")
    passwd(users, "bob", "hunter2", "-H", "sha512")
    return rules, users


def tables(rules, users):
    return {"acl_file": str(rules), "auth": {"mosquitto": {"password_file": str(users)}}}


def test_users_and_rules_are_mosquittos(start, tmp_path, mosquitto_sub):
    port = start(**tables(*files(tmp_path))).tcp
    alice, bob = login(port, "alice", "secret"), login(port, "bob", "hunter2")
    sub = mosquitto_sub(*alice, "-t", "both/x", "-t", "own/alice/#")
    mosquitto.pub(*alice, "-t", "both/x", "-m", "1", "-q", "1")
    mosquitto.pub(*alice, "-t", "own/alice/y", "-m", "2", "-q", "1")
    assert [sub.receive(), sub.receive()] == ["both/x 1", "own/alice/y 2"]
    for denied in "both/secret", "own/bob/x", "open/x":
        done = mosquitto.run("mosquitto_pub", "-V", "5", *alice, "-t", denied, "-m", "x", "-q", "1")
        assert "Not authorized" in done.stderr + done.stdout, denied
    for filter in "both/#", "own/+/x", "#":
        done = mosquitto.run("mosquitto_sub", "-V", "5", *alice, "-t", filter, "-E")
        assert "denied" in done.stderr, filter
    mosquitto.pub(*bob, "-t", "own/bob/x", "-m", "1", "-q", "1")
    for name, password in ("alice", "hunter2"), ("alice", ""), ("mallory", "secret"):
        done = mosquitto.run("mosquitto_pub", *login(port, name, password), "-t", "open/x", "-m", "x")
        assert done.returncode != 0, name
    # Who has no name is asked about by the rules alone.
    mosquitto_sub(*mosquitto.tcp(port), "-t", "open/#")


def test_they_are_read_again(start, tmp_path, mosquitto_sub):
    rules, users = files(tmp_path)
    server = start(**tables(rules, users))
    alice = login(server.tcp, "alice", "secret")
    sub = mosquitto_sub(*alice, "-t", "both/x", "-t", "own/alice/#")
    rules.write_text(ACL.replace("both/#", "other/#"))
    passwd(users, "carol", "new")
    server.signal(signal.SIGHUP)
    server.log.expect("password file read again users=3")
    server.log.expect("access rules read again")
    carol = login(server.tcp, "carol", "new")
    mosquitto.pub(*carol, "-t", "own/carol/x", "-m", "x", "-q", "1")
    # A subscription ends with its right.
    api = Api(server.management)
    wait_until(
        lambda: [row["topic"] for row in api.get("/subscriptions")] == ["own/alice/#"], "only own/alice/# is left"
    )
    mosquitto.pub(*alice, "-t", "own/alice/z", "-m", "still", "-q", "1")
    assert sub.receive() == "own/alice/z still"
