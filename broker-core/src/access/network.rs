//! Network: a block of IP addresses with a common prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses, as `10.0.0.0/8` writes it. IPv4 addresses that are written as IPv6 ones
/// (`::ffff:10.0.0.0/104`) are what they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The first address of the block.
    address: IpAddr,
    prefix: u8,
}

/// What is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an IPv4 nor an IPv6 address.
    #[error("{0:?} is no IP address")]
    Address(Box<str>),
    /// No number, or more bits than the address has.
    #[error("{prefix:?} is no prefix length: {address} has {bits} bits", bits = bits(*.address))]
    Prefix {
        /// The address before it.
        address: IpAddr,
        /// What stands for the length.
        prefix: Box<str>,
    },
}

const MAPPED_BITS: u8 = 96;

impl Network {
    /// The block that `address` lies in, by its first `prefix` bits; `None` if it has fewer.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        if prefix > bits(address) {
            return None;
        }
        let (address, prefix) = match address.to_canonical() {
            v4 @ IpAddr::V4(_) if address.is_ipv6() && prefix >= MAPPED_BITS => {
                (v4, prefix - MAPPED_BITS)
            }
            // Less than what says that it is mapped: a block of IPv6.
            IpAddr::V4(_) if address.is_ipv6() => (address, prefix),
            address => (address, prefix),
        };
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Some(Self { address, prefix })
    }

    /// The first address of the block.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that the addresses of the block have in common.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// True if the block is a single address.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.prefix == bits(self.address)
    }

    /// True if `address` lies in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && Self::new(address, self.prefix).is_some_and(|block| block.address == self.address)
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An address without a length is a block of its own.
impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address(address.into()))?;
        let Some(prefix) = prefix else {
            return Ok(Self::new(address, bits(address)).expect("as many bits as there are"));
        };
        // A number and nothing else: no sign, no blank.
        let length =
            prefix.bytes().all(|digit| digit.is_ascii_digit()).then(|| prefix.parse().ok());
        let block = length.flatten().and_then(|length| Self::new(address, length));
        block.ok_or_else(|| NetworkError::Prefix { address, prefix: prefix.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_written_by_its_first_address() {
        for (text, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::1/0", "::/0"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/90", "::ffc0:0:0/90"),
        ] {
            let block: Network = text.parse().unwrap();
            assert_eq!(block.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<Network>(), Ok(block));
        }
    }

    #[test]
    fn what_is_no_block_is_said_to_be_none() {
        for (text, error) in [
            ("", "\"\" is no IP address"),
            ("10.0.0/8", "\"10.0.0\" is no IP address"),
            ("10.0.0.0/33", "\"33\" is no prefix length: 10.0.0.0 has 32 bits"),
            ("10.0.0.0/", "\"\" is no prefix length: 10.0.0.0 has 32 bits"),
            ("10.0.0.0/+8", "\"+8\" is no prefix length: 10.0.0.0 has 32 bits"),
            ("::/129", "\"129\" is no prefix length: :: has 128 bits"),
            ("::/8/8", "\"8/8\" is no prefix length: :: has 128 bits"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn a_block_contains_what_begins_like_it() {
        for (block, inside, outside) in [
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1"][..], "11.0.0.0"),
            ("10.0.0.0/8", &[], "::10.0.0.0"),
            ("192.0.2.1", &["192.0.2.1"], "192.0.2.2"),
            ("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], "::1"),
            ("2001:db8::/33", &["2001:db8:7fff::1"], "2001:db8:8000::"),
            ("::/0", &["::", "ffff::"], "1.2.3.4"),
        ] {
            let block: Network = block.parse().unwrap();
            for address in inside {
                assert!(block.contains(address.parse().unwrap()), "{block} {address}");
            }
            assert!(!block.contains(outside.parse().unwrap()), "{block} {outside}");
        }
    }
}
