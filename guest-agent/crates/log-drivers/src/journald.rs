//! The journal's native protocol: fields in a datagram, or in a sealed memory file when they are too long for one.
//! Spec: systemd.io, Native Journal Protocol.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixDatagram,
    },
};

use engine::time::rfc3339;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr},
};

use crate::{Driver, message::Message};

const SOCKET: &str = "/run/systemd/journal/socket";
const PRIORITY_ERROR: &str = "3";
const PRIORITY_INFO: &str = "6";

/// A socket that sends to the journal.
pub(crate) struct Journald {
    socket: UnixDatagram,
    fields: BTreeMap<String, String>,
    ordinal: u64,
}

impl Journald {
    pub(crate) fn open(mut fields: BTreeMap<String, String>) -> Result<Self, String> {
        let off = |_| "journald is not enabled on this host".to_owned();
        UnixDatagram::unbound()
            .and_then(|socket| socket.connect(SOCKET))
            .map_err(off)?;
        fields.insert("CONTAINER_LOG_EPOCH".to_owned(), epoch());
        Ok(Self {
            socket: UnixDatagram::unbound().map_err(off)?,
            fields,
            ordinal: 0,
        })
    }

    fn entry(&self, message: &Message<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.text.len() + 1024);
        let priority = if message.stderr {
            PRIORITY_ERROR
        } else {
            PRIORITY_INFO
        };
        field(&mut out, "PRIORITY", priority.as_bytes());
        field(&mut out, "MESSAGE", message.text);
        for (name, value) in &self.fields {
            field(&mut out, name, value.as_bytes());
        }
        field(&mut out, "SYSLOG_TIMESTAMP", rfc3339(message.at).as_bytes());
        if let Some(partial) = message.partial {
            field(&mut out, "CONTAINER_PARTIAL_ID", partial.id.as_bytes());
            field(
                &mut out,
                "CONTAINER_PARTIAL_ORDINAL",
                partial.ordinal.to_string().as_bytes(),
            );
            field(
                &mut out,
                "CONTAINER_PARTIAL_LAST",
                partial.last.to_string().as_bytes(),
            );
            if !partial.last {
                field(&mut out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
        }
        field(
            &mut out,
            "CONTAINER_LOG_ORDINAL",
            self.ordinal.to_string().as_bytes(),
        );
        out
    }
}

impl Driver for Journald {
    fn log(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.ordinal += 1;
        let entry = self.entry(message);
        match self.socket.send_to(&entry, SOCKET) {
            Ok(_) => Ok(()),
            Err(error) if is_too_long(&error) => send_file(&self.socket, &entry),
            Err(error) => Err(error),
        }
    }
}

/// `NAME=value`, or name, length and value when the value has line ends.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn is_too_long(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error();
    errno == Some(Errno::MSGSIZE.raw_os_error()) || errno == Some(Errno::NOBUFS.raw_os_error())
}

fn send_file(socket: &UnixDatagram, entry: &[u8]) -> io::Result<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file: OwnedFd = memfd_create("journal-entry", flags)?;
    let mut file = std::fs::File::from(file);
    file.write_all(entry)?;
    fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    let descriptors = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let address = SocketAddrUnix::new(SOCKET)?;
    sendmsg_addr(
        socket,
        &address,
        &[IoSlice::new(&[])],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn epoch() -> String {
    let mut random = [0u8; 32];
    // It only tells one run from another.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_line_ends_carry_their_length() {
        let mut out = Vec::new();
        field(&mut out, "A", b"b=c");
        field(&mut out, "D", b"x\ny");
        assert_eq!(out, b"A=b=c\nD\n\x03\0\0\0\0\0\0\0x\ny\n");
    }
}
