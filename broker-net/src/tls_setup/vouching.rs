//! Vouching: whether a client that has shown a certificate may come in by the word of an OCSP responder.

use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::ocsp::OcspQuestion;
use super::statuses::{Holder, Key, Look, Standing, Subject};
use super::{Material, TlsSource};
use crate::config::{OcspCheck, OcspResponder};

/// What becomes of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    /// Its certificate has been revoked.
    Revoked,
    /// The responder does not know its certificate, or nobody has said anything that can be believed.
    Unvouched,
}

/// How a look has gone.
pub(crate) enum Vouching {
    /// Known already.
    Is(Verdict, Option<Holder>),
    /// Whoever wanted to know will hear it.
    Awaited(Patience, Holder),
}

/// How long an answer is waited for, and what counts after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) at_most: Duration,
    pub(crate) otherwise: Verdict,
}

/// Hears the verdict, from another thread.
pub(crate) type Hear = Box<dyn FnOnce(Verdict) + Send>;

impl TlsSource {
    /// Finds out whether who has shown this chain may come in. It was verified in the handshake, and is once more before
    /// anybody is asked: it says who has signed it.
    pub(crate) fn vouch(
        &self,
        material: &Material,
        chain: &[CertificateDer<'static>],
        hear: Hear,
    ) -> Vouching {
        let config = &self.config;
        let (Some(certificate), Some(responder), true) =
            (chain.first(), &config.ocsp_responder, config.asks_ocsp())
        else {
            return Vouching::Is(Verdict::Admitted, None);
        };
        let mode = config.ocsp_check;
        let configured = match responder {
            OcspResponder::Url(url) => url.as_str(),
            OcspResponder::Certificate => "",
        };
        let key = Key::of(certificate, configured);
        let subject = || self.subject(material, chain, responder);
        let waiter = Box::new(move |standing| hear(verdict(mode, standing)));
        let looked = self.fetched.statuses().look_up(key, config.ocsp_refresh_ms, subject, waiter);
        match looked {
            None => Vouching::Is(verdict(mode, Standing::Unanswered), None),
            Some((Look::Known(standing), holder)) => {
                Vouching::Is(verdict(mode, standing), Some(holder))
            }
            Some((Look::Asked, holder)) => {
                let at_most = Duration::from_millis(config.ocsp_timeout_ms);
                let otherwise = verdict(mode, Standing::Unanswered);
                Vouching::Awaited(Patience { at_most, otherwise }, holder)
            }
        }
    }

    /// `None` where there is nobody to ask.
    fn subject(
        &self,
        material: &Material,
        chain: &[CertificateDer<'static>],
        responder: &OcspResponder,
    ) -> Option<Subject> {
        let issuer = material.clients.as_ref()?.issuer(chain)?;
        let question = OcspQuestion::of(chain.first()?.clone(), issuer);
        let url = match responder {
            OcspResponder::Url(url) => url.as_str().into(),
            OcspResponder::Certificate => question.responder()?.into(),
        };
        Some(Subject {
            question,
            url,
            is_url_of_certificate: *responder == OcspResponder::Certificate,
            timeout_ms: self.config.ocsp_timeout_ms,
        })
    }
}

const fn verdict(mode: OcspCheck, standing: Standing) -> Verdict {
    match (standing, mode) {
        (Standing::Good, _) | (Standing::Unanswered, OcspCheck::Soft | OcspCheck::Off) => {
            Verdict::Admitted
        }
        (Standing::Revoked, _) => Verdict::Revoked,
        (Standing::Unknown, _) | (Standing::Unanswered, OcspCheck::Hard) => Verdict::Unvouched,
    }
}
