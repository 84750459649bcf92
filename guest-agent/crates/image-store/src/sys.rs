//! System calls that no safe crate wraps.
#![expect(unsafe_code, reason = "raw system calls, one a function")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Moves the calling thread into a copy of its mount namespace; its root and working folder are its own from then on.
///
/// # Errors
/// What the kernel says.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: a mount namespace is the thread's own; descriptors and memory stay shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
    Ok(())
}

/// Makes a mount that is attached nowhere private, and read-only if asked for; `recursive`: and all below it.
///
/// # Errors
/// What the kernel says.
pub(crate) fn set_private(
    mount: BorrowedFd<'_>,
    read_only: bool,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: if read_only {
            libc::MOUNT_ATTR_RDONLY
        } else {
            0
        },
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a string with its end, and the attributes live until the call returns and are given with their size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
