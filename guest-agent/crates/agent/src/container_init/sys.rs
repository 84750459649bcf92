//! The system calls of process 1. Linux: signal(7), sigwaitinfo(2), waitpid(2).
#![expect(
    unsafe_code,
    reason = "signal sets have no safe interface that keeps real-time signals"
)]

use std::{
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitStatus},
};

/// A child ended.
pub(super) const CHILD: i32 = libc::SIGCHLD;
/// Faults of this process itself: never blocked, never handed on.
const FAULTS: [i32; 6] = [
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGABRT,
    libc::SIGTRAP,
];

/// Every signal, waiting in a queue.
pub(super) struct Signals {
    all: libc::sigset_t,
    before: libc::sigset_t,
}

impl Signals {
    /// From now on signals wait until [`Signals::next`].
    pub(super) fn block() -> io::Result<Self> {
        // SAFETY: signal sets are plain data; each is filled in before it is read.
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: both point at live sets.
        unsafe {
            libc::sigfillset(&raw mut all);
            for fault in FAULTS {
                libc::sigdelset(&raw mut all, fault);
            }
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The terminal may stop a background process that writes or takes it over; this one must not.
            libc::signal(libc::SIGTTIN, libc::SIG_IGN);
            libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        }
        Ok(Self { all, before })
    }

    /// The program gets the signals as they were, and the terminal, if there is one, as a group of its own.
    pub(super) fn give_back(&self, command: &mut Command) {
        let before = self.before;
        // SAFETY: only async-signal-safe calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                libc::setpgid(0, 0);
                // No terminal: nothing to take over.
                libc::tcsetpgrp(0, libc::getpid());
                libc::signal(libc::SIGTTIN, libc::SIG_DFL);
                libc::signal(libc::SIGTTOU, libc::SIG_DFL);
                if libc::sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut())
                    != 0
                {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
    }

    /// The next signal.
    pub(super) fn next(&self) -> io::Result<i32> {
        loop {
            // SAFETY: the set is live; what is known of the sender is not asked for.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.all, std::ptr::null_mut()) };
            if signal > 0 {
                return Ok(signal);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// Sends a signal; a process that has ended is fine.
pub(super) fn send(pid: i32, signal: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, signal) };
}

/// Reaps all that ended; the program's status when it is among them.
pub(super) fn reap(program: i32) -> Option<ExitStatus> {
    let mut ended = None;
    loop {
        let mut status = 0;
        // SAFETY: the status is live.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return ended;
        }
        if pid == program {
            ended = Some(ExitStatus::from_raw(status));
        }
    }
}
