//! Who is let in: access rules, the connection limit, the rate, half-open connections per address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use broker_core::{Bucket, CloseCause, ListenerLimits, ReasonCode, per_second, subscriber_line};
use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

use crate::config::{ListenerConfig, TlsConfig};
use crate::tls_setup::{
    Fetched, Hear, Lists, Material, Refreshed, RevocationState, TlsSetupError, TlsSource, Verdict,
    Vouching,
};
use crate::transport::Acceptor;

/// One listener: its configuration and what changes while it runs.
#[derive(Debug)]
pub(crate) struct ListenerSetup {
    config: Arc<ListenerConfig>,
    /// `None` without TLS.
    tls: Option<Security>,
    n_connections: AtomicUsize,
    /// `max_conn_rate`
    rate: Option<Bucket>,
    limits: Option<Arc<ListenerLimits>>,
    half_open: Mutex<HalfOpen>,
    shutdown_counts: Mutex<BTreeMap<Ended, u64>>,
    /// Its connections are to go.
    is_stopped: AtomicBool,
}

#[derive(Debug)]
struct ListenerTls {
    source: TlsSource,
    /// What new connections get, and what it was made of.
    loaded: RwLock<(Material, Arc<ServerConfig>)>,
}

/// TLS of a listener.
#[derive(Debug)]
enum Security {
    Certificates(Box<ListenerTls>),
    /// Nothing of it is in files that change.
    Psk(Acceptor),
}

impl ListenerTls {
    fn load(source: TlsSource) -> Result<Self, TlsSetupError> {
        let material = source.read()?;
        let server = source.server_config(&material)?;
        Ok(Self { loaded: RwLock::new((material, server)), source })
    }

    fn set(&self, material: Material) -> Result<(), TlsSetupError> {
        let server = self.source.server_config(&material)?;
        *self.loaded.write() = (material, server);
        Ok(())
    }
}

impl Security {
    fn load(source: TlsSource) -> Result<Self, TlsSetupError> {
        match source.psk_acceptor()? {
            Some(acceptor) => Ok(Self::Psk(acceptor)),
            None => ListenerTls::load(source).map(|tls| Self::Certificates(Box::new(tls))),
        }
    }
}

/// Why a connection ended or was not let in, as EMQ X 3.1 counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    By(&'static str),
    /// With what the client was told.
    With(ReasonCode),
}

impl Ended {
    /// `None` for an orderly end, which is not counted.
    fn by(cause: CloseCause) -> Option<Self> {
        match cause {
            CloseCause::ClientDisconnected | CloseCause::ClientDisconnectedWithWill => None,
            CloseCause::TakenOver => Some(Self::By("conflict")),
            CloseCause::Refused(code) | CloseCause::Violation(code) => Some(Self::With(code)),
            cause => Some(Self::By(cause.name())),
        }
    }

    fn name(self) -> String {
        match self {
            Self::By(name) => name.to_owned(),
            Self::With(code) => code.name().to_lowercase().replace([' ', '-'], "_"),
        }
    }
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// An `access` rule denies the peer.
    #[error("access denied")]
    AccessDenied,
    /// `proxy_protocol` is on and the peer is none of `proxy_protocol_peers`.
    #[error("not a trusted proxy")]
    UntrustedProxy,
    /// `max_connections` are there already.
    #[error("too many connections")]
    TooManyConnections,
    /// `max_conn_rate` is used up for now.
    #[error("connection rate exceeded")]
    RateExceeded,
    /// `max_half_open_per_ip` connections of the peer have not finished CONNECT.
    #[error("too many half-open connections of one address")]
    TooManyHalfOpen,
}

impl Refused {
    /// The name it is counted by.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::UntrustedProxy => "untrusted_proxy",
            Self::TooManyConnections => "too_many_connections",
            Self::RateExceeded => "rate_exceeded",
            Self::TooManyHalfOpen => "too_many_half_open",
        }
    }
}

impl ListenerSetup {
    /// Loads the certificates; `data_dir` is where one is made if none is configured.
    pub(crate) fn new(
        config: ListenerConfig,
        data_dir: &Path,
        fetched: &Fetched,
    ) -> Result<Self, TlsSetupError> {
        let source = |tls: &TlsConfig| TlsSource {
            config: tls.clone(),
            key: config.key(),
            data_dir: data_dir.to_owned(),
            fetched: fetched.clone(),
        };
        let tls = config.tls.as_ref().map(source).map(Security::load).transpose()?;
        Ok(Self {
            rate: per_second(config.max_conn_rate).map(Bucket::full),
            limits: ListenerLimits::new(config.rate_limit, &config.limits),
            config: Arc::new(config),
            tls,
            n_connections: AtomicUsize::new(0),
            half_open: Mutex::default(),
            shutdown_counts: Mutex::default(),
            is_stopped: AtomicBool::new(false),
        })
    }

    /// Reads certificates, key, authorities and revocation lists again, for connections to come. On an error the
    /// old ones stay.
    pub(crate) fn reload(&self) -> Result<(), TlsSetupError> {
        self.certificates().map_or(Ok(()), |tls| tls.set(tls.source.read()?))
    }

    /// Takes revocation lists and the stapled answer again; returns whether lists have changed, and what could not be
    /// used: there the old ones stay. Neither this nor [`Self::reload`] may overtake the other.
    pub(crate) fn refresh(&self) -> (Lists, Vec<TlsSetupError>) {
        let Some(tls) = self.certificates() else { return (Lists::Same, Vec::new()) };
        let old = tls.loaded.read().0.clone();
        let Refreshed { material, lists, mut errors } = tls.source.read_refreshed(&old);
        match material.map_or(Ok(()), |material| tls.set(material)) {
            Ok(()) => (lists, errors),
            Err(error) => {
                errors.push(error);
                (Lists::Same, errors)
            }
        }
    }

    /// What is known about revocation; `None` where nothing is to be.
    pub(crate) fn revocation_state(&self) -> Option<RevocationState> {
        let tls = self.certificates()?;
        tls.source.revocation_state(&tls.loaded.read().0)
    }

    /// Whether its clients' certificates may be revoked while they are connected.
    pub(crate) fn has_crls(&self) -> bool {
        self.config.tls.as_ref().is_some_and(TlsConfig::has_crls)
    }

    /// Whether one of the certificates that a client came in with has been revoked since.
    pub(crate) fn is_revoked(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.certificates().is_some_and(|tls| tls.loaded.read().0.is_revoked(chain))
    }

    /// Whether responders are asked about its clients' certificates.
    pub(crate) fn asks_ocsp(&self) -> bool {
        self.config.tls.as_ref().is_some_and(TlsConfig::asks_ocsp)
    }

    /// Finds out whether who has shown this chain may come in; `hear` is told if that has to be asked first.
    pub(crate) fn vouch(&self, chain: &[CertificateDer<'static>], hear: Hear) -> Vouching {
        let Some(tls) = self.certificates() else { return Vouching::Is(Verdict::Admitted, None) };
        let material = tls.loaded.read().0.clone();
        tls.source.vouch(&material, chain, hear)
    }

    /// The TLS configuration of a new connection.
    pub(crate) fn tls(&self) -> Option<Acceptor> {
        self.tls.as_ref().map(|tls| match tls {
            Security::Certificates(tls) => Acceptor::Certificate(Arc::clone(&tls.loaded.read().1)),
            Security::Psk(acceptor) => acceptor.clone(),
        })
    }

    fn certificates(&self) -> Option<&ListenerTls> {
        match &self.tls {
            Some(Security::Certificates(tls)) => Some(tls),
            Some(Security::Psk(_)) | None => None,
        }
    }

    /// How long everything before MQTT may take, in milliseconds; `None` when nothing comes before.
    pub(crate) fn handshake_timeout_ms(&self) -> Option<u64> {
        let proxy = self.config.proxy_protocol.then_some(self.config.proxy_protocol_timeout_ms);
        let tls = self.config.tls.as_ref().map(|tls| tls.handshake_timeout_ms);
        match (proxy, tls) {
            (Some(proxy), Some(tls)) => Some(proxy.saturating_add(tls)),
            (one, other) => one.or(other),
        }
    }

    pub(crate) fn config(&self) -> &Arc<ListenerConfig> {
        &self.config
    }

    /// What its clients may do, if that is limited.
    pub(crate) const fn limits(&self) -> Option<&Arc<ListenerLimits>> {
        self.limits.as_ref()
    }

    /// Connections let in and not gone yet.
    pub(crate) fn n_connections(&self) -> usize {
        self.n_connections.load(Ordering::Relaxed)
    }

    /// Lets a connection in, or says why not; refusals are counted. `peer` is `None` for a Unix
    /// socket, which has no address to judge by. `now_ms` is any clock that does not step back.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: Option<IpAddr>,
        now_ms: u64,
    ) -> Result<Admission, Refused> {
        self.try_admit(peer, now_ms).inspect_err(|refused| self.count(Ended::By(refused.as_str())))
    }

    fn try_admit(
        self: &Arc<Self>,
        peer: Option<IpAddr>,
        now_ms: u64,
    ) -> Result<Admission, Refused> {
        self.check_access(peer)?;
        let mut half_open = HalfOpen::NONE;
        if self.config.proxy_protocol {
            // A proxy's own address says nothing about its clients; `readmit` judges those.
            if !peer.is_some_and(|ip| self.config.trusts_proxy(ip)) {
                return Err(Refused::UntrustedProxy);
            }
        } else {
            half_open = self.enter_half_open(peer)?;
        }
        // From here on the guard gives back what was taken, whatever comes.
        let n_before = self.n_connections.fetch_add(1, Ordering::Relaxed);
        let admission = Admission { setup: Arc::clone(self), half_open };
        if n_before >= self.config.max_connections {
            return Err(Refused::TooManyConnections);
        }
        // Last, so that refused connections do not use up the rate of welcome ones.
        if self.rate.as_ref().is_some_and(|rate| !rate.take_one(now_ms)) {
            return Err(Refused::RateExceeded);
        }
        Ok(admission)
    }

    /// Counts why a connection of this listener ended.
    pub(crate) fn count_shutdown(&self, cause: CloseCause) {
        if let Some(ended) = Ended::by(cause) {
            self.count(ended);
        }
    }

    fn count(&self, ended: Ended) {
        *self.shutdown_counts.lock().entry(ended).or_default() += 1;
    }

    /// How many connections ended for which reason, by name.
    pub(crate) fn shutdown_counts(&self) -> Vec<(String, u64)> {
        // Two ways to one name are one count.
        let mut counts = BTreeMap::new();
        for (ended, n) in &*self.shutdown_counts.lock() {
            *counts.entry(ended.name()).or_default() += n;
        }
        counts.into_iter().collect()
    }

    /// Marks its connections as ones that are to go.
    pub(crate) fn set_stopped(&self) {
        self.is_stopped.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    fn check_access(&self, peer: Option<IpAddr>) -> Result<(), Refused> {
        let matching = self.config.access.iter().find(|rule| match (rule.peer, peer) {
            (None, _) => true,
            (Some(block), Some(ip)) => block.contains(ip),
            (Some(_), None) => false,
        });
        match matching {
            Some(rule) if !rule.allow => Err(Refused::AccessDenied),
            _ => Ok(()),
        }
    }

    fn enter_half_open(&self, peer: Option<IpAddr>) -> Result<u32, Refused> {
        match peer {
            Some(ip) if self.config.max_half_open_per_ip > 0 => self
                .half_open
                .lock()
                .enter(ip, self.config.max_half_open_per_ip)
                .ok_or(Refused::TooManyHalfOpen),
            _ => Ok(HalfOpen::NONE),
        }
    }
}

/// A connection that was let in; dropping it makes room for the next.
#[derive(Debug)]
pub(crate) struct Admission {
    setup: Arc<ListenerSetup>,
    /// The entry in [`HalfOpen`], which knows the address; an address here would cost 16 bytes more.
    half_open: u32,
}

impl Admission {
    pub(crate) fn setup(&self) -> &Arc<ListenerSetup> {
        &self.setup
    }

    /// CONNECT is done: the connection is no longer half open.
    pub(crate) fn handshaken(&mut self) {
        if self.half_open != HalfOpen::NONE {
            self.setup.half_open.lock().leave(self.half_open);
            self.half_open = HalfOpen::NONE;
        }
    }

    /// Judges the address a proxy named as `admit` judged the proxy: by `access` and by
    /// `max_half_open_per_ip`. To be called once the transport's handshake is done.
    pub(crate) fn readmit(&mut self, peer: Option<IpAddr>) -> Result<(), Refused> {
        self.handshaken();
        let entered = self.setup.check_access(peer).and_then(|()| self.setup.enter_half_open(peer));
        match entered {
            Ok(half_open) => {
                self.half_open = half_open;
                Ok(())
            }
            Err(refused) => {
                self.setup.count(Ended::By(refused.as_str()));
                Err(refused)
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.handshaken();
        self.setup.n_connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connections that have not finished CONNECT, by address. Memory follows the addresses in it.
#[derive(Debug, Default)]
struct HalfOpen {
    // The hasher of std is keyed per process: peers cannot choose colliding addresses.
    by_ip: HashMap<IpAddr, u32>,
    entries: Vec<(IpAddr, u32)>,
    free: Vec<u32>,
}

impl HalfOpen {
    const NONE: u32 = u32::MAX;

    /// Counts one more for `ip`; `None` when it has `max` already.
    fn enter(&mut self, ip: IpAddr, max: u32) -> Option<u32> {
        let ip = subscriber_line(ip);
        if let Some(&at) = self.by_ip.get(&ip) {
            let n = &mut self.entries[at as usize].1;
            if *n >= max {
                return None;
            }
            *n += 1;
            return Some(at);
        }
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = (ip, 1);
                at
            }
            None => {
                self.entries.push((ip, 1));
                self.entries.len() as u32 - 1
            }
        };
        self.by_ip.insert(ip, at);
        Some(at)
    }

    fn leave(&mut self, at: u32) {
        let (ip, n) = &mut self.entries[at as usize];
        *n -= 1;
        if *n > 0 {
            return;
        }
        self.by_ip.remove(ip);
        self.free.push(at);
        if self.by_ip.is_empty() {
            // A flood that is over leaves no memory behind.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AccessRule, Cidr};
    use crate::listener::tests::config;

    fn setup(change: impl FnOnce(&mut ListenerConfig)) -> Arc<ListenerSetup> {
        let mut config = config();
        change(&mut config);
        Arc::new(ListenerSetup::new(config, Path::new(""), &Fetched::default()).unwrap())
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn cidr(addr: &str, prefix: u8) -> Cidr {
        Cidr { addr: addr.parse().unwrap(), prefix }
    }

    #[test]
    fn guards_are_small() {
        assert!(size_of::<Admission>() <= 16);
    }

    #[test]
    fn the_first_matching_access_rule_decides() {
        let setup = setup(|config| {
            config.access = vec![
                AccessRule { allow: true, peer: Some(cidr("10.1.0.0", 16)) },
                AccessRule { allow: false, peer: Some(cidr("10.0.0.0", 8)) },
                AccessRule { allow: true, peer: Some(cidr("fd00::", 8)) },
                AccessRule { allow: false, peer: Some(cidr("::", 0)) },
            ];
        });
        assert!(setup.admit(ip("10.1.2.3"), 0).is_ok());
        assert!(setup.admit(ip("::ffff:10.1.2.3"), 0).is_ok());
        assert_eq!(setup.admit(ip("10.2.2.3"), 0).unwrap_err(), Refused::AccessDenied);
        assert!(setup.admit(ip("192.0.2.1"), 0).is_ok(), "none matches: allowed");
        assert!(setup.admit(ip("fd12::1"), 0).is_ok());
        assert_eq!(setup.admit(ip("2001:db8::1"), 0).unwrap_err(), Refused::AccessDenied);
        assert!(setup.admit(None, 0).is_ok());
        assert_eq!(setup.shutdown_counts(), [("access_denied".to_owned(), 2)]);
        assert_eq!(setup.n_connections(), 0);
    }

    #[test]
    fn connections_are_limited_and_given_back() {
        let setup = setup(|config| config.max_connections = 2);
        let first = setup.admit(ip("192.0.2.1"), 0).unwrap();
        let _second = setup.admit(None, 0).unwrap();
        assert_eq!(setup.admit(None, 0).unwrap_err(), Refused::TooManyConnections);
        assert_eq!(setup.n_connections(), 2);
        drop(first);
        assert!(setup.admit(None, 0).is_ok());
    }

    #[test]
    fn the_rate_allows_a_burst_of_one_second_and_then_its_share() {
        let setup = setup(|config| config.max_conn_rate = 10);
        let admitted = |now_ms, n| (0..n).filter(|_| setup.admit(None, now_ms).is_ok()).count();
        assert_eq!(admitted(5_000_000, 50), 10);
        assert_eq!(admitted(5_000_099, 50), 0);
        assert_eq!(admitted(5_000_100, 50), 1);
        assert_eq!(admitted(5_000_000, 50), 0, "a clock that steps back gives nothing");
        assert_eq!(admitted(5_000_400, 50), 3);
        assert_eq!(admitted(9_000_000, 50), 10);
        assert_eq!(setup.n_connections(), 0);
    }

    #[test]
    fn half_open_connections_are_limited_per_address() {
        let setup = setup(|config| config.max_half_open_per_ip = 2);
        let mut first = setup.admit(ip("192.0.2.1"), 0).unwrap();
        let second = setup.admit(ip("::ffff:192.0.2.1"), 0).unwrap();
        assert_eq!(setup.admit(ip("192.0.2.1"), 0).unwrap_err(), Refused::TooManyHalfOpen);
        assert!(setup.admit(ip("192.0.2.2"), 0).is_ok(), "a bystander gets in");
        first.handshaken();
        first.handshaken();
        let third = setup.admit(ip("192.0.2.1"), 0).unwrap();
        assert!(setup.admit(ip("192.0.2.1"), 0).is_err());
        drop((first, second, third));
        assert!(setup.half_open.lock().entries.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_prefix_count_as_one() {
        let setup = setup(|config| config.max_half_open_per_ip = 1);
        let _first = setup.admit(ip("2001:db8::1"), 0).unwrap();
        assert_eq!(setup.admit(ip("2001:db8::2"), 0).unwrap_err(), Refused::TooManyHalfOpen);
        assert!(setup.admit(ip("2001:db8:0:1::1"), 0).is_ok());
    }

    #[test]
    fn behind_a_proxy_the_named_address_is_judged() {
        let setup = setup(|config| {
            config.proxy_protocol = true;
            config.proxy_protocol_peers = vec![cidr("10.0.0.1", 32)];
            config.max_half_open_per_ip = 1;
            config.access = vec![AccessRule { allow: false, peer: Some(cidr("192.0.2.9", 32)) }];
        });
        assert_eq!(setup.admit(ip("10.0.0.2"), 0).unwrap_err(), Refused::UntrustedProxy);
        assert_eq!(setup.admit(None, 0).unwrap_err(), Refused::UntrustedProxy);
        let mut first = setup.admit(ip("10.0.0.1"), 0).unwrap();
        let mut second = setup.admit(ip("10.0.0.1"), 0).unwrap();
        assert_eq!(first.readmit(ip("192.0.2.9")), Err(Refused::AccessDenied));
        assert_eq!(first.readmit(ip("192.0.2.1")), Ok(()));
        assert_eq!(second.readmit(ip("192.0.2.1")), Err(Refused::TooManyHalfOpen));
        drop(first);
        assert_eq!(second.readmit(ip("192.0.2.1")), Ok(()));
    }
}
