//! The folder a layer is unpacked into, seen together with the layers below.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat2, statat, unlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen,
    },
};

/// Tries when something is renamed while it is resolved; nobody should, so a few are plenty.
const RESOLVE_TRIES: u32 = 8;

/// Deepest nesting of folders that is removed for a whiteout.
const MAX_DEPTH: u32 = 1024;

/// A folder that names are resolved in.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

impl Root {
    /// The folder alone: a first layer.
    pub(crate) fn plain(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(folder, flags, Mode::empty())?))
    }

    /// The folder over other layers, the topmost first: what is written goes to the folder, and what is removed leaves whiteouts there. The mount
    /// is attached nowhere and goes with the value. Needs CAP_SYS_ADMIN.
    pub(crate) fn over(lower: &[PathBuf], folder: &Path, work: &Path) -> io::Result<Self> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for layer in lower {
            fsconfig_set_string(&context, "lowerdir+", layer)?;
        }
        fsconfig_set_string(&context, "upperdir", folder)?;
        fsconfig_set_string(&context, "workdir", work)?;
        // Nothing of an unfinished layer is kept, so the work in between need not be durable; the caller syncs at the end.
        fsconfig_set_flag(&context, "volatile")?;
        fsconfig_create(&context)?;
        Ok(Self(fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?))
    }

    /// Folders over each other, the topmost first, for reading: the topmost may be another overlay's upper one. The mount is attached nowhere.
    /// Needs CAP_SYS_ADMIN when there is more than one.
    pub(crate) fn merged(folders: &[PathBuf]) -> io::Result<Self> {
        if let [folder] = folders {
            return Self::plain(folder);
        }
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for folder in folders {
            fsconfig_set_string(&context, "lowerdir+", folder)?;
        }
        // With an index the kernel refuses a folder that is a running container's.
        fsconfig_set_string(&context, "index", "off")?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID;
        Ok(Self(fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            attributes,
        )?))
    }

    /// A folder that is open already.
    pub(crate) fn of(folder: OwnedFd) -> Self {
        Self(folder)
    }

    /// Opens a folder; links and `..` resolve inside.
    pub(crate) fn folder(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        self.open(path, OFlags::DIRECTORY)
    }

    /// Opens whatever is there for reading, without waiting for another end; links and `..` resolve inside.
    pub(crate) fn file(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    /// Names whatever is there without opening it; a link at the end is followed only if `follow`.
    pub(crate) fn place(&self, path: &Path, follow: bool) -> Result<OwnedFd, Errno> {
        if follow {
            self.open(path, OFlags::PATH)
        } else {
            self.open(path, OFlags::PATH | OFlags::NOFOLLOW)
        }
    }

    fn open(&self, path: &Path, more: OFlags) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | more;
        for _ in 0..RESOLVE_TRIES {
            match openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens a folder, making what is missing of it with mode 0755: archives may leave parents out.
    pub(crate) fn ensure_folder(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.folder(path) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let mut so_far = PathBuf::new();
        let mut folder = self.folder(&so_far)?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            so_far.push(name);
            folder = match self.folder(&so_far) {
                Err(Errno::NOENT) => {
                    // A link to nowhere is in the way: it is no folder, whatever it was meant to be.
                    mkdirat(&folder, name, Mode::from(0o755)).map_err(|error| {
                        if error == Errno::EXIST {
                            Errno::NOTDIR
                        } else {
                            error
                        }
                    })?;
                    self.folder(&so_far)?
                }
                result => result?,
            };
        }
        Ok(folder)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Removes whatever has a name in a folder, with all below; nothing there is no error. Links are not followed.
pub(crate) fn remove_all(folder: BorrowedFd<'_>, name: &Path) -> Result<(), Errno> {
    remove_deep(folder, name, MAX_DEPTH)
}

fn remove_deep(folder: BorrowedFd<'_>, name: &Path, depth: u32) -> Result<(), Errno> {
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        result => result?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return unlinkat(folder, name, AtFlags::empty());
    }
    let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // What is mounted there is somebody else's, and is not emptied before the kernel says that it is busy.
    let inside =
        openat2(folder, name, flags, Mode::empty(), ResolveFlags::NO_XDEV).map_err(|error| {
            match error {
                Errno::XDEV => Errno::BUSY,
                other => other,
            }
        })?;
    for entry in children(inside.as_fd())? {
        remove_deep(inside.as_fd(), &entry, depth)?;
    }
    unlinkat(folder, name, AtFlags::REMOVEDIR)
}

/// Names in a folder.
pub(crate) fn children(folder: BorrowedFd<'_>) -> Result<Vec<PathBuf>, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
        }
    }
    Ok(names)
}
