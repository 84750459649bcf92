//! IPv4 subnets and the addresses in them.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr, str::FromStr};

/// A subnet with room for a gateway and containers (at most /30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

/// The text is no IPv4 subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetError(String);

impl fmt::Display for SubnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no IPv4 subnet like 172.17.0.0/16", self.0)
    }
}

impl std::error::Error for SubnetError {}

impl Subnet {
    /// The subnet an address is in.
    pub(crate) fn around(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        let mask = mask(prefix)?;
        Some(Self {
            base: address.to_bits() & mask,
            prefix,
        })
    }

    /// Length of the network's part.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The first address: the gateway's.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base | 1)
    }

    /// The last address.
    pub(crate) fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base | !mask(self.prefix).unwrap_or(u32::MAX))
    }

    /// Do the two share an address?
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix)).unwrap_or(u32::MAX);
        self.base & mask == other.base & mask
    }
}

fn mask(prefix: u8) -> Option<u32> {
    match prefix {
        0 => Some(0),
        1..=32 => Some(u32::MAX << (32 - prefix)),
        _ => None,
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 30)?;
            Self::around(address.parse().ok()?, prefix)
        };
        parse().ok_or_else(|| SubnetError(text.chars().take(80).collect()))
    }
}

/// Docker's own choice of subnets: 172.17 to 172.31 with 16 bits, then 192.168 in pieces of 20 bits.
pub(crate) fn candidates() -> impl Iterator<Item = Subnet> {
    let large = (17..32).map(|n| (Ipv4Addr::new(172, n, 0, 0), 16));
    let small = (0..16).map(|n| (Ipv4Addr::new(192, 168, n * 16, 0), 20));
    large
        .chain(small)
        .filter_map(|(address, prefix)| Subnet::around(address, prefix))
}

/// Who has which address. The lowest free one is given, as Docker does.
#[derive(Debug)]
pub(crate) struct Addresses {
    subnet: Subnet,
    taken: BTreeSet<u32>,
    /// Every address below it is taken.
    lowest: u32,
}

impl Addresses {
    pub(crate) fn new(subnet: Subnet, gateway: Ipv4Addr) -> Self {
        Self {
            subnet,
            taken: BTreeSet::from([gateway.to_bits()]),
            lowest: subnet.base + 1,
        }
    }

    /// `None`: the subnet is full.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let last = self.subnet.broadcast().to_bits();
        let free = (self.lowest..last).find(|address| !self.taken.contains(address))?;
        self.taken.insert(free);
        self.lowest = free + 1;
        Some(Ipv4Addr::from_bits(free))
    }

    /// Takes this one, whether it is free or not.
    pub(crate) fn mark(&mut self, address: Ipv4Addr) {
        self.taken.insert(address.to_bits());
    }

    pub(crate) fn free(&mut self, address: Ipv4Addr) {
        if self.taken.remove(&address.to_bits()) {
            self.lowest = self.lowest.min(address.to_bits());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().expect("a subnet")
    }

    #[test]
    fn a_subnet_knows_its_ends() {
        let subnet = subnet("172.17.3.4/16");
        assert_eq!(subnet.to_string(), "172.17.0.0/16");
        assert_eq!(subnet.gateway().to_string(), "172.17.0.1");
        assert_eq!(subnet.broadcast().to_string(), "172.17.255.255");
        for text in ["", "1.2.3.4", "1.2.3.4/31", "1.2.3.4/x", "::/16"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        let a = subnet("172.17.0.0/16");
        assert!(a.overlaps(subnet("172.17.9.0/24")));
        assert!(subnet("172.0.0.0/8").overlaps(a));
        assert!(!a.overlaps(subnet("172.18.0.0/16")));
    }

    #[test]
    fn the_lowest_free_address_is_given() {
        let mut addresses = Addresses::new(subnet("10.0.0.0/29"), Ipv4Addr::new(10, 0, 0, 1));
        let take = |a: &mut Addresses| a.take().map(|address| address.octets()[3]);
        for want in [2, 3, 4] {
            assert_eq!(take(&mut addresses), Some(want));
        }
        addresses.free(Ipv4Addr::new(10, 0, 0, 2));
        addresses.mark(Ipv4Addr::new(10, 0, 0, 5));
        assert_eq!(take(&mut addresses), Some(2));
        assert_eq!(take(&mut addresses), Some(6));
        assert_eq!(take(&mut addresses), None);
        addresses.free(Ipv4Addr::new(10, 0, 0, 4));
        assert_eq!(take(&mut addresses), Some(4));
    }
}
