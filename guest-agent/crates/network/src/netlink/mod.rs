//! Netlink: messages out, acknowledgements in. Linux: include/uapi/linux/netlink.h.

pub(crate) mod nft;
pub(crate) mod route;

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink,
        recv, send, socket_with,
    },
};

/// NLM_F_REQUEST.
pub(crate) const REQUEST: u16 = 1;
/// NLM_F_ACK.
pub(crate) const ACK: u16 = 4;
/// NLM_F_REPLACE.
pub(crate) const REPLACE: u16 = 0x100;
/// NLM_F_EXCL.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// NLM_F_CREATE.
pub(crate) const CREATE: u16 = 0x400;
/// NLM_F_ROOT | NLM_F_MATCH.
pub(crate) const DUMP: u16 = 0x300;

const HEADER_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLA_F_NESTED.
const NESTED: u16 = 0x8000;
/// More than the kernel puts into one datagram of a dump.
const RECEIVE_BYTES: usize = 64 * 1024;

/// A message that is being written.
#[derive(Debug, Clone)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// `flags` beyond [`REQUEST`]; the sequence number is set when it is sent.
    pub(crate) fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self(bytes)
    }

    /// The fixed part of the message's family.
    pub(crate) fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.pad();
        self
    }

    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("attributes are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad();
        self
    }

    /// A string with its final zero.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    pub(crate) fn nest(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut whole = inner(self);
        let length = u16::try_from(whole.0.len() - start).expect("attributes are short");
        whole.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        whole
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn flags(&self) -> u16 {
        u16::from_ne_bytes([self.0[6], self.0[7]])
    }

    fn seal(&mut self, sequence: u32) {
        let length = u32::try_from(self.0.len()).expect("messages are short");
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// An answer's kind and what follows its header.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

impl Answer {
    /// Attributes behind a fixed part; what is cut off is left out.
    pub(crate) fn attributes(&self, fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
        attributes(self.payload.get(fixed.next_multiple_of(4)..).unwrap_or(&[]))
    }
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest
            .get(length.next_multiple_of(4).min(rest.len())..)
            .unwrap_or(&[]);
        Some((kind, value))
    })
}

/// A socket to the kernel. It belongs to the network namespace it was opened in, whoever uses it.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// To rtnetlink.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// To nfnetlink.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    /// Messages about links, see [`Socket::wait`].
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn of_link_changes() -> io::Result<Self> {
        /// RTMGRP_LINK. Linux: include/uapi/linux/rtnetlink.h.
        const LINKS: u32 = 1;
        let socket = Self::open(None)?;
        bind(
            &socket.descriptor,
            &netlink::SocketAddrNetlink::new(0, LINKS),
        )?;
        Ok(socket)
    }

    /// Waits until something was said, and forgets it. `false`: nothing was.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn wait(&self, within: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(within).map_err(io::Error::other)?;
        let mut descriptors = [PollFd::new(&self.descriptor, PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Err(Errno::INTR) => return Ok(true),
            other => other?,
        };
        match self.receive() {
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => Ok(true),
            other => other.map(|_| true),
        }
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let descriptor = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        Ok(Self {
            descriptor,
            sequence: 0,
        })
    }

    /// Sends all messages in one piece and waits for an answer to each that asks for one ([`ACK`]). The first refusal is returned, with
    /// the message's place; rtnetlink has done all the others, nfnetlink none of a batch.
    ///
    /// # Errors
    /// The place of the refused message, and why.
    pub(crate) fn transact(
        &mut self,
        mut messages: Vec<Message>,
    ) -> Result<(), (usize, io::Error)> {
        let first = self.sequence.wrapping_add(1);
        let mut waiting = 0;
        let mut bytes = Vec::new();
        for message in &mut messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.seal(self.sequence);
            waiting += usize::from(message.flags() & ACK != 0);
            bytes.extend_from_slice(&message.0);
        }
        send(&self.descriptor, &bytes, SendFlags::empty()).map_err(|e| (0, e.into()))?;
        let mut refusal = None;
        while waiting > 0 {
            for (sequence, answer) in self.receive().map_err(|e| (0, e))? {
                let place = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                let Some(message) = messages.get(place) else {
                    continue; // an answer to what was given up
                };
                if answer.kind != NLMSG_ERROR {
                    continue;
                }
                if message.flags() & ACK != 0 {
                    waiting = waiting.saturating_sub(1);
                }
                let code = error_code(&answer);
                if code != 0 && refusal.is_none() {
                    refusal = Some((place, io::Error::from_raw_os_error(code)));
                }
                if code != 0 && message.flags() & ACK == 0 {
                    waiting = 0; // the batch itself was refused
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// [`Socket::transact`] of one message.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn ask(&mut self, message: Message) -> io::Result<()> {
        self.transact(vec![message]).map_err(|(_, error)| error)
    }

    /// Sends a request that is answered by messages: one, or with [`DUMP`] all.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn get(&mut self, mut message: Message) -> io::Result<Vec<Answer>> {
        self.sequence = self.sequence.wrapping_add(1);
        message.seal(self.sequence);
        let dump = message.flags() & DUMP == DUMP;
        send(&self.descriptor, &message.0, SendFlags::empty())?;
        let mut answers = Vec::new();
        loop {
            for (sequence, answer) in self.receive()? {
                if sequence != self.sequence {
                    continue;
                }
                match answer.kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => match error_code(&answer) {
                        0 => return Ok(answers),
                        code => return Err(io::Error::from_raw_os_error(code)),
                    },
                    _ => answers.push(answer),
                }
            }
            if !dump && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<(u32, Answer)>> {
        let mut buffer = vec![0; RECEIVE_BYTES];
        let (length, _) = loop {
            match recv(&self.descriptor, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        let mut rest = buffer.get(..length).unwrap_or(&[]);
        let mut answers = Vec::new();
        while let Some((sequence, answer, length)) = parse(rest) {
            answers.push((sequence, answer));
            rest = rest
                .get(length.next_multiple_of(4).min(rest.len())..)
                .unwrap_or(&[]);
        }
        Ok(answers)
    }
}

fn parse(bytes: &[u8]) -> Option<(u32, Answer, usize)> {
    let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(number(0)?).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let payload = bytes.get(HEADER_BYTES..length)?.to_vec();
    Some((number(8)?, Answer { kind, payload }, length))
}

fn error_code(answer: &Answer) -> i32 {
    let bytes = answer.payload.first_chunk().copied().unwrap_or([0; 4]);
    i32::from_ne_bytes(bytes).saturating_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_carry_their_whole_length() {
        let message = Message::new(1, 0).nest(2, |inner| inner.text(3, "ab").number(4, 5));
        let bytes = &message.0[HEADER_BYTES..];
        assert_eq!(bytes.len(), 4 + 8 + 8);
        let (kind, inner) = attributes(bytes).next().expect("one attribute");
        assert_eq!((kind, inner.len()), (2, 16));
        let inner: Vec<_> = attributes(inner).collect();
        assert_eq!(inner, [(3, &b"ab\0"[..]), (4, &5_u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn cut_attributes_end_the_list() {
        assert_eq!(attributes(&[8, 0, 1]).count(), 0);
        assert_eq!(attributes(&[8, 0, 1, 0, 1]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
    }
}
