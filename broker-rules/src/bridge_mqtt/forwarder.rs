//! Forwarder: sends the items of a bridge as PUBLISH at QoS 1; an item is done at its PUBACK.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker_codec::{PublishHeader, QoS, ReasonCode, encode_publish, publish_len};

use super::config::BridgeConfig;
use super::connection::{Connection, ConnectionError, Event};
use super::window::{Fate, Window};
use crate::remote::Envelope;
use crate::sink::{Item, Remote, Report, Trouble};

/// Sends the items of one bridge.
pub(super) struct Forwarder {
    config: Arc<BridgeConfig>,
    connection: Option<Connection>,
    /// Counts connections.
    number: u64,
    window: Window,
    is_connected: Arc<AtomicBool>,
    /// Packets on their way into the socket; kept for its memory.
    output: Vec<u8>,
}

impl Forwarder {
    pub(super) fn new(config: Arc<BridgeConfig>, is_connected: Arc<AtomicBool>) -> Self {
        Self {
            config,
            connection: None,
            number: 0,
            window: Window::default(),
            is_connected,
            output: Vec::new(),
        }
    }

    fn connect(&mut self) -> Result<(), ConnectionError> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.config)?);
            self.number += 1;
            self.is_connected.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A connection with an error is over.
    fn guard<T>(&mut self, result: Result<T, ConnectionError>) -> Result<T, Trouble> {
        result.map_err(|error| {
            self.connection = None;
            self.is_connected.store(false, Ordering::Relaxed);
            Trouble(error.to_string())
        })
    }

    fn forward(&mut self, items: &[Item], report: &mut Report<'_>) -> Result<(), ConnectionError> {
        self.window.align(items);
        self.connect()?;
        // How many of the batch are settled, and how many of it were looked at for this connection.
        let (mut n_settled, mut n_seen) = (0, 0);
        let mut silent_since = Instant::now();
        while n_settled < items.len() && !report.is_stopping() {
            n_seen = self.send_more(items, n_settled, n_seen)?;
            while let Some(fate) = self.window.pop_settled() {
                n_settled += 1;
                silent_since = Instant::now();
                match fate {
                    Fate::Refused(why) => report.refused(why),
                    _ => report.delivered(1),
                }
            }
            if n_settled == items.len() {
                break;
            }
            let Some(connection) = &mut self.connection else {
                return Err(ConnectionError::Closed);
            };
            let mut is_news = false;
            while let Some(event) = connection.next_event()? {
                is_news = true;
                if let Event::Acknowledged(packet_id, code) = event {
                    self.window.settle(packet_id, judge(code)?);
                }
            }
            if !is_news && !connection.read(Instant::now() + TICK)? {
                let limit = self.config.retry_interval;
                if silent_since.elapsed() >= limit {
                    return Err(ConnectionError::Silence { what: "PUBACK", after: limit });
                }
            }
        }
        Ok(())
    }

    /// Sends as many of the batch as may be on their way. Returns how many of it this connection has seen.
    fn send_more(
        &mut self,
        items: &[Item],
        n_settled: usize,
        n_seen: usize,
    ) -> Result<usize, ConnectionError> {
        let Some(connection) = &mut self.connection else { return Err(ConnectionError::Closed) };
        let max = self.config.inflight_max.min(connection.limits.receive_maximum);
        let mut n_on_their_way = self.window.n_on_their_way(self.number);
        let mut n_seen = n_seen.max(n_settled);
        self.output.clear();
        while n_seen < items.len() && n_on_their_way < max && self.output.len() < OUTPUT_BYTES_MAX {
            let item = &items[n_seen];
            let at = n_seen - n_settled;
            n_seen += 1;
            let (packet_id, dup) = match self.window.get_mut(at) {
                Some(sent) if !matches!(sent.fate, Fate::Sent(_)) => continue,
                Some(sent) => {
                    // Sent again under the same identifier [MQTT-4.4.0-1].
                    sent.fate = Fate::Sent(self.number);
                    (sent.packet_id, true)
                }
                None => (self.window.add(item, self.number), false),
            };
            let header = PublishHeader {
                dup,
                qos: QoS::AtLeastOnce,
                packet_id: Some(packet_id),
                ..PublishHeader::default()
            };
            match put(&self.config, connection, header, item, &mut self.output) {
                Ok(()) => n_on_their_way += 1,
                Err(why) => self.window.settle(packet_id.get(), Fate::Refused(why.to_owned())),
            }
        }
        if !self.output.is_empty() {
            connection.write(&self.output)?;
            if self.output.capacity() > OUTPUT_BYTES_MAX {
                self.output = Vec::new();
            }
        }
        Ok(n_seen)
    }

    fn idle(&mut self) -> Result<Option<Duration>, ConnectionError> {
        self.connect()?;
        let Some(connection) = &mut self.connection else { return Err(ConnectionError::Closed) };
        while connection.read_ready()? {}
        while connection.next_event()?.is_some() {}
        let due = connection.keep_alive()?;
        // A connection that the broker has closed is noticed soon, not at the next message.
        Ok(Some(due.unwrap_or(IDLE_MAX).clamp(IDLE_MIN, IDLE_MAX)))
    }
}

impl Remote for Forwarder {
    fn deliver(&mut self, items: &[Item], report: &mut Report<'_>) -> Result<(), Trouble> {
        let result = self.forward(items, report);
        self.guard(result)
    }

    fn handle_idle(&mut self) -> Result<Option<Duration>, Trouble> {
        let result = self.idle();
        self.guard(result)
    }

    fn close(&mut self) {
        self.is_connected.store(false, Ordering::Relaxed);
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }
}

/// Appends a message; says why it can never be sent.
fn put(
    config: &BridgeConfig,
    connection: &Connection,
    mut header: PublishHeader<'_>,
    item: &Item,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let envelope = Envelope::open(&item.bytes).ok_or("not an item of a bridge")?;
    let topic = format!("{}{}", config.mountpoint, envelope.label);
    broker_codec::topic::validate_name(&topic).map_err(|_| "no topic name with the mountpoint")?;
    header.retain = envelope.flag && connection.limits.retain_available;
    let version = connection.version();
    let len = publish_len(version, &header, topic.len(), envelope.body.len());
    if len > connection.limits.packet_bytes_max {
        return Err("larger than the broker takes");
    }
    encode_publish(out, version, &header, &topic, envelope.body.len());
    out.extend_from_slice(envelope.body);
    Ok(())
}

/// What an acknowledgement means for a message.
fn judge(code: ReasonCode) -> Result<Fate, ConnectionError> {
    match code {
        // It would be taken another time: tried again after a pause, on a new connection.
        ReasonCode::QuotaExceeded => Err(ConnectionError::Unable("quota exceeded")),
        code if code.is_error() => Ok(Fate::Refused(format!("PUBACK: {code}"))),
        _ => Ok(Fate::Taken),
    }
}

/// How soon a close is noticed.
const TICK: Duration = Duration::from_millis(100);
const IDLE_MIN: Duration = Duration::from_millis(100);
const IDLE_MAX: Duration = Duration::from_secs(5);
/// What is written at once.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
