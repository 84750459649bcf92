//! Keeps a container from writing into the program that starts it (CVE-2019-5736).
//!
//! A container's first process is a copy of the caller until it runs its own program, so `/proc/<pid>/exe` leads to the caller's binary, and
//! a container may even run it. Reached through a read-only mount that no namespace has, it cannot be opened for writing, not even by root.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use rustix::{
    fs::{CWD, StatVfsMountFlags, statvfs},
    mount::{OpenTreeFlags, open_tree},
};

use crate::sys;

const SELF: &str = "/proc/self/exe";

/// Whether this process runs from a read-only mount.
///
/// # Errors
/// When /proc cannot be read.
pub fn is_protected() -> io::Result<bool> {
    Ok(statvfs(SELF)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Runs this program anew with these arguments from a read-only mount of its own, unless it does already. Returns only in a protected process.
///
/// # Errors
/// The mount cannot be made, or the program not be run from it.
pub fn protect(arguments: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    if is_protected()? {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let binary = open_tree(CWD, SELF, flags)?;
    sys::set_mount_attributes(binary.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, false)?;
    let path = format!("/proc/self/fd/{}", binary.as_raw_fd());
    Err(Command::new(path).args(arguments).exec())
}
