//! `bench`: many clients on one event loop, and what they measured.

mod engine;
mod progress;
mod report;
mod stamp;
mod tally;
mod timer;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use broker_codec::{QoS, topic};
use clap::{Args, Subcommand};

use crate::options::{ConnectionOptions, Demands, qos, seconds};
use crate::output::{Notes, stdout};
use engine::{Engine, Plan, Publishing, Role};
use stamp::STAMP_BYTES;

/// Measure a broker: connections, publishing, receiving, or both with latency
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Load {
    Conn(Box<Conn>),
    Pub(Box<Publish>),
    Sub(Box<Subscribe>),
    Pubsub(Box<PubSub>),
}

/// Open connections, and hold them
#[derive(Debug, Args)]
#[command(disable_help_flag = true, args_override_self = true)]
struct Conn {
    #[command(flatten)]
    common: Common,
    /// Hold the connections so long
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds, help_heading = "Load")]
    duration: Duration,
}

/// Publish as fast as possible, or at a rate
#[derive(Debug, Args)]
#[command(disable_help_flag = true, args_override_self = true, after_help = LOAD_HELP)]
struct Publish {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    publishing: PublishingOptions,
    /// Topic to publish to; %i is the number of the client, %c its Client Identifier
    #[arg(short, long, default_value = "bench/%i", help_heading = "Load")]
    topic: String,
    /// Publish so long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, help_heading = "Load")]
    duration: Duration,
}

/// Subscribe and count what arrives
#[derive(Debug, Args)]
#[command(disable_help_flag = true, args_override_self = true, after_help = LOAD_HELP)]
struct Subscribe {
    #[command(flatten)]
    common: Common,
    /// Topic Filter of each client; %i is its number, %c its Client Identifier
    #[arg(short, long, default_value = "bench/%i", help_heading = "Load")]
    topic: String,
    /// QoS of the subscriptions
    #[arg(short, long, default_value = "0", value_parser = qos, help_heading = "Load")]
    qos: QoS,
    /// Receive so long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, help_heading = "Load")]
    duration: Duration,
}

/// Publish from some clients to others and measure the way between them
#[derive(Debug, Args)]
#[command(disable_help_flag = true, args_override_self = true, after_help = LOAD_HELP)]
struct PubSub {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    publishing: PublishingOptions,
    /// Topic of each pair, of which -c says how many; %i is its number
    #[arg(short, long, default_value = "bench/%i", help_heading = "Load")]
    topic: String,
    /// Subscribers of each topic
    #[arg(long, alias = "fan", value_name = "COUNT", default_value_t = 1, help_heading = "Load")]
    fan_out: usize,
    /// Publishers of each topic
    #[arg(long, value_name = "COUNT", default_value_t = 1, help_heading = "Load")]
    fan_in: usize,
    /// Publish so long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, help_heading = "Load")]
    duration: Duration,
}

/// Flags of all loads.
#[derive(Debug, Args)]
struct Common {
    /// Number of clients, in pubsub of topics
    #[arg(short, long, default_value_t = 100, help_heading = "Load")]
    count: usize,
    /// Connect so many per second; 0 is as fast as the broker accepts
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0, help_heading = "Load")]
    connect_rate: f64,
    /// Print the report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// No progress line and no warnings
    #[arg(long, help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    connection: ConnectionOptions,
    /// Show this help
    #[arg(long, action = clap::ArgAction::HelpShort, help_heading = "Output")]
    help: Option<bool>,
}

/// Flags of loads that publish.
#[derive(Debug, Args)]
struct PublishingOptions {
    /// Messages per second of all publishers together; 0 is as fast as possible
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0, help_heading = "Load")]
    rate: f64,
    /// Payload of each message
    #[arg(long, value_name = "BYTES", default_value_t = 64, help_heading = "Load")]
    size: usize,
    /// QoS of messages and subscriptions
    #[arg(short, long, default_value = "0", value_parser = qos, help_heading = "Load")]
    qos: QoS,
    /// Have the messages retained
    #[arg(short, long, help_heading = "Load")]
    retain: bool,
    /// Stop after so many messages of all publishers together
    #[arg(short = 'n', long, value_name = "COUNT", help_heading = "Load")]
    messages: Option<u64>,
    /// QoS 1 and 2 messages under way at a time, per publisher
    #[arg(short = 'M', long, value_name = "COUNT", default_value_t = 20, help_heading = "Load")]
    max_inflight: usize,
}

const LOAD_HELP: &str = "\
With --rate messages have a time at which they are due, and latency counts from there, also if the
broker holds the publisher back. Without it a publisher sends when the broker lets it.
Latency is measured from the time in the first 12 bytes of the payload, which sub understands too
if it runs on the same machine as pub.";

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        match &self.load {
            Load::Conn(load) => load.run(),
            Load::Pub(load) => load.run(),
            Load::Sub(load) => load.run(),
            Load::Pubsub(load) => load.run(),
        }
    }
}

impl Conn {
    fn run(&self) -> Result<()> {
        let roles = (0..self.common.count).map(|_| Role::Idle).collect();
        self.common.run(roles, None, QoS::AtMostOnce, self.duration)
    }
}

impl Publish {
    fn run(&self) -> Result<()> {
        let prefix = self.common.client_id_prefix();
        let topic_of = |i| expand(&self.topic, i, &client_id(&prefix, i));
        let roles: Vec<_> = (0..self.common.count).map(|i| Role::Publisher(topic_of(i))).collect();
        check_topics(&roles)?;
        let publishing = self.publishing.resolve()?;
        self.common.run_as(&prefix, roles, Some(publishing), self.publishing.qos, self.duration)
    }
}

impl Subscribe {
    fn run(&self) -> Result<()> {
        let prefix = self.common.client_id_prefix();
        let filter_of = |i| expand(&self.topic, i, &client_id(&prefix, i));
        let roles: Vec<_> =
            (0..self.common.count).map(|i| Role::Subscriber(filter_of(i))).collect();
        check_topics(&roles)?;
        self.common.run_as(&prefix, roles, None, self.qos, self.duration)
    }
}

impl PubSub {
    fn run(&self) -> Result<()> {
        ensure!(!self.topic.contains("%c"), "-t/--topic: %c differs between the clients of a pair");
        ensure!(self.fan_in > 0 && self.fan_out > 0, "--fan-in and --fan-out are 1 at least");
        let mut roles = Vec::new();
        for i in 0..self.common.count {
            let topic = expand(&self.topic, i, "");
            roles.extend((0..self.fan_out).map(|_| Role::Subscriber(topic.clone())));
            roles.extend((0..self.fan_in).map(|_| Role::Publisher(topic.clone())));
        }
        check_topics(&roles)?;
        let mut publishing = self.publishing.resolve()?;
        // Topics that do not differ have the subscribers of all pairs.
        let is_shared = !self.topic.contains("%i");
        publishing.deliveries_per_message =
            Some(if is_shared { self.fan_out * self.common.count } else { self.fan_out } as u64);
        self.common.run(roles, Some(publishing), self.publishing.qos, self.duration)
    }
}

impl Common {
    fn client_id_prefix(&self) -> String {
        self.connection.fixed_client_id().unwrap_or_else(crate::options::random_client_id)
    }

    fn run(
        &self,
        roles: Vec<Role>,
        publishing: Option<Publishing>,
        qos: QoS,
        duration: Duration,
    ) -> Result<()> {
        self.run_as(&self.client_id_prefix(), roles, publishing, qos, duration)
    }

    fn run_as(
        &self,
        prefix: &str,
        roles: Vec<Role>,
        publishing: Option<Publishing>,
        qos: QoS,
        duration: Duration,
    ) -> Result<()> {
        ensure!(!roles.is_empty(), "-c/--count is 0");
        ensure!(self.connect_rate >= 0.0, "--connect-rate is negative");
        raise_file_limit(roles.len())?;
        let connection = self.connection.resolve(&Demands::default())?;
        let plan = Plan {
            roles,
            client_id_prefix: prefix.to_owned(),
            connect_rate: self.connect_rate,
            publishing,
            qos,
            duration,
        };
        let notes = Notes { is_quiet: self.quiet, is_debug: false };
        let report = Engine::new(&connection, plan, notes)?.run()?;
        let mut out = stdout();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            write!(out, "{report}")?;
        }
        out.flush().context("writing to stdout")?;
        if report.clients.connected == 0 {
            bail!("no client could connect");
        }
        Ok(())
    }
}

impl PublishingOptions {
    fn resolve(&self) -> Result<Publishing> {
        ensure!(self.rate >= 0.0, "--rate is negative");
        ensure!(self.size <= 256 * 1024 * 1024, "--size exceeds 256 MiB");
        Ok(Publishing {
            rate: (self.rate > 0.0).then_some(self.rate),
            retain: self.retain,
            messages_max: self.messages.unwrap_or(u64::MAX),
            inflight_max: self.max_inflight,
            // What compresses as badly as real data does.
            payload: (0..self.size as u32)
                .map(|it| (it.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
            is_stamped: self.size >= STAMP_BYTES,
            deliveries_per_message: None,
        })
    }
}

fn client_id(prefix: &str, i: usize) -> String {
    format!("{prefix}-{i}")
}

/// Puts the number and the Client Identifier in place of `%i` and `%c`.
fn expand(template: &str, i: usize, client_id: &str) -> String {
    template.replace("%i", &i.to_string()).replace("%c", client_id)
}

fn check_topics(roles: &[Role]) -> Result<()> {
    for role in roles {
        let (checked, topic) = match role {
            Role::Idle => continue,
            Role::Publisher(topic) => (topic::validate_name(topic), topic),
            Role::Subscriber(filter) => (topic::validate_filter(filter), filter),
        };
        checked.with_context(|| format!("-t/--topic '{topic}'"))?;
    }
    Ok(())
}

/// Allows as many files as there are clients; most systems start with 1,024.
fn raise_file_limit(n_clients: usize) -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let needed = n_clients as u64 + FILES_BESIDE_SOCKETS;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|it| it >= needed) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|it| it >= needed),
        "-c/--count: {n_clients} clients need more files than the hard limit (ulimit -Hn) of {} allows",
        limit.maximum.unwrap_or_default()
    );
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")
}

const FILES_BESIDE_SOCKETS: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_template_takes_number_and_client_id() {
        assert_eq!(expand("bench/%i/%c", 7, "me-7"), "bench/7/me-7");
        assert_eq!(expand("bench", 7, "me-7"), "bench");
    }

    #[test]
    fn topics_are_checked_by_role() {
        assert!(check_topics(&[Role::Subscriber("a/#".to_owned())]).is_ok());
        let error = check_topics(&[Role::Publisher("a/#".to_owned())]).unwrap_err();
        assert_eq!(format!("{error:#}"), "-t/--topic 'a/#': wildcard in a topic name at byte 2");
    }
}
