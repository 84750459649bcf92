//! A shim's socket, by a path that always fits into a socket's address: its folder is reached through a descriptor.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

/// The folder, held open while the path is used.
#[derive(Debug)]
pub(crate) struct Address(OwnedFd);

impl Address {
    /// The socket of the shim with this folder.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(folder, flags, Mode::empty())?))
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/shim.sock", self.0.as_raw_fd()))
    }
}
