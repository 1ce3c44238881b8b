//! From the TLS keys of a listener to what rustls wants.

mod clients;
mod crl;
mod fetched;
pub(crate) mod fuzzing;
mod ocsp;
#[cfg(feature = "psk")]
pub(crate) mod psk;
mod reloadable;
mod self_signed;
mod statuses;
mod vouching;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use self::clients::{ClientVerifier, Mandatory};
use self::crl::Crls;
pub use self::crl::{CRL_BYTES_MAX, CrlError};
pub use self::fetched::{Fetched, PskLookup};
use self::ocsp::Good;
pub use self::ocsp::{OCSP_BYTES_MAX, OcspError, OcspQuestion};
pub use self::reloadable::ReloadableTls;
use self::self_signed::self_signed;
pub(crate) use self::statuses::Holder;
pub use self::statuses::{Concluded, Inquiry};
pub(crate) use self::vouching::{Hear, Verdict, Vouching};
use crate::config::{OcspStapling, TlsConfig};
use crate::transport::Acceptor;

/// What is wrong with the TLS of a listener; the operator's to fix.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {value}: {cause}")]
pub struct TlsSetupError {
    /// `listener.ssl.external.certfile`.
    key: String,
    value: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a PEM file: {0}")]
    Pem(pem::Error),
    #[error("holds no certificate")]
    NoCertificate,
    #[error("holds no private key")]
    NoKey,
    #[error("certificate or key unusable: {0}")]
    Tls(#[from] rustls::Error),
    #[error("not usable to verify clients: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("{0}")]
    Crl(#[from] CrlError),
    #[error("{0}")]
    Ocsp(#[from] OcspError),
    #[error("must hold the issuer's certificate as well, for ocsp_stapling")]
    NoIssuer,
    #[error("the certificate names no OCSP responder")]
    NoResponder,
    #[error("must be given as well")]
    Missing,
    #[cfg(feature = "psk")]
    #[error("openssl: {0}")]
    Psk(#[from] openssl::error::ErrorStack),
    #[cfg(not(feature = "psk"))]
    #[error("TLS-PSK is not in this build, which was made without its feature psk")]
    NoPsk,
    #[error("making a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

impl From<pem::Error> for Cause {
    fn from(error: pem::Error) -> Self {
        match error {
            pem::Error::Io(error) => Self::Io(error),
            error => Self::Pem(error),
        }
    }
}

/// Where what a listener's TLS needs is read from.
#[derive(Debug, Clone)]
pub(crate) struct TlsSource {
    pub(crate) config: TlsConfig,
    /// `listener.ssl.external`.
    pub(crate) key: String,
    /// Where the certificate is made if none is configured.
    pub(crate) data_dir: PathBuf,
    pub(crate) fetched: Fetched,
}

/// What is read from there, and the key of session tickets that goes with it.
#[derive(Debug, Clone)]
pub(crate) struct Material {
    /// With the answer that is stapled to it.
    certified_key: Arc<CertifiedKey>,
    staple: Staple,
    /// `None` asks no client for a certificate.
    clients: Option<Arc<ClientVerifier>>,
    /// A fresh key for each: it ends sessions that earlier authorities and lists had let in.
    ticketer: Arc<dyn ProducesTickets>,
}

/// What is known of the answer that is stapled, or why none is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Staple {
    until_s: Option<u64>,
    /// What a file says instead.
    problem: Option<OcspError>,
}

/// What a listener knows about revocation, as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationState {
    /// `listener.ssl.external`.
    pub key: String,
    /// `crl_url`.
    pub urls: Vec<String>,
    /// `crl_refresh` in milliseconds.
    pub refresh_ms: u64,
    /// When the first of its lists is out of date, in seconds since the Unix epoch.
    pub next_update_s: Option<u64>,
    /// `None` without `ocsp_stapling`.
    pub staple: Option<StapleState>,
}

/// What is stapled to a listener's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StapleState {
    /// What has to be asked; `None` where the answer comes from a file.
    pub question: Option<OcspQuestion>,
    /// Whether there is an answer in date.
    pub is_there: bool,
    /// Until when, in seconds since the Unix epoch.
    pub until_s: Option<u64>,
    /// Why what the file says is not stapled.
    pub problem: Option<OcspError>,
}

impl TlsSource {
    pub(crate) fn read(&self) -> Result<Material, TlsSetupError> {
        let Self { config, data_dir, .. } = self;
        let (certfile, keyfile) = match (&config.certfile, &config.keyfile) {
            (Some(certfile), Some(keyfile)) => (certfile.clone(), keyfile.clone()),
            (Some(_), None) => return Err(self.error("keyfile", Path::new(""), Cause::Missing)),
            (None, Some(_)) => return Err(self.error("certfile", Path::new(""), Cause::Missing)),
            (None, None) => {
                let folder = data_dir.join("certs");
                self_signed(&folder).map_err(|cause| self.error("certfile", &folder, cause))?
            }
        };
        let unusable = |cause| self.error("certfile", &certfile, cause);
        let chain = read_certificates(&certfile).map_err(unusable)?;
        let private_key = PrivateKeyDer::from_pem_file(&keyfile).map_err(|cause| {
            let cause = match cause {
                pem::Error::NoItemsFound => Cause::NoKey,
                other => other.into(),
            };
            self.error("keyfile", &keyfile, cause)
        })?;
        let mut certified_key =
            CertifiedKey::from_der(chain, private_key, &ring::default_provider())
                .map_err(|cause| unusable(cause.into()))?;
        let staple = self.staple(&mut certified_key)?;
        let clients = self.clients()?.map(Arc::new);
        let ticketer = ring::Ticketer::new().map_err(|cause| unusable(cause.into()))?;
        Ok(Material { certified_key: Arc::new(certified_key), staple, clients, ticketer })
    }

    /// Reads revocation lists and the stapled answer again. What cannot be read leaves the old one in force, and holds
    /// nothing else up.
    pub(crate) fn read_refreshed(&self, old: &Material) -> Refreshed {
        let mut material = old.clone();
        let mut errors = Vec::new();
        let lists = self.read_lists(&mut material, &mut errors);
        let mut certified_key = CertifiedKey::clone(&old.certified_key);
        match self.staple(&mut certified_key) {
            Ok(staple) => material.staple = staple,
            Err(error) => {
                errors.push(error);
                if old.staple.until_s.is_some_and(|at_s| at_s <= UnixTime::now().as_secs()) {
                    (certified_key.ocsp, material.staple) = (None, Staple::default());
                }
            }
        }
        let is_stapled_alike =
            certified_key.ocsp == old.certified_key.ocsp && material.staple == old.staple;
        material.certified_key = Arc::new(certified_key);
        let is_same = lists == Lists::Same && is_stapled_alike;
        Refreshed { material: (!is_same).then_some(material), lists, errors }
    }

    /// Takes revocation lists again.
    fn read_lists(&self, material: &mut Material, errors: &mut Vec<TlsSetupError>) -> Lists {
        let Self { config, fetched, .. } = self;
        let Some((clients, old)) =
            material.clients.as_ref().and_then(|clients| Some((clients, clients.crls()?)))
        else {
            return Lists::Same;
        };
        let (crls, unread) = old.read_again(&config.crlfile, &config.crl_url, fetched);
        let unread = unread.into_iter();
        errors.extend(unread.map(|(path, cause)| self.error("crlfile", &path, cause.into())));
        if old.is_same(&crls) {
            return Lists::Same;
        }
        match ring::Ticketer::new() {
            Ok(ticketer) => {
                material.clients = Some(Arc::new(clients.with_crls(crls)));
                material.ticketer = ticketer;
                Lists::New
            }
            Err(error) => {
                errors.push(self.unusable(error));
                Lists::Same
            }
        }
    }

    /// Staples the answer that there is to the certificate, or none.
    fn staple(&self, certified: &mut CertifiedKey) -> Result<Staple, TlsSetupError> {
        let answer = match &self.config.ocsp_stapling {
            Some(stapling) => self.answer(stapling, &certified.cert)?,
            None => Ok(None),
        };
        let (good, problem) = match answer {
            Ok(good) => (good, None),
            Err(problem) => (None, Some(problem)),
        };
        let until_s = good.as_ref().and_then(|good| good.next_update_s);
        certified.ocsp = good.map(|good| good.response);
        Ok(Staple { until_s, problem })
    }

    /// An answer that is out of date, or does not say that the certificate is good, is none: it stops no listener.
    fn answer(
        &self,
        stapling: &OcspStapling,
        chain: &[CertificateDer<'static>],
    ) -> Result<Result<Option<Good>, OcspError>, TlsSetupError> {
        let certfile = self.config.certfile.as_deref().unwrap_or_else(|| Path::new(""));
        let question = OcspQuestion::about(chain)
            .ok_or_else(|| self.error("certfile", certfile, Cause::NoIssuer))?;
        let now_s = UnixTime::now().as_secs();
        let path = match stapling {
            OcspStapling::Fetch if question.responder().is_none() => {
                return Err(self.error("ocsp_stapling", Path::new("fetch"), Cause::NoResponder));
            }
            OcspStapling::Fetch => return Ok(Ok(self.fetched.answer(&question, now_s))),
            OcspStapling::File(path) => path,
        };
        let unusable = |cause| self.error("ocsp_stapling", path, cause);
        let bytes = read_bounded(path, OCSP_BYTES_MAX).map_err(|error| unusable(error.into()))?;
        match question.check(&bytes, now_s) {
            Ok(good) => Ok(Ok(Some(good))),
            Err(told @ (OcspError::OutOfDate | OcspError::Revoked | OcspError::Unknown)) => {
                Ok(Err(told))
            }
            Err(error) => Err(unusable(error.into())),
        }
    }

    pub(crate) fn server_config(
        &self,
        material: &Material,
    ) -> Result<Arc<ServerConfig>, TlsSetupError> {
        let resolver = SingleCertAndKey::from(Arc::clone(&material.certified_key));
        build(&self.config, material.verifier(), Arc::new(resolver), material.ticketer.clone())
            .map_err(|error| self.unusable(error))
    }

    /// `None` where neither lists nor stapling are configured.
    pub(crate) fn revocation_state(&self, material: &Material) -> Option<RevocationState> {
        let config = &self.config;
        if !config.has_crls() && config.ocsp_stapling.is_none() {
            return None;
        }
        let staple = config.ocsp_stapling.as_ref().map(|stapling| StapleState {
            question: match stapling {
                OcspStapling::Fetch => OcspQuestion::about(&material.certified_key.cert),
                OcspStapling::File(_) => None,
            },
            is_there: material.certified_key.ocsp.is_some(),
            until_s: material.staple.until_s,
            problem: material.staple.problem,
        });
        let crls = material.clients.as_ref().and_then(|clients| clients.crls());
        Some(RevocationState {
            key: self.key.clone(),
            urls: if crls.is_some() { config.crl_url.clone() } else { Vec::new() },
            refresh_ms: config.crl_refresh_ms,
            next_update_s: crls.and_then(Crls::next_update_s),
            staple,
        })
    }

    fn clients(&self) -> Result<Option<ClientVerifier>, TlsSetupError> {
        let Self { config, .. } = self;
        if !config.verify_peer {
            return Ok(None);
        }
        let cacertfile = config.cacertfile.as_deref().unwrap_or_else(|| Path::new(""));
        let roots = match &config.cacertfile {
            Some(path) => read_roots(path),
            None => Err(Cause::Missing),
        };
        let roots = roots.map_err(|cause| self.error("cacertfile", cacertfile, cause))?;
        let is_mandatory = if config.fail_if_no_peer_cert { Mandatory::Yes } else { Mandatory::No };
        ClientVerifier::new(roots, is_mandatory, config.crl_check, self.crls()?)
            .map(Some)
            .map_err(|cause| self.error("cacertfile", cacertfile, cause.into()))
    }

    /// `None` where none is configured.
    fn crls(&self) -> Result<Option<Crls>, TlsSetupError> {
        let Self { config, fetched, .. } = self;
        if !config.has_crls() {
            return Ok(None);
        }
        Crls::read(&config.crlfile, &config.crl_url, fetched)
            .map(Some)
            .map_err(|(path, cause)| self.error("crlfile", &path, cause.into()))
    }

    /// What handshakes with pre-shared keys go by; `None` where certificates are shown.
    #[cfg(feature = "psk")]
    pub(crate) fn psk_acceptor(&self) -> Result<Option<Acceptor>, TlsSetupError> {
        let ciphers = &self.config.psk_ciphers;
        if ciphers.is_empty() {
            return Ok(None);
        }
        match psk::context(ciphers, &self.fetched) {
            Ok(context) => Ok(Some(Acceptor::Psk(context))),
            Err(error) => Err(self.psk_error(error.into())),
        }
    }

    /// The same where they are not spoken.
    #[cfg(not(feature = "psk"))]
    pub(crate) fn psk_acceptor(&self) -> Result<Option<Acceptor>, TlsSetupError> {
        if self.config.psk_ciphers.is_empty() {
            Ok(None)
        } else {
            Err(self.psk_error(Cause::NoPsk))
        }
    }

    fn psk_error(&self, cause: Cause) -> TlsSetupError {
        let names: Vec<_> = self.config.psk_ciphers.iter().map(|cipher| cipher.name()).collect();
        self.error("psk_ciphers", Path::new(&names.join(",")), cause)
    }

    fn error(&self, name: &str, value: &Path, cause: Cause) -> TlsSetupError {
        let (key, value) = (format!("{}.{name}", self.key), value.display().to_string());
        TlsSetupError { key, value, cause }
    }

    /// What no file is to blame for.
    fn unusable(&self, error: rustls::Error) -> TlsSetupError {
        let certfile = self.config.certfile.as_deref().unwrap_or_else(|| Path::new(""));
        self.error("certfile", certfile, error.into())
    }
}

/// What was read again.
pub(crate) struct Refreshed {
    /// `None` if all of it is as before.
    pub(crate) material: Option<Material>,
    pub(crate) lists: Lists,
    pub(crate) errors: Vec<TlsSetupError>,
}

/// Whether revocation lists have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    Same,
    New,
}

impl Material {
    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        match &self.clients {
            Some(clients) => Arc::clone(clients) as Arc<dyn ClientCertVerifier>,
            None => WebPkiClientVerifier::no_client_auth(),
        }
    }

    /// Whether one of the certificates that somebody came in with has been revoked since.
    pub(crate) fn is_revoked(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.clients.as_ref().is_some_and(|clients| clients.is_revoked(chain))
    }
}

fn build(
    config: &TlsConfig,
    verifier: Arc<dyn ClientCertVerifier>,
    resolver: Arc<dyn ResolvesServerCert>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&versions(config))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    // Sessions are kept by clients, in tickets: no memory here, nothing shared between threads.
    server.ticketer = ticketer;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    // A client of MQTT holds one connection: one ticket to come back with is enough.
    server.send_tls13_tickets = 1;
    Ok(Arc::new(server))
}

fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let tls13 = config.tls13.then_some(&rustls::version::TLS13);
    let tls12 = config.tls12.then_some(&rustls::version::TLS12);
    tls13.into_iter().chain(tls12).collect()
}

fn read_roots(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Cause> {
    let mut roots = RootCertStore::empty();
    let authorities = read_certificates(path)?;
    for certificate in &authorities {
        roots.add(certificate.clone())?;
    }
    Ok((roots, authorities))
}

/// At most so many bytes; who has more has none of it.
fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let certificates = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() { Err(Cause::NoCertificate) } else { Ok(certificates) }
}

#[cfg(test)]
pub(crate) mod tests;
