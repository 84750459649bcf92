//! The files of one log: the current one, and older ones by their index, plain or compressed.
//!
//! An older file is known by the inode it was written as. A compressed one carries that number in its gzip header, so that a reader finds
//! its place again however far the files have moved on meanwhile.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What stands in the comment of a compressed file's header, before the number.
const INODE: &str = "inode ";
/// Header that is read for it: ours is shorter.
const MAX_HEADER_BYTES: u64 = 4096;

/// The name of the `index`-th older file of a log.
#[must_use]
pub(super) fn rotated(path: &Path, index: u32) -> PathBuf {
    with_ending(path, &format!(".{index}"))
}

/// The same, compressed.
#[must_use]
pub(super) fn compressed(path: &Path, index: u32) -> PathBuf {
    with_ending(path, &format!(".{index}.gz"))
}

/// A name with something after it.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// The comment for a file that was written as this inode.
pub(super) fn comment(inode: u64) -> String {
    format!("{INODE}{inode}")
}

/// One file of a log.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) file: File,
    /// It is compressed.
    pub(super) compressed: bool,
    /// Which file it is; none: a compressed one that somebody else made.
    pub(super) inode: Option<u64>,
}

/// Opens a log's file: 0 is the current one. None: it is not there.
pub(super) fn open(path: &Path, index: u32) -> io::Result<Option<Found>> {
    let plain = if index == 0 {
        path.to_owned()
    } else {
        rotated(path, index)
    };
    if let Some(file) = open_if_there(&plain)? {
        let inode = Some(file.metadata()?.ino());
        return Ok(Some(Found {
            file,
            compressed: false,
            inode,
        }));
    }
    if index == 0 {
        return Ok(None);
    }
    let Some(file) = open_if_there(&compressed(path, index))? else {
        return Ok(None);
    };
    Ok(Some(Found {
        inode: inode_in_header(&file),
        file,
        compressed: true,
    }))
}

/// The inode of a log's file, as [`open`] tells it.
pub(super) fn inode(path: &Path, index: u32) -> io::Result<Option<u64>> {
    Ok(open(path, index)?.and_then(|found| found.inode))
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn inode_in_header(file: &File) -> Option<u64> {
    let mut header = vec![0; usize::try_from(MAX_HEADER_BYTES).ok()?];
    let read = std::os::unix::fs::FileExt::read_at(file, &mut header, 0).ok()?;
    let decoder = flate2::read::GzDecoder::new(header[..read].take(MAX_HEADER_BYTES));
    let comment = decoder.header()?.comment()?;
    std::str::from_utf8(comment)
        .ok()?
        .strip_prefix(INODE)?
        .parse()
        .ok()
}
