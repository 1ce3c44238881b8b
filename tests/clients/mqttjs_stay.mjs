// An MQTT.js client that stays: node mqttjs_stay.mjs URL OPTIONS FILTER... prints `ready`, then what it gets, and ends
// with its input.

import mqtt from "mqtt";

const [url, options, ...filters] = process.argv.slice(2);
const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, connectTimeout: 10_000, ...JSON.parse(options) });
const say = (...words) => console.log(words.join(" "));

client.on("message", (topic, payload, { qos, retain }) => {
  say("message", JSON.stringify([topic, payload.toString(), qos, retain]));
});
client.on("disconnect", (packet) => say("disconnect", packet.reasonCode));
client.on("close", () => say("closed"));
for (const filter of filters) await client.subscribeAsync(filter, { qos: 1 });
say("ready");
process.stdin.on("end", () => process.exit(0)).resume();
