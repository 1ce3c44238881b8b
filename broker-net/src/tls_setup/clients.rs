//! Who may come in by certificate: those whom an authority has signed, and no revocation list names.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    OtherError, RootCertStore, SignatureScheme,
};
use webpki::{
    EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy,
};

use super::crl::Crls;
use crate::config::CrlCheck;

/// rustls' verifier, and behind it revocation lists that are shared with those who look single certificates up.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    roots: Arc<RootCertStore>,
    /// Without revocation.
    signatures: Arc<dyn ClientCertVerifier>,
    check: CrlCheck,
    /// `None` where no list is configured.
    crls: Option<Crls>,
}

impl ClientVerifier {
    pub(super) fn new(
        roots: RootCertStore,
        is_mandatory: Mandatory,
        check: CrlCheck,
        crls: Option<Crls>,
    ) -> Result<Self, rustls::server::VerifierBuilderError> {
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider);
        let builder = match is_mandatory {
            Mandatory::Yes => builder,
            Mandatory::No => builder.allow_unauthenticated(),
        };
        Ok(Self { roots, signatures: builder.build()?, check, crls })
    }

    /// The same with other lists.
    pub(super) fn with_crls(&self, crls: Crls) -> Self {
        let Self { roots, signatures, check, .. } = self;
        Self {
            roots: Arc::clone(roots),
            signatures: Arc::clone(signatures),
            check: *check,
            crls: Some(crls),
        }
    }

    /// `None` where no list is configured.
    pub(super) const fn crls(&self) -> Option<&Crls> {
        self.crls.as_ref()
    }

    /// Whether one of the certificates has been revoked. `chain` was let in before; most are told from one look
    /// into the lists.
    pub(super) fn is_revoked(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((end_entity, intermediates)) = chain.split_first() else { return false };
        self.crls.as_ref().is_some_and(|crls| {
            crls.name_any_of(chain)
                && self.verify_unrevoked(crls, end_entity, intermediates, UnixTime::now())
                    == Err(webpki::Error::CertRevoked)
        })
    }

    fn verify_unrevoked(
        &self,
        crls: &Crls,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let lists = crls.lists();
        let revocation = match (RevocationOptionsBuilder::new(&lists), self.check) {
            (Ok(lists), CrlCheck::Chain) => {
                Some(lists.with_expiration_policy(ExpirationPolicy::Enforce).build())
            }
            (Ok(lists), CrlCheck::Peer) => Some(
                lists
                    .with_depth(RevocationCheckDepth::EndEntity)
                    .with_expiration_policy(ExpirationPolicy::Enforce)
                    .build(),
            ),
            (Ok(lists), CrlCheck::BestEffort) => {
                Some(lists.with_status_policy(UnknownStatusPolicy::Allow).build())
            }
            // None has been fetched yet.
            (Err(_), CrlCheck::Chain | CrlCheck::Peer) => {
                return Err(webpki::Error::UnknownRevocationStatus);
            }
            (Err(_), CrlCheck::BestEffort) => None,
        };
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        EndEntityCert::try_from(end_entity)?
            .verify_for_usage(
                algorithms,
                &self.roots.roots,
                intermediates,
                now,
                KeyUsage::client_auth(),
                revocation,
                None,
            )
            .map(drop)
    }
}

/// Whether a client must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mandatory {
    Yes,
    No,
}

/// What a failed look into the lists is to rustls, which makes an alert of it.
fn revocation_error(error: webpki::Error) -> Error {
    match error {
        webpki::Error::CertRevoked => CertificateError::Revoked.into(),
        webpki::Error::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }.into()
        }
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus.into(),
        error => CertRevocationListError::Other(OtherError(Arc::new(error))).into(),
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.signatures.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.signatures.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signatures.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(crls) = &self.crls else {
            return self.signatures.verify_client_cert(end_entity, intermediates, now);
        };
        match self.verify_unrevoked(crls, end_entity, intermediates, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            // What is not about revocation rustls says itself, in its own words.
            Err(error) => self
                .signatures
                .verify_client_cert(end_entity, intermediates, now)
                .and_then(|_| Err(revocation_error(error))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}
