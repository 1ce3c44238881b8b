//! A broker with a TCP listener inside one's own program; its code and MQTT clients talk to each other.
//!
//! Run with `cargo run -p broker-examples --example embedded`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use broker_core::Broker;
use broker_net::config::ListenerConfig;
use broker_net::{Server, ServerOptions, clock};
use rumqttc::{Client, Event, MqttOptions, Packet};

fn main() -> anyhow::Result<()> {
    let broker = Broker::builder().build()?;
    let listeners = vec![ListenerConfig::tcp("embedded", "127.0.0.1:0".parse()?)];
    let server = Server::start(&broker, ServerOptions { listeners, ..Default::default() })?;
    let address: SocketAddr = server.listeners()[0].address.parse()?;
    println!("listening at {address}");

    // The program's side: what sensors send is answered without a socket.
    let readings = broker.subscribe_local("sensor/+/reading", 100, clock::now())?;
    let mut alarms = broker.local_client("alarms");

    // The other side could be any MQTT client anywhere.
    let options = MqttOptions::new("sensor-7", address.ip().to_string(), address.port());
    let (client, mut connection) = Client::new(options, 10);
    client.subscribe("alarm/#", rumqttc::QoS::AtLeastOnce)?;
    client.publish("sensor/7/reading", rumqttc::QoS::AtLeastOnce, false, "99")?;
    let sensor = std::thread::spawn(move || {
        for event in connection.iter() {
            if let Event::Incoming(Packet::Publish(publish)) = event? {
                return Ok(publish);
            }
        }
        anyhow::bail!("the connection ended without an alarm")
    });

    let reading = readings.receiver().recv_timeout(TIMEOUT).context("no reading came")?;
    println!("{} = {}", reading.topic, String::from_utf8_lossy(&reading.payload));
    ensure!(reading.payload == "99");
    alarms.publish("alarm/7", "too hot", broker_core::QoS::AtLeastOnce, clock::now())?;

    let alarm = sensor.join().expect("the thread does not panic")?;
    println!("sensor-7 received {} = {}", alarm.topic, String::from_utf8_lossy(&alarm.payload));
    ensure!(alarm.topic == "alarm/7" && alarm.payload == "too hot");
    let cut_off = server.shut_down(TIMEOUT);
    println!("stopped, connections cut off: {cut_off}");
    Ok(())
}

const TIMEOUT: Duration = Duration::from_secs(5);
