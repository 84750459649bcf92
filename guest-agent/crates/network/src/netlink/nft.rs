//! Elements of our maps in nftables. Linux: include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h.
//!
//! A key or value that is put together has each part padded to four bytes.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use engine::ports::host::Protocol;

use super::{ACK, CREATE, Message, Socket};

const NFT_MSG_GETTABLE: u16 = 0x0a01;
const NFT_MSG_NEWSETELEM: u16 = 0x0a0c;
const NFT_MSG_DELSETELEM: u16 = 0x0a0e;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
/// NFNL_SUBSYS_NFTABLES in network order, behind family and version.
const BATCH: [u8; 4] = [0, 0, 0, 10];
/// NFPROTO_INET.
const INET: [u8; 4] = [1, 0, 0, 0];

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;

/// Our table.
pub(crate) const TABLE: &str = "berth";

/// A published port as the rules know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) protocol: Protocol,
    /// Unspecified: every address of the machine.
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) target: SocketAddrV4,
}

impl Element {
    fn map(&self) -> &'static str {
        if self.address.is_unspecified() {
            "publish4"
        } else {
            "publish4at"
        }
    }

    fn key(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12);
        if !self.address.is_unspecified() {
            bytes.extend_from_slice(&self.address.octets());
        }
        bytes.extend_from_slice(&[number(self.protocol), 0, 0, 0]);
        bytes.extend_from_slice(&self.port.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes
    }

    fn value(&self) -> Vec<u8> {
        let mut bytes = self.target.ip().octets().to_vec();
        bytes.extend_from_slice(&self.target.port().to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes
    }

    fn message(&self, kind: u16, flags: u16, with_value: bool) -> Message {
        Message::new(kind, flags | ACK)
            .fixed(&INET)
            .text(NFTA_SET_ELEM_LIST_TABLE, TABLE)
            .text(NFTA_SET_ELEM_LIST_SET, self.map())
            .nest(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                list.nest(NFTA_LIST_ELEM, |element| {
                    let element = element.nest(NFTA_SET_ELEM_KEY, |key| {
                        key.attribute(NFTA_DATA_VALUE, &self.key())
                    });
                    if !with_value {
                        return element;
                    }
                    element.nest(NFTA_SET_ELEM_DATA, |data| {
                        data.attribute(NFTA_DATA_VALUE, &self.value())
                    })
                })
            })
    }
}

/// Linux: include/uapi/linux/in.h.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

impl Socket {
    /// Is our table there?
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn has_table(&mut self) -> io::Result<bool> {
        let request = Message::new(NFT_MSG_GETTABLE, 0)
            .fixed(&INET)
            .text(NFTA_TABLE_NAME, TABLE);
        match self.get(request) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds all or none.
    ///
    /// # Errors
    /// `EEXIST` when a key is there with another value.
    pub(crate) fn add_elements(&mut self, elements: &[Element]) -> io::Result<()> {
        self.batch(
            elements
                .iter()
                .map(|e| e.message(NFT_MSG_NEWSETELEM, CREATE, true)),
        )
    }

    /// Removes an element; not there is fine.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn delete_element(&mut self, element: &Element) -> io::Result<()> {
        match self.batch(std::iter::once(element.message(
            NFT_MSG_DELSETELEM,
            0,
            false,
        ))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn batch(&mut self, elements: impl Iterator<Item = Message>) -> io::Result<()> {
        let mut messages = vec![Message::new(NFNL_MSG_BATCH_BEGIN, 0).fixed(&BATCH)];
        messages.extend(elements);
        if messages.len() == 1 {
            return Ok(());
        }
        messages.push(Message::new(NFNL_MSG_BATCH_END, 0).fixed(&BATCH));
        self.transact(messages).map_err(|(_, error)| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_padded_part_by_part() {
        let mut element = Element {
            protocol: Protocol::Udp,
            address: Ipv4Addr::UNSPECIFIED,
            port: 53,
            target: "172.17.0.3:5353".parse().expect("an address"),
        };
        assert_eq!(element.key(), [0x11, 0, 0, 0, 0, 0x35, 0, 0]);
        assert_eq!(element.value(), [0xac, 0x11, 0, 3, 0x14, 0xe9, 0, 0]);
        element.address = Ipv4Addr::LOCALHOST;
        assert_eq!(element.key()[..4], [127, 0, 0, 1]);
        assert_eq!(element.map(), "publish4at");
    }
}
