//! Room that is kept for a full disk: what takes something away has to be written down too.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

/// A few commits, and what the database grows by.
const RESERVE_BYTES: u64 = 512 << 10;
const FILE: &str = "reserve";

/// The file that takes the room, when there is room.
#[derive(Debug)]
pub(crate) struct Reserve(PathBuf);

impl Reserve {
    pub(crate) fn new(folder: &Path) -> Self {
        let reserve = Self(folder.join(FILE));
        reserve.keep();
        reserve
    }

    /// Takes the room again, unless it is taken or there is none.
    pub(crate) fn keep(&self) {
        if self.0.exists() {
            return;
        }
        let taken = File::create(&self.0).and_then(|file| {
            fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES).map_err(io::Error::from)
        });
        if let Err(error) = taken {
            tracing::debug!(%error, "keep room for a full disk");
            self.release();
        }
    }

    /// Gives the room away.
    pub(crate) fn release(&self) {
        // There may be none.
        let _ = fs::remove_file(&self.0);
    }
}
