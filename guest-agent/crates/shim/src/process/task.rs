//! A process in the container, the first one or an exec, with its streams.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use engine::ports::containers::Exit;
use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, waitpid},
};

/// Input that waits for the process; while it is more, nothing is read from clients.
const MAX_INPUT_BYTES: usize = 64 << 10;

/// The shim's ends of a process's streams.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) input: Option<OwnedFd>,
    pub(super) output: Option<OwnedFd>,
    pub(super) errors: Option<OwnedFd>,
}

/// The process's ends, which it inherits.
#[derive(Debug)]
pub(super) struct Inherited([OwnedFd; 3]);

impl Inherited {
    pub(super) fn borrow(&self) -> [BorrowedFd<'_>; 3] {
        let [input, output, errors] = &self.0;
        [input.as_fd(), output.as_fd(), errors.as_fd()]
    }
}

/// Makes the pipes of a process without a terminal.
pub(super) fn pipes(with_input: bool) -> io::Result<(Ends, Inherited)> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let (their_input, our_input) = if with_input {
        let (read, write) = pipe()?;
        set_nonblocking(&write)?;
        (read, Some(write))
    } else {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        (
            rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?,
            None,
        )
    };
    let (output, their_output) = pipe()?;
    let (errors, their_errors) = pipe()?;
    set_nonblocking(&output)?;
    set_nonblocking(&errors)?;
    let ends = Ends {
        input: our_input,
        output: Some(output),
        errors: Some(errors),
    };
    Ok((ends, Inherited([their_input, their_output, their_errors])))
}

/// The ends of a terminal: one descriptor, used twice.
pub(super) fn terminal(outside: OwnedFd) -> io::Result<Ends> {
    set_nonblocking(&outside)?;
    Ok(Ends {
        input: Some(outside.try_clone()?),
        output: Some(outside),
        errors: None,
    })
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

/// A process and what is attached to it.
#[derive(Debug)]
pub(super) struct Task {
    /// The engine's name for an exec; none: the container's first process.
    pub(super) exec: Option<String>,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) terminal: bool,
    pub(super) ends: Ends,
    /// Input that clients gave and the process has not taken.
    pub(super) typed: VecDeque<u8>,
    /// No more input will come.
    pub(super) input_over: bool,
    /// The first client with input that leaves ends the input.
    pub(super) stdin_once: bool,
    pub(super) ended: Option<Exit>,
}

impl Task {
    /// Whether clients may give more input now.
    pub(super) fn takes_input(&self) -> bool {
        self.typed.len() < MAX_INPUT_BYTES
    }

    /// A client's input.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        // Nobody reads it any more: it is taken and dropped, so that the client does not hang.
        if self.ends.input.is_some() && !self.input_over {
            self.typed.extend(bytes);
        }
    }

    /// Hands typed input on. True: the descriptor is to be closed.
    pub(super) fn write_input(&mut self) -> bool {
        let Some(input) = &self.ends.input else {
            self.typed.clear();
            return false;
        };
        while !self.typed.is_empty() {
            let (first, _) = self.typed.as_slices();
            match rustix::io::write(input, first) {
                Ok(written) => drop(self.typed.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                // It has closed its input.
                Err(_) => {
                    self.typed.clear();
                    return !self.terminal;
                }
            }
        }
        self.input_over && !self.terminal
    }

    /// Reads output. `None`: nothing now; 0: its end.
    pub(super) fn read_output(&self, errors: bool, buffer: &mut [u8]) -> Option<usize> {
        let fd = if errors {
            &self.ends.errors
        } else {
            &self.ends.output
        };
        let fd = fd.as_ref()?;
        loop {
            match rustix::io::read(fd, &mut *buffer) {
                Ok(read) => return Some(read),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                // A terminal says so when its last other end is closed.
                Err(_) => return Some(0),
            }
        }
    }

    /// All output was read.
    pub(super) fn is_drained(&self) -> bool {
        self.ends.output.is_none() && self.ends.errors.is_none()
    }

    /// Takes the exit status. `None`: it runs.
    pub(super) fn reap(&mut self) -> Option<i32> {
        let pid = Pid::from_raw(self.pid)?;
        let (_, status) = waitpid(Some(pid), WaitOptions::NOHANG).ok().flatten()?;
        status
            .exit_status()
            .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
    }
}
