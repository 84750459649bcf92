//! Files as a tar, name by name in order. What goes away meanwhile is left out: a container lives on while it is read.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, Stat, fgetxattr, fstat, major, minor, openat, readlinkat,
        statat,
    },
    io::Errno,
};

use super::tarball::{self, Head, Tarball};
use crate::{root::children, stream::CHUNK_BYTES};

/// Deepest nesting of folders.
const MAX_DEPTH: u32 = 1024;

const CAPABILITY: &str = "security.capability";
/// Bytes of a capability's second version, and where its version is. Linux: include/uapi/linux/capability.h.
const CAPABILITY_2_BYTES: usize = 20;
const CAPABILITY_VERSION: usize = 3;

/// Writes entries, files with several names once.
pub(crate) struct Reader<W> {
    tar: Tarball<W>,
    /// Where files with several names are already.
    linked: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Reader<W> {
    pub(crate) fn new(to: W) -> Self {
        Self {
            tar: Tarball::new(to),
            linked: HashMap::new(),
            buffer: vec![0; CHUNK_BYTES],
        }
    }

    /// A folder under a name, and all below it.
    pub(crate) fn folder(&mut self, folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        let stat = fstat(folder)?;
        let head = head_of(&[name, b"/"].concat(), tarball::FOLDER, &stat);
        self.tar.begin(&head)?;
        self.inside(folder, name, MAX_DEPTH)
    }

    /// All that is in a folder, which has no name itself.
    pub(crate) fn content(&mut self, folder: BorrowedFd<'_>) -> io::Result<()> {
        let names = sorted(folder)?;
        for name in names {
            self.entry(folder, &name, name.as_os_str().as_bytes(), MAX_DEPTH)?;
        }
        Ok(())
    }

    /// What has a name in a folder, under another name, and all below it.
    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        base: &Path,
        name: &[u8],
        depth: u32,
    ) -> io::Result<()> {
        match (self.one(folder, base, name)?, depth.checked_sub(1)) {
            (None, _) => Ok(()),
            (Some(inside), Some(depth)) => self.inside(inside.as_fd(), name, depth),
            (Some(_), None) => Err(Errno::NAMETOOLONG.into()),
        }
    }

    /// What has a name in a folder, under another name, without what is below it. A folder is returned.
    pub(crate) fn one(
        &mut self,
        folder: BorrowedFd<'_>,
        base: &Path,
        name: &[u8],
    ) -> io::Result<Option<OwnedFd>> {
        let Some(stat) = gone_is_none(statat(folder, base, AtFlags::SYMLINK_NOFOLLOW))? else {
            return Ok(None);
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match kind {
            FileType::Directory => {
                let flags = flags | OFlags::DIRECTORY;
                let Some(inside) = gone_is_none(openat(folder, base, flags, Mode::empty()))? else {
                    return Ok(None);
                };
                let head = head_of(&[name, b"/"].concat(), tarball::FOLDER, &stat);
                self.tar.begin(&head)?;
                return Ok(Some(inside));
            }
            FileType::RegularFile => {
                if self.seen(&stat, name)? {
                    return Ok(None);
                }
                // It may be something else by now, which must not be waited for.
                let flags = flags | OFlags::NONBLOCK;
                let Some(file) = gone_is_none(openat(folder, base, flags, Mode::empty()))? else {
                    return Ok(None);
                };
                let stat = fstat(&file)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Ok(None);
                }
                self.file(File::from(file), name, &stat)?;
            }
            FileType::Symlink => {
                let Some(target) = gone_is_none(readlinkat(folder, base, Vec::new()))? else {
                    return Ok(None);
                };
                if self.seen(&stat, name)? {
                    return Ok(None);
                }
                let mut head = head_of(name, tarball::SYMLINK, &stat);
                head.link = target.into_bytes();
                self.tar.begin(&head)?;
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                if self.seen(&stat, name)? {
                    return Ok(None);
                }
                let mut head = head_of(name, tarball::FIFO, &stat);
                if kind != FileType::Fifo {
                    head.kind = if kind == FileType::CharacterDevice {
                        tarball::CHARACTER_DEVICE
                    } else {
                        tarball::BLOCK_DEVICE
                    };
                    head.device = (major(stat.st_rdev), minor(stat.st_rdev));
                }
                self.tar.begin(&head)?;
            }
            // Sockets have no place in a tar.
            _ => {}
        }
        Ok(None)
    }

    /// Writes an entry of the caller's own making.
    pub(crate) fn plain(&mut self, head: &Head) -> io::Result<()> {
        self.tar.begin(head)
    }

    /// Ends the archive.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.tar.finish()
    }

    fn inside(&mut self, folder: BorrowedFd<'_>, name: &[u8], depth: u32) -> io::Result<()> {
        for child in sorted(folder)? {
            let whole = [name, b"/", child.as_os_str().as_bytes()].concat();
            self.entry(folder, &child, &whole, depth)?;
        }
        Ok(())
    }

    /// True: it was there under another name, and is a link to that.
    fn seen(&mut self, stat: &Stat, name: &[u8]) -> io::Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&key) {
            let mut head = head_of(name, tarball::LINK, stat);
            head.link.clone_from(first);
            self.tar.begin(&head)?;
            return Ok(true);
        }
        self.linked.insert(key, name.to_owned());
        Ok(false)
    }

    fn file(&mut self, mut file: File, name: &[u8], stat: &Stat) -> io::Result<()> {
        let mut head = head_of(name, tarball::FILE, stat);
        head.size = u64::try_from(stat.st_size).unwrap_or_default();
        head.attributes.extend(capability(file.as_fd()));
        self.tar.begin(&head)?;
        let mut left = head.size;
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let count = file.read(&mut self.buffer[..most])?;
            if count == 0 {
                // It was cut while it was read: the header has promised more.
                self.buffer[..most].fill(0);
            }
            let count = if count == 0 { most } else { count };
            self.tar.write(&self.buffer[..count])?;
            left -= count as u64;
        }
        self.tar.pad(head.size)
    }
}

/// A header with what all kinds have.
pub(super) fn head_of(name: &[u8], kind: u8, stat: &Stat) -> Head {
    Head {
        name: name.to_owned(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        seconds: stat.st_mtime,
        ..Head::default()
    }
}

/// A file's capabilities; those of a user namespace lose what means nothing outside of it.
fn capability(file: BorrowedFd<'_>) -> Option<(String, Vec<u8>)> {
    let mut value = vec![0; 64];
    let size = fgetxattr(file, CAPABILITY, &mut value[..]).ok()?;
    value.truncate(size);
    if value.get(CAPABILITY_VERSION) == Some(&3) && value.len() >= CAPABILITY_2_BYTES {
        value[CAPABILITY_VERSION] = 2;
        value.truncate(CAPABILITY_2_BYTES);
    }
    Some((CAPABILITY.to_owned(), value))
}

fn sorted(folder: BorrowedFd<'_>) -> io::Result<Vec<std::path::PathBuf>> {
    let mut names = children(folder)?;
    names.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(names)
}

fn gone_is_none<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::STALE) => Ok(None),
        result => Ok(Some(result?)),
    }
}
