//! Conformance to MQTT 3.1, 3.1.1 and 5.0 over real sockets, by section of the specification.
//!
//! `cargo test -p broker-server --test conformance [FILTER]` starts one broker and runs all tests against it
//! in parallel. `MQTT_BROKER=host:port` (and `MQTT_BROKER_WS=host:port`) tests a foreign broker instead;
//! `MQTT_BROKER_DEVIATIONS=file` names the tests it is known to fail, see `foreign/`.

mod broker;
mod client;
mod runner;
mod wire;

mod connack;
mod connect;

fn main() {
    let modules = [
        connack::TESTS,
        connect::TESTS,
    ];
    let code = runner::main(modules.into_iter().flatten());
    std::process::exit(code);
}
