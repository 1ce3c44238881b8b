//! Transport: TCP under the HTTP client, as ureq's own, but acknowledging at once what comes.
//!
//! Many small servers write an answer's header and its body one after the other, and their kernel holds the body back
//! until the header is acknowledged, which ours puts off for 40 ms: 25 events in a second instead of thousands.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use ureq::Error;
use ureq::Timeout;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// Connects to the addresses that the resolver let through, in turn.
#[derive(Debug)]
pub(crate) struct DirectConnector;

/// One connection.
pub(crate) struct DirectTransport {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl Connector for DirectConnector {
    type Out = DirectTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<DirectTransport>, Error> {
        let n_addresses = u32::try_from(details.addrs.len()).unwrap_or(1).max(1);
        // An address that does not answer must leave time for the next.
        let each = details.timeout.not_zero().map(|at_most| *at_most / n_addresses);
        let mut result = Err(Error::HostNotFound);
        for address in &details.addrs {
            let connected = match each {
                Some(each) => TcpStream::connect_timeout(address, each),
                None => TcpStream::connect(address),
            };
            match connected {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let config = details.config;
                    let buffers =
                        LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
                    return Ok(Some(DirectTransport { stream, buffers }));
                }
                Err(error) => result = Err(timed_out(error, Timeout::Connect)),
            }
        }
        result
    }
}

impl Transport for DirectTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if timeout.after.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        self.stream.set_write_timeout(timeout.not_zero().map(|left| *left))?;
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(|error| timed_out(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if timeout.after.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        self.stream.set_read_timeout(timeout.not_zero().map(|left| *left))?;
        acknowledge_at_once(&self.stream)?;
        let input = self.buffers.input_append_buf();
        let amount = loop {
            match self.stream.read(input) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.map_err(|error| timed_out(error, timeout.reason))?,
            }
        };
        // The kernel forgets it with what it has acknowledged so.
        acknowledge_at_once(&self.stream)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Whether a connection that was kept can be used: the server has neither closed it nor said anything.
    fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let is_quiet = self.stream.set_nonblocking(true).is_ok()
            && self.stream.read(&mut byte).is_err_and(|it| it.kind() == ErrorKind::WouldBlock);
        is_quiet && self.stream.set_nonblocking(false).is_ok()
    }
}

impl std::fmt::Debug for DirectTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectTransport").finish_non_exhaustive()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge_at_once(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_quickack(true)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge_at_once(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

fn timed_out(error: io::Error, reason: Timeout) -> Error {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Error::Timeout(reason),
        _ => Error::Io(error),
    }
}
