//! epoll, with the interest in each descriptor kept so that it is only told when it changes.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
};

use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
};

/// Events taken at a time.
const BATCH: usize = 32;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Listener,
    /// A client's connection.
    Connection(u32),
    /// A process has ended.
    Ended(u32),
    /// Its standard output (or terminal), or its standard error.
    Output(u32, bool),
    /// Its standard input takes more.
    Input(u32),
    /// The log driver takes more.
    Log,
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, number) = match self {
            Self::Listener => (0, 0),
            Self::Connection(number) => (1, number),
            Self::Ended(number) => (2, number),
            Self::Output(number, false) => (3, number),
            Self::Output(number, true) => (4, number),
            Self::Input(number) => (5, number),
            Self::Log => (6, 0),
        };
        u64::from(number) << 8 | kind
    }

    fn unpack(packed: u64) -> Option<Self> {
        let number = u32::try_from(packed >> 8).ok()?;
        Some(match packed & 0xff {
            0 => Self::Listener,
            1 => Self::Connection(number),
            2 => Self::Ended(number),
            3 => Self::Output(number, false),
            4 => Self::Output(number, true),
            5 => Self::Input(number),
            6 => Self::Log,
            _ => return None,
        })
    }
}

#[derive(Debug)]
pub(super) struct Poll {
    epoll: OwnedFd,
    interests: HashMap<RawFd, (u64, u32)>,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            interests: HashMap::new(),
        })
    }

    /// Says what is waited for at a descriptor; empty: nothing, not even its end.
    pub(super) fn set(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        flags: EventFlags,
    ) -> io::Result<()> {
        let wanted = (token.pack(), flags.bits());
        let data = EventData::new_u64(wanted.0);
        match (self.interests.get(&fd.as_raw_fd()), flags.is_empty()) {
            (Some(known), false) if *known == wanted => return Ok(()),
            (Some(_), false) => epoll::modify(&self.epoll, fd, data, flags)?,
            (None, false) => epoll::add(&self.epoll, fd, data, flags)?,
            (Some(_), true) => {
                self.interests.remove(&fd.as_raw_fd());
                epoll::delete(&self.epoll, fd)?;
                return Ok(());
            }
            (None, true) => return Ok(()),
        }
        self.interests.insert(fd.as_raw_fd(), wanted);
        Ok(())
    }

    /// Forgets a descriptor that is about to be closed.
    pub(super) fn forget(&mut self, fd: BorrowedFd<'_>) {
        if self.interests.remove(&fd.as_raw_fd()).is_some() {
            // It may share its open file with another process, so closing alone would not do.
            let _ = epoll::delete(&self.epoll, fd);
        }
    }

    /// Waits; empty after `timeout`.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Token>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        loop {
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let tokens = events.iter().map(|event| event.data.u64());
        Ok(tokens.filter_map(Token::unpack).collect())
    }
}
