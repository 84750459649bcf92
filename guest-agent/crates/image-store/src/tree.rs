//! Reading, copying and measuring trees of files that a container made.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat,
        chownat, fgetxattr, flistxattr, fsetxattr, fstat, linkat, mkdirat, mknodat, openat,
        readlinkat, statat, symlinkat, utimensat,
    },
    io::Errno,
};

use crate::root::{Root, children};

/// Largest file that is read whole.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Deepest nesting of folders that is copied.
const MAX_DEPTH: u32 = 1024;

/// Largest value of an extended attribute, and of the list of their names. Linux: include/uapi/linux/limits.h, XATTR_SIZE_MAX.
const MAX_ATTRIBUTE_BYTES: usize = 65_536;

/// Unit of `st_blocks`, whatever the file system.
const BLOCK_BYTES: u64 = 512;

/// Bytes on disk of a folder and all below, as containerd counts a container's own layer; a file of several names counts once.
pub(crate) fn disk_usage(folder: &Path) -> io::Result<u64> {
    let mut linked = HashSet::new();
    let mut folders = vec![folder.to_owned()];
    let mut blocks = gone_is_none(fs::symlink_metadata(folder))?.map_or(0, |own| own.blocks());
    while let Some(folder) = folders.pop() {
        for entry in gone_is_none(fs::read_dir(&folder))?.into_iter().flatten() {
            let entry = entry?;
            let Some(metadata) = gone_is_none(entry.metadata())? else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.nlink() > 1 && !linked.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            blocks = blocks.saturating_add(metadata.blocks());
        }
    }
    Ok(blocks.saturating_mul(BLOCK_BYTES))
}

/// A container may delete files while we look.
fn gone_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Nothing is there, in one of the ways a path can lead to nothing.
fn is_nothing(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG
    )
}

/// Reads a regular file of at most 1 MiB; links resolve inside. None: there is no such file.
pub(crate) fn read(root: &Root, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match root.file(path) {
        Err(error) if is_nothing(error) || error == Errno::NXIO || error == Errno::ACCESS => {
            Ok(None)
        }
        result => read_open(result?.into()),
    }
}

/// The same of a file that is open.
pub(crate) fn read_open(file: File) -> io::Result<Option<Vec<u8>>> {
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(bytes))
}

/// Copies the folder at a path, with all below, into an empty folder. False: there is no folder.
pub(crate) fn copy(root: &Root, path: &Path, target: &Path) -> io::Result<bool> {
    let from = match root.folder(path) {
        Err(error) if is_nothing(error) => return Ok(false),
        result => result?,
    };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let to = rustix::fs::open(target, flags, Mode::empty())?;
    let mut copy = Copy {
        target: to.as_fd(),
        linked: HashMap::new(),
    };
    copy.folder(from.as_fd(), to.as_fd(), Path::new(""), MAX_DEPTH)?;
    Ok(true)
}

struct Copy<'a> {
    target: BorrowedFd<'a>,
    /// Where files with several names are already.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    fn folder(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &Path,
        depth: u32,
    ) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
        for name in children(from)? {
            let stat = statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.entry(from, to, &path.join(&name), &name, &stat, depth)?;
        }
        dress(from, to, &fstat(from)?)
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &Path,
        name: &Path,
        stat: &Stat,
        depth: u32,
    ) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                return Ok(linkat(self.target, first, to, name, AtFlags::empty())?);
            }
            self.linked
                .insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match kind {
            FileType::Directory => {
                mkdirat(to, name, Mode::from(0o700))?;
                let flags = flags | OFlags::DIRECTORY;
                let inside_from = openat(from, name, flags, Mode::empty())?;
                let inside_to = openat(to, name, flags, Mode::empty())?;
                self.folder(inside_from.as_fd(), inside_to.as_fd(), path, depth)
            }
            FileType::RegularFile => {
                let old = openat(from, name, flags | OFlags::NONBLOCK, Mode::empty())?;
                let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let new: OwnedFd = openat(to, name, new, Mode::from(0o600))?;
                let (mut old, mut new) = (File::from(old), File::from(new));
                io::copy(&mut old, &mut new)?;
                dress(old.as_fd(), new.as_fd(), stat)
            }
            FileType::Symlink => {
                symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
                give(to, name, stat)?;
                Ok(utimensat(
                    to,
                    name,
                    &times(stat),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?)
            }
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                mknodat(to, name, kind, mode, stat.st_rdev)?;
                give(to, name, stat)?;
                chmodat(to, name, mode, AtFlags::empty())?;
                Ok(utimensat(
                    to,
                    name,
                    &times(stat),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?)
            }
        }
    }
}

fn give(folder: BorrowedFd<'_>, name: &Path, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(chownat(
        folder,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Owner, mode, attributes, times; in this order: giving a file away takes its set-user-id bit and its capabilities.
fn dress(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut list = vec![0; MAX_ATTRIBUTE_BYTES];
    let count = match flistxattr(from, &mut list[..]) {
        Err(Errno::NOTSUP) => 0,
        result => result?,
    };
    let mut value = Vec::new();
    for name in list[..count].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        // overlayfs' own ones mean something in a layer only.
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        value.resize(MAX_ATTRIBUTE_BYTES, 0);
        let size = match fgetxattr(from, name, &mut value[..]) {
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            result => result?,
        };
        match fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::futimens(to, &times(stat))?)
}
