//! `sub`: subscribes and prints what arrives.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use broker_codec::{
    ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling, SubAck, SubscriptionOptions,
    SubscriptionRequest, topic,
};
use clap::Args;

use crate::client::{Event, Message};
use crate::format::{Format, Timestamp};
use crate::link::Link;
use crate::options::{Connection, ConnectionOptions, Demands, qos, seconds};
use crate::output::{Notes, Reason, Refused, TimedOut, stdout};

/// Subscribe and print messages, with the flags of mosquitto_sub
#[derive(Debug, Args)]
#[command(disable_help_flag = true, args_override_self = true, after_help = AFTER_HELP)]
pub(crate) struct Subscribe {
    /// Topic Filter to subscribe to; repeatable
    #[arg(short, long, help_heading = "Subscription")]
    topic: Vec<String>,
    /// Topic Filter to unsubscribe from, for a kept session; repeatable
    #[arg(short = 'U', long, value_name = "TOPIC", help_heading = "Subscription")]
    unsubscribe: Vec<String>,
    /// Highest QoS to receive: 0, 1 or 2
    #[arg(short, long, default_value = "0", value_parser = qos, help_heading = "Subscription")]
    qos: QoS,
    /// Do not send back what this client publishes (5.0)
    #[arg(long, help_heading = "Subscription")]
    no_local: bool,
    /// Keep the retain flag as the publisher set it (5.0)
    #[arg(long, help_heading = "Subscription")]
    retain_as_published: bool,
    /// Retained messages to send: always, new (subscriptions only) or never (5.0)
    #[arg(long, value_name = "WHEN", value_parser = retain_handling, help_heading = "Subscription")]
    retain_handling: Option<RetainHandling>,
    /// Keep the session of this Client Identifier, and have it kept
    #[arg(short = 'c', long, help_heading = "MQTT")]
    disable_clean_session: bool,

    /// Exit after so many messages
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Until")]
    count: Option<u64>,
    /// Exit after so many seconds
    #[arg(short = 'W', value_name = "SECONDS", value_parser = seconds, help_heading = "Until")]
    timeout: Option<Duration>,
    /// Exit once the server has acknowledged the subscriptions
    #[arg(short = 'E', help_heading = "Until")]
    exit_after_suback: bool,

    /// Do not print topics that match this filter; repeatable
    #[arg(short = 'T', long, value_name = "FILTER", help_heading = "Selection")]
    filter_out: Vec<String>,
    /// Do not print retained messages
    #[arg(short = 'R', help_heading = "Selection", conflicts_with = "retained_only")]
    no_retained: bool,
    /// Print retained messages only, and exit at the first that is not
    #[arg(long, help_heading = "Selection")]
    retained_only: bool,
    /// Remove each retained message that arrives, except for -T
    #[arg(long, help_heading = "Selection")]
    remove_retained: bool,

    /// Print topic and payload
    #[arg(short, long, help_heading = "Output")]
    verbose: bool,
    /// Print by a format string, see below
    #[arg(short = 'F', value_name = "FORMAT", help_heading = "Output")]
    format: Option<Format>,
    /// Print one JSON object per message, as -F %j
    #[arg(long, help_heading = "Output", conflicts_with = "format")]
    json: bool,
    /// No newline after each message
    #[arg(short = 'N', help_heading = "Output")]
    no_newline: bool,
    #[command(flatten)]
    connection: ConnectionOptions,
    /// Show each packet on stderr
    #[arg(short, long, help_heading = "Output")]
    debug: bool,
    /// No warnings and no errors but those of the flags
    #[arg(long, help_heading = "Output")]
    quiet: bool,
    /// Show this help
    #[arg(long, action = clap::ArgAction::HelpShort, help_heading = "Output")]
    help: Option<bool>,
}

const AFTER_HELP: &str = "\
Format (-F):
  %t topic      %p payload     %x %X payload in hex   %l payload length
  %q QoS        %r retain      %m packet identifier   %j JSON, %J with the payload as JSON
  %I ISO 8601   %U Unix time   @Y @m @d @H @M @S @N @F @T @s … parts of the time, all in UTC
  %C content type        %R response topic    %D correlation data          %E message expiry
  %F payload format      %P user properties   %S subscription identifiers  %A topic alias
  %10t at least and %.10t at most 10 characters, %-10t to the left, %05l with zeros
  %% @@ \\\\ for themselves, \\n \\t \\r \\0 \\a \\e \\v

Exit status: 0 after -C messages, -E or Ctrl-C; 27 if -W ended it; the Reason Code if the server
refused the connection or all subscriptions; 1 else; 2 for wrong flags

Example: broker-cli sub -h broker.example -t 'sensors/#' -v";

/// Why the loop ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    TimedOut,
}

impl Subscribe {
    pub(crate) fn run(&self) -> Result<()> {
        let connection = self.connection.resolve(&Demands {
            v5_flag: self.v5_flag(),
            keeps_session: self.disable_clean_session,
        })?;
        let filters = self.filters(&connection)?;
        let notes = Notes { is_quiet: self.quiet, is_debug: self.debug };
        notes.hush(self.exchange(&connection, &filters, notes))
    }

    /// All that happens over the network.
    fn exchange(&self, connection: &Connection, filters: &[String], notes: Notes) -> Result<()> {
        let Some(mut link) = Link::open(connection, INFLIGHT_MAX, notes)? else { return Ok(()) };
        let properties = &connection.properties;
        if !self.unsubscribe.is_empty() {
            let filters = self.unsubscribe.iter().map(String::as_str).collect();
            link.client.unsubscribe(filters, properties.unsubscribe.as_properties());
        }
        if !filters.is_empty() {
            let requests = filters.iter().map(|it| self.request(it, connection)).collect();
            link.client.subscribe(requests, properties.subscribe.as_properties());
        }
        let end = self.receive(&mut link, filters, notes)?;
        link.close(properties.disconnect.as_properties())?;
        match (end, self.timeout) {
            (End::TimedOut, Some(timeout)) => {
                Err(TimedOut { seconds: timeout.as_secs_f64() }.into())
            }
            _ => Ok(()),
        }
    }

    fn v5_flag(&self) -> Option<&'static str> {
        let flags = [
            (self.no_local, "--no-local"),
            (self.retain_as_published, "--retain-as-published"),
            (self.retain_handling.is_some(), "--retain-handling"),
        ];
        flags.into_iter().find_map(|(is_given, flag)| is_given.then_some(flag))
    }

    fn filters(&self, connection: &Connection) -> Result<Vec<String>> {
        let filters: Vec<_> = self.topic.iter().chain(&connection.url_topic).cloned().collect();
        ensure!(!filters.is_empty() || !self.unsubscribe.is_empty(), "-t/--topic is missing");
        for (flag, filters) in [
            ("-t/--topic", &filters),
            ("-U/--unsubscribe", &self.unsubscribe),
            ("-T/--filter-out", &self.filter_out),
        ] {
            for filter in filters {
                topic::validate_filter(filter).with_context(|| format!("{flag} '{filter}'"))?;
            }
        }
        Ok(filters)
    }

    fn request<'a>(&self, filter: &'a str, connection: &Connection) -> SubscriptionRequest<'a> {
        let retain_handling = match self.retain_handling {
            Some(retain_handling) => retain_handling,
            // -R would throw them away, so they need not be sent at all.
            None if self.no_retained
                && !self.remove_retained
                && connection.greeting.version == ProtocolVersion::V5 =>
            {
                RetainHandling::DoNotSend
            }
            None => RetainHandling::Send,
        };
        let options = SubscriptionOptions {
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling,
        };
        SubscriptionRequest { filter, options }
    }

    fn receive(&self, link: &mut Link, filters: &[String], notes: Notes) -> Result<End> {
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let format = self.format();
        let line = Vec::new();
        let mut printer =
            Printer { command: self, format, notes, n_printed: 0, line, out: stdout() };
        let mut to_remove = Vec::new();
        // An UNSUBSCRIBE alone is over with its acknowledgement.
        let ends_with_unsuback = filters.is_empty() && self.exit_after_suback;
        let end = 'wait: loop {
            link.wait(deadline)?;
            while let Some(event) = link.client.next_event()? {
                match event {
                    Event::Message(publish) => {
                        if self.remove_retained
                            && publish.retain
                            && !self.is_filtered_out(publish.topic)
                        {
                            to_remove.push(publish.topic.to_owned());
                        }
                        if printer.handle(&publish)? {
                            break 'wait End::Done;
                        }
                    }
                    Event::Subscribed(suback) => {
                        check_suback(&suback, filters, notes)?;
                        if self.exit_after_suback {
                            break 'wait End::Done;
                        }
                    }
                    Event::Unsubscribed if ends_with_unsuback => break 'wait End::Done,
                    Event::Connected | Event::Published { .. } | Event::Unsubscribed => {}
                }
            }
            for topic in to_remove.drain(..) {
                remove_retained(link, &topic)?;
            }
            printer.out.flush().context("writing to stdout")?;
            if link.is_interrupted() {
                break End::Done;
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                break End::TimedOut;
            }
        };
        for topic in to_remove {
            remove_retained(link, &topic)?;
        }
        printer.out.flush().context("writing to stdout")?;
        finish_exchanges(link)?;
        Ok(end)
    }

    fn format(&self) -> Format {
        match &self.format {
            Some(format) => format.clone(),
            None if self.json => Format::json(),
            None if self.verbose => Format::verbose(),
            None => Format::payload(),
        }
    }

    fn is_filtered_out(&self, topic: &str) -> bool {
        self.filter_out.iter().any(|filter| topic::matches(filter, topic))
    }
}

/// An empty retained message takes the place of the old one [MQTT-3.3.1-6].
fn remove_retained(link: &mut Link, topic: &str) -> Result<()> {
    let message = Message {
        topic,
        payload: b"",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: broker_codec::Properties::EMPTY,
    };
    link.client.publish(&message, 0)
}

/// Brings exchanges to their end that are under way, without beginning new ones.
fn finish_exchanges(link: &mut Link) -> Result<()> {
    let until = Instant::now() + FINISH_PATIENCE;
    link.client.stop_receiving();
    loop {
        while link.client.next_event()?.is_some() {}
        let is_idle = link.client.n_incoming() == 0 && link.client.n_inflight() == 0;
        if is_idle || Instant::now() >= until {
            return Ok(());
        }
        link.wait(Some(until))?;
    }
}

/// Warns of each refused subscription; an error if there is no other.
fn check_suback(suback: &SubAck<'_>, filters: &[String], notes: Notes) -> Result<()> {
    let refused = |code: &ReasonCode| code.is_error();
    for (filter, code) in filters.iter().zip(&suback.reason_codes) {
        if refused(code) {
            notes.warn(format_args!("subscription to '{filter}' was refused: {}", Reason(*code)));
        }
    }
    match suback.reason_codes.first() {
        Some(code) if suback.reason_codes.iter().all(refused) => {
            let text = suback.properties.reason_string();
            Err(Refused::new("all subscriptions were refused", *code, text).into())
        }
        _ => Ok(()),
    }
}

/// Selects and prints messages.
struct Printer<'a, W> {
    command: &'a Subscribe,
    format: Format,
    notes: Notes,
    n_printed: u64,
    line: Vec<u8>,
    out: W,
}

impl<W: Write> Printer<'_, W> {
    /// Prints the message if it is wanted; true if it is the last.
    fn handle(&mut self, publish: &Publish<'_>) -> Result<bool> {
        let command = self.command;
        if command.retained_only && !publish.retain {
            return Ok(true);
        }
        if (command.no_retained && publish.retain) || command.is_filtered_out(publish.topic) {
            return Ok(false);
        }
        self.line.clear();
        let rendered = self.format.render(publish, Timestamp::now(), &mut self.line);
        match rendered {
            Err(error) => self.notes.warn(format_args!("{error:#}")),
            Ok(()) => {
                if !command.no_newline {
                    self.line.push(b'\n');
                }
                self.out.write_all(&self.line).context("writing to stdout")?;
            }
        }
        self.n_printed += 1;
        Ok(Some(self.n_printed) == command.count)
    }
}

fn retain_handling(text: &str) -> Result<RetainHandling> {
    Ok(match text {
        "always" | "0" => RetainHandling::Send,
        "new" | "1" => RetainHandling::SendIfNew,
        "never" | "2" => RetainHandling::DoNotSend,
        _ => anyhow::bail!("always, new or never"),
    })
}

/// For --remove-retained only.
const INFLIGHT_MAX: usize = 65_535;
const FINISH_PATIENCE: Duration = Duration::from_secs(1);
