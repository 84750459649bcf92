//! The writing end of a container's log, whatever its driver.

use std::io;

use engine::ports::{logging::LogTarget, world::Timestamp};

use super::{cutter::Cutter, file::FileWriter, message::Message};

/// The writing end of one log.
#[derive(Debug)]
pub struct Writer {
    cutters: [Cutter; 2],
    file: Option<FileWriter>,
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

    /// Writes what has no line end yet: both streams are over.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&mut self, at: Timestamp) -> io::Result<()> {
        for stderr in [false, true] {
            self.give(stderr, |cutter, give| cutter.finish(at, line_id, give))?;
        }
        match &mut self.file {
            Some(file) => file.close(),
            None => Ok(()),
        }
    }

    fn give(
        &mut self,
        stderr: bool,
        cut: impl FnOnce(&mut Cutter, &mut dyn FnMut(&Message<'_>)),
    ) -> io::Result<()> {
        let (mut result, file) = (Ok(()), &mut self.file);
        cut(&mut self.cutters[usize::from(stderr)], &mut |message| {
            if let Some(file) = file
                && result.is_ok()
            {
                result = file.push(message);
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
