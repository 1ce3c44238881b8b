//! Conformance to MQTT 3.1, 3.1.1 and 5.0 over real sockets, by section of the specification.
//!
//! `cargo test -p broker-server --test conformance [FILTER]` starts one broker and runs all tests against it
//! in parallel. `MQTT_BROKER=host:port` (and `MQTT_BROKER_WS=host:port`) tests a foreign broker instead;
//! `MQTT_BROKER_DEVIATIONS=file` names the tests it is known to fail, see `foreign/`.

mod broker;
mod client;
#[path = "../process/mod.rs"]
#[expect(dead_code, reason = "shared by suites, each of which uses a part of it")]
mod process;
mod runner;
mod wire;

mod auth;
mod connack;
mod connect;
mod disconnect;
mod flow_control;
mod keep_alive;
mod limits;
mod malformed;
mod message_expiry;
mod mqtt31;
mod mqtt311;
mod ordering;
mod packet_size;
mod ping;
mod publish;
mod qos1;
mod qos2;
mod request_response;
mod resume;
mod retained;
mod session_expiry;
mod shared_subscriptions;
mod subscribe;
mod subscription_identifiers;
mod take_over;
mod topic_alias;
mod topics;
mod unsubscribe;
mod user_properties;
mod websocket;
mod will;

fn main() {
    let modules = [
        auth::TESTS,
        connack::TESTS,
        connect::TESTS,
        disconnect::TESTS,
        flow_control::TESTS,
        keep_alive::TESTS,
        limits::TESTS,
        malformed::TESTS,
        message_expiry::TESTS,
        mqtt31::TESTS,
        mqtt311::TESTS,
        ordering::TESTS,
        packet_size::TESTS,
        ping::TESTS,
        publish::TESTS,
        qos1::TESTS,
        qos2::TESTS,
        request_response::TESTS,
        resume::TESTS,
        retained::TESTS,
        session_expiry::TESTS,
        shared_subscriptions::TESTS,
        subscribe::TESTS,
        subscription_identifiers::TESTS,
        take_over::TESTS,
        topic_alias::TESTS,
        topics::TESTS,
        unsubscribe::TESTS,
        user_properties::TESTS,
        websocket::TESTS,
        will::TESTS,
    ];
    let code = runner::main(modules.into_iter().flatten());
    std::process::exit(code);
}
