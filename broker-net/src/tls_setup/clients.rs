//! Who may come in by certificate: those whom an authority has signed, and no revocation list names.

use std::sync::Arc;
use std::time::Duration;

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
    EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::crl::{Crl, Crls};
use crate::config::CrlCheck;
use crate::der::{Der, TAG_EXPLICIT_0, TAG_INTEGER, TAG_SEQUENCE};

/// rustls' verifier, and behind it revocation lists that are shared with those who look single certificates up.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    roots: Arc<RootCertStore>,
    /// The same as certificates.
    authorities: Arc<[CertificateDer<'static>]>,
    /// Without revocation.
    signatures: Arc<dyn ClientCertVerifier>,
    check: CrlCheck,
    /// `None` where no list is configured.
    crls: Option<Crls>,
}

impl ClientVerifier {
    pub(super) fn new(
        (roots, authorities): (RootCertStore, Vec<CertificateDer<'static>>),
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
        let authorities = authorities.into();
        Ok(Self { roots, authorities, signatures: builder.build()?, check, crls })
    }

    /// The same with other lists.
    pub(super) fn with_crls(&self, crls: Crls) -> Self {
        let Self { roots, authorities, signatures, check, .. } = self;
        Self {
            roots: Arc::clone(roots),
            authorities: Arc::clone(authorities),
            signatures: Arc::clone(signatures),
            check: *check,
            crls: Some(crls),
        }
    }

    /// `None` where no list is configured.
    pub(super) const fn crls(&self) -> Option<&Crls> {
        self.crls.as_ref()
    }

    /// Who has signed the first certificate of a chain, as far as the chain leads to an authority.
    pub(super) fn issuer(&self, chain: &[CertificateDer<'_>]) -> Option<CertificateDer<'static>> {
        let (end_entity, intermediates) = chain.split_first()?;
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        let end_entity = EndEntityCert::try_from(end_entity).ok()?;
        let path = end_entity.verify_for_usage(
            algorithms,
            &self.roots.roots,
            intermediates,
            UnixTime::now(),
            KeyUsage::client_auth(),
            None,
            None,
        );
        let path = path.ok()?;
        if let Some(issuer) = path.intermediate_certificates().next() {
            return Some(issuer.der().into_owned());
        }
        let is_it = |authority: &&CertificateDer<'_>| {
            anchor_from_trusted_cert(authority).is_ok_and(|anchor| anchor == *path.anchor())
        };
        self.authorities.iter().find(is_it).cloned()
    }

    /// Whether one of the certificates has been revoked. `chain` was let in before; most are told from one look
    /// into the lists.
    ///
    /// Each list that names one is asked alone: what is wrong with another, or with a certificate that is out of
    /// date by now, hides nothing.
    pub(super) fn is_revoked(&self, chain: &[CertificateDer<'_>]) -> bool {
        let (Some(crls), Some((end_entity, intermediates))) = (&self.crls, chain.split_first())
        else {
            return false;
        };
        let (looked_up, depth) = match self.check {
            CrlCheck::Chain | CrlCheck::BestEffort => (chain, RevocationCheckDepth::Chain),
            CrlCheck::Peer => (&chain[..1], RevocationCheckDepth::EndEntity),
        };
        let now_s = UnixTime::now().as_secs();
        let ends_s = chain.iter().filter_map(end_of_validity).min().unwrap_or(now_s);
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now_s.min(ends_s)));
        let counts = |crl: &&Crl| self.check == CrlCheck::BestEffort || !crl.is_out_of_date(now_s);
        let ask = |crl: &Crl| {
            let lists = [crl.list()];
            let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
                options.with_depth(depth).with_status_policy(UnknownStatusPolicy::Allow).build()
            });
            self.verify(end_entity, intermediates, then, revocation)
        };
        let is_replaced =
            |crl: &Crl| crls.newer_than(crl).filter(counts).any(|newer| ask(newer).is_ok());
        looked_up
            .iter()
            .flat_map(|certificate| crls.naming(certificate))
            .filter(counts)
            .any(|crl| ask(crl) == Err(webpki::Error::CertRevoked) && !is_replaced(crl))
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
        self.verify(end_entity, intermediates, now, revocation)
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        revocation: Option<RevocationOptions<'_>>,
    ) -> Result<(), webpki::Error> {
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

/// notAfter of a certificate, in seconds since the Unix epoch.
fn end_of_validity(certificate: &CertificateDer<'_>) -> Option<u64> {
    let mut tbs = Der(certificate).expect(TAG_SEQUENCE)?.expect(TAG_SEQUENCE)?;
    let _version = tbs.optional(TAG_EXPLICIT_0);
    let _serial = tbs.expect(TAG_INTEGER)?;
    let _algorithm = tbs.expect(TAG_SEQUENCE)?;
    let _issuer = tbs.expect(TAG_SEQUENCE)?;
    let mut validity = tbs.expect(TAG_SEQUENCE)?;
    let _not_before = validity.time()?;
    validity.time()
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;
    use crate::tls_setup::ocsp::tests::authority;

    fn verifier(root: &CertificateDer<'static>) -> ClientVerifier {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let roots = (roots, vec![root.clone()]);
        ClientVerifier::new(roots, Mandatory::Yes, CrlCheck::Chain, None).unwrap()
    }

    fn client(issuer: &CertifiedIssuer<'static, KeyPair>) -> CertificateDer<'static> {
        let params = CertificateParams::default();
        params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
    }

    #[test]
    fn the_issuer_is_whom_the_chain_leads_to_and_nobody_who_came_along() {
        let (root, impostor) = (authority("root"), authority("middle"));
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "middle");
        let middle =
            CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
        let verifier = verifier(root.der());
        assert_eq!(verifier.issuer(&[client(&root)]), Some(root.der().clone()));
        let beside = [client(&middle), impostor.der().clone(), middle.der().clone()];
        assert_eq!(verifier.issuer(&beside), Some(middle.der().clone()));
        assert_eq!(verifier.issuer(&[client(&impostor), impostor.der().clone()]), None);
        assert_eq!(verifier.issuer(&[]), None);
    }
}
