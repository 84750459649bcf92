//! Writes a log's files: many entries in one `write`, and rotation between entries.
//!
//! ```text
//!   container.log ──► container.log.1 ──► container.log.1.gz ──► container.log.2.gz ──► … ──► gone
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
};

use engine::ports::{
    logging::{LogFile, LogFormat},
    world::Timestamp,
};

use log_drivers::{
    entry::{self, LENGTH_BYTES, MAX_MESSAGE_BYTES},
    message::Message,
};

use super::{
    compress::Compressing,
    line,
    names::{compressed, rotated},
};

/// Encoded bytes gathered before they are written even when more is at hand.
const BATCH_BYTES: usize = 256 * 1024;

/// The writing end of a log in files.
#[derive(Debug)]
pub(super) struct FileWriter {
    settings: LogFile,
    /// Encoded once for all entries.
    attributes: Vec<u8>,
    file: File,
    size_bytes: u64,
    batch: Vec<u8>,
    last: Timestamp,
    compressing: Option<Compressing>,
}

impl FileWriter {
    /// Opens the log for appending. An entry that a crash left unfinished is ended or cut off first, so that only that entry is lost.
    pub(super) fn open(settings: &LogFile) -> io::Result<Self> {
        if let Some(folder) = settings.path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut file = open_append(&settings.path)?;
        let size_bytes = match settings.format {
            LogFormat::JsonLines { .. } => end_line(&mut file)?,
            LogFormat::Entries => cut_unfinished(&file)?,
        };
        let attributes = match &settings.format {
            LogFormat::JsonLines { attributes } => line::encode_attributes(attributes),
            LogFormat::Entries => Vec::new(),
        };
        let compressing = if settings.compress {
            // Left by a machine that was cut off.
            Compressing::begin(&settings.path, Timestamp::default())?
        } else {
            None
        };
        Ok(Self {
            settings: settings.clone(),
            attributes,
            file,
            size_bytes,
            batch: Vec::new(),
            last: Timestamp::default(),
            compressing,
        })
    }

    /// Adds an entry; it is in the file after [`Self::flush`].
    pub(super) fn push(&mut self, message: &Message<'_>) -> io::Result<()> {
        let pending = self.size_bytes + self.batch.len() as u64;
        if self
            .settings
            .max_size_bytes
            .is_some_and(|max| pending >= max)
        {
            self.flush()?;
            self.rotate()?;
        }
        match self.settings.format {
            LogFormat::JsonLines { .. } => line::encode(&mut self.batch, message, &self.attributes),
            LogFormat::Entries => entry::encode(&mut self.batch, message),
        }
        self.last = message.at;
        if self.batch.len() >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.batch)?;
        self.size_bytes += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }

    /// Writes all and waits for what is being compressed: the next writer finds the files at rest.
    pub(super) fn close(&mut self) -> io::Result<()> {
        let flushed = self.flush();
        if let Some(compressing) = self.compressing.take() {
            compressing.wait()?;
        }
        flushed
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Names move only when no child works on one of them.
        if let Some(compressing) = self.compressing.take() {
            compressing.wait()?;
        }
        let (path, kept) = (&self.settings.path, self.settings.max_files.max(1));
        if kept == 1 {
            // Readers have it open and read it to its end.
            ignore_missing(fs::remove_file(path))?;
        } else {
            for name in [rotated, compressed] {
                ignore_missing(fs::remove_file(name(path, kept - 1)))?;
                for index in (1..kept - 1).rev() {
                    ignore_missing(fs::rename(name(path, index), name(path, index + 1)))?;
                }
            }
            ignore_missing(fs::rename(path, rotated(path, 1)))?;
        }
        self.file = open_append(path)?;
        self.size_bytes = 0;
        if self.settings.compress && kept > 1 {
            self.compressing = Compressing::begin(path, self.last)?;
        }
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        // Whoever closed it knows of errors already.
        let _ = self.close();
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Gives the last line its end; the file's size then.
fn end_line(file: &mut File) -> io::Result<u64> {
    let size_bytes = file.metadata()?.len();
    let mut last = [b'\n'];
    if size_bytes > 0 {
        file.read_exact_at(&mut last, size_bytes - 1)?;
    }
    if last == *b"\n" {
        return Ok(size_bytes);
    }
    file.write_all(b"\n")?;
    Ok(size_bytes + 1)
}

/// Cuts off what is no whole entry; the file's size then.
fn cut_unfinished(file: &File) -> io::Result<u64> {
    let whole = whole_entries(file)?;
    if whole < file.metadata()?.len() {
        file.set_len(whole)?;
    }
    Ok(whole)
}

/// Bytes of the file's whole entries.
pub(super) fn whole_entries(file: &File) -> io::Result<u64> {
    let size_bytes = file.metadata()?.len();
    if size_bytes == 0 || entry_before(file, size_bytes)?.is_some() {
        return Ok(size_bytes);
    }
    let mut whole = 0;
    loop {
        let mut first = [0; LENGTH_BYTES];
        if file.read_exact_at(&mut first, whole).is_err() {
            return Ok(whole);
        }
        let length =
            entry::length(&first).filter(|length| (1..=MAX_MESSAGE_BYTES).contains(length));
        let Some(length) = length.and_then(|length| u64::try_from(length).ok()) else {
            return Ok(whole);
        };
        let mut last = [0; LENGTH_BYTES];
        let trailer = whole + LENGTH_BYTES as u64 + length;
        if file.read_exact_at(&mut last, trailer).is_err() || last != first {
            return Ok(whole);
        }
        whole = trailer + LENGTH_BYTES as u64;
    }
}

/// Where the entry begins that ends at `end`; none: there is no entry that ends there.
pub(super) fn entry_before(file: &File, end: u64) -> io::Result<Option<u64>> {
    const LENGTH: u64 = LENGTH_BYTES as u64;
    let Some(trailer) = end.checked_sub(LENGTH) else {
        return Ok(None);
    };
    let mut last = [0; LENGTH_BYTES];
    file.read_exact_at(&mut last, trailer)?;
    let length = u64::from(u32::from_be_bytes(last));
    // Zeros are no entry but what a power cut leaves.
    if length == 0 {
        return Ok(None);
    }
    let Some(start) = trailer.checked_sub(length + LENGTH) else {
        return Ok(None);
    };
    let mut first = [0; LENGTH_BYTES];
    file.read_exact_at(&mut first, start)?;
    Ok((first == last).then_some(start))
}
