//! What TLS needs from elsewhere, as far as it has come: from web servers, and who knows pre-shared keys.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::crl::{self, Crl, CrlError};
use super::ocsp::{Good, OcspError, OcspQuestion};
use super::statuses::{Concluded, Inquiry, Statuses};

/// Revocation lists and answers of OCSP responders: who fetches them puts them here, and listeners that want them take
/// them from here when they are [refreshed](crate::ListenerSet::refresh).
#[derive(Clone, Default)]
pub struct Fetched(Arc<Places>);

#[derive(Default)]
struct Places {
    lists: RwLock<HashMap<String, Vec<Arc<Crl>>>>,
    answers: RwLock<HashMap<CertificateDer<'static>, Good>>,
    statuses: Arc<Statuses>,
    psk: RwLock<Option<PskLookup>>,
}

/// The secret of an identity, if there is such a one.
pub type PskLookup = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

impl Fetched {
    /// Puts the revocation list that a URL has given, DER or PEM, in the place of what was there.
    ///
    /// # Errors
    /// It is no revocation list, one of the future, or an older one than that which was there: that stays.
    pub fn put_list(&self, url: &str, bytes: &[u8]) -> Result<(), CrlError> {
        let lists = crl::parse(bytes)?;
        let now_s = UnixTime::now().as_secs();
        // One that nobody has signed must not be in the way of all that come later.
        if lists.iter().any(|list| list.is_of_the_future(now_s)) {
            return Err(CrlError::of_the_future());
        }
        let mut places = self.0.lists.write();
        let old = places.get(url).map_or(&[][..], |lists| lists);
        let (lists, error) = crl::keep_newest(old, lists);
        places.insert(url.to_owned(), lists);
        error.map_or(Ok(()), Err)
    }

    /// Puts the answer to a question in the place of the last one. Returns until when it holds, in seconds since the
    /// Unix epoch; `None` if it does not say.
    ///
    /// # Errors
    /// It is none that can be trusted and says that the certificate is good: what was there stays until it is out of
    /// date, unless the certificate has been revoked.
    pub fn put_answer(
        &self,
        question: &OcspQuestion,
        response: &[u8],
    ) -> Result<Option<u64>, OcspError> {
        let certificate = question.certificate();
        match question.check(response, UnixTime::now().as_secs()) {
            Ok(good) => {
                let until_s = good.next_update_s;
                self.0.answers.write().insert(certificate.clone(), good);
                Ok(until_s)
            }
            Err(error) => {
                if error == OcspError::Revoked {
                    self.0.answers.write().remove(certificate);
                }
                Err(error)
            }
        }
    }

    /// Waits until the responder of a client's certificate has to be asked; `None` once [closed](Self::close_inquiries).
    #[must_use]
    pub fn next_inquiry(&self) -> Option<Inquiry> {
        self.0.statuses.next()
    }

    /// Takes the answer of a responder, or why there is none. Whoever waits for it hears what it says, or that it cannot
    /// be believed; who is connected and revoked by it is [closed](crate::ListenerSet::close_revoked) on demand.
    pub fn put_status(&self, inquiry: &Inquiry, answer: Result<Vec<u8>, String>) -> Concluded {
        self.0.statuses.conclude(inquiry, answer)
    }

    /// Has all clients' certificates asked about again.
    pub fn ask_again(&self) {
        self.0.statuses.hurry();
    }

    /// Nobody asks any more.
    pub fn close_inquiries(&self) {
        self.0.statuses.close();
    }

    /// Whom listeners with `psk_ciphers` ask for the secret of an identity; until then there is none.
    pub fn set_psk_lookup(&self, lookup: PskLookup) {
        *self.0.psk.write() = Some(lookup);
    }

    /// The secret of an identity.
    #[cfg(feature = "psk")]
    pub(super) fn psk(&self, identity: &[u8]) -> Option<Vec<u8>> {
        let lookup = self.0.psk.read().clone()?;
        lookup(identity)
    }

    pub(super) fn statuses(&self) -> &Arc<Statuses> {
        &self.0.statuses
    }

    pub(super) fn lists(&self, url: &str) -> Vec<Arc<Crl>> {
        self.0.lists.read().get(url).cloned().unwrap_or_default()
    }

    /// What is there and in date.
    pub(super) fn answer(&self, question: &OcspQuestion, now_s: u64) -> Option<Good> {
        let answer = self.0.answers.read().get(question.certificate()).cloned()?;
        answer.next_update_s.is_none_or(|at_s| at_s > now_s).then_some(answer)
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lists.read().keys()).finish()
    }
}
