//! Looking at one path, with errors in the words of Go's `os` package.

use std::{
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use engine::ports::{files::PathStat, world::Timestamp};
use errdefs::{Error, ErrorKind};
use rustix::{
    fs::{FileType, Stat, fstat, readlinkat},
    io::Errno,
};

use super::view::View;
use crate::root::Root;

/// Most links on the way to an end, as in Go.
const MAX_LINKS: u32 = 255;

/// What is at a path; a link at its end is not followed, unless a slash comes after.
pub(super) fn look(view: &View, path: &str) -> errdefs::Result<(OwnedFd, Stat)> {
    let found = view
        .root
        .place(Path::new(path), false)
        .and_then(|place| fstat(&place).map(|stat| (place, stat)));
    found.map_err(|error| failed("lstat", path, error))
}

/// What it is for a client.
pub(super) fn describe(view: &View, path: &str, stat: &Stat) -> errdefs::Result<PathStat> {
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let link_target = if is_link {
        follow(&view.root, Path::new(path))
            .map_err(|error| failed("lstat", path, error))?
            .to_string_lossy()
            .into_owned()
    } else {
        String::new()
    };
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Ok(PathStat {
        size: stat.st_size,
        mode: stat.st_mode,
        modified: Timestamp(
            stat.st_mtime
                .saturating_mul(1_000_000_000)
                .saturating_add(nanoseconds),
        ),
        link_target,
    })
}

/// Where a path ends when its links are followed, as far as there is something.
pub(super) fn follow(root: &Root, path: &Path) -> Result<PathBuf, Errno> {
    let mut left: Vec<PathBuf> = parts(path);
    let mut so_far = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part.as_os_str() == ".." {
            so_far.pop();
            continue;
        }
        let next = so_far.join(&part);
        let link = root
            .place(&next, false)
            .and_then(|place| readlinkat(&place, "", Vec::new()));
        let Ok(target) = link else {
            so_far = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let target = Path::new(std::ffi::OsStr::from_bytes(target.as_bytes()));
        if target.is_absolute() {
            so_far = PathBuf::from("/");
        }
        left.extend(parts(target));
    }
    Ok(so_far)
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            _ => None,
        })
        .collect()
}

/// An error as Go writes those of paths: `lstat /x: no such file or directory`.
pub(super) fn failed(what: &str, path: &str, error: Errno) -> Error {
    let kind = if error == Errno::NOENT {
        ErrorKind::NotFound
    } else {
        ErrorKind::System
    };
    let text = go_text(&error.into());
    Error::new(kind, format!("{what} {path}: {text}"))
}

/// The words of Go for an error's number: those of glibc, which begin in lower case.
pub(super) fn go_text(error: &io::Error) -> String {
    let known = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "no such file or directory",
        Some(Errno::NOTDIR) => "not a directory",
        Some(Errno::ISDIR) => "is a directory",
        Some(Errno::NAMETOOLONG) => "file name too long",
        Some(Errno::LOOP) => "too many levels of symbolic links",
        Some(Errno::BUSY) => "device or resource busy",
        Some(Errno::PERM) => "operation not permitted",
        Some(Errno::ACCESS) => "permission denied",
        Some(Errno::NOTSUP) => "operation not supported",
        Some(Errno::NOSPC) => "no space left on device",
        Some(Errno::ROFS) => "read-only file system",
        Some(Errno::INVAL) => "invalid argument",
        Some(Errno::EXIST) => "file exists",
        Some(Errno::XDEV) => "invalid cross-device link",
        Some(Errno::DQUOT) => "disk quota exceeded",
        Some(Errno::IO) => "input/output error",
        _ => return error.to_string(),
    };
    known.to_owned()
}
