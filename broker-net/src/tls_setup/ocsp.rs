//! OCSP (RFC 6960): what an authority's responder says of one certificate, asked for, read and verified.

use std::fmt;

use ::ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::der::{
    Der, TAG_BIT_STRING, TAG_BOOLEAN, TAG_ENUMERATED, TAG_EXPLICIT_0, TAG_INTEGER,
    TAG_OCTET_STRING, TAG_OID, TAG_SEQUENCE, encode,
};

/// Whether a certificate is still good: to be asked of a responder.
#[derive(Clone, PartialEq, Eq)]
pub struct OcspQuestion {
    certificate: CertificateDer<'static>,
    issuer: CertificateDer<'static>,
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// It does not decode.
    #[error("not an OCSP response")]
    Malformed,
    /// The responder does not answer this question.
    #[error("the responder refuses, with status {0}")]
    Refused(u8),
    /// It is about other certificates.
    #[error("about another certificate")]
    Foreign,
    /// It has the nonce of another question.
    #[error("an answer to another question")]
    Replayed,
    /// Nobody who may has signed it.
    #[error("not signed by the issuer, nor by whom it lets sign")]
    Signature,
    /// It is not in date.
    #[error("not in date")]
    OutOfDate,
    /// The certificate is not good.
    #[error("the certificate has been revoked")]
    Revoked,
    /// The responder does not know the certificate.
    #[error("the responder does not know the certificate")]
    Unknown,
}

/// What a responder says of a certificate, once it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: Status,
    pub(super) this_update_s: u64,
    /// Until when it holds, in seconds since the Unix epoch.
    pub(super) next_update_s: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    Revoked,
    /// The responder does not know the certificate.
    Unknown,
}

/// An answer that says that a certificate is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Good {
    /// As it came.
    pub(super) response: Vec<u8>,
    /// Until when it holds, in seconds since the Unix epoch.
    pub(super) next_update_s: Option<u64>,
}

impl OcspQuestion {
    /// About the first certificate of a chain, whose second is the issuer's; `None` if there is no second.
    pub(super) fn about(chain: &[CertificateDer<'static>]) -> Option<Self> {
        let [certificate, issuer, ..] = chain else { return None };
        let (certificate, issuer) = (certificate.clone(), issuer.clone());
        Some(Self { certificate, issuer })
    }

    pub(super) const fn of(
        certificate: CertificateDer<'static>,
        issuer: CertificateDer<'static>,
    ) -> Self {
        Self { certificate, issuer }
    }

    pub(super) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Bytes of memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.certificate.len() + self.issuer.len()
    }

    /// The responder that the certificate names; `None` if it names none over HTTP.
    #[must_use]
    pub fn responder(&self) -> Option<String> {
        responder(&self.certificate)
    }

    /// The question as a responder takes it, an `application/ocsp-request`.
    ///
    /// # Errors
    /// The certificates are no such; they were read before.
    pub fn encode(&self) -> Result<Vec<u8>, OcspError> {
        self.encode_with(&[])
    }

    /// The same with a nonce, unless that is empty.
    pub(super) fn encode_with(&self, nonce: &[u8]) -> Result<Vec<u8>, OcspError> {
        let subject = self.subject().ok_or(OcspError::Malformed)?;
        let serial = encode(TAG_INTEGER, &[subject.serial]);
        let algorithm = encode(TAG_SEQUENCE, &[&encode(TAG_OID, &[OID_SHA1]), NULL]);
        let name = encode(TAG_OCTET_STRING, &[sha1(&subject.issuer_name).as_ref()]);
        let key = encode(TAG_OCTET_STRING, &[sha1(&subject.issuer_key).as_ref()]);
        let id = encode(TAG_SEQUENCE, &[&algorithm, &name, &key, &serial]);
        let wrap = |der: Vec<u8>| encode(TAG_SEQUENCE, &[&der]);
        let list = wrap(wrap(id));
        let extensions = match nonce {
            [] => Vec::new(),
            nonce => {
                let value = encode(TAG_OCTET_STRING, &[&encode(TAG_OCTET_STRING, &[nonce])]);
                let extension = encode(TAG_SEQUENCE, &[&encode(TAG_OID, &[OID_NONCE]), &value]);
                encode(TAG_EXPLICIT_2, &[&wrap(extension)])
            }
        };
        // TBSRequest, OCSPRequest.
        Ok(wrap(encode(TAG_SEQUENCE, &[&list, &extensions])))
    }

    /// Reads an answer and checks whose it is, that it is in date, and that it says that all is well.
    pub(super) fn check(&self, response: &[u8], now_s: u64) -> Result<Good, OcspError> {
        let said = self.judge(response, now_s, &[])?;
        match said.status {
            Status::Good => {}
            Status::Revoked => return Err(OcspError::Revoked),
            Status::Unknown => return Err(OcspError::Unknown),
        }
        Ok(Good { response: response.to_owned(), next_update_s: said.next_update_s })
    }

    /// The same for what was asked a moment ago: an answer that does not say how long it holds has to be new.
    pub(super) fn judge_new(
        &self,
        response: &[u8],
        now_s: u64,
        nonce: &[u8],
    ) -> Result<Said, OcspError> {
        let said = self.judge(response, now_s, nonce)?;
        if said.next_update_s.is_none() && said.this_update_s.saturating_add(SKEW_S) < now_s {
            return Err(OcspError::OutOfDate);
        }
        Ok(said)
    }

    /// Reads an answer and checks whose it is and that it is in date. Responders that make answers in advance leave the
    /// nonce out, which is no reason to do without them; one that is there must be that of the question.
    fn judge(&self, response: &[u8], now_s: u64, nonce: &[u8]) -> Result<Said, OcspError> {
        let answer = Answer::parse(response)?;
        let subject = self.subject().ok_or(OcspError::Malformed)?;
        let single = answer.about(&subject)?;
        if !self.has_signed(&answer, now_s) {
            return Err(OcspError::Signature);
        }
        if single.this_update_s > now_s + SKEW_S
            || single.next_update_s.is_some_and(|at| at <= now_s)
        {
            return Err(OcspError::OutOfDate);
        }
        if !nonce.is_empty() && answer.nonce.is_some_and(|theirs| theirs != nonce) {
            return Err(OcspError::Replayed);
        }
        let status = match single.status {
            TAG_GOOD => Status::Good,
            TAG_REVOKED => Status::Revoked,
            _ => Status::Unknown,
        };
        let Single { this_update_s, next_update_s, .. } = single;
        Ok(Said { status, this_update_s, next_update_s })
    }

    /// The issuer itself, or one whom it has given a certificate to sign answers with.
    fn has_signed(&self, answer: &Answer<'_>, now_s: u64) -> bool {
        if answer.is_signed_by(&self.issuer) {
            return true;
        }
        let Ok(anchor) = anchor_from_trusted_cert(&self.issuer) else { return false };
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s));
        answer.certificates.iter().take(CERTIFICATES_MAX).any(|certificate| {
            let Ok(parsed) = EndEntityCert::try_from(certificate) else { return false };
            let usage = KeyUsage::required(OID_OCSP_SIGNING);
            let anchors = std::slice::from_ref(&anchor);
            parsed.verify_for_usage(algorithms, anchors, &[], now, usage, None, None).is_ok()
                && answer.is_signed_by(certificate)
        })
    }

    fn subject(&self) -> Option<Subject<'_>> {
        let certificate = EndEntityCert::try_from(&self.certificate).ok()?;
        let issuer = EndEntityCert::try_from(&self.issuer).ok()?;
        let info = issuer.subject_public_key_info();
        let mut info = Der(&info).expect(TAG_SEQUENCE)?;
        let _algorithm = info.expect(TAG_SEQUENCE)?;
        // Without the byte that says how many bits are not used.
        let issuer_key = info.expect(TAG_BIT_STRING)?.0.get(1..)?.to_owned();
        let issuer_name = encode(TAG_SEQUENCE, &[certificate.issuer()]);
        Some(Subject { serial: serial(&self.certificate)?, issuer_name, issuer_key })
    }
}

impl fmt::Debug for OcspQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OcspQuestion").field("responder", &self.responder()).finish_non_exhaustive()
    }
}

/// How OCSP names a certificate.
struct Subject<'a> {
    serial: &'a [u8],
    issuer_name: Vec<u8>,
    issuer_key: Vec<u8>,
}

/// A BasicOCSPResponse, none of it believed yet.
struct Answer<'a> {
    /// What is signed.
    data: &'a [u8],
    responses: Der<'a>,
    algorithm: &'a [u8],
    signature: &'a [u8],
    certificates: Vec<CertificateDer<'a>>,
    nonce: Option<&'a [u8]>,
}

/// What it says of one certificate.
struct Single {
    status: u8,
    this_update_s: u64,
    next_update_s: Option<u64>,
}

impl<'a> Answer<'a> {
    fn parse(response: &'a [u8]) -> Result<Self, OcspError> {
        let mut outer = Der(response).expect(TAG_SEQUENCE).ok_or(OcspError::Malformed)?;
        match outer.expect(TAG_ENUMERATED).map(|status| status.0) {
            Some([0]) => {}
            Some([status]) => return Err(OcspError::Refused(*status)),
            _ => return Err(OcspError::Malformed),
        }
        Self::parse_basic(outer).ok_or(OcspError::Malformed)
    }

    fn parse_basic(mut outer: Der<'a>) -> Option<Self> {
        let mut typed = outer.expect(TAG_EXPLICIT_0)?.expect(TAG_SEQUENCE)?;
        if typed.expect(TAG_OID)?.0 != OID_BASIC {
            return None;
        }
        let mut basic = typed.expect(TAG_OCTET_STRING)?.expect(TAG_SEQUENCE)?;
        let data = basic.whole()?;
        let algorithm = basic.expect(TAG_SEQUENCE)?.0;
        let signature = basic.expect(TAG_BIT_STRING)?.0.get(1..)?;
        let mut certificates = Vec::new();
        if let Some(mut list) = basic.optional(TAG_EXPLICIT_0) {
            let mut list = list.expect(TAG_SEQUENCE)?;
            while let Some(certificate) = list.whole() {
                certificates.push(CertificateDer::from(certificate));
            }
        }
        let mut fields = Der(data).expect(TAG_SEQUENCE)?;
        let _version = fields.optional(TAG_EXPLICIT_0);
        let _responder = fields.next()?;
        let _produced_at = fields.time()?;
        let responses = fields.expect(TAG_SEQUENCE)?;
        let nonce = fields.optional(TAG_EXPLICIT_1).and_then(nonce);
        Some(Self { data, responses, algorithm, signature, certificates, nonce })
    }

    fn is_signed_by(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(signer) = EndEntityCert::try_from(certificate) else { return false };
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        algorithms.iter().any(|algorithm| {
            algorithm.signature_alg_id().as_ref() == self.algorithm
                && signer.verify_signature(*algorithm, self.data, self.signature).is_ok()
        })
    }

    fn about(&self, subject: &Subject<'_>) -> Result<Single, OcspError> {
        let mut responses = self.responses;
        while !responses.0.is_empty() {
            let one = responses.expect(TAG_SEQUENCE).ok_or(OcspError::Malformed)?;
            let (is_it, single) = Single::parse(one, subject).ok_or(OcspError::Malformed)?;
            if is_it {
                return Ok(single);
            }
        }
        Err(OcspError::Foreign)
    }
}

impl Single {
    /// Whether it is about that certificate, and what it says.
    fn parse(mut fields: Der<'_>, subject: &Subject<'_>) -> Option<(bool, Self)> {
        let mut id = fields.expect(TAG_SEQUENCE)?;
        let algorithm = id.expect(TAG_SEQUENCE)?.expect(TAG_OID)?.0;
        let name = id.expect(TAG_OCTET_STRING)?.0;
        let key = id.expect(TAG_OCTET_STRING)?.0;
        let serial = id.expect(TAG_INTEGER)?.0;
        let hash = match algorithm {
            OID_SHA1 => Some(&SHA1_FOR_LEGACY_USE_ONLY),
            OID_SHA256 => Some(&SHA256),
            _ => None,
        };
        let is_it = serial == subject.serial
            && hash.is_some_and(|hash| {
                digest(hash, &subject.issuer_name).as_ref() == name
                    && digest(hash, &subject.issuer_key).as_ref() == key
            });
        let (status, _) = fields.next()?;
        let this_update_s = fields.time()?;
        let next_update_s = match fields.optional(TAG_EXPLICIT_0) {
            Some(mut next) => Some(next.time()?),
            None => None,
        };
        Some((is_it, Self { status, this_update_s, next_update_s }))
    }
}

/// The serial number as it stands in the certificate.
fn serial<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    let mut tbs = Der(certificate).expect(TAG_SEQUENCE)?.expect(TAG_SEQUENCE)?;
    let _version = tbs.optional(TAG_EXPLICIT_0);
    tbs.expect(TAG_INTEGER).map(|serial| serial.0)
}

/// The first URL of HTTP among the OCSP responders of the extension Authority Information Access.
fn responder(certificate: &[u8]) -> Option<String> {
    let mut tbs = Der(certificate).expect(TAG_SEQUENCE)?.expect(TAG_SEQUENCE)?;
    let mut extensions = loop {
        if let (TAG_EXTENSIONS, content) = tbs.next()? {
            break Der(content).expect(TAG_SEQUENCE)?;
        }
    };
    loop {
        let mut extension = extensions.expect(TAG_SEQUENCE)?;
        if extension.expect(TAG_OID)?.0 != OID_AUTHORITY_INFO {
            continue;
        }
        let _critical = extension.optional(TAG_BOOLEAN);
        let mut places = extension.expect(TAG_OCTET_STRING)?.expect(TAG_SEQUENCE)?;
        while let Some(mut place) = places.expect(TAG_SEQUENCE) {
            let method = place.expect(TAG_OID)?.0;
            let (kind, url) = place.next()?;
            let url = str::from_utf8(url).ok().filter(|url| url.starts_with("http"));
            if method == OID_OCSP
                && kind == TAG_URL
                && let Some(url) = url
            {
                return Some(url.to_owned());
            }
        }
        return None;
    }
}

/// The nonce (RFC 9654) among the extensions of an answer; those who leave its inner frame out are understood too.
fn nonce(mut extensions: Der<'_>) -> Option<&[u8]> {
    let mut extensions = extensions.expect(TAG_SEQUENCE)?;
    loop {
        let mut extension = extensions.expect(TAG_SEQUENCE)?;
        if extension.expect(TAG_OID)?.0 != OID_NONCE {
            continue;
        }
        let _critical = extension.optional(TAG_BOOLEAN);
        let value = extension.expect(TAG_OCTET_STRING)?;
        let mut inner = value;
        let framed = inner.expect(TAG_OCTET_STRING).filter(|_| inner.0.is_empty());
        return Some(framed.map_or(value.0, |framed| framed.0));
    }
}

fn sha1(bytes: &[u8]) -> ::ring::digest::Digest {
    // To name, not to protect: RFC 6960 leaves responders nothing else that all of them know.
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes)
}

/// An answer has a few hundred bytes, and the certificate of who signed it.
pub const OCSP_BYTES_MAX: usize = 64 << 10;
/// Of those that come along; each may cost a verification.
const CERTIFICATES_MAX: usize = 4;
/// Clocks differ.
pub(super) const SKEW_S: u64 = 300;

const NULL: &[u8] = &[5, 0];
const TAG_GOOD: u8 = 0x80;
const TAG_REVOKED: u8 = 0xa1;
const TAG_URL: u8 = 0x86;
const TAG_EXPLICIT_1: u8 = 0xa1;
const TAG_EXPLICIT_2: u8 = 0xa2;
const TAG_EXTENSIONS: u8 = 0xa3;

const OID_SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const OID_SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const OID_AUTHORITY_INFO: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
const OID_OCSP: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1];
const OID_BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const OID_NONCE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];
const OID_OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];

#[cfg(test)]
pub(crate) mod tests;
