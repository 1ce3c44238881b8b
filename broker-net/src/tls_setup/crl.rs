//! Certificate revocation lists: from files and answers to what handshakes and connections are held against.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};

use super::fetched::Fetched;
use super::ocsp::SKEW_S;
use super::read_bounded;
use crate::der::{
    Der, TAG_BOOLEAN, TAG_EXPLICIT_0, TAG_INTEGER, TAG_OCTET_STRING, TAG_OID, TAG_SEQUENCE,
};

/// Why revocation lists cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CrlError(String);

impl CrlError {
    pub(super) fn of_the_future() -> Self {
        Self("its thisUpdate is yet to come".into())
    }
}

/// One list.
#[derive(Debug)]
pub(super) struct Crl {
    list: CertRevocationList<'static>,
    times: Times,
    /// SHA-256 of the whole.
    digest: [u8; 32],
}

/// When a list was made, and when it is out of date, in seconds since the Unix epoch.
#[derive(Debug)]
struct Times {
    this_update_s: u64,
    next_update_s: Option<u64>,
    /// The CRL number, big-endian without zeros in front; `None` if it has none.
    number: Option<Vec<u8>>,
}

/// The lists that one listener goes by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crls {
    /// Of each file, in the order of the configuration.
    of_files: Vec<Vec<Arc<Crl>>>,
    /// All of them, the newest first.
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
        let read = |path: &PathBuf| read_file(path).map_err(|error| (path.clone(), error));
        Ok(Self::of(files.iter().map(read).collect::<Result<_, _>>()?, urls, fetched))
    }

    /// The same once more: where a file cannot be read, or has an older list than before, the old one stays, and the
    /// error is told beside.
    pub(super) fn read_again(
        &self,
        files: &[PathBuf],
        urls: &[String],
        fetched: &Fetched,
    ) -> (Self, Vec<(PathBuf, CrlError)>) {
        let mut errors = Vec::new();
        let read = |(path, old): (&PathBuf, &Vec<Arc<Crl>>)| {
            let (lists, error) = match read_file(path) {
                Ok(new) => keep_newest(old, new),
                Err(error) => (old.clone(), Some(error)),
            };
            errors.extend(error.map(|error| (path.clone(), error)));
            lists
        };
        let of_files = files.iter().zip(&self.of_files).map(read).collect();
        (Self::of(of_files, urls, fetched), errors)
    }

    fn of(of_files: Vec<Vec<Arc<Crl>>>, urls: &[String], fetched: &Fetched) -> Self {
        let mut lists = of_files.concat();
        lists.extend(urls.iter().flat_map(|url| fetched.lists(url)));
        // Of two lists about the same certificates webpki takes the first: let it be the newer.
        lists.sort_by_key(|list| std::cmp::Reverse(list.times.this_update_s));
        let now_s = UnixTime::now().as_secs();
        let are_stale = lists.iter().any(|list| list.is_out_of_date(now_s));
        Self { of_files, lists, are_stale }
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
        self.lists.iter().filter_map(|crl| crl.times.next_update_s).min()
    }

    /// The lists that bear the issuer's name and have this certificate. Whether a list is the issuer's, and not only
    /// says so, is for a verification to tell.
    pub(super) fn naming(&self, certificate: &CertificateDer<'_>) -> impl Iterator<Item = &Crl> {
        let certificate = EndEntityCert::try_from(certificate).ok();
        let names_it = move |crl: &&Crl| {
            certificate.as_ref().is_some_and(|certificate| {
                crl.list.issuer() == certificate.issuer()
                    && matches!(crl.list.find_serial(certificate.serial()), Ok(Some(_)))
            })
        };
        self.lists.iter().map(Arc::as_ref).filter(names_it)
    }

    /// The lists that say of themselves that they are newer, and about the same certificates.
    pub(super) fn newer_than(&self, older: &Crl) -> impl Iterator<Item = &Crl> {
        self.lists.iter().map(Arc::as_ref).filter(|newer| older.is_older_than(newer))
    }
}

/// `new`, but for lists that are older than those of the same issuer in `old`: those stay, and that is told.
pub(super) fn keep_newest(
    old: &[Arc<Crl>],
    new: Vec<Arc<Crl>>,
) -> (Vec<Arc<Crl>>, Option<CrlError>) {
    let mut error = None;
    let newest = |new: Arc<Crl>| match old.iter().find(|old| new.is_older_than(old)) {
        Some(old) => {
            error = Some(CrlError("older than the list in force".into()));
            Arc::clone(old)
        }
        None => new,
    };
    (new.into_iter().map(newest).collect(), error)
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
        let times = Times::parse(der)
            .ok_or_else(|| CrlError("not a usable revocation list: its times".into()))?;
        let digest = digest(&SHA256, der).as_ref().try_into().expect("SHA-256 has 32 bytes");
        Ok(Self { list: list.into(), times, digest })
    }

    pub(super) const fn list(&self) -> &CertRevocationList<'static> {
        &self.list
    }

    pub(super) fn is_out_of_date(&self, now_s: u64) -> bool {
        self.times.next_update_s.is_some_and(|at_s| at_s <= now_s)
    }

    /// Whether it was made later than now.
    pub(super) const fn is_of_the_future(&self, now_s: u64) -> bool {
        self.times.this_update_s > now_s + SKEW_S
    }

    /// Whether both are about the same certificates, and this one was made before.
    fn is_older_than(&self, other: &Self) -> bool {
        self.list.issuer() == other.list.issuer()
            && self.list.issuing_distribution_point() == other.list.issuing_distribution_point()
            && self.times.are_before(&other.times)
    }
}

impl Times {
    fn parse(crl: &[u8]) -> Option<Self> {
        let mut list = Der(crl).expect(TAG_SEQUENCE)?.expect(TAG_SEQUENCE)?;
        let _version = list.optional(TAG_INTEGER);
        let _algorithm = list.expect(TAG_SEQUENCE)?;
        let _issuer = list.expect(TAG_SEQUENCE)?;
        let this_update_s = list.time()?;
        let mut behind = list;
        let next_update_s = behind.time();
        if next_update_s.is_some() {
            list = behind;
        }
        let _revoked = list.optional(TAG_SEQUENCE);
        let number = list.optional(TAG_EXPLICIT_0).and_then(number);
        Some(Self { this_update_s, next_update_s, number })
    }

    /// Numbers begin anew with a new key, and clocks are set back: it takes both for a list to be the older.
    fn are_before(&self, other: &Self) -> bool {
        let numbers = match (&self.number, &other.number) {
            (Some(ours), Some(theirs)) => (ours.len(), ours).cmp(&(theirs.len(), theirs)),
            _ => Ordering::Equal,
        };
        let times = self.this_update_s.cmp(&other.this_update_s);
        numbers.is_le() && times.is_le() && (numbers.is_lt() || times.is_lt())
    }
}

/// The CRL number (RFC 5280, 5.2.3) among the extensions of a list.
fn number(mut extensions: Der<'_>) -> Option<Vec<u8>> {
    let mut extensions = extensions.expect(TAG_SEQUENCE)?;
    loop {
        let mut extension = extensions.expect(TAG_SEQUENCE)?;
        if extension.expect(TAG_OID)?.0 != OID_CRL_NUMBER {
            continue;
        }
        let _critical = extension.optional(TAG_BOOLEAN);
        let number = extension.expect(TAG_OCTET_STRING)?.expect(TAG_INTEGER)?.0;
        let n_zeros = number.iter().take_while(|byte| **byte == 0).count();
        return Some(number[n_zeros..].to_vec());
    }
}

/// 400,000 certificates revoked, and more.
pub const CRL_BYTES_MAX: usize = 16 << 20;
const OID_CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];

#[cfg(test)]
pub(crate) mod tests;
