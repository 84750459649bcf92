//! A connection of the engine's: requests, events, or the streams of a process.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
};

use engine::ports::containers::AttachRequest;

use super::queue::Queue;

/// Requests that have not been read whole; more is an error.
const MAX_PENDING_BYTES: usize = crate::protocol::MAX_MESSAGE_BYTES + 4;

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Role {
    /// Requests come in.
    Control(Vec<u8>),
    /// Events go out.
    Events,
    /// A client of a process.
    Attached {
        task: u32,
        streams: AttachRequest,
        /// Frames of 8-byte headers go out, not plain bytes.
        framed: bool,
    },
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) role: Role,
    pub(super) queue: Queue,
    /// The other end sends no more.
    pub(super) input_over: bool,
    /// Ends once its queue is empty.
    pub(super) closing: bool,
}

/// What reading brought.
pub(super) enum Input {
    Bytes(usize),
    Nothing,
    End,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, role: Role, queue: Queue) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            role,
            queue,
            input_over: false,
            closing: false,
        })
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Input> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Input::End),
                Ok(read) => return Ok(Input::Bytes(read)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Input::Nothing);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Keeps what came in for a control connection.
    pub(super) fn gather(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Role::Control(pending) = &mut self.role {
            if pending.len() + bytes.len() > MAX_PENDING_BYTES {
                return Err(io::Error::other("a request is too long"));
            }
            pending.extend_from_slice(bytes);
        }
        Ok(())
    }
}
