//! Signals, which no safe crate waits for or hands on by number.
#![expect(unsafe_code, reason = "raw system calls, one a function")]

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
};

use rustix::process::Pid;

/// Signals of a fault of this process's own; blocked, they would end it or never be seen. With them those of a terminal's background, which are
/// ignored instead.
const NOT_BLOCKED: [libc::c_int; 9] = [
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Signals that are blocked, and waited for.
pub(super) struct Signals(libc::sigset_t);

/// Blocks all that can be handed on.
pub(super) fn block_signals() -> io::Result<Signals> {
    // SAFETY: the set is filled before it is read; dispositions and mask are this process's own, and it has one thread.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        for signal in NOT_BLOCKED {
            libc::sigdelset(&raw mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        // A terminal must not stop this process, which gives its place in the foreground away.
        libc::signal(libc::SIGTTIN, libc::SIG_IGN);
        libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        // Ignored by whoever started us, it would take the children's codes away.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        Ok(Signals(set))
    }
}

impl Signals {
    /// Waits for the next one.
    pub(super) fn next(&self) -> libc::c_int {
        loop {
            // SAFETY: the set lives; no information is asked for.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.0, std::ptr::null_mut()) };
            // Stopping and going on interrupts the call.
            if signal > 0 {
                return signal;
            }
        }
    }
}

/// Sends a signal by its number.
pub(super) fn send(process: Pid, signal: libc::c_int) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(process.as_raw_pid(), signal) };
}

/// Starts a program in a process group of its own, which is the terminal's foreground if there is a terminal. No signal is blocked in it.
pub(super) fn spawn_in_foreground(command: &mut Command) -> io::Result<Child> {
    let before = || {
        rustix::process::setpgid(None, None)?;
        // Without a terminal there is nothing to take; SIGTTOU is still ignored here.
        let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
        // SAFETY: async-signal-safe; changes this process's own dispositions and mask.
        unsafe {
            libc::signal(libc::SIGTTIN, libc::SIG_DFL);
            libc::signal(libc::SIGTTOU, libc::SIG_DFL);
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only.
    unsafe { command.pre_exec(before) }.spawn()
}
