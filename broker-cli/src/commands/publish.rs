//! `pub`: publishes messages and waits until the server has them.

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use broker_codec::{QoS, ReasonCode, topic};
use clap::{ArgGroup, Args};

use crate::client::{Client, Event, Message};
use crate::link::Link;
use crate::options::{Connection, ConnectionOptions, Demands, qos, seconds};
use crate::output::{Notes, Reason, Refused};

/// Publish messages, with the flags of mosquitto_pub
#[derive(Debug, Args)]
#[command(disable_help_flag = true, args_override_self = true, after_help = AFTER_HELP, group = ArgGroup::new("source").required(true))]
pub(crate) struct Publish {
    /// Topic to publish to
    #[arg(short, long, help_heading = "Message")]
    topic: Option<String>,
    /// The payload
    #[arg(
        short,
        long,
        value_name = "PAYLOAD",
        group = "source",
        allow_hyphen_values = true,
        help_heading = "Message"
    )]
    message: Option<String>,
    /// A file whose content is the payload
    #[arg(short, long, group = "source", help_heading = "Message")]
    file: Option<PathBuf>,
    /// One message for each line of stdin
    #[arg(short = 'l', long, group = "source", help_heading = "Message")]
    stdin_line: bool,
    /// Stdin as a whole is the payload
    #[arg(short, long, group = "source", help_heading = "Message")]
    stdin_file: bool,
    /// No payload; with --retain this removes the retained message
    #[arg(short, long, group = "source", help_heading = "Message")]
    null_message: bool,
    /// QoS: 0, 1 or 2
    #[arg(short, long, default_value = "0", value_parser = qos, help_heading = "Message")]
    qos: QoS,
    /// Ask the server to retain the message
    #[arg(short, long, help_heading = "Message")]
    retain: bool,
    /// Publish the message so many times
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        conflicts_with = "stdin_line",
        help_heading = "Message"
    )]
    repeat: u64,
    /// Pause between repetitions
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds, help_heading = "Message")]
    repeat_delay: Duration,
    /// QoS 1 and 2 messages under way at a time
    #[arg(short = 'M', long, value_name = "COUNT", default_value_t = 20, help_heading = "Message")]
    max_inflight: usize,
    /// Keep the session of this Client Identifier, and have it kept
    #[arg(short = 'c', long, help_heading = "MQTT")]
    disable_clean_session: bool,
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
Exit status: 0 once the server has all messages; the Reason Code if it refused the connection or
a message; 1 else; 2 for wrong flags

Example: broker-cli pub -h broker.example -t sensors/1 -m 21.5 -q 1 -r";

impl Publish {
    pub(crate) fn run(&self) -> Result<()> {
        let demands = Demands { v5_flag: None, keeps_session: self.disable_clean_session };
        let connection = self.connection.resolve(&demands)?;
        let topic = self.topic.as_ref().or(connection.url_topic.as_ref());
        let topic = topic.context("-t/--topic is missing")?;
        topic::validate_name(topic).with_context(|| format!("-t/--topic '{topic}'"))?;
        // Read before the connection is made: a missing file must not cost the server a client.
        let payload = self.payload()?;
        let notes = Notes { is_quiet: self.quiet, is_debug: self.debug };
        notes.hush(self.exchange(&connection, topic, payload, notes))
    }

    /// All that happens over the network.
    fn exchange(
        &self,
        connection: &Connection,
        topic: &str,
        payload: Option<Vec<u8>>,
        notes: Notes,
    ) -> Result<()> {
        let Some(mut link) = Link::open(connection, self.max_inflight, notes)? else {
            return Ok(());
        };
        let mut source = match payload {
            Some(payload) => Source::repeated(payload, self.repeat, self.repeat_delay),
            None => Source::lines(&link)?,
        };
        let refused = self.publish_all(&mut link, &mut source, topic, connection, notes)?;
        link.close(connection.properties.disconnect.as_properties())?;
        match refused {
            Some(refused) => Err(refused.into()),
            None => Ok(()),
        }
    }

    /// Publishes what `source` gives; the first refusal is returned at the end.
    fn publish_all(
        &self,
        link: &mut Link,
        source: &mut Source,
        topic: &str,
        connection: &Connection,
        notes: Notes,
    ) -> Result<Option<Refused>> {
        let mut first_refused = None;
        let properties = connection.properties.publish.as_properties();
        let mut number = 0;
        loop {
            let is_exhausted = loop {
                if !has_room(&link.client) {
                    break false;
                }
                match source.next()? {
                    Next::Message(payload) => {
                        number += 1;
                        let (qos, retain) = (self.qos, self.retain);
                        let message = Message { topic, payload, qos, retain, properties };
                        link.client.publish(&message, number)?;
                    }
                    Next::Later => break false,
                    Next::End => break true,
                }
            };
            if is_exhausted && link.client.n_inflight() == 0 && link.client.flush(Instant::now())? {
                return Ok(first_refused);
            }
            if link.is_interrupted() {
                let left = link.client.n_inflight();
                if left > 0 {
                    notes.warn(format_args!("interrupted; {left} messages are not acknowledged"));
                }
                return Ok(first_refused);
            }
            // The socket says that it has room only after it had none.
            let was_full = link.client.n_output_bytes() >= OUTPUT_BYTES_MAX;
            link.client.flush(Instant::now())?;
            if was_full && has_room(&link.client) {
                continue;
            }
            link.wait(source.due())?;
            while let Some(event) = link.client.next_event()? {
                if let Event::Published { tag, code, text } = event {
                    // Common, and no failure: there is just nobody who listens.
                    let is_refused = code.is_error();
                    if is_refused {
                        notes.warn(format_args!("message {tag} was refused: {}", Reason(code)));
                        let what = format!("message {tag} was refused");
                        first_refused.get_or_insert_with(|| Refused::new(what, code, text));
                    } else if code == ReasonCode::NoMatchingSubscribers {
                        notes.debug(format_args!("message {tag}: {}", Reason(code)));
                    }
                }
            }
        }
    }

    /// The one payload to publish, or `None` if the lines of stdin are.
    fn payload(&self) -> Result<Option<Vec<u8>>> {
        if let Some(message) = &self.message {
            return Ok(Some(message.clone().into_bytes()));
        }
        if let Some(path) = &self.file {
            let read = std::fs::read(path);
            return read.map(Some).with_context(|| format!("reading -f/--file {}", path.display()));
        }
        if self.stdin_file {
            let mut payload = Vec::new();
            let stdin = std::io::stdin().lock();
            stdin.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut payload).context("reading stdin")?;
            ensure!(payload.len() as u64 <= PAYLOAD_BYTES_MAX, "-s: stdin exceeds 256 MiB");
            return Ok(Some(payload));
        }
        if self.stdin_line {
            return Ok(None);
        }
        Ok(Some(Vec::new()))
    }
}

/// Whether the client should be given more: it may send, and its socket keeps up.
fn has_room(client: &Client) -> bool {
    client.has_quota() && client.n_output_bytes() < OUTPUT_BYTES_MAX
}

/// Where payloads come from.
#[derive(Debug)]
enum Source {
    Repeated { payload: Vec<u8>, left: u64, delay: Duration, due: Instant },
    Lines { lines: Receiver<std::io::Result<Vec<u8>>>, line: Vec<u8> },
}

/// What a [`Source`] has now.
#[derive(Debug)]
enum Next<'a> {
    Message(&'a [u8]),
    Later,
    End,
}

impl Source {
    fn repeated(payload: Vec<u8>, left: u64, delay: Duration) -> Self {
        Self::Repeated { payload, left, delay, due: Instant::now() }
    }

    /// Reads stdin on a thread of its own, since it cannot be polled if it is a file.
    fn lines(link: &Link) -> Result<Self> {
        let (sender, lines) = sync_channel(LINES_MAX);
        let waker = link.waker();
        let read_all = move || {
            let mut stdin = std::io::stdin().lock();
            loop {
                let mut line = Vec::new();
                let result = match stdin.read_until(b'\n', &mut line) {
                    Ok(0) => break,
                    Ok(_) => {
                        line.pop_if(|it| *it == b'\n');
                        Ok(line)
                    }
                    Err(error) => Err(error),
                };
                if sender.send(result).is_err() || waker.wake().is_err() {
                    return;
                }
            }
            drop(sender);
            let _ = waker.wake();
        };
        std::thread::Builder::new().name("stdin".to_owned()).spawn(read_all)?;
        Ok(Self::Lines { lines, line: Vec::new() })
    }

    fn next(&mut self) -> Result<Next<'_>> {
        match self {
            Self::Repeated { left: 0, .. } => Ok(Next::End),
            Self::Repeated { payload, left, delay, due } => {
                let now = Instant::now();
                if now < *due {
                    return Ok(Next::Later);
                }
                *left -= 1;
                *due = now + *delay;
                Ok(Next::Message(payload))
            }
            Self::Lines { lines, line } => match lines.try_recv() {
                Ok(Ok(next)) => {
                    *line = next;
                    Ok(Next::Message(line))
                }
                Ok(Err(error)) => bail!("reading stdin: {error}"),
                Err(TryRecvError::Empty) => Ok(Next::Later),
                Err(TryRecvError::Disconnected) => Ok(Next::End),
            },
        }
    }

    /// When a repetition is due.
    fn due(&self) -> Option<Instant> {
        match self {
            Self::Repeated { left: 1.., due, .. } if *due > Instant::now() => Some(*due),
            _ => None,
        }
    }
}

const PAYLOAD_BYTES_MAX: u64 = 256 * 1024 * 1024;
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Lines read ahead.
const LINES_MAX: usize = 256;
