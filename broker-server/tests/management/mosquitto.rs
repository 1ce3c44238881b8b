//! mosquitto's clients against a broker of these tests.

use std::process::{Command, Output};

use crate::broker::Broker;

/// The broker as mosquitto's clients see it.
pub(crate) struct Mosquitto {
    host: String,
    port: String,
}

impl Mosquitto {
    pub(crate) fn of(broker: &Broker) -> Self {
        let (host, port) = broker.address("mqtt:tcp:external").rsplit_once(':').unwrap();
        Self { host: host.to_owned(), port: port.to_owned() }
    }

    /// Publishes once, with these arguments as well: client id, user name, password. Returns the return code of
    /// CONNACK, 0 if it was let in.
    #[track_caller]
    pub(crate) fn login(&self, arguments: &[&str]) -> u8 {
        let output = self.run("mosquitto_pub", &[&["-t", "login", "-m", "x"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => 0,
            _ if said.contains("Server unavailable") || said.contains("broker unavailable") => 3,
            _ if said.contains("bad user name or password") => 4,
            _ if said.contains("not authorised") => 5,
            code => panic!("mosquitto_pub ended with {code:?}: {said}"),
        }
    }

    /// Publishes with QoS 1 and these arguments as well.
    #[track_caller]
    pub(crate) fn publish(&self, topic: &str, payload: &str, arguments: &[&str]) {
        let message = ["-q", "1", "-t", topic, "-m", payload];
        let output = self.run("mosquitto_pub", &[&message, arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The retained messages of a filter, one in each line, sorted.
    #[track_caller]
    pub(crate) fn retained(&self, filter: &str) -> String {
        let output = self.run("mosquitto_sub", &["--retained-only", "-W", "1", "-v", "-t", filter]);
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<_> = text.split_inclusive('\n').collect();
        lines.sort_unstable();
        lines.concat()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(["-h", &self.host, "-p", &self.port])
            .args(arguments)
            .output()
            .expect("mosquitto's clients are there")
    }
}
