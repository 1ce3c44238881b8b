"""paho-mqtt, with what its callbacks saw kept for the test to ask."""

import queue
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from waiting import DEADLINE_S

V31, V311, V5 = mqtt.MQTTv31, mqtt.MQTTv311, mqtt.MQTTv5


def properties(packet, **values):
    """Properties of a packet, by the names of the specification without spaces."""
    made = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(made, name, value)
    return made


def options(qos=0, **values):
    return SubscribeOptions(qos=qos, **values)


class Client:
    """A connected client. `connack` is (flags, reason, properties) of its CONNACK."""

    def __init__(
        self,
        port,
        client_id="",
        version=V5,
        transport="tcp",
        source="",
        ca=None,
        certificate=None,
        clean=True,
        connect=None,
        will=None,
        manual_ack=False,
        username=None,
        password=None,
        wait=True,
        headers=None,
    ):
        v5 = version == V5
        self.v5 = v5
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            transport=transport,
            manual_ack=manual_ack,
            reconnect_on_failure=False,
            **({} if v5 else {"clean_session": clean}),
        )
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt", headers=headers)
        if ca:
            pair = (str(ca.crt(certificate)), str(ca.key(certificate))) if certificate else ()
            self.client.tls_set(str(ca.crt("ca")), *pair)
        if will:
            self.client.will_set(**will)
        if username is not None:
            self.client.username_pw_set(username, password)
        self._events = queue.Queue()
        self._messages = queue.Queue()
        self._acks = {}
        self._acked = threading.Condition()
        self.disconnected = queue.Queue()
        self._disconnect_reasons = queue.Queue()
        self.client.on_connect = lambda _c, _u, *rest: self._events.put(rest)
        self.client.on_message = lambda _c, _u, message: self._messages.put(message)
        self.client.on_disconnect = self._on_disconnect
        self.client.on_subscribe = lambda _c, _u, mid, codes, _p: self._ack(mid, codes)
        self.client.on_unsubscribe = lambda _c, _u, mid, codes, _p: self._ack(mid, codes)
        self.client.on_publish = lambda _c, _u, mid, reason, _p: self._ack(mid, reason)
        extra = {"clean_start": clean, "properties": connect} if v5 else {}
        host = "localhost" if ca else "127.0.0.1"
        self.client.connect(host, port, 60, bind_address=source, **extra)
        self.client.loop_start()
        if wait:
            self.wait()

    def wait(self):
        """Waits for the CONNACK, which `wait=False` leaves for later."""
        self.connack = self._events.get(timeout=DEADLINE_S)

    def is_answered(self):
        """Whether there is one to be had."""
        return not self._events.empty()

    def _on_disconnect(self, client, _userdata, flags, _reason, _properties):
        self.disconnected.put(flags)
        # paho overlooks a Reason Code behind which there are no properties.
        packet = client._in_packet["packet"]  # pylint: disable=protected-access
        from_server = flags.is_disconnect_packet_from_server
        self._disconnect_reasons.put((packet[0] if packet else 0) if from_server else None)

    def _ack(self, mid, what):
        with self._acked:
            self._acks[mid] = what
            self._acked.notify_all()

    def _wait_for_ack(self, mid):
        with self._acked:
            assert self._acked.wait_for(lambda: mid in self._acks, DEADLINE_S), "no acknowledgement"
            return self._acks.pop(mid)

    def reason(self):
        """The Reason Code of the CONNACK."""
        return self.connack[1].value

    def disconnect_reason(self):
        """The Reason Code of the broker's DISCONNECT; `None` if it closed without one."""
        return self._disconnect_reasons.get(timeout=DEADLINE_S)

    def local_port(self):
        return self.client.socket().getsockname()[1]

    def subscribe(self, topic, qos=0, subscription=None, properties=None):
        """The reason codes of the SUBACK."""
        if self.v5:
            how = subscription or options(qos)
            result, mid = self.client.subscribe(topic, options=how, properties=properties)
        else:
            result, mid = self.client.subscribe(topic, qos)
        assert result == mqtt.MQTT_ERR_SUCCESS
        return [code.value for code in self._wait_for_ack(mid)]

    def unsubscribe(self, topic):
        result, mid = self.client.unsubscribe(topic)
        assert result == mqtt.MQTT_ERR_SUCCESS
        return [code.value for code in self._wait_for_ack(mid)]

    def publish(self, topic, payload=b"", qos=0, retain=False, properties=None):
        """Publishes and waits for the end of the exchange; its Reason Code for QoS 1 and 2."""
        info = self.client.publish(topic, payload, qos, retain, properties)
        assert info.rc == mqtt.MQTT_ERR_SUCCESS
        return self._wait_for_ack(info.mid).value

    def publish_later(self, topic, payload, qos):
        """Publishes without waiting, connected or not; the client sends it again until it is through."""
        mid = self.client.publish(topic, payload, qos).mid
        return lambda: self._wait_for_ack(mid)

    def receive(self, timeout_s=DEADLINE_S):
        return self._messages.get(timeout=timeout_s)

    def receive_payloads(self, n):
        return [self.receive().payload.decode() for _ in range(n)]

    def received_nothing(self):
        """True if no message came before the answer to a round trip of its own."""
        self.publish_to_self()
        return self.receive().topic.startswith("round-trip/")

    def publish_to_self(self):
        topic = f"round-trip/{id(self)}"
        self.subscribe(topic)
        self.publish(topic)

    def ack(self, message):
        self.client.ack(message.mid, message.qos)

    def reconnect(self):
        """Connects again, with what is in flight, once the connection is lost.

        Not left to paho: where an attempt fails, it publishes again at the next what it has released already.
        """
        self.disconnected.get(timeout=DEADLINE_S)
        self.client.loop_stop()
        self.client.reconnect()
        self.client.loop_start()
        self.wait()

    def break_off(self):
        """Closes the socket without a DISCONNECT."""
        self.client._sock_close()  # pylint: disable=protected-access
        self.client.loop_stop()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
