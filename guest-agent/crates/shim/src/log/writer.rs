//! The writing end of a container's log, whatever its driver.

use std::{io, os::fd::BorrowedFd, time::Instant};

use engine::ports::{logging::LogTarget, world::Timestamp};

use log_drivers::message::Message;

use super::{cutter::Cutter, file::FileWriter, remote::Remote};

/// The writing end of one log.
#[derive(Debug)]
pub struct Writer {
    cutters: [Cutter; 2],
    file: Option<FileWriter>,
    remote: Option<Remote>,
}

impl Writer {
    /// Opens the log; none: nothing is kept.
    ///
    /// # Errors
    /// A file cannot be opened or written.
    pub fn open(target: &LogTarget) -> io::Result<Option<Self>> {
        if *target == LogTarget::None {
            return Ok(None);
        }
        Ok(Some(Self {
            cutters: [Cutter::new(false), Cutter::new(true)],
            remote: match target {
                LogTarget::Remote { remote, .. } => Some(Remote::open(remote)?),
                _ => None,
            },
            file: target.file().map(FileWriter::open).transpose()?,
        }))
    }

    /// Takes what was read from one of the container's pipes. Whole lines and full pieces are in the file when this returns; the start of a
    /// line waits for its end.
    ///
    /// # Errors
    /// The file cannot be written or rotated.
    pub fn write(&mut self, stderr: bool, at: Timestamp, bytes: &[u8]) -> io::Result<()> {
        self.give(stderr, |cutter, give| cutter.cut(at, bytes, line_id, give))
    }

    /// Writes what has no line end yet: both streams are over. A service gets until `deadline`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&mut self, at: Timestamp, deadline: Instant) -> io::Result<()> {
        for stderr in [false, true] {
            self.give(stderr, |cutter, give| cutter.finish(at, line_id, give))?;
        }
        let closed = match &mut self.file {
            Some(file) => file.close(),
            None => Ok(()),
        };
        match &mut self.remote {
            Some(remote) => remote.close(deadline).and(closed),
            None => closed,
        }
    }

    /// The pipe to a service, and whether something waits for it to take more.
    #[must_use]
    pub fn pipe(&self) -> Option<(BorrowedFd<'_>, bool)> {
        let remote = self.remote.as_ref()?;
        Some((remote.pipe()?, remote.waits()))
    }

    /// The process that speaks to a service is gone: [`Writer::renew`] once its pipe is not waited for any more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.remote.as_ref().is_some_and(Remote::is_broken)
    }

    /// Puts another process in its place.
    pub fn renew(&mut self) {
        if let Some(remote) = &mut self.remote {
            remote.renew();
        }
    }

    /// The container has to wait for a service.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.remote.as_ref().is_some_and(Remote::blocks)
    }

    /// Hands on what waits.
    pub fn flush(&mut self) {
        if let Some(remote) = &mut self.remote {
            remote.flush();
        }
    }

    /// Gives a service up.
    pub fn abandon(&mut self) {
        if let Some(remote) = &mut self.remote {
            remote.abandon();
        }
    }

    fn give(
        &mut self,
        stderr: bool,
        cut: impl FnOnce(&mut Cutter, &mut dyn FnMut(&Message<'_>)),
    ) -> io::Result<()> {
        let (mut result, file, remote) = (Ok(()), &mut self.file, &mut self.remote);
        cut(&mut self.cutters[usize::from(stderr)], &mut |message| {
            if let Some(file) = file
                && result.is_ok()
            {
                result = file.push(message);
            }
            if let Some(remote) = remote {
                remote.push(message);
            }
        });
        if let Some(file) = file {
            result = result.and(file.flush());
        }
        result
    }
}

/// An id for a line that is written in pieces.
fn line_id() -> String {
    let mut random = [0u8; 32];
    // Without chance the ids are equal, which only readers that join pieces could mind.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
