//! /proc: what may be mounted there, what of it is hidden, and that it is procfs at all.
//!
//! Masks and read-only paths are worth something only on the procfs that the container sees. An image or a volume must not put anything else
//! in its place, nor lead the runtime to another file by a symlink (CVE-2019-16884, CVE-2019-19921, CVE-2025-31133, CVE-2025-52881).

use std::{
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;
use rustix::{
    fs::{FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, openat2},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

use super::{Failure, relative, root::RootFolder};
use crate::sys;

/// Where it is.
const PROC: &str = "/proc";

/// Files of it that a container may have from elsewhere, such as from lxcfs.
const REPLACEABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Inode of the root of a procfs. Linux: include/linux/proc_ns.h.
const ROOT_INODE: u64 = 1;

fn is_procfs_root(folder: BorrowedFd<'_>) -> Result<bool, Errno> {
    let at_root = fstat(folder)?.st_ino == ROOT_INODE;
    Ok(at_root && fstatfs(folder)?.f_type == PROC_SUPER_MAGIC)
}

/// Whether a mount may go to this place. Before the old root is left: asks its /proc where a descriptor leads.
///
/// `bound` is the mount when it is a bind.
pub(super) fn check_place(
    root: &RootFolder,
    target: BorrowedFd<'_>,
    wanted: &Path,
    kind: &str,
    bound: Option<BorrowedFd<'_>>,
) -> Result<(), Failure> {
    let failed = |error| Failure::of("look at the mount point", error);
    let place = path_of(target).map_err(failed)?;
    let place = match place.strip_prefix(path_of(root.as_fd()).map_err(failed)?) {
        Ok(below) => Path::new("/").join(below),
        Err(_) => return Err(Failure::new("the mount point is outside of the root")),
    };
    if place == Path::new("/") {
        return Err(Failure::new("the mount point is the root"));
    }
    if bound.is_none() && matches!(kind, "proc" | "sysfs") && place != Path::new("/").join(wanted) {
        let text = format!("filesystem {kind:?} must be mounted on ordinary directory");
        return Err(Failure(text));
    }
    let shown = place.display().to_string();
    if place == Path::new(PROC) {
        let allowed = match bound {
            Some(bound) => is_procfs_root(bound).map_err(failed)?,
            None => kind == "proc",
        };
        if !allowed {
            let text = format!("{shown:?} cannot be mounted because it is not of type proc");
            return Err(Failure(text));
        }
    } else if place.starts_with(PROC) && !REPLACEABLE.iter().any(|file| place == Path::new(file)) {
        let text = format!("{shown:?} cannot be mounted because it is inside /proc");
        return Err(Failure(text));
    }
    Ok(())
}

fn path_of(descriptor: BorrowedFd<'_>) -> Result<PathBuf, Errno> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(
        path.into_bytes(),
    )))
}

/// Hides masked paths and makes others read-only. Runs inside the new root; paths that are not there are no error.
pub(super) fn mask(root: &RootFolder, spec: &Spec) -> Result<(), Failure> {
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    let places = Places {
        root,
        procfs: procfs(root, spec)?,
    };
    for path in linux.readonly_paths().iter().flatten() {
        places
            .make_read_only(Path::new(path))
            .map_err(|error| Failure::of(format!("make {path} read-only"), error))?;
    }
    for path in linux.masked_paths().iter().flatten() {
        places
            .hide(Path::new(path))
            .map_err(|error| Failure::of(format!("mask {path}"), error))?;
    }
    Ok(())
}

/// The container's procfs, when its spec mounts one.
fn procfs(root: &RootFolder, spec: &Spec) -> Result<Option<OwnedFd>, Failure> {
    let mut mounts = spec.mounts().iter().flatten();
    let mounted = |mount: &oci_spec::runtime::Mount| {
        relative(mount.destination()) == relative(Path::new(PROC))
    };
    if !mounts.any(mounted) {
        return Ok(None);
    }
    let failed = |error| Failure::of("open /proc", error);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let folder = root
        .open(&relative(Path::new(PROC)), flags)
        .map_err(failed)?;
    if !is_procfs_root(folder.as_fd()).map_err(failed)? {
        return Err(Failure::new("/proc is not a procfs"));
    }
    Ok(Some(folder))
}

struct Places<'a> {
    root: &'a RootFolder,
    procfs: Option<OwnedFd>,
}

impl Places<'_> {
    /// Opens a path; `None`: it is not there.
    fn open(&self, path: &Path) -> Result<Option<OwnedFd>, Errno> {
        let found = match (&self.procfs, path.strip_prefix(PROC)) {
            (Some(procfs), Ok(below)) if !below.as_os_str().is_empty() => {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                openat2(procfs, below, flags, Mode::empty(), resolve)
            }
            _ => self.root.open(&relative(path), OFlags::PATH),
        };
        match found {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            result => result.map(Some),
        }
    }

    fn hide(&self, path: &Path) -> Result<(), Errno> {
        let Some(target) = self.open(path)? else {
            return Ok(());
        };
        let cover = if FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Directory {
            empty_folder()?
        } else {
            self.null()?
        };
        attach(&cover, &target)
    }

    fn make_read_only(&self, path: &Path) -> std::io::Result<()> {
        let Some(place) = self.open(path)? else {
            return Ok(());
        };
        let copy = copy_of(&place, OpenTreeFlags::AT_RECURSIVE)?;
        sys::set_mount_attributes(copy.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, true)?;
        Ok(attach(&copy, &place)?)
    }

    /// A mount of the null device. The container's own could have been replaced by its image.
    fn null(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let null = self.root.open(Path::new("dev/null"), flags)?;
        let stat = fstat(&null)?;
        let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !device || stat.st_rdev != rustix::fs::makedev(1, 3) {
            return Err(Errno::NODEV);
        }
        copy_of(&null, OpenTreeFlags::empty())
    }
}

fn empty_folder() -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "size", "0")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn copy_of(place: &OwnedFd, recursive: OpenTreeFlags) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(place, "", flags | recursive)
}

fn attach(mount: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// A procfs that nothing of a container can be in the way of.
pub(super) fn private() -> Result<OwnedFd, Errno> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_of_a_procfs_is_one() {
        let check = |path: &str, want: bool| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::open(path, flags, Mode::empty()).expect("there");
            assert_eq!(is_procfs_root(folder.as_fd()), Ok(want), "{path}");
        };
        check("/proc", true);
        check("/proc/self", false);
        check("/", false);
        check("/sys", false);
    }
}
