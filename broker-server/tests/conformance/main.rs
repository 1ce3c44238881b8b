//! Conformance to MQTT 3.1, 3.1.1 and 5.0 over real sockets, by section of the specification.
//!
//! `cargo test -p broker-server --test conformance [FILTER]` starts one broker and runs all tests against it
//! in parallel. `MQTT_BROKER=host:port` (and `MQTT_BROKER_WS=host:port`) tests a foreign broker instead;
//! `MQTT_BROKER_DEVIATIONS=file` names the tests it is known to fail, see `foreign/`.

mod broker;
mod client;
mod runner;
mod wire;

mod auth;
mod connack;
mod connect;
mod disconnect;
mod ping;
mod publish;
mod qos1;
mod qos2;
mod resume;
mod retained;
mod session_expiry;
mod subscribe;
mod unsubscribe;
mod will;

fn main() {
    let modules = [
        auth::TESTS,
        connack::TESTS,
        connect::TESTS,
        disconnect::TESTS,
        ping::TESTS,
        publish::TESTS,
        qos1::TESTS,
        qos2::TESTS,
        resume::TESTS,
        retained::TESTS,
        session_expiry::TESTS,
        subscribe::TESTS,
        unsubscribe::TESTS,
        will::TESTS,
    ];
    let code = runner::main(modules.into_iter().flatten());
    std::process::exit(code);
}
