//! Connection: one Network Connection to a broker, from CONNECT to its end; packets in and out, no memory of messages.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use broker_codec::{
    Connect, Decoder, Disconnect, Packet, Properties, PropertiesBuf, Property, ProtocolVersion,
    QoS, ReasonCode,
};
use rustls::{ClientConnection, StreamOwned};

use super::config::BridgeConfig;
use crate::remote;

/// Why there is no connection, or none any more. No password is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("malformed packet")]
    Malformed,
    #[error("the broker refuses the connection: {0}")]
    Refused(ReasonCode),
    #[error("the broker has closed the connection: {0}")]
    Disconnected(ReasonCode),
    #[error("the broker has closed the connection")]
    Closed,
    #[error("{0} was not expected")]
    Unexpected(broker_codec::PacketKind),
    #[error("no {what} within {} s", after.as_secs_f64())]
    Silence { what: &'static str, after: Duration },
    #[error("{0}")]
    Unable(&'static str),
}

/// A connection that is accepted.
pub(super) struct Connection {
    stream: Stream,
    version: ProtocolVersion,
    decoder: Decoder,
    /// What came and is not decoded.
    input: Vec<u8>,
    pub(super) limits: Limits,
    last_sent: Instant,
    pinged_at: Option<Instant>,
}

/// What the broker allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) packet_bytes_max: usize,
    pub(super) receive_maximum: usize,
    pub(super) retain_available: bool,
    keep_alive: Duration,
    pub(super) session_present: bool,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What matters of a packet that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// PUBACK.
    Acknowledged(u16, ReasonCode),
    /// Nothing for us.
    Other,
}

impl Connection {
    /// Connects and waits for CONNACK, each in a bounded time.
    pub(super) fn open(config: &BridgeConfig) -> Result<Self, ConnectionError> {
        let rules = &config.addresses;
        let socket = remote::connect(rules, &config.host, config.port, config.connect_timeout)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(config.connect_timeout.max(WRITE_TIME)))?;
        let stream = match &config.tls {
            None => Stream::Plain(socket),
            Some((tls, name)) => {
                let tls = ClientConnection::new(tls.clone(), name.clone())?;
                Stream::Tls(Box::new(StreamOwned::new(tls, socket)))
            }
        };
        let mut connection = Self {
            stream,
            version: config.version,
            decoder: Decoder::for_client(config.version, INPUT_BYTES_MAX),
            input: Vec::new(),
            limits: Limits {
                packet_bytes_max: PACKET_BYTES_MAX,
                receive_maximum: usize::from(u16::MAX),
                retain_available: true,
                keep_alive: config.keep_alive,
                session_present: false,
            },
            last_sent: Instant::now(),
            pinged_at: None,
        };
        connection.send(&connect_packet(config, &mut PropertiesBuf::new()))?;
        connection.await_connack(config.connect_timeout)?;
        Ok(connection)
    }

    fn await_connack(&mut self, at_most: Duration) -> Result<(), ConnectionError> {
        let until = Instant::now() + at_most;
        loop {
            let decoded = self.decoder.decode(&self.input);
            if let Some((packet, len)) = decoded.map_err(|_| ConnectionError::Malformed)? {
                let Packet::ConnAck(connack) = packet else {
                    return Err(ConnectionError::Unexpected(packet.kind()));
                };
                if connack.reason_code.is_error() {
                    return Err(ConnectionError::Refused(connack.reason_code));
                }
                let properties = connack.properties;
                if properties.maximum_qos() == Some(QoS::AtMostOnce) {
                    return Err(ConnectionError::Unable("the broker takes QoS 0 only"));
                }
                let limits = &mut self.limits;
                limits.session_present = connack.session_present;
                limits.retain_available = properties.retain_available().unwrap_or(true);
                if let Some(bytes) = properties.maximum_packet_size() {
                    limits.packet_bytes_max = limits.packet_bytes_max.min(bytes as usize);
                }
                if let Some(maximum) = properties.receive_maximum() {
                    limits.receive_maximum = usize::from(maximum).max(1);
                }
                if let Some(seconds) = properties.server_keep_alive() {
                    limits.keep_alive = Duration::from_secs(seconds.into());
                }
                self.input.drain(..len);
                return Ok(());
            }
            self.read(until)?
                .then_some(())
                .ok_or(ConnectionError::Silence { what: "CONNACK", after: at_most })?;
        }
    }

    pub(super) const fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Writes packets.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let stream = self.stream.as_write();
        stream.write_all(bytes)?;
        stream.flush()?;
        self.last_sent = Instant::now();
        Ok(())
    }

    fn send(&mut self, packet: &Packet<'_>) -> Result<(), ConnectionError> {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.write(&bytes)
    }

    /// The next packet that is here already.
    pub(super) fn next_event(&mut self) -> Result<Option<Event>, ConnectionError> {
        let decoded = self.decoder.decode(&self.input).map_err(|_| ConnectionError::Malformed)?;
        let Some((packet, len)) = decoded else { return Ok(None) };
        let mut answer = None;
        let event = match packet {
            Packet::PubAck(ack) => Event::Acknowledged(ack.packet_id.get(), ack.reason_code),
            Packet::PingResp => {
                self.pinged_at = None;
                Event::Other
            }
            Packet::Disconnect(it) => return Err(ConnectionError::Disconnected(it.reason_code)),
            // A session that was there before may have subscriptions: they are acknowledged and passed over.
            Packet::Publish(publish) => {
                answer = match (publish.qos, publish.packet_id) {
                    (QoS::AtLeastOnce, Some(id)) => Some(Packet::PubAck(ack(id))),
                    (QoS::ExactlyOnce, Some(id)) => Some(Packet::PubRec(ack(id))),
                    _ => None,
                };
                Event::Other
            }
            Packet::PubRel(it) => {
                answer = Some(Packet::PubComp(ack(it.packet_id)));
                Event::Other
            }
            other => return Err(ConnectionError::Unexpected(other.kind())),
        };
        self.input.drain(..len);
        if let Some(answer) = answer {
            self.send(&answer)?;
        }
        Ok(Some(event))
    }

    /// Waits for bytes until then; false if none came.
    pub(super) fn read(&mut self, until: Instant) -> Result<bool, ConnectionError> {
        // A timeout of zero would be none.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.socket().set_read_timeout(Some(left))?;
        let mut chunk = [0; 16 * 1024];
        match self.stream.as_read().read(&mut chunk) {
            Ok(0) => Err(ConnectionError::Closed),
            Ok(len) => {
                self.input.extend_from_slice(&chunk[..len]);
                Ok(true)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                    || error.kind() == ErrorKind::Interrupted =>
            {
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(ConnectionError::Closed),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what has come meanwhile, without waiting.
    pub(super) fn read_ready(&mut self) -> Result<bool, ConnectionError> {
        self.stream.socket().set_nonblocking(true)?;
        let result = self.read(Instant::now());
        self.stream.socket().set_nonblocking(false)?;
        result
    }

    /// Keeps the connection [MQTT-3.1.2-20]; returns when to call it again.
    pub(super) fn keep_alive(&mut self) -> Result<Option<Duration>, ConnectionError> {
        let interval = self.limits.keep_alive;
        if let Some(at) = self.pinged_at
            && at.elapsed() >= PING_TIME
        {
            return Err(ConnectionError::Silence { what: "PINGRESP", after: PING_TIME });
        }
        if interval.is_zero() {
            return Ok(None);
        }
        // Half of it, so that what is late is still in time.
        let due = interval / 2;
        if self.pinged_at.is_none() && self.last_sent.elapsed() >= due {
            self.send(&Packet::PingReq)?;
            self.pinged_at = Some(Instant::now());
        }
        Ok(Some(due.saturating_sub(self.last_sent.elapsed())))
    }

    /// Says goodbye; what cannot be sent at once is not.
    pub(super) fn close(mut self) {
        let properties = Properties::default();
        let goodbye = Disconnect { reason_code: ReasonCode::Success, properties };
        if self.send(&Packet::Disconnect(goodbye)).is_ok()
            && let Stream::Tls(tls) = &mut self.stream
        {
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    }
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.sock,
        }
    }

    fn as_read(&mut self) -> &mut dyn Read {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls,
        }
    }

    fn as_write(&mut self) -> &mut dyn Write {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls,
        }
    }
}

fn connect_packet<'a>(config: &'a BridgeConfig, properties: &'a mut PropertiesBuf) -> Packet<'a> {
    if config.version.is_v5() && !config.clean_start {
        properties.push(Property::SessionExpiryInterval(SESSION_EXPIRY_S));
    }
    Packet::Connect(Connect {
        version: config.version,
        is_bridge: false,
        clean_start: config.clean_start,
        keep_alive_s: config.keep_alive.as_secs() as u16,
        properties: properties.as_properties(),
        client_id: &config.client_id,
        will: None,
        username: config.username.as_deref(),
        password: config.password.as_deref().map(str::as_bytes),
    })
}

fn ack(packet_id: broker_codec::PacketId) -> broker_codec::Ack<'static> {
    let properties = Properties::default();
    broker_codec::Ack { packet_id, reason_code: ReasonCode::Success, properties }
}

/// For one write, at least.
const WRITE_TIME: Duration = Duration::from_secs(5);
const PING_TIME: Duration = Duration::from_secs(10);
/// What a session is kept for; one that is longer away begins anew.
const SESSION_EXPIRY_S: u32 = 24 * 60 * 60;
/// Largest packet that MQTT can express.
const PACKET_BYTES_MAX: usize = 268_435_460;
/// Largest packet that is read: a bridge has subscribed to nothing.
const INPUT_BYTES_MAX: u32 = 1024 * 1024;
