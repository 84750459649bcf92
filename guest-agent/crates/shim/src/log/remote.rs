//! A service that takes the output, reached through a child of the shim, so that the shim never waits for it.
//!
//! The child is a copy of the shim: it costs the memory it writes to. Messages go to it through a pipe. What the pipe does not take waits here:
//! then the container waits too, or in mode `non-blocking` output is dropped beyond a bound. A child that ends too early is followed by another
//! one; what it had taken and not yet sent is lost to the service.

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

/// A child that ends is followed by another one at most so often; what is said in between is dropped.
const RENEW_AFTER: Duration = Duration::from_secs(1);

/// The shim's end of a service.
#[derive(Debug)]
pub(super) struct Remote {
    service: logging::Remote,
    /// None: there is no child.
    pipe: Option<OwnedFd>,
    /// The child is gone, and the pipe with it.
    broken: bool,
    /// Nothing more is sent.
    given_up: bool,
    child: Pid,
    begun: Instant,
    /// Whole messages; of the first one so many bytes are sent.
    waiting: VecDeque<Vec<u8>>,
    sent: usize,
    waiting_bytes: u64,
}

impl Remote {
    /// Starts the child and waits until it is connected.
    ///
    /// # Errors
    /// It is not, in dockerd's words.
    pub(super) fn open(service: &logging::Remote) -> io::Result<Self> {
        let Child { pid, pipe, refusal } = begin(service)?;
        let opened = Self {
            service: service.clone(),
            pipe: Some(pipe),
            broken: false,
            given_up: false,
            child: pid,
            begun: Instant::now(),
            waiting: VecDeque::new(),
            sent: 0,
            waiting_bytes: 0,
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
        if self.pipe.is_none() {
            self.renew();
        }
        let mut encoded = Vec::new();
        entry::encode(&mut encoded, message);
        let waiting = self.waiting_bytes + encoded.len() as u64;
        let over = self
            .service
            .buffer_bytes
            .is_some_and(|bound| waiting > bound);
        if self.pipe.is_none() || over && !self.waiting.is_empty() {
            return;
        }
        self.waiting_bytes = waiting;
        self.waiting.push_back(encoded);
        self.flush();
    }

    /// Gives the child what it takes now.
    pub(super) fn flush(&mut self) {
        let Some(pipe) = self.pipe.as_ref().filter(|_| !self.broken) else {
            return;
        };
        while let Some(first) = self.waiting.front() {
            match rustix::io::write(pipe, &first[self.sent..]) {
                Ok(written) if self.sent + written < first.len() => self.sent += written,
                Ok(_) => {
                    self.waiting_bytes -= first.len() as u64;
                    self.sent = 0;
                    self.waiting.pop_front();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    tracing::error!(%error, "the log driver's process is gone");
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// The child is gone: [`Remote::renew`] once the pipe is not waited for any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Another child in the place of one that ended, which gets what waits; too early for one, what waits is dropped.
    pub(super) fn renew(&mut self) {
        self.broken = false;
        if self.pipe.take().is_some() {
            // It may have closed its pipe and live.
            let _ = kill_process(self.child, Signal::KILL);
            let _ = reap(self.child);
        }
        let begun = if self.begun.elapsed() < RENEW_AFTER {
            None
        } else {
            self.begun = Instant::now();
            // Whether it is connected is not waited for: it ends when it is not.
            begin(&self.service)
                .inspect_err(|error| tracing::error!(%error, "start a log driver's process"))
                .ok()
        };
        match begun {
            Some(child) => {
                self.child = child.pid;
                self.pipe = Some(child.pipe);
                self.sent = 0;
                self.flush();
            }
            None => self.forget_waiting(),
        }
    }

    fn forget_waiting(&mut self) {
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
        self.sent = 0;
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
        self.service.buffer_bytes.is_none() && self.waits()
    }

    /// Sends nothing more.
    pub(super) fn abandon(&mut self) {
        self.given_up = true;
        self.forget_waiting();
    }

    /// Gives the child all that waits and waits for its end, both at most until `deadline`; then it is killed.
    pub(super) fn close(&mut self, deadline: Instant) -> io::Result<()> {
        if self.broken {
            self.renew();
        }
        while self.waits()
            && !self.broken
            && let Some(pipe) = &self.pipe
        {
            let mut ready = [PollFd::new(pipe, PollFlags::OUT)];
            if poll_until(&mut ready, deadline)? == 0 {
                break;
            }
            self.flush();
        }
        self.abandon();
        if self.pipe.take().is_none() {
            return Ok(());
        }
        let child = pidfd_open(self.child, PidfdFlags::empty())?;
        let mut ready = [PollFd::new(&child, PollFlags::IN)];
        if poll_until(&mut ready, deadline)? == 0 {
            tracing::warn!("the log service did not take all in time: logs may be truncated");
            kill_process(self.child, Signal::KILL)?;
        }
        reap(self.child)
    }
}

/// A child at its beginning.
struct Child {
    pid: Pid,
    pipe: OwnedFd,
    /// It says there once whether it is connected.
    refusal: OwnedFd,
}

fn begin(service: &logging::Remote) -> io::Result<Child> {
    let (entries, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
    let (refusal, told) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&pipe, true)?;
    let pid = match sys::fork()? {
        0 => {
            sys::keep_only(&[&entries, &told]);
            be_driver(service, entries, told)
        }
        child => Pid::from_raw(child).ok_or_else(|| io::Error::other("a process has a number"))?,
    };
    Ok(Child { pid, pipe, refusal })
}

fn reap(child: Pid) -> io::Result<()> {
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
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
