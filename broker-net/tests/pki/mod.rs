//! Certificates for listeners and their clients.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::PathBuf;
use std::sync::Arc;

use broker_net::config::{ListenerConfig, Protocol, TlsConfig};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A listener on any port of loopback.
pub(crate) fn listener(tls: TlsConfig) -> ListenerConfig {
    ListenerConfig {
        protocol: Protocol::Ssl,
        tls: Some(tls),
        ..ListenerConfig::tcp("s", ([127, 0, 0, 1], 0).into())
    }
}

/// An authority, and a folder for what it has signed.
pub(crate) struct Pki {
    folder: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("broker-net-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { folder, ca }
    }

    /// For this common name, or for none.
    fn issue(&self, name: Option<&str>) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        match name {
            Some(name) => params.distinguished_name.push(DnType::CommonName, name),
            None => params.distinguished_name.push(DnType::OrganizationName, "tests"),
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.ca).unwrap(), key)
    }

    /// A revocation list without entries.
    pub(crate) fn list(&self) -> Vec<u8> {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.ca).unwrap().der().to_vec()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// That of a listener that asks for certificates of this authority.
    pub(crate) fn server(&self) -> TlsConfig {
        let (certificate, key) = self.issue(Some("localhost"));
        let file = |name, text: String| {
            let path = self.path(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        TlsConfig {
            certfile: file("server.crt", certificate.pem()),
            keyfile: file("server.key", key.serialize_pem()),
            cacertfile: file("ca.crt", self.ca.pem()),
            verify_peer: true,
            fail_if_no_peer_cert: true,
            ..TlsConfig::default()
        }
    }

    /// A client with a certificate for this common name, or for none.
    pub(crate) fn client(&self, name: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let (certificate, key) = self.issue(name);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
