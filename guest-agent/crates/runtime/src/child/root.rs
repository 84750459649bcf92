//! The new root: mounted, and looked into only through descriptors that cannot leave it.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2, readlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

use super::{Failure, propagation};
use crate::container::Root;

/// Tries when something in the image is renamed while it is resolved.
const RESOLVE_TRIES: u32 = 8;

/// Links followed while missing folders are made, as in the kernel.
const MAX_LINKS: u32 = 40;

/// The root's folder.
pub(super) struct RootFolder(OwnedFd);

impl AsFd for RootFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Puts the root together and mounts it at the caller's empty folder.
pub(super) fn mount(root: &Root, mount_point: &Path) -> Result<RootFolder, Failure> {
    let detached = match root {
        Root::Overlay { lower, upper, work } => {
            overlay(lower, upper, work).map_err(|error| Failure::of("mount overlay", error))?
        }
        Root::Folder(folder) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            open_tree(CWD, folder, flags)
                .map_err(|error| Failure::of(format!("open {}", folder.display()), error))?
        }
    };
    propagation::PRIVATE
        .set(detached.as_fd())
        .map_err(|error| Failure::of("make the root private", error))?;
    move_mount(
        &detached,
        "",
        CWD,
        mount_point,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(|error| {
        Failure::of(
            format!("mount the root at {}", mount_point.display()),
            error,
        )
    })?;
    rustix::fs::open(
        mount_point,
        OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(RootFolder)
    .map_err(|error| Failure::of("open the root", error))
}

fn overlay(lower: &[impl AsRef<Path>], upper: &Path, work: &Path) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for folder in lower {
        // One by one: a list would be bounded by a page. Linux 6.5; older ones take it joined by colons.
        match fsconfig_set_string(&context, "lowerdir+", folder.as_ref()) {
            Err(Errno::INVAL) => return joined_overlay(lower, upper, work),
            result => result?,
        }
    }
    finish_overlay(context.as_fd(), upper, work)
}

fn joined_overlay(lower: &[impl AsRef<Path>], upper: &Path, work: &Path) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let all: Vec<_> = lower
        .iter()
        .map(|folder| folder.as_ref().as_os_str().to_owned())
        .collect();
    fsconfig_set_string(&context, "lowerdir", all.join(std::ffi::OsStr::new(":")))?;
    finish_overlay(context.as_fd(), upper, work)
}

fn finish_overlay(context: BorrowedFd<'_>, upper: &Path, work: &Path) -> Result<OwnedFd, Errno> {
    fsconfig_set_string(context, "upperdir", upper)?;
    fsconfig_set_string(context, "workdir", work)?;
    fsconfig_create(context)?;
    fsmount(
        context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

impl RootFolder {
    /// The root that this process is in.
    pub(super) fn here() -> Result<Self, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::open("/", flags, Mode::empty()).map(Self)
    }

    /// Opens a path inside the root; symlinks and `..` resolve inside.
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        for _ in 0..RESOLVE_TRIES {
            match openat2(
                &self.0,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            ) {
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens a folder inside the root, making what is missing of it. A link of the image to a folder that is missing leads to one that is made
    /// inside.
    pub(super) fn ensure_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.ensure_folder_through(path, MAX_LINKS)
    }

    fn ensure_folder_through(&self, path: &Path, links: u32) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open(path, flags) {
            Err(Errno::NOENT) => {}
            result => return Ok(result?),
        }
        let mut so_far = PathBuf::new();
        let mut folder = self.open(&so_far, flags)?;
        for part in path.components() {
            match part {
                Component::Normal(name) => {
                    let parent = so_far.clone();
                    so_far.push(name);
                    folder = match self.open(&so_far, flags) {
                        Ok(next) => next,
                        Err(Errno::NOENT) => {
                            self.make_folder(&folder, name, &parent, &so_far, links)?
                        }
                        Err(error) => return Err(error.into()),
                    };
                }
                // Resolved by the kernel as part of the whole path, inside the root.
                other => so_far.push(other),
            }
        }
        Ok(folder)
    }

    fn make_folder(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        parent: &Path,
        path: &Path,
        links: u32,
    ) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match mkdirat(folder, name, Mode::from(0o755)) {
            Ok(()) => return Ok(self.open(path, flags)?),
            Err(Errno::EXIST) if links > 0 => {}
            Err(Errno::EXIST) => return Err(Errno::LOOP.into()),
            Err(error) => return Err(error.into()),
        }
        let target = match readlinkat(folder, name, Vec::new()) {
            Ok(target) => PathBuf::from(OsStr::from_bytes(target.as_bytes())),
            // Made by somebody else meanwhile.
            Err(Errno::INVAL) => return Ok(self.open(path, flags)?),
            Err(error) => return Err(error.into()),
        };
        let target = if target.is_absolute() {
            super::relative(&target)
        } else {
            parent.join(target)
        };
        self.ensure_folder_through(&target, links - 1)
    }

    /// Opens a file inside the root as a mount point, making it when it is missing.
    pub(super) fn ensure_file(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            result => return Ok(result?),
        }
        let parent = self.ensure_folder(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, flags, Mode::from(0o755)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.open(path, OFlags::PATH)?)
    }
}
