// Scenarios for MQTT.js: node mqttjs.mjs SCENARIO URL VERSION BROKER_PID prints as JSON what it observed.

import { once } from "node:events";
import mqtt from "mqtt";

const [scenario, url, version, brokerPid] = process.argv.slice(2);
const protocolVersion = Number(version);

function connect(options = {}) {
  const base = { protocolVersion, reconnectPeriod: 0, connectTimeout: 10_000 };
  if (protocolVersion === 3) base.protocolId = "MQIsdp";
  return mqtt.connectAsync(url, { ...base, ...options });
}

/** The next `n` messages of a client, from now on. */
function messages(client, n) {
  return new Promise((resolve) => {
    const all = [];
    client.on("message", (topic, payload, packet) => {
      all.push({ topic, payload, packet });
      if (all.length === n) resolve(all);
    });
  });
}

/** The Reason Code of the DISCONNECT that the broker sends. */
async function disconnectReason(client) {
  const [packet] = await once(client, "disconnect");
  return packet.reasonCode;
}

const scenarios = {
  async roundTrips() {
    const client = await connect({ clientId: "js" });
    await client.subscribeAsync("a/#", { qos: 2 });
    const seen = [];
    for (const qos of [0, 1, 2]) {
      const next = once(client, "message");
      await client.publishAsync("a/b", `hello ${qos}`, { qos });
      const [topic, payload, packet] = await next;
      seen.push([topic, packet.qos, payload.toString()]);
    }
    await client.endAsync();
    return seen;
  },

  async large() {
    const client = await connect();
    await client.subscribeAsync("a", { qos: 1 });
    const sent = Buffer.alloc(700_000, "0123456789");
    const next = messages(client, 1);
    await client.publishAsync("a", sent, { qos: 1 });
    const [{ payload }] = await next;
    await client.endAsync();
    return { sent: sent.length, same: sent.equals(payload) };
  },

  async properties() {
    const client = await connect();
    await client.subscribeAsync("a", { qos: 1, properties: { subscriptionIdentifier: 9 } });
    const next = messages(client, 1);
    await client.publishAsync("a", "x", {
      qos: 1,
      properties: {
        userProperties: { a: ["1", "2"], b: "3" },
        contentType: "text/plain",
        responseTopic: "reply",
        correlationData: Buffer.from([0, 255]),
      },
    });
    const [{ packet }] = await next;
    await client.endAsync();
    const { properties } = packet;
    return { ...properties, correlationData: properties.correlationData.toString("hex") };
  },

  async resume() {
    const options = { clientId: "keeper", clean: false };
    if (protocolVersion === 5) options.properties = { sessionExpiryInterval: 600 };
    const first = await connect(options);
    const before = first.connackSessionPresent ?? false;
    await first.subscribeAsync("a", { qos: 1 });
    await first.endAsync();
    const publisher = await connect();
    for (let n = 0; n < 5; n++) await publisher.publishAsync("a", `${n}`, { qos: 1 });
    await publisher.endAsync();
    // By hand, so that no message comes before the listeners are there.
    const second = mqtt.connect(url, { protocolVersion, reconnectPeriod: 0, ...options });
    const next = messages(second, 5);
    const [connack] = await once(second, "connect");
    const payloads = (await next).map(({ payload }) => payload.toString());
    await second.endAsync();
    return { before, after: connack.sessionPresent, payloads };
  },

  async will() {
    const watcher = await connect();
    await watcher.subscribeAsync("will/#", { qos: 1 });
    const next = messages(watcher, 1);
    const mortal = await connect({ will: { topic: "will/a", payload: "gone", qos: 1 } });
    mortal.stream.destroy();
    const [{ topic, payload }] = await next;
    await watcher.endAsync();
    return [topic, payload.toString()];
  },

  async retained() {
    const client = await connect();
    await client.publishAsync("kept", "here", { qos: 1, retain: true });
    const next = messages(client, 1);
    await client.subscribeAsync("kept");
    const [{ topic, payload, packet }] = await next;
    await client.endAsync();
    return [[topic, payload.toString(), packet.retain]];
  },

  async aliases() {
    const subscriber = await connect({ properties: { topicAliasMaximum: 5 } });
    await subscriber.subscribeAsync("a/long/topic");
    const publisher = await connect({ autoAssignTopicAlias: true, autoUseTopicAlias: true });
    const next = messages(subscriber, 3);
    for (let n = 0; n < 3; n++) await publisher.publishAsync("a/long/topic", `${n}`);
    const seen = (await next).map(({ topic, payload }) => [topic, payload.toString()]);
    await publisher.endAsync();
    await subscriber.endAsync();
    return seen;
  },

  async takeOver() {
    const old = await connect({ clientId: "same" });
    const reason = disconnectReason(old);
    const young = await connect({ clientId: "same" });
    const code = await reason;
    await young.endAsync();
    return code;
  },

  async shutDown() {
    const client = await connect();
    const reason = disconnectReason(client);
    process.kill(Number(brokerPid), "SIGTERM");
    return reason;
  },

  async oversize() {
    const client = await connect();
    client.on("error", () => {});
    const reason = disconnectReason(client);
    // MQTT.js would keep to the broker's Maximum Packet Size; this one is made to ignore it.
    client.options.properties = {};
    const topic = Buffer.from([0, 1, 97, 0]);
    const body = Buffer.concat([topic, Buffer.alloc(2000)]);
    client.stream.write(Buffer.concat([Buffer.from([0x30, 0x80 | (body.length & 127), body.length >> 7]), body]));
    return reason;
  },
};

const result = await scenarios[scenario]();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
