//! Link: one client with its event loop, for commands that have a single connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use broker_codec::{Properties, ReasonCode};
use mio::{Events, Poll, Token, Waker};

use crate::client::{Client, Event};
use crate::interrupt::Interrupt;
use crate::options::Connection;
use crate::output::Notes;

/// A connected client. [`wait`](Self::wait) moves bytes, then its owner takes the client's events.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: Client,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    interrupt: Interrupt,
    scratch: Box<[u8]>,
    /// The last read stopped at its budget, and the poll will not say again that there is more.
    has_more: bool,
}

impl Link {
    /// Connects and waits for the CONNACK; `None` if the user interrupts that.
    pub(crate) fn open(
        connection: &Connection,
        inflight_max: usize,
        notes: Notes,
    ) -> Result<Option<Self>> {
        let until = Instant::now() + connection.connect_timeout;
        let mut transport = connection.target.connect(connection.connect_timeout)?;
        let poll = Poll::new().context("event loop")?;
        transport.register(poll.registry(), SOCKET)?;
        let client_id = connection.greeting.client_id.clone();
        let mut link = Self {
            client: Client::new(transport, &connection.greeting, client_id, inflight_max, notes),
            waker: Arc::new(Waker::new(poll.registry(), WAKER)?),
            interrupt: Interrupt::register(poll.registry(), INTERRUPT)?,
            poll,
            events: Events::with_capacity(8),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            has_more: false,
        };
        loop {
            link.wait(Some(until))?;
            if let Some(Event::Connected) = link.client.next_event()? {
                return Ok(Some(link));
            }
            if link.is_interrupted() {
                return Ok(None);
            }
            if Instant::now() >= until {
                let seconds = connection.connect_timeout.as_secs_f64();
                bail!("no CONNACK from {} within {seconds} s", connection.target.place);
            }
        }
    }

    /// Sends what is queued and sleeps until bytes came, the waker was used, a signal came, or `until`.
    pub(crate) fn wait(&mut self, until: Option<Instant>) -> Result<()> {
        let now = Instant::now();
        self.client.handle_timeout(now)?;
        self.client.flush(now)?;
        let until = [until, self.client.poll_timeout()].into_iter().flatten().min();
        // A millisecond more, lest a rounded timeout spins.
        let timeout = until.map(|it| match it.saturating_duration_since(now) {
            Duration::ZERO => Duration::ZERO,
            left => left + Duration::from_millis(1),
        });
        let timeout = if self.has_more { Some(Duration::ZERO) } else { timeout };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            result => result.context("event loop")?,
        }
        if self.has_more || self.events.iter().any(|it| it.token() == SOCKET) {
            self.has_more = self.client.handle_readable(&mut self.scratch, READ_BUDGET)?;
        }
        Ok(())
    }

    pub(crate) fn is_interrupted(&mut self) -> bool {
        self.interrupt.is_raised()
    }

    /// Ends [`wait`](Self::wait) from another thread.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Sends DISCONNECT and waits a moment for the server to close, so that nothing sent is lost.
    pub(crate) fn close(mut self, properties: Properties<'_>) -> Result<()> {
        self.client.disconnect(ReasonCode::Success, properties);
        let until = Instant::now() + CLOSE_PATIENCE;
        while !self.client.flush(Instant::now())? && Instant::now() < until {
            self.poll.poll(&mut self.events, Some(CLOSE_STEP))?;
        }
        self.client.transport().close();
        let mut dropped = Vec::new();
        while Instant::now() < until {
            match self.client.transport().try_read(&mut self.scratch, &mut dropped) {
                Ok(true) => dropped.clear(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.poll.poll(&mut self.events, Some(CLOSE_STEP))?;
                }
                Ok(false) | Err(_) => break,
            }
        }
        Ok(())
    }
}

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);
const INTERRUPT: Token = Token(2);

const SCRATCH_BYTES: usize = 64 * 1024;
const READ_BUDGET: usize = 1024 * 1024;
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
const CLOSE_STEP: Duration = Duration::from_millis(50);
