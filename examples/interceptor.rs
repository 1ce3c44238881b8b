//! Between clients and routing: an interceptor that changes one message and refuses another.
//!
//! Run with `cargo run -p broker-examples --example interceptor`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use broker_core::extension::{Extensions, Interceptor, PublishDraft, SubscribeDraft};
use broker_core::{Broker, ClientInfo, ReasonCode};
use broker_net::config::ListenerConfig;
use broker_net::{Server, ServerOptions, clock};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{Client, Connection, Event, MqttOptions};

/// Readings are in Fahrenheit and go on in Celsius; nonsense and over-curious subscribers are refused.
struct Celsius;

impl Interceptor for Celsius {
    fn publish(&self, client: &ClientInfo, draft: &mut PublishDraft<'_>) -> Result<(), ReasonCode> {
        let Some(place) = draft.topic.strip_prefix("fahrenheit/") else { return Ok(()) };
        let reading = str::from_utf8(&draft.payload).ok().and_then(|text| text.parse::<f64>().ok());
        let Some(reading) = reading else {
            println!("interceptor: no number from {}", client.client_id);
            return Err(ReasonCode::PayloadFormatInvalid);
        };
        draft.topic = format!("celsius/{place}").into();
        draft.payload = format!("{:.1}", (reading - 32.0) / 1.8).into_bytes().into();
        Ok(())
    }

    fn subscribe(
        &self,
        _client: &ClientInfo,
        draft: &mut SubscribeDraft<'_>,
    ) -> Result<(), ReasonCode> {
        if draft.filter == "#" { Err(ReasonCode::NotAuthorized) } else { Ok(()) }
    }
}

fn main() -> anyhow::Result<()> {
    let extensions = Extensions { interceptors: vec![Arc::new(Celsius)], ..Extensions::default() };
    let broker = Broker::builder().extensions(extensions).build()?;
    let listeners = vec![ListenerConfig::tcp("intercepted", "127.0.0.1:0".parse()?)];
    let server = Server::start(&broker, ServerOptions { listeners, ..Default::default() })?;
    let address: SocketAddr = server.listeners()[0].address.parse()?;
    let inbox = broker.subscribe_local("celsius/#", 10, clock::now())?;

    let options = MqttOptions::new("thermometer", address.ip().to_string(), address.port());
    let (client, mut connection) = Client::new(options, 10);
    client.publish("fahrenheit/kitchen", QoS::AtLeastOnce, false, "70.7")?;
    ensure!(next_puback(&mut connection)? == PubAckReason::Success);
    let message = inbox.receiver().recv_timeout(Duration::from_secs(5))?;
    println!("{} = {}", message.topic, String::from_utf8_lossy(&message.payload));
    ensure!(*message.topic == *"celsius/kitchen" && message.payload == "21.5");

    client.publish("fahrenheit/kitchen", QoS::AtLeastOnce, false, "warm")?;
    let reason = next_puback(&mut connection)?;
    println!("the client was told: {reason:?}");
    ensure!(reason == PubAckReason::PayloadFormatInvalid && inbox.receiver().is_empty());

    client.subscribe("#", QoS::AtMostOnce)?;
    for event in connection.iter() {
        if let Event::Incoming(Packet::SubAck(suback)) = event? {
            println!("subscribing to everything: {:?}", suback.return_codes);
            ensure!(suback.return_codes == [SubscribeReasonCode::NotAuthorized]);
            break;
        }
    }
    server.shut_down(Duration::from_secs(5));
    Ok(())
}

fn next_puback(connection: &mut Connection) -> anyhow::Result<PubAckReason> {
    for event in connection.iter() {
        if let Event::Incoming(Packet::PubAck(puback)) = event? {
            return Ok(puback.reason);
        }
    }
    bail!("the connection ended without PUBACK")
}
