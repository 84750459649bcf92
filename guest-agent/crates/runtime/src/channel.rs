//! Parent and child of a container while it is made: packets over a socket pair that exec closes.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Longest message: an error text.
const MAX_BYTES: usize = 4096;

/// What is said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Child: all is set up, the program waits.
    Ready,
    /// Parent: run it.
    Go,
    /// Child: it cannot, and why.
    Failed(String),
    /// Helper of an exec: the process, by its number.
    Child(i32),
}

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Two ends, both closed on exec.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(a), Self(b)))
    }

    /// Sends a message, with a descriptor if there is one.
    pub(crate) fn send(
        &self,
        message: &Message,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let bytes = match message {
            Message::Ready => b"R".to_vec(),
            Message::Go => b"G".to_vec(),
            Message::Child(pid) => [b"C".as_slice(), &pid.to_ne_bytes()].concat(),
            Message::Failed(text) => {
                let mut end = text.len().min(MAX_BYTES - 1);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                [b"E", &text.as_bytes()[..end]].concat()
            }
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.map(|one| [one]);
        if let Some(descriptors) = &descriptors {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        sendmsg(
            &self.0,
            &[IoSlice::new(&bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// The next message; `None`: the other end is closed.
    pub(crate) fn receive(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        let mut bytes = [0; MAX_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(received) => break received.bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let message = match bytes[..received].split_first() {
            None => return Ok(None),
            Some((b'R', _)) => Message::Ready,
            Some((b'G', _)) => Message::Go,
            Some((b'E', text)) => Message::Failed(String::from_utf8_lossy(text).into_owned()),
            Some((b'C', number)) => match number.try_into() {
                Ok(number) => Message::Child(i32::from_ne_bytes(number)),
                Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            },
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Some((message, descriptor)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive() {
        let (a, b) = Channel::pair().expect("pair");
        let file = std::fs::File::open("/dev/null").expect("there");
        a.send(&Message::Ready, Some(file.as_fd())).expect("sent");
        let (message, descriptor) = b.receive().expect("received").expect("open");
        assert_eq!(message, Message::Ready);
        assert!(descriptor.is_some());
        drop(a);
        assert!(b.receive().expect("ended").is_none());
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let (a, b) = Channel::pair().expect("pair");
        a.send(&Message::Failed("ä".repeat(4000)), None)
            .expect("sent");
        match b.receive().expect("received").expect("open").0 {
            Message::Failed(text) => {
                assert!(text.len() < MAX_BYTES && text.chars().all(|c| c == 'ä'))
            }
            other => panic!("{other:?}"),
        }
    }
}
