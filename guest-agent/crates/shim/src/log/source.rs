//! One file of a log as a reader has it open, and where reading begins.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use engine::ports::{containers::LogEntry, logging::LogFormat};
use flate2::read::GzDecoder;
use log_drivers::entry;

use super::{
    file,
    line::{self, MAX_ENCODED_BYTES},
    names::{self, Found, Identity},
};

/// One read of a file.
const BLOCK_BYTES: usize = 256 << 10;
/// How often files are opened anew because they were rotated meanwhile.
const ATTEMPTS: usize = 100;

/// A file of the log and how far it was read.
#[derive(Debug)]
pub(crate) struct Source {
    identity: Identity,
    bytes: Bytes,
    /// The start of an entry whose end is not there yet.
    begun: Vec<u8>,
    /// Entries to leave out first.
    skip: u64,
    /// What follows makes no sense.
    broken: bool,
}

#[derive(Debug)]
enum Bytes {
    Plain(File, u64),
    Compressed(Box<GzDecoder<BufReader<File>>>),
}

impl Source {
    pub(super) fn new(found: Found) -> Self {
        Self {
            identity: found.identity(),
            bytes: if found.compressed {
                Bytes::Compressed(Box::new(GzDecoder::new(BufReader::new(found.file))))
            } else {
                Bytes::Plain(found.file, 0)
            },
            begun: Vec::new(),
            skip: 0,
            broken: false,
        }
    }

    /// Which file it is.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The next entries, perhaps none of them whole yet; `None`: there is no more now.
    pub(crate) fn read(&mut self, format: &LogFormat) -> io::Result<Option<Vec<LogEntry>>> {
        if self.broken {
            return Ok(None);
        }
        let mut block = vec![0; BLOCK_BYTES];
        let read = match &mut self.bytes {
            Bytes::Plain(file, offset) => {
                let length = file.metadata()?.len();
                if length < *offset {
                    // Cut by somebody: to the last whole entry, or it starts over.
                    let whole = *offset - self.begun.len() as u64;
                    *offset = if whole <= length { whole } else { 0 };
                    self.begun.clear();
                }
                let read = file.read_at(&mut block, *offset)?;
                *offset += read as u64;
                read
            }
            // What cannot be decompressed was torn: what came before it is still good.
            Bytes::Compressed(gzip) => gzip.read(&mut block).unwrap_or(0),
        };
        if read == 0 {
            return Ok(None);
        }
        self.begun.extend_from_slice(&block[..read]);
        drop(block);
        let mut entries = self.take_entries(format);
        // Followers are many and wait most of the time.
        self.begun.shrink_to_fit();
        let skipped = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(entries.len());
        self.skip -= skipped as u64;
        entries.drain(..skipped);
        Ok(Some(entries))
    }

    fn take_entries(&mut self, format: &LogFormat) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        let mut rest = self.begun.as_slice();
        match format {
            LogFormat::JsonLines { .. } => {
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    // What is no entry was torn by a crash.
                    if let Ok(line) = line::decode(&rest[..=end]) {
                        entries.push(LogEntry {
                            stderr: line.stderr,
                            at: line.at,
                            line: line.text,
                            attributes: line.attributes,
                        });
                    }
                    rest = &rest[end + 1..];
                }
                if rest.len() > MAX_ENCODED_BYTES {
                    rest = &[];
                }
            }
            LogFormat::Entries => loop {
                match entry::decode(rest) {
                    entry::Found::Entry(entry, used) => {
                        let ends_line = entry.message().ends_line();
                        let mut line = entry.text;
                        if ends_line {
                            line.push(b'\n');
                        }
                        entries.push(LogEntry {
                            stderr: entry.stderr,
                            at: entry.at,
                            line,
                            attributes: Default::default(),
                        });
                        rest = &rest[used..];
                    }
                    entry::Found::More => break,
                    entry::Found::Broken => {
                        self.broken = true;
                        rest = &[];
                        break;
                    }
                }
            },
        }
        self.begun = rest.to_vec();
        entries
    }

    /// Goes to the last `wanted` entries; gives how many there are.
    fn seek_last(
        &mut self,
        wanted: u64,
        format: &LogFormat,
        again: impl FnOnce() -> io::Result<Option<Found>>,
    ) -> io::Result<u64> {
        match &mut self.bytes {
            Bytes::Plain(file, offset) => {
                let (start, found) = match format {
                    LogFormat::JsonLines { .. } => last_lines(file, wanted)?,
                    LogFormat::Entries => last_entries(file, wanted)?,
                };
                *offset = start;
                Ok(found)
            }
            // There is no way back in a compressed file: it is read twice.
            Bytes::Compressed(_) => {
                let (mut all, counter) = (0, again()?.map(Self::new));
                if let Some(mut counter) = counter {
                    while let Some(entries) = counter.read(format)? {
                        all += entries.len() as u64;
                    }
                }
                self.skip = all.saturating_sub(wanted);
                Ok(all.min(wanted))
            }
        }
    }
}

/// Opens the files of a log, oldest first, where reading begins.
pub(crate) fn open_all(
    path: &Path,
    max_files: u32,
    format: &LogFormat,
    tail: Option<u64>,
) -> io::Result<Vec<Source>> {
    for _ in 0..ATTEMPTS {
        let current = names::inode(path, 0)?;
        let sources = open_once(path, max_files, format, tail)?;
        if names::inode(path, 0)? == current {
            return Ok(sources);
        }
    }
    Err(io::Error::other(
        "the log is rotated faster than it can be opened",
    ))
}

fn open_once(
    path: &Path,
    max_files: u32,
    format: &LogFormat,
    tail: Option<u64>,
) -> io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut wanted = tail;
    for index in 0..max_files {
        let Some(found) = names::open(path, index)? else {
            // The current one is missing for a moment while it is rotated.
            if index == 0 {
                continue;
            }
            break;
        };
        let mut source = Source::new(found);
        if let Some(lines) = &mut wanted {
            let again = || names::open(path, index);
            *lines -= source.seek_last(*lines, format, again)?;
        }
        sources.push(source);
        if wanted == Some(0) {
            break;
        }
    }
    sources.reverse();
    Ok(sources)
}

/// Where the last `wanted` lines of a file begin, and how many of them it has.
fn last_lines(file: &File, wanted: u64) -> io::Result<(u64, u64)> {
    let mut end = file.metadata()?.len();
    if wanted == 0 {
        return Ok((end, 0));
    }
    let mut found = 0;
    let mut block = vec![0; BLOCK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let length = usize::try_from(end - start).unwrap_or(BLOCK_BYTES);
        file.read_exact_at(&mut block[..length], start)?;
        for index in (0..length).rev() {
            if block[index] == b'\n' {
                // This one ends the line before the ones that were counted.
                if found == wanted {
                    return Ok((start + index as u64 + 1, found));
                }
                found += 1;
            }
        }
        end = start;
    }
    Ok((0, found))
}

/// The same for entries between their lengths.
fn last_entries(file: &File, wanted: u64) -> io::Result<(u64, u64)> {
    let mut start = file::whole_entries(file)?;
    let mut found = 0;
    while found < wanted && start > 0 {
        let Some(before) = file::entry_before(file, start)? else {
            break;
        };
        start = before;
        found += 1;
    }
    Ok((start, found))
}
