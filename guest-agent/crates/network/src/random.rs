//! Chance.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::netlink::route::Mac;

fn fill<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // Fails only before the first boot's entropy, where it waits, or by a signal.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

/// Twice as many hex digits as bytes.
pub(crate) fn hex<const N: usize>() -> String {
    fill::<N>().iter().map(|b| format!("{b:02x}")).collect()
}

/// A unicast address that no maker has.
pub(crate) fn mac() -> Mac {
    let mut mac = fill::<6>();
    mac[0] = mac[0] & !1 | 2;
    mac
}

#[cfg(test)]
mod tests {
    #[test]
    fn hardware_addresses_are_local_and_unicast() {
        for _ in 0..64 {
            assert_eq!(super::mac()[0] & 3, 2);
        }
    }
}
