//! Locks that end with their holders: `flock`, so no pid file has to be believed.

use std::{
    fs::{File, OpenOptions},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};

/// An exclusive lock, held while any copy of its descriptor is open, in whatever process.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes it; `None`: somebody has it.
    pub(crate) fn try_take(path: &Path) -> anyhow::Result<Option<Self>> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }

    /// Waits until it is free, and takes it.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        let file = open(path)?;
        flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("lock {}", path.display()))?;
        Ok(Self(file))
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open lock {}", path.display()))
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_once_and_free_again_after_its_holder() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("lock");
        let first = Lock::try_take(&path).expect("usable").expect("free");
        assert!(Lock::try_take(&path).expect("usable").is_none());
        drop(first);
        assert!(Lock::try_take(&path).expect("usable").is_some());
    }
}
