//! Compresses a rotated file in a child of the shim, so that nothing waits for it and the shim stays as small as it is.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use engine::{ports::world::Timestamp, time::rfc3339};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::names;
use crate::sys;

/// A child at work.
#[derive(Debug)]
pub(super) struct Compressing(Pid);

impl Compressing {
    /// Begins with the newest rotated file of a log. None: there is no such file.
    pub(super) fn begin(path: &Path, last: Timestamp) -> io::Result<Option<Self>> {
        if !names::rotated(path, 1).exists() {
            return Ok(None);
        }
        match sys::fork()? {
            0 => {
                sys::keep_only(&[]);
                if let Err(error) = compress(path, last) {
                    tracing::error!(%error, path = %path.display(), "compress a log file");
                }
                sys::exit_now(0)
            }
            child => Ok(Pid::from_raw(child).map(Self)),
        }
    }

    /// Waits for its end.
    pub(super) fn wait(self) -> io::Result<()> {
        loop {
            match waitpid(Some(self.0), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CHILD) | Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The compressed file gets its name when it is whole; only then does the plain one go.
fn compress(path: &Path, last: Timestamp) -> io::Result<()> {
    let (from, to) = (names::rotated(path, 1), names::compressed(path, 1));
    let new = names::with_ending(&to, ".new");
    let mut plain = File::open(&from)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&new)?;
    let mut gzip = flate2::GzBuilder::new()
        // Docker keeps the time of the last entry there, to pass over files that are too old.
        .extra(format!("{{\"lastTime\":\"{}\"}}", rfc3339(last)))
        .comment(names::comment(plain.metadata()?.ino()))
        .write(file, flate2::Compression::default());
    io::copy(&mut plain, &mut gzip)?;
    gzip.finish()?;
    fs::rename(&new, &to)?;
    fs::remove_file(&from)
}
