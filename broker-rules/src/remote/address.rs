//! AddressRules: where resources may connect to. A name is looked up once, and what it stands for is what is checked
//! and connected to: an answer that changes in between changes nothing.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What may be connected to.
#[derive(Clone)]
pub struct AddressRules {
    /// Whether private ranges and this machine are allowed.
    pub allow_private: bool,
    /// Allowed whatever else is said.
    pub allowed: Vec<AddressRange>,
    /// Ports of the management API on this machine, as they are now.
    pub own_ports: Arc<dyn Fn() -> Vec<u16> + Send + Sync>,
}

impl Default for AddressRules {
    /// Private ranges are allowed, brokers live in them.
    fn default() -> Self {
        Self { allow_private: true, allowed: Vec::new(), own_ports: Arc::new(Vec::new) }
    }
}

impl fmt::Debug for AddressRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allow_private, allowed, own_ports: _ } = self;
        f.debug_struct("AddressRules")
            .field("allow_private", allow_private)
            .field("allowed", allowed)
            .finish_non_exhaustive()
    }
}

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Link-local.
    #[error("link-local address {0} is not allowed (rules.allowed_addresses)")]
    LinkLocal(IpAddr),
    /// Where clouds tell machines their secrets.
    #[error("cloud metadata address {0} is not allowed (rules.allowed_addresses)")]
    Metadata(IpAddr),
    /// No address of one machine.
    #[error("{0} is no address to connect to")]
    NoHost(IpAddr),
    /// In a private range, or this machine.
    #[error("private address {0} is not allowed (rules.allow_private_addresses)")]
    Private(IpAddr),
    /// The broker's own management API.
    #[error("{0} is this broker's management API (rules.allowed_addresses)")]
    Own(SocketAddr),
}

impl AddressRules {
    /// Whether an address may be connected to.
    ///
    /// # Errors
    /// It may not; says why and which key would allow it.
    pub fn check(&self, address: SocketAddr) -> Result<(), Forbidden> {
        let ip = innermost(address.ip());
        if self.allowed.iter().any(|range| range.contains(ip, address.port())) {
            return Ok(());
        }
        if is_metadata(ip) {
            return Err(Forbidden::Metadata(ip));
        }
        if is_link_local(ip) {
            return Err(Forbidden::LinkLocal(ip));
        }
        if is_no_host(ip) {
            return Err(Forbidden::NoHost(ip));
        }
        if !self.allow_private && is_private(ip) {
            return Err(Forbidden::Private(ip));
        }
        if (self.own_ports)().contains(&address.port()) && is_own(ip) {
            return Err(Forbidden::Own(address));
        }
        Ok(())
    }

    /// Those of `addresses` that may be connected to.
    ///
    /// # Errors
    /// None of them may, or there are none.
    pub(crate) fn filter(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut refusal = io::Error::new(ErrorKind::NotFound, "the host has no address");
        let mut allowed = Vec::new();
        for address in addresses {
            match self.check(address) {
                Ok(()) => allowed.push(address),
                Err(forbidden) => {
                    refusal = io::Error::new(ErrorKind::PermissionDenied, forbidden);
                }
            }
        }
        // Many servers listen on IPv4 only.
        allowed.sort_by_key(|it| it.is_ipv6() && it.ip().is_loopback());
        if allowed.is_empty() { Err(refusal) } else { Ok(allowed) }
    }
}

/// Looks a host up, in a bounded time: the system's resolver knows no limit.
pub(crate) fn look_up(host: &str, port: u16, at_most: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (done, result) = mpsc::sync_channel(1);
    let host = host.to_owned();
    thread::Builder::new().name("look up a host".to_owned()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody waits for it any more if this fails.
        let _ = done.send(found);
    })?;
    result.recv_timeout(at_most).unwrap_or_else(|_| {
        Err(io::Error::new(ErrorKind::TimedOut, "looking up the host took too long"))
    })
}

/// Connects to the first address of a host that may be connected to and answers.
///
/// # Errors
/// None may, or none answers within the time.
pub(crate) fn connect(
    rules: &AddressRules,
    host: &str,
    port: u16,
    at_most: Duration,
) -> io::Result<TcpStream> {
    let until = Instant::now() + at_most;
    let addresses = rules.filter(look_up(host, port, at_most)?.into_iter())?;
    let mut result = Err(ErrorKind::TimedOut.into());
    for address in addresses {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        result = TcpStream::connect_timeout(&address, left);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Finds out whether a host answers at all.
///
/// # Errors
/// It does not; says why.
pub(crate) fn probe(rules: &AddressRules, host: &str, port: u16) -> Result<(), String> {
    connect(rules, host, port, PROBE_TIME).map(drop).map_err(|error| error.to_string())
}

/// The IPv4 address inside an IPv6 one, where that is what is connected to in the end.
fn innermost(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let IpAddr::V4(v4) = v6.to_canonical() {
        return v4.into();
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h).into(),
        // IPv4-compatible, given up long ago; :: and ::1 are not among them.
        [0, 0, 0, 0, 0, 0] if g != 0 => v4(g, h).into(),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low).into(),
        _ => ip,
    }
}

const fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// AWS, Google and Azure (also over IPv6), Alibaba, Azure's agent, Oracle.
fn is_metadata(ip: IpAddr) -> bool {
    const V4: [[u8; 4]; 4] =
        [[169, 254, 169, 254], [100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]];
    match ip {
        IpAddr::V4(v4) => V4.contains(&v4.octets()),
        IpAddr::V6(v6) => v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    }
}

fn is_no_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // The third are the addresses that providers share among customers.
            v4.is_private() || v4.is_loopback() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

/// Whether it is an address of this machine: nobody else's can be bound to.
fn is_own(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// Addresses that are allowed whatever else is said: `10.0.0.7`, `10.0.0.7:8080`, `10.0.0.0/8`, `fe80::1`,
/// `[fe80::1]:80`, `fe80::/10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    network: IpAddr,
    prefix: u8,
    port: Option<u16>,
}

/// Why a text names no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of IP, IP:port and network/prefix")]
pub struct BadAddressRange(String);

impl FromStr for AddressRange {
    type Err = BadAddressRange;

    fn from_str(text: &str) -> Result<Self, BadAddressRange> {
        let bad = || BadAddressRange(text.to_owned());
        let whole = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        if let Ok(address) = text.parse::<SocketAddr>() {
            let network = address.ip();
            return Ok(Self { network, prefix: whole(network), port: Some(address.port()) });
        }
        let (network, prefix) = match text.split_once('/') {
            Some((network, prefix)) => (network, Some(prefix.parse().map_err(|_| bad())?)),
            None => (text, None),
        };
        let network: IpAddr = network.parse().map_err(|_| bad())?;
        let prefix = prefix.unwrap_or_else(|| whole(network));
        if prefix > whole(network) {
            return Err(bad());
        }
        Ok(Self { network, prefix, port: None })
    }
}

impl AddressRange {
    fn contains(&self, ip: IpAddr, port: u16) -> bool {
        let is_inside = match (self.network, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let differing = (u32::from(network) ^ u32::from(ip)).leading_zeros();
                differing >= u32::from(self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let differing = (u128::from(network) ^ u128::from(ip)).leading_zeros();
                differing >= u32::from(self.prefix)
            }
            _ => false,
        };
        is_inside && self.port.is_none_or(|only| only == port)
    }
}

/// What a resource's machine has for its answer.
const PROBE_TIME: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow_private: bool, allowed: &[&str]) -> AddressRules {
        AddressRules {
            allow_private,
            allowed: allowed.iter().map(|text| text.parse().unwrap()).collect(),
            own_ports: Arc::new(|| vec![8080]),
        }
    }

    fn is_allowed(rules: &AddressRules, address: &str) -> bool {
        rules.check(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn metadata_and_link_local_are_refused_however_they_are_written() {
        let rules = rules(true, &[]);
        for address in [
            "169.254.169.254:80",
            "169.254.1.2:80",
            "[::ffff:169.254.169.254]:80",
            "[::169.254.169.254]:80",
            "[64:ff9b::169.254.169.254]:80",
            "[2002:a9fe:a9fe::]:80",
            "[fe80::1]:80",
            "[fd00:ec2::254]:80",
            "100.100.100.200:80",
            "168.63.129.16:80",
            "192.0.0.192:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[ff02::1]:80",
        ] {
            assert!(!is_allowed(&rules, address), "{address}");
        }
        for address in ["1.1.1.1:443", "10.0.0.1:80", "127.0.0.1:81", "[::1]:80", "[2606::1]:80"] {
            assert!(is_allowed(&rules, address), "{address}");
        }
    }

    #[test]
    fn private_ranges_are_a_matter_of_configuration() {
        let rules = rules(false, &["10.1.0.0/16", "127.0.0.1:1234", "fd12::7"]);
        for address in [
            "10.0.0.1:80",
            "172.16.0.1:80",
            "192.168.1.1:80",
            "100.64.0.1:80",
            "127.0.0.1:80",
            "[::1]:80",
            "[::ffff:10.0.0.1]:80",
            "[fd12::8]:80",
        ] {
            assert!(!is_allowed(&rules, address), "{address}");
        }
        for address in ["10.1.2.3:80", "127.0.0.1:1234", "[fd12::7]:9", "8.8.8.8:80"] {
            assert!(is_allowed(&rules, address), "{address}");
        }
    }

    #[test]
    fn the_management_port_is_refused_on_every_address_of_this_machine() {
        let closed = rules(true, &[]);
        for address in ["127.0.0.1:8080", "127.3.2.1:8080", "[::1]:8080", "[::ffff:127.0.0.1]:8080"]
        {
            assert!(!is_allowed(&closed, address), "{address}");
        }
        // A machine has other addresses too: whichever is used to reach the outside.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            let own = SocketAddr::new(socket.local_addr().unwrap().ip(), 8080);
            assert!(closed.check(own).is_err(), "{own}");
        }
        assert!(is_allowed(&closed, "192.0.2.1:8080"), "another machine's port");
        assert!(is_allowed(&closed, "127.0.0.1:8081"));
        assert!(is_allowed(&rules(true, &["127.0.0.1:8080"]), "127.0.0.1:8080"));
        assert!(is_allowed(&rules(true, &["169.254.0.0/16"]), "169.254.169.254:80"));
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        for text in ["", "host", "10.0.0.0/33", "10.0.0.0/x", "::/129", "10.0.0.1:99999"] {
            let error = text.parse::<AddressRange>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_name_is_checked_by_what_it_stands_for() {
        let error = connect(&rules(false, &[]), "localhost", 9, PROBE_TIME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("rules.allow_private_addresses"), "{error}");
    }
}
