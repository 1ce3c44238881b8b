//! Certificate revocation lists: from files and answers to what handshakes and connections are held against.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};

use super::fetched::Fetched;
use super::read_bounded;
use crate::der::{Der, TAG_INTEGER, TAG_SEQUENCE};

/// Why revocation lists cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CrlError(String);

/// One list.
#[derive(Debug)]
pub(super) struct Crl {
    list: CertRevocationList<'static>,
    this_update_s: u64,
    next_update_s: Option<u64>,
    /// SHA-256 of the whole.
    digest: [u8; 32],
}

/// The lists that one listener goes by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crls {
    lists: Vec<Arc<Crl>>,
    /// Whether one was out of date when they were read.
    are_stale: bool,
}

impl Crls {
    /// Reads the files, and takes what has been fetched. The error names the file.
    pub(super) fn read(
        files: &[PathBuf],
        urls: &[String],
        fetched: &Fetched,
    ) -> Result<Self, (PathBuf, CrlError)> {
        let mut lists = Vec::new();
        for path in files {
            lists.extend(read_file(path).map_err(|error| (path.clone(), error))?);
        }
        lists.extend(urls.iter().flat_map(|url| fetched.lists(url)));
        // Of two lists about the same certificates webpki takes the first: let it be the newer.
        lists.sort_by_key(|list| std::cmp::Reverse(list.this_update_s));
        let now_s = UnixTime::now().as_secs();
        let are_stale = lists.iter().any(|list| list.next_update_s.is_some_and(|at| at <= now_s));
        Ok(Self { lists, are_stale })
    }

    pub(super) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        self.lists.iter().map(|crl| &crl.list).collect()
    }

    /// Whether both say the same, and are as good as each other: sessions resumed by ticket end with lists that do.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let digests = |crls: &Self| crls.lists.iter().map(|crl| crl.digest).collect::<Vec<_>>();
        self.are_stale == other.are_stale && digests(self) == digests(other)
    }

    /// When the first of them is out of date, in seconds since the Unix epoch.
    pub(super) fn next_update_s(&self) -> Option<u64> {
        self.lists.iter().filter_map(|crl| crl.next_update_s).min()
    }

    /// Whether a list that bears the issuer's name has one of these certificates. Whether the list is the
    /// issuer's, and not only says so, is for a verification to tell.
    pub(super) fn name_any_of(&self, chain: &[CertificateDer<'_>]) -> bool {
        chain.iter().any(|certificate| {
            let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
            self.lists.iter().any(|crl| {
                crl.list.issuer() == certificate.issuer()
                    && matches!(crl.list.find_serial(certificate.serial()), Ok(Some(_)))
            })
        })
    }
}

fn read_file(path: &Path) -> Result<Vec<Arc<Crl>>, CrlError> {
    parse(&read_bounded(path, CRL_BYTES_MAX).map_err(|error| CrlError(error.to_string()))?)
}

/// One list in DER, or any number in PEM.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Arc<Crl>>, CrlError> {
    if bytes.len() > CRL_BYTES_MAX {
        return Err(CrlError(format!("longer than {CRL_BYTES_MAX} bytes")));
    }
    if bytes.first() == Some(&TAG_SEQUENCE) {
        return Ok(vec![Arc::new(Crl::parse(bytes)?)]);
    }
    let mut lists = Vec::new();
    for item in CertificateRevocationListDer::pem_slice_iter(bytes) {
        let der = item.map_err(|error| CrlError(format!("not a PEM file: {error}")))?;
        lists.push(Arc::new(Crl::parse(&der)?));
    }
    if lists.is_empty() {
        return Err(CrlError("holds no revocation list".into()));
    }
    Ok(lists)
}

impl Crl {
    fn parse(der: &[u8]) -> Result<Self, CrlError> {
        let list = OwnedCertRevocationList::from_der(der)
            .map_err(|error| CrlError(format!("not a usable revocation list: {error}")))?;
        let (this_update_s, next_update_s) = updates(der)
            .ok_or_else(|| CrlError("not a usable revocation list: its times".into()))?;
        let digest = digest(&SHA256, der).as_ref().try_into().expect("SHA-256 has 32 bytes");
        Ok(Self { list: list.into(), this_update_s, next_update_s, digest })
    }
}

/// thisUpdate and nextUpdate, in seconds since the Unix epoch.
fn updates(crl: &[u8]) -> Option<(u64, Option<u64>)> {
    let mut list = Der(crl).expect(TAG_SEQUENCE)?.expect(TAG_SEQUENCE)?;
    let _version = list.optional(TAG_INTEGER);
    let _algorithm = list.expect(TAG_SEQUENCE)?;
    let _issuer = list.expect(TAG_SEQUENCE)?;
    Some((list.time()?, list.time()))
}

/// 400,000 certificates revoked, and more.
pub const CRL_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests;
