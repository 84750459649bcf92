//! The host's end of one connection: bytes that wait to be written, and what epoll watches.

use std::{
    collections::VecDeque,
    io::{self, Write},
    net::Shutdown,
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// A host end.
pub(super) struct End {
    /// Names it in epoll events.
    pub(super) id: u64,
    pub(super) stream: UnixStream,
    waiting: VecDeque<u8>,
    /// The guest sends no more: the writing side is shut down once nothing waits.
    guest_ended: bool,
    shut: bool,
    watched: EventSet,
}

impl End {
    pub(super) fn new(id: u64, stream: UnixStream) -> Self {
        Self {
            id,
            stream,
            waiting: VecDeque::new(),
            guest_ended: false,
            shut: false,
            watched: EventSet::empty(),
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn take_in(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    pub(super) fn guest_ended(&mut self) {
        self.guest_ended = true;
    }

    /// Writes what waits, as far as it goes; how much that was.
    pub(super) fn flush(&mut self) -> io::Result<usize> {
        let mut total = 0;
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_slices();
            match self.stream.write(front) {
                Ok(written) => {
                    self.waiting.drain(..written);
                    total += written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(total),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.guest_ended && !self.shut {
            self.shut = true;
            // The other side may be gone already.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        Ok(total)
    }

    /// Watches for what is of use now. Nothing is DEL, not an empty mask: epoll reports HUP whatever the mask is, and would spin.
    pub(super) fn watch(&mut self, epoll: &Epoll, readable: bool) -> io::Result<()> {
        let mut wanted = EventSet::empty();
        if readable {
            wanted |= EventSet::IN;
        }
        if self.has_waiting() {
            wanted |= EventSet::OUT;
        }
        if wanted == self.watched {
            return Ok(());
        }
        let operation = if wanted.is_empty() {
            ControlOperation::Delete
        } else if self.watched.is_empty() {
            ControlOperation::Add
        } else {
            ControlOperation::Modify
        };
        self.watched = wanted;
        epoll.ctl(
            operation,
            self.stream.as_raw_fd(),
            EpollEvent::new(wanted, self.id),
        )
    }
}
