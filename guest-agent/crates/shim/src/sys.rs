//! System calls that no safe crate wraps.
#![expect(unsafe_code, reason = "raw system calls, one a function")]

use std::{io, os::fd::OwnedFd};

use tokio::io::unix::AsyncFd;

/// Makes a copy of this process. True in the copy.
///
/// Only for a process with one thread: another thread's locks would stay locked in the copy.
pub(crate) fn fork() -> io::Result<bool> {
    // SAFETY: the caller has one thread, so the copy is whole.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid == 0),
    }
}

/// Lets the kernel reap children, or leaves it to `waitpid`.
pub(crate) fn reap_children_by_kernel(by_kernel: bool) {
    let action = if by_kernel {
        libc::SIG_IGN
    } else {
        libc::SIG_DFL
    };
    // SAFETY: no handler function is installed.
    unsafe { libc::signal(libc::SIGCHLD, action) };
}

/// A write to a client that left is an error, not the end of the process.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: no handler function is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Sends any signal, real-time ones too.
pub(crate) fn signal(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: plain numbers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets tokio wait for a descriptor.
pub(crate) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is made here, so it stays open and the same as long as that lives.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}
