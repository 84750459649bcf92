//! How a container differs from its image: what its own layer has, compared with the layers below.
//!
//! Docker puts a layer of empty files and folders between image and container, for what it mounts in every one; they are no changes.
//!
//! Linux: Documentation/filesystems/overlayfs.rst, whiteouts and opaque directories.

use std::{
    collections::BTreeSet,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use engine::{
    id::ContainerId,
    ports::files::{Change, ChangeKind},
};
use errdefs::Result;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, fgetxattr, openat, statat},
    io::Errno,
};

use crate::{
    containers::Container,
    error::system,
    root::{Root, children},
    store::Inner,
};

/// Deepest nesting of folders.
const MAX_DEPTH: u32 = 1024;

/// What every container has, whatever its image.
const PLACES: &[&str] = &[
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/dev/pts",
    "/dev/shm",
    "/etc",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

/// A path that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) kind: ChangeKind,
}

impl Inner {
    pub(super) fn changes_of(&self, id: &ContainerId) -> Result<Vec<Change>> {
        let differences = self.differences(id)?.into_iter();
        Ok(differences
            .map(|difference| Change {
                path: difference.path.to_string_lossy().into_owned(),
                kind: difference.kind,
            })
            .collect())
    }

    /// All differences between a container and its image, each folder before what is in it.
    pub(crate) fn differences(&self, id: &ContainerId) -> Result<Vec<Difference>> {
        let below = self.state().below(&self.root, id)?;
        let upper = Container::folder(&self.root, id).join("upper");
        let compare = || {
            let whole = [std::slice::from_ref(&upper), &below[..]].concat();
            let mut walk = Walk {
                whole: Root::merged(&whole)?,
                found: Vec::new(),
            };
            let own = Root::plain(&upper)?;
            let lower = match &below[..] {
                [] => None,
                below => Some(Root::merged(below)?),
            };
            let lower = lower.as_ref().map(AsFd::as_fd);
            walk.folder(own.as_fd(), lower, Path::new("/"), MAX_DEPTH)?;
            Ok::<_, io::Error>(walk.found)
        };
        compare().map_err(|error| system(format!("compare container {id} with its image"), error))
    }
}

struct Walk {
    /// The container's own layer over its image.
    whole: Root,
    found: Vec<Difference>,
}

impl Walk {
    fn folder(
        &mut self,
        own: BorrowedFd<'_>,
        lower: Option<BorrowedFd<'_>>,
        path: &Path,
        depth: u32,
    ) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
        // A folder that was renamed has its content elsewhere: all of it is new here.
        let moved = mark(own, "trusted.overlay.redirect").is_some();
        let whole = if moved {
            Some(self.whole.folder(path)?)
        } else {
            None
        };
        let own = whole.as_ref().map_or(own, AsFd::as_fd);
        let lower = lower.filter(|_| !moved);
        let mut names: BTreeSet<PathBuf> = children(own)?.into_iter().collect();
        if let Some(lower) = lower
            && mark(own, "trusted.overlay.opaque").as_deref() == Some(b"y")
        {
            names.extend(children(lower)?);
        }
        for name in names {
            self.entry(own, lower, &name, &path.join(&name), depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        own: BorrowedFd<'_>,
        lower: Option<BorrowedFd<'_>>,
        name: &Path,
        path: &Path,
        depth: u32,
    ) -> io::Result<()> {
        let old = match lower {
            Some(lower) => stat(lower, name)?,
            None => None,
        };
        let new = stat(own, name)?.filter(|new| !is_whiteout(new));
        let Some(new) = new else {
            if old.is_some() {
                self.tell(path, ChangeKind::Deleted);
            }
            return Ok(());
        };
        let is_place = old.is_none() && PLACES.iter().any(|place| path == Path::new(place));
        let kind = match &old {
            None if is_place && (is_folder(&new) || new.st_size == 0 || is_link(&new)) => None,
            None if is_place => Some(ChangeKind::Modified),
            None => Some(ChangeKind::Added),
            Some(old) if differ(old, &new) => Some(ChangeKind::Modified),
            Some(_) => {
                let changed =
                    !is_folder(&new) && capability(own, name) != capability_of(lower, name);
                changed.then_some(ChangeKind::Modified)
            }
        };
        let at = self.found.len();
        if let Some(kind) = kind {
            self.tell(path, kind);
        }
        if !is_folder(&new) {
            return Ok(());
        }
        let inside = open_folder(own, name)?;
        let below = match (lower, &old) {
            (Some(lower), Some(old)) if is_folder(old) => Some(open_folder(lower, name)?),
            _ => None,
        };
        self.folder(inside.as_fd(), below.as_ref().map(AsFd::as_fd), path, depth)?;
        // What is in it makes a folder another one, too.
        if kind.is_none() && self.found.len() > at {
            let difference = Difference {
                path: path.to_owned(),
                kind: ChangeKind::Modified,
            };
            self.found.insert(at, difference);
        }
        Ok(())
    }

    fn tell(&mut self, path: &Path, kind: ChangeKind) {
        self.found.push(Difference {
            path: path.to_owned(),
            kind,
        });
    }
}

fn stat(folder: BorrowedFd<'_>, name: &Path) -> io::Result<Option<Stat>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        result => Ok(Some(result?)),
    }
}

fn open_folder(folder: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

fn mark(folder: BorrowedFd<'_>, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    match fgetxattr(folder, name, &mut value[..]) {
        Ok(size) => {
            value.truncate(size);
            Some(value)
        }
        // Too long to be read is there all the same.
        Err(Errno::RANGE) => Some(Vec::new()),
        Err(_) => None,
    }
}

fn capability_of(folder: Option<BorrowedFd<'_>>, name: &Path) -> Option<Vec<u8>> {
    folder.and_then(|folder| capability(folder, name))
}

/// A regular file's capabilities.
fn capability(folder: BorrowedFd<'_>, name: &Path) -> Option<Vec<u8>> {
    let stat = stat(folder, name).ok().flatten()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty()).ok()?;
    mark(file.as_fd(), "security.capability")
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// What Docker looks at: not the inode, and of folders neither size nor time.
fn differ(old: &Stat, new: &Stat) -> bool {
    // Archives have whole seconds.
    let same_time = old.st_mtime == new.st_mtime
        && (old.st_mtime_nsec == new.st_mtime_nsec
            || old.st_mtime_nsec == 0
            || new.st_mtime_nsec == 0);
    old.st_mode != new.st_mode
        || old.st_uid != new.st_uid
        || old.st_gid != new.st_gid
        || old.st_rdev != new.st_rdev
        || !is_folder(old) && (!same_time || old.st_size != new.st_size)
}

/// A whiteout's name in a layer's tar.
pub(crate) fn whiteout(path: &Path) -> Vec<u8> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    let name = [b".wh.", name.as_bytes()].concat();
    let whole = folder.join(std::ffi::OsStr::from_bytes(&name));
    let whole = whole.as_os_str().as_bytes();
    whole.strip_prefix(b"/").unwrap_or(whole).to_vec()
}
