//! What was below a mount point, copied into the new file system (`tmpcopyup`).
//!
//! Works on descriptors of folders and follows no symlink: the image cannot lead a copy elsewhere. The new file system is still detached.
//! Owners, modes and device numbers are kept; sockets are left out, and extended attributes.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, fchmod, fchown,
        mkdirat, mknodat, openat, readlinkat, statat, symlinkat,
    },
    io::Errno,
};

/// Folders in folders that are copied; each level keeps three descriptors open.
const MAX_DEPTH: u32 = 128;

/// Copies what is in a folder.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    copy_entries(from, to, MAX_DEPTH)
}

fn copy_entries(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
    if depth == 0 {
        return Err(Errno::NAMETOOLONG.into());
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_one(from, to, name, depth)?;
        }
    }
    Ok(())
}

fn copy_one(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    depth: u32,
) -> io::Result<()> {
    let found = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(found.st_mode);
    let kind = FileType::from_raw_mode(found.st_mode);
    let no_link = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match kind {
        FileType::Directory => {
            let flags = no_link | OFlags::DIRECTORY;
            let source = openat(from, name, flags, Mode::empty())?;
            mkdirat(to, name, Mode::RWXU)?;
            let target = openat(to, name, flags, Mode::empty())?;
            copy_entries(source.as_fd(), target.as_fd(), depth - 1)?;
            own(&target, &found)?;
        }
        FileType::RegularFile => {
            // Something else may be there by now, which must not block.
            let flags = no_link | OFlags::NONBLOCK;
            let mut source = File::from(openat(from, name, flags, Mode::empty())?);
            let flags = no_link | OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
            let mut target = File::from(openat(to, name, flags, Mode::RUSR)?);
            io::copy(&mut source, &mut target)?;
            own(&target.into(), &found)?;
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
            own_entry(to, name, &found)?;
        }
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
            mknodat(to, name, kind, mode, found.st_rdev)?;
            own_entry(to, name, &found)?;
            chmodat(to, name, mode, AtFlags::empty())?;
        }
        _ => {}
    }
    Ok(())
}

/// The owner first: a change of it takes the set-user-id bits away.
fn own(target: &OwnedFd, like: &Stat) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
    fchown(target, Some(user), Some(group))?;
    Ok(fchmod(target, Mode::from_raw_mode(like.st_mode))?)
}

fn own_entry(folder: BorrowedFd<'_>, name: &std::ffi::CStr, like: &Stat) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(chownat(folder, name, Some(user), Some(group), flags)?)
}

/// Mode of the folder at a mount point, as a new file system's option.
pub(super) fn mode_of(folder: BorrowedFd<'_>) -> Result<String, Errno> {
    let mode = rustix::fs::fstat(folder)?.st_mode & 0o7777;
    Ok(format!("{mode:04o}"))
}

/// Opens a folder that was only looked up, to read it.
pub(super) fn readable(folder: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(folder, ".", flags, Mode::empty())
}
