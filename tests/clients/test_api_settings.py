"""What the management API keeps: plugins and their accounts, applications, users, configuration; all over a restart."""

import re

import pytest

from api import NODE, Api
from test_api_effects import newcomer


@pytest.mark.parametrize(
    "key, table", [("clientid", "auth_clientid"), ("username", "auth_username")]
)
def test_accounts_decide_while_their_plugin_is_loaded(broker, api, paho, key, table):
    plugin = f"/nodes/{NODE}/plugins/emqx_{table}"

    def login(password):
        who = {"client_id": "someone"} if key == "clientid" else {"client_id": "x"}
        client = paho(broker.tcp, username="someone", password=password, **who)
        reason = client.reason()
        client.close()
        return reason

    assert login("wrong") == 0
    api.put(f"{plugin}/load").done()
    api.post(f"/{table}", **{key: "someone", "password": "right"}).done()
    assert (login("right"), login("wrong") in (0x86, 0x87)) == (0, True)
    api.put(f"/{table}/someone", password="other").done()
    assert (login("other"), login("right") in (0x86, 0x87)) == (0, True)
    broker.kill()
    broker.restart()
    api = Api(broker.management)
    assert (login("other"), login("right") in (0x86, 0x87)) == (0, True)
    api.delete(f"/{table}/someone").done()
    assert api.get(f"/{table}") == []
    assert login("wrong") == 0
    api.post(f"/{table}", **{key: "someone", "password": "right"}).done()
    assert login("wrong") != 0
    api.put(f"{plugin}/unload").done()
    assert login("wrong") == 0


def test_a_password_is_never_handed_out(broker, api):
    api.put(f"/nodes/{NODE}/plugins/emqx_auth_username/load").done()
    api.post("/auth_username", username="u", password="horse battery").done()
    shown = api.request("GET", "/auth_username/u")
    assert shown.done()["data"]["username"] == "u"
    assert "horse" not in shown.text


def test_without_the_retainer_nothing_is_retained(broker, api, paho):
    publisher = paho(broker.tcp)
    publisher.publish("before", "x", 1, retain=True)
    api.put(f"/nodes/{NODE}/plugins/emqx_retainer/unload").done()
    publisher.publish("during", "x", 1, retain=True)
    assert newcomer(paho, broker, "#").received_nothing()
    api.put(f"/nodes/{NODE}/plugins/emqx_retainer/load").done()
    assert newcomer(paho, broker, "#").receive().topic == "before"
    assert newcomer(paho, broker, "during").received_nothing()


def test_which_plugins_are_loaded_survives_a_restart(broker, api):
    def active():
        plugins = Api(broker.management).get(f"/nodes/{NODE}/plugins")
        return {plugin["name"] for plugin in plugins if plugin["active"]}

    before = active()
    api.put(f"/nodes/{NODE}/plugins/emqx_auth_clientid/load").done()
    broker.kill()
    broker.restart()
    assert active() == before | {"emqx_auth_clientid"}


# Applications and users


def test_an_application_may_ask_until_it_is_changed(broker, api):
    secret = api.post("/apps", app_id="monitor", name="m").done()["data"]["secret"]
    app = Api(broker.management, "monitor", secret)
    assert app.get("/brokers")
    api.put("/apps/monitor", status=False).done()
    assert app.request("GET", "/brokers").status == 401
    api.put("/apps/monitor", status=True, expired=1).done()
    assert app.request("GET", "/brokers").status == 401
    api.put("/apps/monitor", expired=4102444800).done()
    assert app.get("/brokers")
    api.delete("/apps/monitor").done()
    assert app.request("GET", "/brokers").status == 401


def test_a_viewer_may_read_and_nothing_else(broker, api):
    secret = api.post("/apps", app_id="viewer", name="v", role="viewer").done()["data"]["secret"]
    viewer = Api(broker.management, "viewer", secret)
    routes = [route for route in api.get("/") if not route["path"].startswith("/auth_")]
    for route in routes:
        path = route["path"].replace(":node", NODE)
        path = "/" + re.sub(r":\w+", "x", path).strip("/")
        if route["method"] == "GET":
            assert viewer.request("GET", path).status == 200, path
        else:
            viewer.request(route["method"], path, {}).refused(102, status=403)


def test_applications_survive_a_restart_with_their_secrets(broker, api):
    secret = api.post("/apps", app_id="monitor", name="m").done()["data"]["secret"]
    broker.kill()
    broker.restart()
    assert Api(broker.management, "monitor", secret).get("/brokers")
    assert Api(broker.management, "monitor", secret + "x").request("GET", "/brokers").status == 401


def test_a_user_logs_in_with_the_password_last_set(broker, api):
    api.post("/users", username="eve", password="first").done()
    assert {"username": "eve", "tags": ""}.keys() == api.get("/users")[-1].keys()
    api.post("/auth", username="eve", password="first").done()
    api.put("/change_pwd/eve", old_pwd="wrong", new_pwd="x").refused(102)
    api.put("/change_pwd/eve", old_pwd="first", new_pwd="second").done()
    api.post("/auth", username="eve", password="first").refused(102)
    api.post("/auth", username="eve", password="second").done()
    api.put("/users/eve", tags="viewer").done()
    assert {"username": "eve", "tags": "viewer"} in api.get("/users")
    broker.kill()
    broker.restart()
    api = Api(broker.management)
    api.post("/auth", username="eve", password="second").done()
    api.delete("/users/eve").done()
    api.post("/auth", username="eve", password="second").refused(102)


# Configuration


def test_a_changed_setting_is_in_effect_and_shown(broker, api, paho):
    """`mqtt.max_packet_size` is told to each client of 5.0."""

    def shown():
        items = api.get(f"/nodes/{NODE}/configs")
        return next(item["value"] for item in items if item["key"] == "mqtt.max_packet_size")

    assert shown() == "1MB"
    api.put("/configs/mqtt", key="mqtt.max_packet_size", value="64KB").done()
    assert shown() == "64KB"
    assert paho(broker.tcp).connack[2].MaximumPacketSize == 65_536
    assert "mqtt.max_packet_size" in api.put(
        "/configs/mqtt", key="mqtt.max_packet_size", value="64 apples"
    ).refused(108)
    assert shown() == "64KB"
    broker.kill()
    broker.restart()
    api = Api(broker.management)
    assert shown() == "64KB"
    assert paho(broker.tcp).connack[2].MaximumPacketSize == 65_536
    api.delete("/configs/mqtt", key="mqtt.max_packet_size").done()
    assert shown() == "1MB"
    assert paho(broker.tcp).connack[2].MaximumPacketSize == 1 << 20
