//! One entry of a tar, made in a folder: the part that layers and files copied by users share.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat,
        chownat, fchmod, fsetxattr, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat,
        utimensat,
    },
    io::Errno,
};
use tar::{Entry, EntryType};

use crate::{
    pax::attribute,
    root::{Root, remove_all},
    sparse::{Holes, Sparse},
    stream::CHUNK_BYTES,
};

/// Largest extended attribute. Linux: include/uapi/linux/limits.h, XATTR_SIZE_MAX.
const MAX_ATTRIBUTE_BYTES: usize = 65_536;

/// Most bytes of names that are kept until an archive's end: small names by the million, or as many long ones as nobody has.
const MAX_KEPT_BYTES: usize = 256 << 20;
/// What a kept name takes beside its text.
const NAME_BYTES: usize = 64;

/// What users' archives do otherwise than layers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ByUser {
    /// Owner and group of all that is made, whatever the archive says.
    pub(crate) owner: Option<(u32, u32)>,
}

/// An attribute was refused by the file system.
#[derive(Debug, thiserror::Error)]
#[error("set attribute {name}")]
pub(crate) struct AttributeError {
    pub(crate) name: String,
    pub(crate) source: io::Error,
}

/// Makes entries below a root.
pub(crate) struct Maker {
    pub(crate) root: Root,
    is_root: bool,
    by_user: Option<ByUser>,
    /// Times of folders are set at the end: making what is in them changes them.
    folders: Vec<(PathBuf, u64)>,
    /// Room for more names.
    kept_left: usize,
    buffer: Vec<u8>,
}

/// Owner, mode, times and attributes of an entry.
pub(crate) struct Metadata {
    uid: u32,
    gid: u32,
    mode: u32,
    seconds: u64,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Maker {
    /// `by_user`: the archive is a user's and no layer.
    pub(crate) fn new(root: Root, by_user: Option<ByUser>) -> Self {
        Self {
            root,
            is_root: rustix::process::geteuid().is_root(),
            by_user,
            folders: Vec::new(),
            kept_left: MAX_KEPT_BYTES,
            buffer: vec![0; CHUNK_BYTES],
        }
    }

    /// Reads who an entry belongs to, its mode, times and attributes.
    pub(crate) fn metadata(&self, entry: &mut Entry<'_, impl Read>) -> io::Result<Metadata> {
        let mut metadata = metadata(entry)?;
        if let Some((uid, gid)) = self.by_user.and_then(|by_user| by_user.owner) {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        Ok(metadata)
    }

    /// Makes an entry in a folder, where nothing of another kind has its name. Tells how many bytes of data it has.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] for a kind of entry that is not made.
    pub(crate) fn make(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        sparse: Option<Sparse>,
        path: &Path,
        folder: BorrowedFd<'_>,
        name: &Path,
        metadata: &Metadata,
    ) -> io::Result<u64> {
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Directory => {
                match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                    Ok(_) => {
                        remove_all(folder, name)?;
                        mkdirat(folder, name, Mode::from(0o755))?;
                    }
                    Err(Errno::NOENT) => mkdirat(folder, name, Mode::from(0o755))?,
                    Err(error) => return Err(error.into()),
                }
                let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inside = openat(folder, name, flags, Mode::empty())?;
                self.dress_folder(path, &inside, metadata)?;
                Ok(0)
            }
            EntryType::Continuous if self.by_user.is_some() => {
                Err(io::ErrorKind::Unsupported.into())
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = openat(folder, name, flags, Mode::from(0o600))?;
                let mut file = File::from(file);
                let copied = self.fill(entry, sparse, kind, &mut file)?;
                self.dress(file.as_fd(), metadata)?;
                set_time(folder, name, metadata.seconds)?;
                Ok(copied)
            }
            EntryType::Link => {
                let target = entry
                    .link_name()?
                    .and_then(|target| clean(&target))
                    .ok_or(Errno::INVAL)?;
                let from = self.root.folder(target.parent().unwrap_or(Path::new("")))?;
                let target = target.file_name().ok_or(Errno::INVAL)?;
                linkat(&from, target, folder, name, AtFlags::empty())?;
                if self.by_user.is_some() {
                    self.dress_link(folder, name, metadata)?;
                }
                Ok(0)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or(Errno::INVAL)?;
                symlinkat(&target[..], folder, name)?;
                self.give(folder, name, metadata)?;
                set_time(folder, name, metadata.seconds)?;
                Ok(0)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.make_node(entry, kind, folder, name, metadata)?;
                Ok(0)
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Docker gives a file what the entry of its second name says.
    fn dress_link(
        &self,
        folder: BorrowedFd<'_>,
        name: &Path,
        metadata: &Metadata,
    ) -> io::Result<()> {
        self.give(folder, name, metadata)?;
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Ok(());
        }
        chmodat(
            folder,
            name,
            Mode::from_raw_mode(metadata.mode & 0o7777),
            AtFlags::empty(),
        )?;
        set_time(folder, name, metadata.seconds)
    }

    /// Writes a file's content; tells how much of it is data.
    fn fill(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        sparse: Option<Sparse>,
        kind: EntryType,
        file: &mut File,
    ) -> io::Result<u64> {
        if let Some(sparse) = sparse {
            return sparse.write(entry, file, &mut self.buffer);
        }
        let size = entry.size();
        let (copied, data) = if kind == EntryType::GNUSparse {
            let mut holes = Holes::new(file);
            (self.copy(entry, &mut holes)?, holes.finish()?)
        } else {
            let copied = self.copy(entry, file)?;
            (copied, copied)
        };
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(data)
    }

    /// In large pieces: file systems have a price for each.
    fn copy(&mut self, from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
        let mut copied = 0;
        loop {
            let count = from.read(&mut self.buffer)?;
            if count == 0 {
                return Ok(copied);
            }
            to.write_all(&self.buffer[..count])?;
            copied += count as u64;
        }
    }

    fn make_node(
        &self,
        entry: &Entry<'_, impl Read>,
        kind: EntryType,
        folder: BorrowedFd<'_>,
        name: &Path,
        metadata: &Metadata,
    ) -> io::Result<()> {
        let kind = match kind {
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = if kind == FileType::Fifo {
            0
        } else {
            let header = entry.header();
            let number = |value: io::Result<Option<u32>>| value.map(Option::unwrap_or_default);
            makedev(
                number(header.device_major())?,
                number(header.device_minor())?,
            )
        };
        // 0:0 is overlayfs' own whiteout: an archive may not smuggle one in.
        if kind == FileType::CharacterDevice && device == 0 {
            if self.by_user.is_some() {
                return Err(Errno::PERM.into());
            }
            return Err(io::ErrorKind::Unsupported.into());
        }
        mknodat(
            folder,
            name,
            kind,
            Mode::from_raw_mode(metadata.mode & 0o7777),
            device,
        )?;
        chmodat(
            folder,
            name,
            Mode::from_raw_mode(metadata.mode & 0o7777),
            AtFlags::empty(),
        )?;
        self.give(folder, name, metadata)?;
        set_time(folder, name, metadata.seconds)
    }

    /// Gives a folder what its entry says; its times at the end.
    pub(crate) fn dress_folder(
        &mut self,
        path: &Path,
        folder: &OwnedFd,
        metadata: &Metadata,
    ) -> io::Result<()> {
        self.dress(folder.as_fd(), metadata)?;
        self.keep(path)?;
        self.folders.push((path.to_owned(), metadata.seconds));
        Ok(())
    }

    /// Makes sure that there is room for a name that is kept to the end.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn keep(&mut self, path: &Path) -> io::Result<()> {
        let bytes = path.as_os_str().len() + NAME_BYTES;
        let left = self.kept_left.checked_sub(bytes);
        self.kept_left = left.ok_or_else(|| io::Error::other("the archive has too many names"))?;
        Ok(())
    }

    /// Owner first: giving a file away takes its set-user-id bit and its capabilities.
    fn dress(&self, file: BorrowedFd<'_>, metadata: &Metadata) -> io::Result<()> {
        if self.is_root {
            rustix::fs::fchown(
                file,
                Some(Uid::from_raw(metadata.uid)),
                Some(Gid::from_raw(metadata.gid)),
            )?;
        }
        fchmod(file, Mode::from_raw_mode(metadata.mode & 0o7777))?;
        for (name, value) in &metadata.attributes {
            match fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // A file system without them, or a name that only root may set.
                Err(Errno::NOTSUP) if self.by_user.is_none() => {}
                Err(Errno::PERM) if !self.is_root || self.by_user.is_some() => {}
                Err(error) if self.by_user.is_some() => {
                    let name = name.clone();
                    let source = error.into();
                    return Err(io::Error::other(AttributeError { name, source }));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn give(&self, folder: BorrowedFd<'_>, name: &Path, metadata: &Metadata) -> io::Result<()> {
        if self.is_root {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            chownat(
                folder,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        Ok(())
    }

    /// Sets the times of folders, now that nothing is made in them any more.
    pub(crate) fn finish(&self) -> Result<(), (PathBuf, io::Error)> {
        for (path, seconds) in self.folders.iter().rev() {
            let parent = self.root.folder(path.parent().unwrap_or(Path::new("")));
            let name = path.file_name().map_or(Path::new("."), Path::new);
            // Removed again by a later entry: its time does not matter.
            let Ok(parent) = parent else { continue };
            match set_time(parent.as_fd(), name, *seconds) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err((path.clone(), error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn metadata(entry: &mut Entry<'_, impl Read>) -> io::Result<Metadata> {
    let mut attributes = Vec::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let Ok(key) = extension.key() else { continue };
            let Some((name, value)) = attribute(key, extension.value_bytes()) else {
                continue;
            };
            // overlayfs' own attributes would let an archive rewrite the layers below.
            let forbidden =
                name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.");
            if !forbidden && value.len() <= MAX_ATTRIBUTE_BYTES {
                attributes.push((name, value));
            }
        }
    }
    let header = entry.header();
    let raw = header.as_old();
    let narrow = |value: u64| u32::try_from(value).map_err(|_| io::Error::from(Errno::INVAL));
    Ok(Metadata {
        uid: narrow(or_zero(&raw.uid, header.uid())?)?,
        gid: narrow(or_zero(&raw.gid, header.gid())?)?,
        mode: or_zero(&raw.mode, header.mode())?,
        seconds: or_zero(&raw.mtime, header.mtime())?,
        attributes,
    })
}

/// A number's field that was left blank is zero, as Go reads it.
fn or_zero<T: Default>(field: &[u8], number: io::Result<T>) -> io::Result<T> {
    match number {
        Err(_) if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(T::default()),
        number => number,
    }
}

fn set_time(folder: BorrowedFd<'_>, name: &Path, seconds: u64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A name without `.` and leading slashes. `None`: it has `..`.
pub(crate) fn clean(path: &Path) -> Option<PathBuf> {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_number_is_zero_and_a_bad_one_is_refused() {
        let bad = || Err::<u64, _>(io::Error::other("no number"));
        assert_eq!(or_zero(b"\0\0 ", bad()).expect("zero"), 0);
        assert!(or_zero(b"x\0", bad()).is_err());
        assert_eq!(or_zero(b"7\0", Ok(7_u64)).expect("read"), 7);
    }
}
