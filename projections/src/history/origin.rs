//! Where changes come from: network addresses, and programs.
//!
//! The read model `audit` is asked for both by an index: for an address and for networks that have it, of some lengths, and for a
//! program by a number that stands for it, since what programs say of themselves is long.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

/// The lengths of the networks that an address is found by, in bits; as [`NETWORKS`] has them.
const LENGTHS_V4: [u8; 4] = [0, 8, 16, 24];
const LENGTHS_V6: [u8; 6] = [0, 8, 32, 48, 56, 64];

/// An address and the networks that it is found by, in SQL.
pub(crate) const NETWORKS: &str = "case family(client)
     when 4 then array[client, network(set_masklen(client, 24)), network(set_masklen(client, 16)),
                       network(set_masklen(client, 8)), network(set_masklen(client, 0))]
     else array[client, network(set_masklen(client, 64)), network(set_masklen(client, 56)),
                network(set_masklen(client, 48)), network(set_masklen(client, 32)),
                network(set_masklen(client, 8)), network(set_masklen(client, 0))] end";

/// A network of another length is looked for by all of the next one that it has, if these are no more than two to the power of this
/// many; else by that around it.
const MOST_BITS: u8 = 5;

/// How many bits stand before an address of IPv4 that is written as one of IPv6.
const MAPPED_BITS: u8 = 96;

/// A network, or one address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// The network that is written so: an address, such as `10.1.2.3`, or any address of a network and its length in bits, such
    /// as `10.1.0.0/16`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self(address.to_canonical().into()));
        }
        let network = text.parse::<IpNet>().ok()?.trunc();
        // One of IPv4, as IPv6 writes it.
        let of_v4 = network.prefix_len().checked_sub(MAPPED_BITS);
        match (network.addr().to_canonical(), of_v4) {
            (address @ IpAddr::V4(_), Some(length)) if network.max_prefix_len() > 32 => {
                Some(Self(IpNet::new(address, length).ok()?))
            }
            _ => Some(Self(network)),
        }
    }

    /// Whether an address is of it; no text that is not an address is.
    pub fn has(&self, address: &str) -> bool {
        parsed(address).is_some_and(|address| self.0.contains(&address))
    }

    /// What it is found by: all of its addresses have one of these, and others may.
    pub(super) fn sought(&self) -> Vec<String> {
        let (length, whole) = (self.0.prefix_len(), self.0.max_prefix_len());
        let known: &[u8] = if self.0.addr().is_ipv4() { &LENGTHS_V4 } else { &LENGTHS_V6 };
        let next = known.iter().copied().find(|known| *known >= length).unwrap_or(whole);
        if let (true, Ok(parts)) = (next - length <= MOST_BITS, self.0.subnets(next)) {
            return parts.map(|part| part.to_string()).collect();
        }
        let around = known.iter().copied().rfind(|known| *known < length).unwrap_or_default();
        let around = IpNet::new(self.0.addr(), around).map(|around| around.trunc());
        around.map(|around| around.to_string()).into_iter().collect()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

/// An address as the log has it; one of IPv4 that came by IPv6 is that of IPv4.
pub(crate) fn parsed(address: &str) -> Option<IpAddr> {
    Some(address.parse::<IpAddr>().ok()?.to_canonical())
}

/// The number that stands for a program: the first 64 bits of a SHA-256, so that hardly any two have the same.
pub(crate) fn number_of(program: &str) -> i64 {
    let digest = Sha256::digest(program.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_addresses_however_they_are_written() {
        let check = |network: &str, address: &str, has: bool| {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.has(address), has, "{network} {address}");
        };
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.4", false);
        check("10.1.0.0/16", "10.1.255.1", true);
        check("10.1.0.0/16", "10.2.0.1", false);
        check("10.1.0.0/16", "::ffff:10.1.0.1", true);
        check("::ffff:10.1.0.1", "10.1.0.1", true);
        check("::ffff:10.1.0.0/112", "10.1.2.3", true);
        check(" ::ffff:10.1.0.0/112 ", "10.2.2.3", false);
        check("0.0.0.0/0", "::1", false);
        check("2001:db8::/32", "2001:db8:7::1", true);
        check("2001:DB8:0:0::1", "2001:db8::1", true);
        check("0.0.0.0/0", "a test", false);
        for text in ["", "10", "10.1.2", "10.1.2.3/33", "10.0.0.0/", "localhost", "10.1.2.3/a"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        assert_eq!(Network::parse("10.1.2.3/16").unwrap().to_string(), "10.1.0.0/16");
        assert_eq!(Network::parse("::FFFF:10.1.2.3").unwrap().to_string(), "10.1.2.3");
    }

    #[test]
    fn a_network_is_looked_for_by_those_that_addresses_are_found_by() {
        let check = |network: &str, count: usize, first: &str| {
            let sought = Network::parse(network).unwrap().sought();
            assert_eq!((sought.len(), &*sought[0]), (count, first), "{network}");
        };
        check("10.1.2.3", 1, "10.1.2.3/32");
        check("10.1.2.0/24", 1, "10.1.2.0/24");
        check("10.1.2.128/25", 1, "10.1.2.0/24");
        check("10.1.2.128/29", 8, "10.1.2.128/32");
        check("10.1.0.0/20", 16, "10.1.0.0/24");
        check("10.0.0.0/8", 1, "10.0.0.0/8");
        check("128.0.0.0/3", 32, "128.0.0.0/8");
        check("128.0.0.0/1", 1, "0.0.0.0/0");
        check("0.0.0.0/0", 1, "0.0.0.0/0");
        check("fc00::/7", 2, "fc00::/8");
        check("2001:db8::/32", 1, "2001:db8::/32");
        check("2001:db8::/60", 16, "2001:db8::/64");
        check("2001:db8::/36", 1, "2001:db8::/32");
        check("2001:db8:0:100::/56", 1, "2001:db8:0:100::/56");
        check("2001:db8::/96", 1, "2001:db8::/64");
        check("::1", 1, "::1/128");
    }
}
