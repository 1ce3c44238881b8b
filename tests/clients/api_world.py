"""A broker as the API's document shows one: its clients by the names it prints, and one client of each kind."""

import mosquitto
import mqttjs
import paho_client
from api import Api
from paho_client import V311, properties

# What the document names in its requests.
MOSQUITTO = "mosquitto_mqtt"
MQTTJS = "mqttjs_ab9069449e"
TOPIC = "t"
WILDCARD = "testtopic/#"

# The kinds of clients that are connected, and the session whose client is not.
KINDS = ("v311", "v5", "persistent", "websocket")
OFFLINE = "offline"

CONFIG = {
    "listener": {"ws": {"external": {"enabled": True, "bind": "127.0.0.1:0"}}},
    # The document shows the alarm of busy processors: so busy is every machine, all the time.
    "os_mon": {
        "cpu_check_interval": "1s",
        "cpu_high_watermark": "0%",
        "cpu_low_watermark": "0%",
        # And no other, which would say something else.
        "mem_check_interval": 0,
    },
    "store": {"slow_sync": "1h"},
}


class World:
    """The broker with its clients; `close` ends them."""

    def __init__(self, start):
        self.broker = start(**CONFIG)
        self.api = Api(self.broker.management)
        self._ends = []
        self.mosquitto = None
        try:
            self._populate()
        except BaseException:
            self.close()
            raise

    def _populate(self):
        self.restart_mosquitto()
        self.clients = {kind: self.connect(kind, kind) for kind in KINDS}
        self.websocket(MQTTJS)
        self.leave_session(OFFLINE)
        self.clients["v5"].publish("testtopic/kept", "for who is away", 1)
        self.clients["v5"].publish("kept", "retained", 1, retain=True)

    def keep(self, end):
        self._ends.append(end)
        return end

    def close(self):
        for end in self._ends:
            end()
        if self.mosquitto:
            self.mosquitto.kill()

    def restart_mosquitto(self):
        """The client of most examples: mosquitto, with MQTT 3.1, without a user name."""
        if self.mosquitto:
            self.mosquitto.kill()
        self.mosquitto = mosquitto.Sub(
            *mosquitto.tcp(self.broker.tcp), "-i", MOSQUITTO, "-V", "mqttv31", "-t", TOPIC
        )

    def connect(self, kind, client_id):
        """A client of a kind, subscribed to what the document's clients are subscribed to."""
        return getattr(self, kind)(client_id)

    def leave_session(self, client_id):
        """A persistent session whose client has gone."""
        watcher = paho_client.Client(self.broker.tcp)
        watcher.subscribe(f"$SYS/brokers/+/clients/{client_id}/disconnected")
        self.connect("persistent", client_id).close()
        watcher.receive()
        watcher.close()

    def v311(self, client_id):
        return self._paho(client_id, version=V311)

    def v5(self, client_id):
        """MQTT 5.0, with a session that outlives the connection by five minutes."""
        expiry = properties("CONNECT", SessionExpiryInterval=300)
        return self._paho(client_id, connect=expiry, username="five")

    def persistent(self, client_id):
        return self._paho(client_id, version=V311, clean=False, username="kept")

    def _paho(self, client_id, **how):
        client = paho_client.Client(self.broker.tcp, client_id, **how)
        self.keep(client.close)
        client.subscribe(WILDCARD, 1)
        return client

    def websocket(self, client_id):
        """MQTT.js over WebSocket, with an empty user name as the dashboard's tool sends it."""
        client = mqttjs.over_websocket(
            self.broker.ws, WILDCARD, clientId=client_id, username="", password=""
        )
        self.keep(client.close)
        return client
