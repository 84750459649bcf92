//! One frame of ARP (RFC 826, RFC 5227): an address has new hardware.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
};

use crate::{netlink::route::Mac, sys};

/// Tells everybody behind a link.
///
/// # Errors
/// What the kernel says.
pub(crate) fn announce(socket: &OwnedFd, link: u32, address: Ipv4Addr, mac: Mac) -> io::Result<()> {
    sys::send_frame(socket.as_fd(), link, &announcement(address, mac))
}

fn announcement(address: Ipv4Addr, mac: Mac) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[0..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    // Ethernet, IPv4, their lengths, a request.
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&address.octets());
    frame[38..42].copy_from_slice(&address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_asks_for_the_sender() {
        let frame = announcement(Ipv4Addr::new(172, 17, 0, 2), [2, 0, 0, 0, 0, 1]);
        assert_eq!(frame[28..32], frame[38..42]);
        assert_eq!(frame[6..12], frame[22..28]);
    }
}
