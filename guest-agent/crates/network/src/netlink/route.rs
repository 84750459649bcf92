//! Links, addresses, routes and neighbours. Linux: include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour}.h.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{ACK, Answer, CREATE, DUMP, EXCLUSIVE, Message, REPLACE, Socket};
use crate::subnet::Subnet;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;
/// RFC 2863's `up`, IF_OPER_UP.
const OPERATIONAL: u8 = 6;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_STALE: u16 = 4;

const AF_INET: u8 = 2;
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
const ROUTE_BYTES: usize = 12;

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// What is known of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) operational: bool,
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_BYTES] {
    let mut bytes = [0; LINK_BYTES];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// Makes a bridge that is up.
pub(crate) fn new_bridge(name: &str, mac: Mac) -> Message {
    Message::new(RTM_NEWLINK, ACK | CREATE | EXCLUSIVE)
        .fixed(&link_header(0, IFF_UP, IFF_UP))
        .text(IFLA_IFNAME, name)
        .attribute(IFLA_ADDRESS, &mac)
        .nest(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, b"bridge")
        })
}

/// A pair of links: ours, up and in a bridge, and `eth0` in another namespace, still down.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    pub(crate) peer_mac: Mac,
    pub(crate) peer_namespace: BorrowedFd<'a>,
}

/// Makes a [`Pair`].
pub(crate) fn new_pair(pair: &Pair<'_>) -> Message {
    Message::new(RTM_NEWLINK, ACK | CREATE | EXCLUSIVE)
        .fixed(&link_header(0, IFF_UP, IFF_UP))
        .text(IFLA_IFNAME, pair.name)
        .number(IFLA_MTU, pair.mtu)
        .number(IFLA_MASTER, pair.bridge)
        .nest(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, b"veth")
                .nest(IFLA_INFO_DATA, |data| {
                    data.nest(VETH_INFO_PEER, |peer| {
                        peer.fixed(&link_header(0, 0, 0))
                            .text(IFLA_IFNAME, "eth0")
                            .number(IFLA_MTU, pair.mtu)
                            .attribute(IFLA_ADDRESS, &pair.peer_mac)
                            .attribute(
                                IFLA_NET_NS_FD,
                                &pair.peer_namespace.as_raw_fd().to_ne_bytes(),
                            )
                    })
                })
        })
}

/// Sets a link up.
pub(crate) fn set_up(index: u32) -> Message {
    Message::new(RTM_NEWLINK, ACK).fixed(&link_header(index, IFF_UP, IFF_UP))
}

/// Changes a link's hardware address.
pub(crate) fn set_mac(index: u32, mac: Mac) -> Message {
    Message::new(RTM_NEWLINK, ACK)
        .fixed(&link_header(index, 0, 0))
        .attribute(IFLA_ADDRESS, &mac)
}

/// Removes a link, and with it its peer.
pub(crate) fn delete_link(name: &str) -> Message {
    Message::new(RTM_DELLINK, ACK)
        .fixed(&link_header(0, 0, 0))
        .text(IFLA_IFNAME, name)
}

/// Gives a link an address; the route to its subnet comes along.
pub(crate) fn new_address(link: u32, address: Ipv4Addr, subnet: Subnet) -> Message {
    let mut header = [0; ADDRESS_BYTES];
    header[0] = AF_INET;
    header[1] = subnet.prefix();
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    Message::new(RTM_NEWADDR, ACK | CREATE | REPLACE)
        .fixed(&header)
        .attribute(IFA_LOCAL, &address.octets())
        .attribute(IFA_ADDRESS, &address.octets())
        .attribute(IFA_BROADCAST, &subnet.broadcast().octets())
}

/// The default route.
pub(crate) fn new_default_route(link: u32, gateway: Ipv4Addr) -> Message {
    let header = [
        AF_INET,
        0,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_BOOT,
        0,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    Message::new(RTM_NEWROUTE, ACK | CREATE | EXCLUSIVE)
        .fixed(&header)
        .attribute(RTA_GATEWAY, &gateway.octets())
        .number(RTA_OIF, link)
}

/// Corrects what is known of an address's hardware, if anything is; `ENOENT` otherwise.
pub(crate) fn correct_neighbour(link: u32, address: Ipv4Addr, mac: Mac) -> Message {
    let mut header = [0; 12];
    header[0] = AF_INET;
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..10].copy_from_slice(&NUD_STALE.to_ne_bytes());
    Message::new(RTM_NEWNEIGH, ACK | REPLACE)
        .fixed(&header)
        .attribute(NDA_DST, &address.octets())
        .attribute(NDA_LLADDR, &mac)
}

impl Socket {
    /// A link by its name.
    ///
    /// # Errors
    /// `ENODEV` when there is none.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<Link> {
        let request = Message::new(RTM_GETLINK, 0)
            .fixed(&link_header(0, 0, 0))
            .text(IFLA_IFNAME, name);
        self.get(request)?
            .first()
            .and_then(parse_link)
            .ok_or_else(|| io::Error::other("the kernel described no link"))
    }

    /// The first IPv4 address of a link with its subnet.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn address(&mut self, link: u32) -> io::Result<Option<(Ipv4Addr, Subnet)>> {
        let mut header = [0; ADDRESS_BYTES];
        header[0] = AF_INET;
        let answers = self.get(Message::new(RTM_GETADDR, DUMP).fixed(&header))?;
        Ok(answers.iter().find_map(|answer| {
            let index = u32_at(&answer.payload, 4)?;
            let prefix = *answer.payload.get(1)?;
            let (_, value) = answer
                .attributes(ADDRESS_BYTES)
                .find(|(kind, _)| *kind == IFA_LOCAL)?;
            let address = ipv4(value)?;
            (index == link).then_some((address, Subnet::around(address, prefix)?))
        }))
    }

    /// What the machine has routes to, but for the default and those through `except`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn routed(&mut self, except: Option<u32>) -> io::Result<Vec<Subnet>> {
        let mut header = [0; ROUTE_BYTES];
        header[0] = AF_INET;
        let answers = self.get(Message::new(RTM_GETROUTE, DUMP).fixed(&header))?;
        let routed = |answer: &Answer| {
            let prefix = *answer.payload.get(1)?;
            let mut destination = None;
            let mut link = None;
            for (kind, value) in answer.attributes(ROUTE_BYTES) {
                match kind {
                    RTA_DST => destination = ipv4(value),
                    RTA_OIF => link = u32_at(value, 0),
                    _ => {}
                }
            }
            (prefix > 0 && (except.is_none() || link != except))
                .then(|| Subnet::around(destination?, prefix))?
        };
        Ok(answers.iter().filter_map(routed).collect())
    }
}

fn parse_link(answer: &Answer) -> Option<Link> {
    Some(Link {
        index: u32_at(&answer.payload, 4)?,
        operational: answer
            .attributes(LINK_BYTES)
            .any(|(kind, value)| kind == IFLA_OPERSTATE && value == [OPERATIONAL]),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}
