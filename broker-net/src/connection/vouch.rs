//! Vouch: a client's certificate, which an OCSP responder is asked about before the CONNECT is looked at.

use broker_core::{CloseCause, ReasonCode};

use super::Connection;
use crate::io_loop::Command;
use crate::tls_setup::{Holder, Verdict, Vouching};

/// How far that is.
#[derive(Debug)]
pub(super) struct Vouch {
    state: State,
    /// As long as the client is connected, its certificate is asked about.
    holder: Option<Holder>,
}

#[derive(Debug)]
enum State {
    /// Until then nothing of the client's is read; after that `otherwise` counts.
    Awaited {
        until_ms: u64,
        otherwise: Verdict,
    },
    Is(Verdict),
}

impl Connection {
    /// Looks the client's certificate up, or has it asked about, once the handshakes are over.
    pub(super) fn begin_to_vouch(&mut self, now_ms: u64) {
        let setup = self.admission.setup();
        if !setup.asks_ocsp() {
            return;
        }
        let (owner, key) = {
            let home = self.link.home.lock();
            (home.owner.clone(), home.key)
        };
        let hear = Box::new(move |verdict| owner.send(Command::Vouched(key, verdict)));
        let mut vouching = None;
        self.link.writer.has_peer_chain(|chain| {
            vouching = Some(setup.vouch(chain, hear));
            true
        });
        match vouching {
            // It has shown no certificate, and need not.
            None => {}
            Some(Vouching::Is(verdict, holder)) => {
                self.vouch = Some(Box::new(Vouch { state: State::Is(verdict), holder }));
                self.take_verdict(verdict);
            }
            Some(Vouching::Awaited(patience, holder)) => {
                let until_ms = now_ms.saturating_add(patience.at_most.as_millis() as u64);
                let state = State::Awaited { until_ms, otherwise: patience.otherwise };
                self.vouch = Some(Box::new(Vouch { state, holder: Some(holder) }));
            }
        }
    }

    /// The verdict has come; a late one changes nothing.
    pub(crate) fn handle_verdict(&mut self, verdict: Verdict) {
        let Some(vouch) = &mut self.vouch else { return };
        if matches!(vouch.state, State::Awaited { .. }) {
            vouch.state = State::Is(verdict);
            self.take_verdict(verdict);
        }
    }

    /// Takes it as said what counts without an answer, once that has not come in time.
    pub(super) fn end_patience(&mut self, now_ms: u64) {
        if let Some(State::Awaited { until_ms, otherwise }) = self.vouch_state()
            && *until_ms <= now_ms
        {
            let otherwise = *otherwise;
            self.handle_verdict(otherwise);
        }
    }

    /// Its certificate has been revoked by the last answer. Returns false if it is too late to say so in answer to its
    /// CONNECT.
    pub(super) fn refuse_revoked(&mut self) -> bool {
        if let Some(vouch) = &mut self.vouch {
            vouch.state = State::Is(Verdict::Revoked);
        }
        self.channel.refuse_connect(ReasonCode::NotAuthorized)
    }

    /// A client that may not come in is told so in answer to its CONNECT: the handshake has no alert left for it.
    fn take_verdict(&mut self, verdict: Verdict) {
        if verdict != Verdict::Admitted {
            self.channel.refuse_connect(ReasonCode::NotAuthorized);
        }
    }

    /// Whether nothing of the client's may be looked at yet.
    pub(crate) fn is_unvouched(&self) -> bool {
        matches!(self.vouch_state(), Some(State::Awaited { .. }))
    }

    /// Until when that is waited for.
    pub(super) fn vouched_by_ms(&self) -> Option<u64> {
        match self.vouch_state() {
            Some(State::Awaited { until_ms, .. }) => Some(*until_ms),
            _ => None,
        }
    }

    /// Whether the certificate has been revoked by the last answer.
    pub(super) fn is_revoked_by_responder(&self) -> bool {
        let holder = self.vouch.as_ref().and_then(|vouch| vouch.holder.as_ref());
        holder.is_some_and(Holder::is_revoked)
    }

    /// What the end of the connection is counted as.
    pub(super) fn counted_as(&self, cause: CloseCause) -> CloseCause {
        match (cause, self.vouch_state()) {
            (CloseCause::Refused(_), Some(State::Is(Verdict::Revoked))) => {
                CloseCause::CertificateRevoked
            }
            _ => cause,
        }
    }

    fn vouch_state(&self) -> Option<&State> {
        self.vouch.as_ref().map(|vouch| &vouch.state)
    }
}
