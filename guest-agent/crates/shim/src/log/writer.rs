//! Writes a container's json-file log: many entries in one `write`, and rotation between entries.
//!
//! ```text
//!   <id>-json.log ──► <id>-json.log.1 ──► … ──► <id>-json.log.<max_files - 1> ──► gone
//! ```

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use engine::ports::world::Timestamp;

use super::line::{self, MAX_TEXT_BYTES};

/// Encoded bytes gathered before they are written even when more is at hand.
const BATCH_BYTES: usize = 256 * 1024;

/// When and how far a log is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// A new file is begun once this many bytes are reached.
    pub max_size_bytes: u64,
    /// Files kept, the current one among them; with one the file starts over.
    pub max_files: u32,
}

/// The writing end of one log.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    rotation: Option<Rotation>,
    batch: Vec<u8>,
    partial: [Vec<u8>; 2],
}

impl Writer {
    /// Opens the log for appending. A line that a crash left without its end is ended first, so that only that line is lost.
    ///
    /// # Errors
    /// The file cannot be opened or written.
    pub fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let mut file = open_append(path)?;
        let mut size_bytes = file.metadata()?.len();
        if size_bytes > 0 && !ends_with_line_end(&file, size_bytes)? {
            file.write_all(b"\n")?;
            size_bytes += 1;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            size_bytes,
            rotation,
            batch: Vec::new(),
            partial: [Vec::new(), Vec::new()],
        })
    }

    /// Takes what was read from one of the container's pipes. Whole lines and pieces of [`MAX_TEXT_BYTES`] are in the file when this returns;
    /// the start of a line waits for its end.
    ///
    /// # Errors
    /// The file cannot be written or rotated.
    pub fn write(&mut self, stderr: bool, at: Timestamp, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = MAX_TEXT_BYTES - self.partial[usize::from(stderr)].len();
            let window = &bytes[..bytes.len().min(room)];
            let (piece, complete) = match window.iter().position(|&byte| byte == b'\n') {
                Some(end) => (&window[..=end], true),
                None => (window, window.len() == room),
            };
            bytes = &bytes[piece.len()..];
            let partial = &mut self.partial[usize::from(stderr)];
            if !complete {
                partial.extend_from_slice(piece);
            } else if partial.is_empty() {
                self.push(stderr, at, piece)?;
            } else {
                partial.extend_from_slice(piece);
                let text = std::mem::take(partial);
                self.push(stderr, at, &text)?;
            }
        }
        self.flush()
    }

    /// Writes what has no line end yet: the stream is over.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&mut self, stderr: bool, at: Timestamp) -> io::Result<()> {
        let text = std::mem::take(&mut self.partial[usize::from(stderr)]);
        if !text.is_empty() {
            self.push(stderr, at, &text)?;
        }
        self.flush()
    }

    fn push(&mut self, stderr: bool, at: Timestamp, text: &[u8]) -> io::Result<()> {
        line::encode(&mut self.batch, stderr, at, text);
        let pending = self.size_bytes + self.batch.len() as u64;
        let full = self
            .rotation
            .is_some_and(|rotation| pending >= rotation.max_size_bytes);
        if full || self.batch.len() >= BATCH_BYTES {
            self.flush()?;
        }
        if full { self.rotate() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.batch)?;
        self.size_bytes += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let kept = self
            .rotation
            .map_or(1, |rotation| rotation.max_files.max(1));
        if kept == 1 {
            self.file.set_len(0)?;
        } else {
            for index in (1..kept - 1).rev() {
                rename_if_there(&rotated(&self.path, index), &rotated(&self.path, index + 1))?;
            }
            rename_if_there(&self.path, &rotated(&self.path, 1))?;
            self.file = open_append(&self.path)?;
        }
        self.size_bytes = 0;
        Ok(())
    }
}

/// The name of the `index`-th older file of a log.
#[must_use]
pub fn rotated(path: &Path, index: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{index}"));
    PathBuf::from(name)
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

fn ends_with_line_end(file: &File, size_bytes: u64) -> io::Result<bool> {
    let mut last = [0];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut last, size_bytes - 1)?;
    Ok(last == *b"\n")
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(0);

    fn texts(path: &Path) -> Vec<Vec<u8>> {
        std::fs::read(path)
            .unwrap()
            .split_inclusive(|&byte| byte == b'\n')
            .filter_map(|one| line::decode(one).ok())
            .map(|one| one.text)
            .collect()
    }

    #[test]
    fn lines_are_cut_at_line_ends_and_at_the_bound_whatever_the_reads_were() {
        let text = [b"one\n".as_slice(), &[b'x'; MAX_TEXT_BYTES + 5], b"\ntail"].concat();
        for read_bytes in [1, 7, 4096, text.len()] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let mut writer = Writer::open(&path, None).unwrap();
            for read in text.chunks(read_bytes) {
                writer.write(false, AT, read).unwrap();
            }
            writer.finish(false, AT).unwrap();
            let expected = [
                b"one\n".to_vec(),
                vec![b'x'; MAX_TEXT_BYTES],
                b"xxxxx\n".to_vec(),
                b"tail".to_vec(),
            ];
            assert_eq!(texts(&path), expected, "reads of {read_bytes}");
        }
    }

    #[test]
    fn partial_lines_of_both_streams_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = Writer::open(&path, None).unwrap();
        for (stderr, bytes) in [
            (false, b"ou"),
            (true, b"er"),
            (false, b"t\n"),
            (true, b"r\n"),
        ] {
            writer.write(stderr, AT, bytes).unwrap();
        }
        assert_eq!(texts(&path), [b"out\n", b"err\n"]);
    }

    #[test]
    fn rotation_keeps_the_newest_files_and_no_line_is_split() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = Writer::open(
            &path,
            Some(Rotation {
                max_size_bytes: 150,
                max_files: 3,
            }),
        )
        .unwrap();
        for number in 0..10 {
            writer
                .write(false, AT, format!("line {number}\n").as_bytes())
                .unwrap();
        }
        writer.write(false, AT, b"last\n").unwrap();
        let kept: Vec<_> = [rotated(&path, 2), rotated(&path, 1), path.clone()]
            .iter()
            .flat_map(|file| texts(file))
            .collect();
        assert_eq!(kept.last().unwrap(), b"last\n");
        let expected: Vec<_> = (0..10)
            .map(|number| format!("line {number}\n").into_bytes())
            .chain([b"last\n".to_vec()])
            .collect();
        assert!(
            expected.ends_with(&kept),
            "kept is not the end of what was written: {kept:?}"
        );
        assert!(kept.len() > 2 && !rotated(&path, 3).exists());
    }

    #[test]
    fn a_torn_last_line_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, b"{\"log\":\"torn").unwrap();
        Writer::open(&path, None)
            .unwrap()
            .write(false, AT, b"next\n")
            .unwrap();
        assert_eq!(texts(&path), [b"next\n"]);
    }
}
