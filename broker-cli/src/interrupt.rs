//! Interrupt: Ctrl-C and SIGTERM as something that an event loop can wait for.

use std::io::Read;
use std::os::unix::net::UnixStream as StdUnixStream;

use anyhow::{Context, Result};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Readable after a signal.
#[derive(Debug)]
pub(crate) struct Interrupt {
    receiver: UnixStream,
    is_raised: bool,
}

impl Interrupt {
    /// Catches the signals from now on and reports them as `token`.
    pub(crate) fn register(registry: &Registry, token: Token) -> Result<Self> {
        let (receiver, sender) = StdUnixStream::pair().context("socket pair for signals")?;
        receiver.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM] {
            pipe::register(signal, sender.try_clone()?).context("catching signals")?;
        }
        let mut receiver = UnixStream::from_std(receiver);
        registry.register(&mut receiver, token, Interest::READABLE)?;
        Ok(Self { receiver, is_raised: false })
    }

    /// Whether a signal came.
    pub(crate) fn is_raised(&mut self) -> bool {
        self.is_raised |= self.receiver.read(&mut [0]).is_ok_and(|len| len > 0);
        self.is_raised
    }
}
