//! A service that takes the output, reached through a child of the shim, so that the shim never waits for it.
//!
//! The child is a copy of the shim: it costs the memory it writes to. Messages go to it through a pipe. What the pipe does not take waits here:
//! then the container waits too, or in mode `non-blocking` output is dropped beyond a bound.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write},
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use engine::ports::logging;
use log_drivers::{entry, message::Message};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid},
};

use crate::sys;

/// Longest text of why a service cannot be had.
const MAX_REFUSAL_BYTES: u64 = 16 << 10;

/// The shim's end of a service.
#[derive(Debug)]
pub(super) struct Remote {
    /// None: it was closed.
    pipe: Option<OwnedFd>,
    /// Nothing more is sent.
    given_up: bool,
    child: Pid,
    waiting: VecDeque<u8>,
    encoded: Vec<u8>,
    /// Bytes that may wait before output is dropped; none: the container waits.
    buffer_bytes: Option<u64>,
}

impl Remote {
    /// Starts the child and waits until it is connected.
    ///
    /// # Errors
    /// It is not, in dockerd's words.
    pub(super) fn open(remote: &logging::Remote) -> io::Result<Self> {
        let (entries, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
        let (refusal, told) = pipe_with(PipeFlags::CLOEXEC)?;
        let child = match sys::fork()? {
            0 => {
                sys::keep_only(&[&entries, &told]);
                be_driver(remote, entries, told)
            }
            child => {
                Pid::from_raw(child).ok_or_else(|| io::Error::other("a process has a number"))?
            }
        };
        drop((entries, told));
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let opened = Self {
            pipe: Some(pipe),
            given_up: false,
            child,
            waiting: VecDeque::new(),
            encoded: Vec::new(),
            buffer_bytes: remote.buffer_bytes,
        };
        let mut answer = Vec::new();
        File::from(refusal)
            .take(MAX_REFUSAL_BYTES)
            .read_to_end(&mut answer)?;
        match answer.split_first() {
            Some((b'+', _)) => Ok(opened),
            Some((_, text)) => Err(io::Error::other(String::from_utf8_lossy(text).into_owned())),
            None => Err(io::Error::other("the log driver's process ended")),
        }
    }

    /// Hands a message to the child, or keeps it until the child takes it.
    pub(super) fn push(&mut self, message: &Message<'_>) {
        if self.given_up {
            return;
        }
        self.encoded.clear();
        entry::encode(&mut self.encoded, message);
        let waiting = self.waiting.len() as u64 + self.encoded.len() as u64;
        let over = self.buffer_bytes.is_some_and(|bound| waiting > bound);
        if over && !self.waiting.is_empty() {
            return;
        }
        self.waiting.extend(&self.encoded);
        self.flush();
    }

    /// Gives the child what it takes now.
    pub(super) fn flush(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        while !self.waiting.is_empty() {
            let (first, _) = self.waiting.as_slices();
            match rustix::io::write(pipe, first) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    tracing::error!(%error, "the log driver's process is gone");
                    self.abandon();
                    return;
                }
            }
        }
    }

    /// The pipe, until it is closed.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Something waits for the child.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The container has to wait.
    pub(super) fn blocks(&self) -> bool {
        self.buffer_bytes.is_none() && self.waits()
    }

    /// Sends nothing more.
    pub(super) fn abandon(&mut self) {
        self.given_up = true;
        self.waiting = VecDeque::new();
    }

    /// Gives the child all that waits and waits for its end, both at most until `deadline`; then it is killed.
    pub(super) fn close(&mut self, deadline: Instant) -> io::Result<()> {
        while self.waits()
            && let Some(pipe) = &self.pipe
        {
            let mut ready = [PollFd::new(pipe, PollFlags::OUT)];
            if poll_until(&mut ready, deadline)? == 0 {
                break;
            }
            self.flush();
        }
        self.abandon();
        self.pipe = None;
        let child = pidfd_open(self.child, PidfdFlags::empty())?;
        let mut ready = [PollFd::new(&child, PollFlags::IN)];
        if poll_until(&mut ready, deadline)? == 0 {
            tracing::warn!("the log service did not take all in time: logs may be truncated");
            kill_process(self.child, Signal::KILL)?;
        }
        loop {
            match waitpid(Some(self.child), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn poll_until(ready: &mut [PollFd<'_>], deadline: Instant) -> io::Result<usize> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left.max(Duration::from_millis(1))).ok();
        match poll(ready, left.as_ref()) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// The child's whole life.
fn be_driver(remote: &logging::Remote, entries: OwnedFd, told: OwnedFd) -> ! {
    // Only a name.
    let _ = rustix::thread::set_name(c"berth-log");
    let mut told = File::from(told);
    match log_drivers::open(remote, resolve) {
        Ok(mut driver) => {
            // The shim reads it.
            let _ = told.write_all(b"+");
            drop(told);
            if let Err(error) = log_drivers::serve(File::from(entries), &mut *driver) {
                tracing::error!(%error, "a log driver failed");
            }
        }
        Err(text) => {
            let _ = told.write_all(format!("-{text}").as_bytes());
        }
    }
    sys::exit_now(0)
}

/// As the engine looks names up: a static binary has no `getaddrinfo`.
fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(registry::resolve(host))
}
