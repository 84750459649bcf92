//! Files with holes, in the three ways GNU tar writes them into PAX records. Spec: GNU tar manual, "Storing Sparse Files".
//!
//! The oldest way of all, an entry kind of its own, is read by the `tar` crate, which turns holes into zeros; [`Holes`] turns them back.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use tar::Entry;

/// Most pieces of data of one file.
const MAX_PIECES: usize = 200_000;

/// Longest number in a map, with its line end.
const MAX_NUMBER_BYTES: usize = 21;

/// Most bytes of an archive's files whose holes arrive as zeros: they must be looked at, every one.
pub(crate) const MAX_ZEROS_BYTES: u64 = 256 << 30;

const BLOCK_BYTES: usize = 512;

/// A file with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Its real name; the entry has a made-up one.
    pub(crate) name: Option<Vec<u8>>,
    size: u64,
    /// Offset and length of each piece. None: the content begins with them.
    pieces: Option<Vec<(u64, u64)>>,
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn number(text: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong("a sparse file's map has no number"))
}

impl Sparse {
    /// None: it has no holes.
    pub(crate) fn of(entry: &mut Entry<'_, impl Read>) -> io::Result<Option<Self>> {
        let Some(extensions) = entry.pax_extensions()? else {
            return Ok(None);
        };
        let (mut is_sparse, mut is_first) = (false, false);
        let (mut name, mut size) = (None, None);
        let mut numbers: Vec<u64> = Vec::new();
        for extension in extensions {
            let extension = extension?;
            let Some(key) = extension
                .key()
                .ok()
                .and_then(|key| key.strip_prefix("GNU.sparse."))
            else {
                continue;
            };
            is_sparse = true;
            let value = extension.value_bytes();
            match key {
                "name" => name = Some(value.to_vec()),
                "size" | "realsize" => size = Some(number(value)?),
                "major" => is_first = number(value)? == 1,
                "offset" | "numbytes" => numbers.push(number(value)?),
                "map" if !value.is_empty() => {
                    numbers = value
                        .split(|b| *b == b',')
                        .take(2 * MAX_PIECES + 1)
                        .map(number)
                        .collect::<io::Result<_>>()?;
                }
                _ => {}
            }
            if numbers.len() > 2 * MAX_PIECES {
                return Err(wrong("a sparse file has too many pieces"));
            }
        }
        if !is_sparse {
            return Ok(None);
        }
        Ok(Some(Self {
            name,
            size: size.ok_or_else(|| wrong("a sparse file has no size"))?,
            pieces: if is_first {
                None
            } else {
                Some(pairs(&numbers))
            },
        }))
    }

    /// Writes the file; tells how much of it is data.
    pub(crate) fn write(
        self,
        from: &mut impl Read,
        to: &mut File,
        buffer: &mut [u8],
    ) -> io::Result<u64> {
        let pieces = match self.pieces {
            Some(pieces) => pieces,
            None => read_map(from)?,
        };
        let (mut position, mut data) = (0, 0);
        for (offset, length) in pieces {
            let end = offset.checked_add(length).filter(|end| *end <= self.size);
            let (Some(end), true) = (end, offset >= position) else {
                return Err(wrong("a sparse file's map makes no sense"));
            };
            position = end;
            to.seek(SeekFrom::Start(offset))?;
            let mut left = length;
            while left > 0 {
                let most = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let count = from.read(&mut buffer[..most])?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                to.write_all(&buffer[..count])?;
                left -= count as u64;
            }
            data += length;
        }
        to.set_len(self.size)?;
        Ok(data)
    }
}

fn pairs(numbers: &[u64]) -> Vec<(u64, u64)> {
    numbers
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

/// The map at the beginning of the content: decimal lines, filled up to a block.
fn read_map(from: &mut impl Read) -> io::Result<Vec<(u64, u64)>> {
    let mut lines = Lines {
        from,
        block: [0; BLOCK_BYTES],
        position: BLOCK_BYTES,
    };
    let count = usize::try_from(lines.number()?).unwrap_or(usize::MAX);
    if count > MAX_PIECES {
        return Err(wrong("a sparse file has too many pieces"));
    }
    let numbers = (0..2 * count)
        .map(|_| lines.number())
        .collect::<io::Result<Vec<_>>>()?;
    Ok(pairs(&numbers))
}

struct Lines<'a, R> {
    from: &'a mut R,
    block: [u8; BLOCK_BYTES],
    position: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.position == BLOCK_BYTES {
                self.from.read_exact(&mut self.block)?;
                self.position = 0;
            }
            let byte = self.block[self.position];
            self.position += 1;
            if byte == b'\n' {
                return number(&digits);
            }
            digits.push(byte);
            if digits.len() >= MAX_NUMBER_BYTES {
                return Err(wrong("a sparse file's map has no number"));
            }
        }
    }
}

/// Writes zeros as holes.
pub(crate) struct Holes<'a> {
    file: &'a mut File,
    /// Bytes that were written.
    pub(crate) data: u64,
}

impl<'a> Holes<'a> {
    pub(crate) fn new(file: &'a mut File) -> Self {
        Self { file, data: 0 }
    }

    /// Gives the file its whole length.
    pub(crate) fn finish(self) -> io::Result<u64> {
        let length = self.file.stream_position()?;
        self.file.set_len(length)?;
        Ok(self.data)
    }
}

impl Write for Holes<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.iter().all(|byte| *byte == 0) {
            let count = i64::try_from(buffer.len()).map_err(io::Error::other)?;
            self.file.seek(SeekFrom::Current(count))?;
        } else {
            self.file.write_all(buffer)?;
            self.data += buffer.len() as u64;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt, process::Command};

    use super::*;

    /// What Debian's tar writes is a file with the same content, as small on disk.
    fn check(options: &[&str]) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("sparse");
        let mut file = File::create(&path).expect("made");
        for offset in [0_u64, 3 << 20, 10 << 20] {
            file.seek(SeekFrom::Start(offset)).expect("moved");
            file.write_all(&[b'x'; 5000]).expect("written");
        }
        file.set_len((12 << 20) + 7).expect("longer");
        let tar = Command::new("tar")
            .args(["--sparse", "--numeric-owner"])
            .args(options)
            .arg("-C")
            .arg(folder.path())
            .args(["-c", "sparse"])
            .output()
            .expect("tar");
        assert!(tar.status.success());
        let out = tempfile::tempdir().expect("folder");
        let size = crate::unpack(&tar.stdout[..], &[], out.path(), out.path()).expect("unpacked");
        let copy = out.path().join("sparse");
        assert!(
            fs::read(&copy).expect("there") == fs::read(&path).expect("there"),
            "{options:?}"
        );
        let blocks = fs::metadata(&copy).expect("there").blocks();
        assert!(blocks * 512 < 2 << 20, "{options:?}: {blocks} blocks");
        assert!(size < 2 << 20, "{options:?}: {size} bytes");
    }

    #[test]
    fn holes_are_holes_again() {
        check(&["--format=gnu"]);
        check(&["--format=posix", "--sparse-version=0.0"]);
        check(&["--format=posix", "--sparse-version=0.1"]);
        check(&["--format=posix", "--sparse-version=1.0"]);
    }

    #[test]
    fn maps_that_make_no_sense_are_errors() {
        let mut file = tempfile::tempfile().expect("file");
        let mut check = |pieces: Option<Vec<(u64, u64)>>, content: &[u8]| {
            let sparse = Sparse {
                name: None,
                size: 100,
                pieces,
            };
            assert!(
                sparse
                    .write(&mut &content[..], &mut file, &mut [0; 64])
                    .is_err()
            );
        };
        check(Some(vec![(90, 11)]), &[0; 600]);
        check(Some(vec![(u64::MAX, 2)]), &[0; 600]);
        check(Some(vec![(10, 10), (5, 1)]), &[0; 600]);
        check(Some(vec![(0, 50)]), &[0; 49]);
        check(None, &[b'9'; 600]);
        check(None, b"");
        check(None, &[&b"999999999\n"[..], &[0; 502]].concat());
    }
}
