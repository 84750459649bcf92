//! System calls that no safe crate wraps.
#![expect(unsafe_code, reason = "raw system calls, one a function")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// Makes a copy of this process; gives 0 in the copy, else the copy's id.
///
/// Only for a process with one thread: another thread's locks would stay locked in the copy.
pub(crate) fn fork() -> io::Result<i32> {
    // SAFETY: the caller has one thread, so the copy is whole.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

/// Closes every descriptor but the first three and these, for a copy that must not keep its original's.
pub(crate) fn keep_only(kept: &[&OwnedFd]) {
    let mut numbers: Vec<u32> = kept
        .iter()
        .filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok())
        .collect();
    numbers.sort_unstable();
    let mut from = 3;
    for number in numbers.into_iter().chain([u32::MAX]) {
        let to = if number == u32::MAX {
            number
        } else {
            number.saturating_sub(1)
        };
        if number >= from {
            // SAFETY: the copy goes on with what is kept and opens the rest anew; nothing that owns a closed descriptor is used or dropped.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
        from = number.saturating_add(1);
    }
}

/// Ends a copy without running what its original would run at its end.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: it does not return, and nothing is left to be written.
    unsafe { libc::_exit(code) }
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
