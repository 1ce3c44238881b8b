//! Publish and subscribe inside one program: `broker-core` alone, no socket, no thread, no runtime.
//!
//! Run with `cargo run -p broker-examples --example in_process_client`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use broker_core::{Broker, Now, QoS};

fn main() -> anyhow::Result<()> {
    let start = Instant::now();
    let now = || Now::new(start.elapsed(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());

    let broker = Broker::builder().build()?;
    let mut thermometer = broker.local_client("thermometer");
    thermometer.publish_retained("plant/7/name", "mixer", QoS::AtLeastOnce, now())?;

    // At most 100 messages wait; what comes on top is dropped and counted.
    let inbox = broker.subscribe_local("plant/+/#", 100, now())?;
    let receivers = thermometer.publish("plant/7/temperature", "21.5", QoS::AtMostOnce, now())?;
    println!("published to {receivers} subscriber");
    thermometer.publish("office/temperature", "19.0", QoS::AtMostOnce, now())?;

    let mut seen = Vec::new();
    for message in inbox.receiver().try_iter() {
        let payload = String::from_utf8_lossy(&message.payload);
        println!("{} = {payload} from {}", message.topic, message.publisher.client_id());
        seen.push(message.topic.to_string());
    }
    ensure!(seen == ["plant/7/name", "plant/7/temperature"], "unexpected messages: {seen:?}");
    ensure!(inbox.dropped() == 0);
    Ok(())
}
