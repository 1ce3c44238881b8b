//! Signals: SIGTERM and SIGINT stop, a second one at once; SIGHUP reads certificates and log levels again.

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Stop gracefully.
    Stop,
    /// Read again what can change while running.
    Reload,
}

/// The signals that come, one after the other.
pub(crate) struct Incoming(Signals);

impl Incoming {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Signals::new([SIGTERM, SIGINT, SIGHUP]).context("listening for signals")?))
    }

    /// Waits for the next one.
    pub(crate) fn wait(&mut self) -> Option<Signal> {
        self.0.forever().next().map(|signal| match signal {
            SIGHUP => Signal::Reload,
            _ => Signal::Stop,
        })
    }

    /// From here on a further signal to stop ends the process at once.
    pub(crate) fn exit_on_second(mut self) -> Handle {
        let handle = self.0.handle();
        std::thread::spawn(move || {
            while let Some(signal) = self.wait() {
                if signal == Signal::Stop {
                    log::warn!("stopped at once, by a second signal");
                    std::process::exit(130);
                }
            }
        });
        handle
    }
}
