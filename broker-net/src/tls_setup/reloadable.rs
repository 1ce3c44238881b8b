//! TLS for a server that takes its configuration once: what was read from files is swapped inside.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use tokio::sync::oneshot;

use super::vouching::{Patience, Verdict, Vouching};
use super::{Fetched, Material, Refreshed, RevocationState, TlsSetupError, TlsSource, build};
use crate::config::TlsConfig;

/// Certificate, key, authorities and revocation lists of a listener that others serve, read again when asked.
#[derive(Debug)]
pub struct ReloadableTls {
    source: TlsSource,
    current: Arc<Current>,
    /// Held from the first byte that is read until it is in force: what was read before replaces nothing read later.
    reading: Mutex<()>,
    server: Arc<ServerConfig>,
}

/// In force for handshakes to come.
#[derive(Debug)]
struct Current(RwLock<Material>);

impl ReloadableTls {
    /// Reads the files. `key` begins the names of their keys, `listener.ssl.external`; `data_dir` is where a
    /// certificate is made if none is configured.
    ///
    /// # Errors
    /// A file cannot be used; the error names key and file.
    pub fn load(
        config: TlsConfig,
        key: &str,
        data_dir: &Path,
        fetched: &Fetched,
    ) -> Result<Self, TlsSetupError> {
        let source = TlsSource {
            config,
            key: key.to_owned(),
            data_dir: data_dir.to_owned(),
            fetched: fetched.clone(),
        };
        let current = Arc::new(Current(RwLock::new(source.read()?)));
        let server = build(&source.config, current.clone(), current.clone(), current.clone())
            .map_err(|error| source.unusable(error))?;
        Ok(Self { source, current, reading: Mutex::default(), server })
    }

    /// What the server is started with; it stays the same when files are read again.
    #[must_use]
    pub const fn server_config(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    /// Reads the files again, for handshakes to come.
    ///
    /// # Errors
    /// One cannot be used: then the old ones stay in force.
    pub fn reload(&self) -> Result<(), TlsSetupError> {
        let _one = self.reading.lock();
        let material = self.source.read()?;
        *self.current.0.write() = material;
        Ok(())
    }

    /// Takes revocation lists and the stapled answer again, those of files and those fetched. Returns what cannot be
    /// used: there the old ones stay in force.
    pub fn refresh(&self) -> Vec<TlsSetupError> {
        let _one = self.reading.lock();
        let old = self.current.0.read().clone();
        let Refreshed { material, errors, .. } = self.source.read_refreshed(&old);
        if let Some(material) = material {
            *self.current.0.write() = material;
        }
        errors
    }

    /// What is known about revocation; `None` where nothing is to be.
    #[must_use]
    pub fn revocation_state(&self) -> Option<RevocationState> {
        self.source.revocation_state(&self.current.0.read())
    }

    /// Whether an OCSP responder vouches for who has shown this chain, where one is asked: `Ok` where that is known
    /// already.
    ///
    /// # Errors
    /// It is asked first; what is returned then waits for it, on a runtime of tokio with time.
    pub fn vouch(
        &self,
        chain: &[CertificateDer<'static>],
    ) -> Result<bool, Pin<Box<dyn Future<Output = bool> + Send>>> {
        if !self.source.config.asks_ocsp() {
            return Ok(true);
        }
        let (tell, told) = oneshot::channel();
        let hear = Box::new(move |verdict| {
            // Nobody waits any more.
            let _ = tell.send(verdict);
        });
        let material = self.current.0.read().clone();
        match self.source.vouch(&material, chain, hear) {
            Vouching::Is(verdict, _) => Ok(verdict == Verdict::Admitted),
            // Held while it is waited for only: whoever makes a request has it looked up anew.
            Vouching::Awaited(Patience { at_most, otherwise }, holder) => {
                Err(Box::pin(async move {
                    let _holder = holder;
                    let told = tokio::time::timeout(at_most, told).await;
                    let verdict = told.ok().and_then(Result::ok).unwrap_or(otherwise);
                    verdict == Verdict::Admitted
                }))
            }
        }
    }

    /// Whether one of the certificates that somebody came in with has been revoked since.
    #[must_use]
    pub fn is_revoked(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.source.config.has_crls() && self.current.0.read().is_revoked(chain)
    }
}

impl Current {
    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.0.read().verifier()
    }

    fn ticketer(&self) -> Arc<dyn ProducesTickets> {
        self.0.read().ticketer.clone()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().certified_key.clone())
    }
}

impl ProducesTickets for Current {
    fn enabled(&self) -> bool {
        self.ticketer().enabled()
    }

    fn lifetime(&self) -> u32 {
        self.ticketer().lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.ticketer().encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.ticketer().decrypt(cipher)
    }
}

impl ClientCertVerifier for Current {
    fn offer_client_auth(&self) -> bool {
        self.verifier().offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier().client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Those that are in force cannot be lent out; without hints a client offers what it has.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verifier().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier().supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
