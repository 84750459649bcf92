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
    /// Inode of the file that is open.
    own: u64,
}

/// How a file that is held open is found again. Its own inode is nobody else's as long as it is held; that of a plain file whose compressed
/// copy is held may have been given to another file meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    compressed: bool,
    own: u64,
}

impl Found {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            compressed: self.compressed,
            own: self.own,
        }
    }
}

/// Whether a log's file is the one that is held, or its compressed copy.
pub(super) fn is(path: &Path, index: u32, held: Identity) -> io::Result<bool> {
    let found = open(path, index)?;
    Ok(found.is_some_and(|found| {
        found.identity() == held
            || found.compressed && !held.compressed && found.inode == Some(held.own)
    }))
}

/// Opens a log's file: 0 is the current one. None: it is not there.
pub(super) fn open(path: &Path, index: u32) -> io::Result<Option<Found>> {
    let plain = if index == 0 {
        path.to_owned()
    } else {
        rotated(path, index)
    };
    if let Some(file) = open_if_there(&plain)? {
        let own = file.metadata()?.ino();
        return Ok(Some(Found {
            file,
            compressed: false,
            inode: Some(own),
            own,
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
        own: file.metadata()?.ino(),
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
