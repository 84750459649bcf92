//! Mounts of the spec.
//!
//! Each is made detached, given its attributes, and only then attached to a descriptor that was resolved inside the root.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use oci_spec::runtime::{Mount, Spec};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

use super::{Failure, copy_up, procfs, propagation::Propagation, relative, root::RootFolder};
use crate::sys;

/// An option of our own: a path inside a bind's source, where links lead no further than the source.
const INSIDE: &str = "x-berth.inside=";

/// Options of a mount, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// Attributes to set. Linux: include/uapi/linux/mount.h, MOUNT_ATTR_*.
    set: u64,
    clear: u64,
    /// The same for every mount below.
    recursive_set: u64,
    propagation: Option<Propagation>,
    bind: bool,
    recursive_bind: bool,
    /// What was at the mount point is copied into the new file system.
    copy_up: bool,
    /// What is mounted is at this path inside the source.
    inside: Option<String>,
    /// For the file system itself.
    data: Vec<(String, Option<String>)>,
}

impl Options {
    fn parse(words: &[String]) -> Self {
        let mut options = Self::default();
        for word in words {
            options.take(word);
        }
        options
    }

    fn take(&mut self, word: &str) {
        /// Attribute bits by name; the name with `no` or its opposite clears it.
        const ATTRIBUTES: &[(&str, &str, u64)] = &[
            ("ro", "rw", libc::MOUNT_ATTR_RDONLY),
            ("nosuid", "suid", libc::MOUNT_ATTR_NOSUID),
            ("nodev", "dev", libc::MOUNT_ATTR_NODEV),
            ("noexec", "exec", libc::MOUNT_ATTR_NOEXEC),
            ("nodiratime", "diratime", libc::MOUNT_ATTR_NODIRATIME),
            ("nosymfollow", "symfollow", libc::MOUNT_ATTR_NOSYMFOLLOW),
        ];
        if let Some(path) = word.strip_prefix(INSIDE) {
            self.inside = Some(path.to_owned());
            return;
        }
        if let Some(propagation) = Propagation::parse(word) {
            self.propagation = Some(propagation);
            return;
        }
        for (on, off, bit) in ATTRIBUTES {
            if word == *on {
                self.set |= bit;
                self.clear &= !bit;
                return;
            }
            if word == *off {
                self.set &= !bit;
                self.clear |= bit;
                return;
            }
            if word.strip_prefix('r') == Some(on) {
                self.recursive_set |= bit;
                return;
            }
        }
        match word {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive_bind) = (true, true),
            // One of three; the others have to be cleared.
            "noatime" | "strictatime" | "relatime" => {
                self.set &= !libc::MOUNT_ATTR__ATIME;
                self.clear |= libc::MOUNT_ATTR__ATIME;
                self.set |= match word {
                    "noatime" => libc::MOUNT_ATTR_NOATIME,
                    "strictatime" => libc::MOUNT_ATTR_STRICTATIME,
                    _ => libc::MOUNT_ATTR_RELATIME,
                };
            }
            "tmpcopyup" => self.copy_up = true,
            "defaults" => {}
            other => match other.split_once('=') {
                Some((key, value)) => self.data.push((key.to_owned(), Some(value.to_owned()))),
                None => self.data.push((other.to_owned(), None)),
            },
        }
    }
}

/// Mounts all of the spec's mounts, in their order.
pub(super) fn mount_all(root: &RootFolder, spec: &Spec) -> Result<(), Failure> {
    for mount in spec.mounts().iter().flatten() {
        mount_one(root, mount).map_err(|Failure(text)| {
            let source = mount
                .source()
                .as_ref()
                .map(|source| source.display().to_string())
                .unwrap_or_default();
            Failure(format!(
                "error mounting {source:?} to rootfs at {:?}: {text}",
                mount.destination().display().to_string()
            ))
        })?;
    }
    Ok(())
}

fn mount_one(root: &RootFolder, mount: &Mount) -> Result<(), Failure> {
    let mut options = Options::parse(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or("none");
    let destination = relative(mount.destination());
    let failed = |what: &'static str| move |error: Errno| Failure::of(what, error);
    if options.bind || kind == "bind" {
        let source = mount
            .source()
            .as_deref()
            .ok_or_else(|| Failure::new("no source"))?;
        let recursive = if options.recursive_bind {
            OpenTreeFlags::AT_RECURSIVE
        } else {
            OpenTreeFlags::empty()
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | recursive;
        let detached = match &options.inside {
            None => open_tree(CWD, source, flags),
            Some(path) => open_inside(source, path)
                .and_then(|found| open_tree(&found, "", flags | OpenTreeFlags::AT_EMPTY_PATH)),
        };
        let detached = detached.map_err(failed("open the source"))?;
        let is_folder = kind_of(detached.as_fd())? == FileType::Directory;
        let target = if is_folder {
            root.ensure_folder(&destination)
        } else {
            root.ensure_file(&destination)
        };
        let target = target.map_err(|error| mismatch(is_folder, &error))?;
        let target_is_folder = kind_of(target.as_fd())? == FileType::Directory;
        if is_folder != target_is_folder {
            return Err(mismatch(is_folder, &io::Error::from(Errno::NOTDIR)));
        }
        let (target_fd, source) = (target.as_fd(), Some(detached.as_fd()));
        procfs::check_place(root, target_fd, &destination, kind, source)?;
        return attach(&detached, &options, target.as_fd());
    }
    let was_there = root
        .open(&destination, OFlags::PATH | OFlags::DIRECTORY)
        .is_ok();
    let target = root
        .ensure_folder(&destination)
        .map_err(|error| Failure::of("make the mount point", error))?;
    procfs::check_place(root, target.as_fd(), &destination, kind, None)?;
    let keeps_mode = kind == "tmpfs" && was_there;
    if keeps_mode && !options.data.iter().any(|(key, _)| key == "mode") {
        let mode = copy_up::mode_of(target.as_fd()).map_err(failed("look at the mount point"))?;
        options.data.push(("mode".to_owned(), Some(mode)));
    }
    let detached = file_system(kind, mount, &options).map_err(failed("mount"))?;
    if options.copy_up && kind == "tmpfs" {
        copy_up::readable(target.as_fd())
            .map_err(io::Error::from)
            .and_then(|folder| copy_up::copy(folder.as_fd(), detached.as_fd()))
            .map_err(|error| Failure::of("tmpcopyup", error))?;
    }
    attach(&detached, &options, target.as_fd())
}

/// What a source has in it may change at any moment: it is resolved in one step.
fn open_inside(source: &Path, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let source = open(source, flags | OFlags::DIRECTORY, Mode::empty())?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(&source, path, flags, Mode::empty(), beneath)
}

/// A file over a folder or the other way round.
fn mismatch(source_is_folder: bool, error: &io::Error) -> Failure {
    let kind = error.raw_os_error();
    if kind == Some(libc::ENOTDIR) || (kind == Some(libc::EISDIR) && !source_is_folder) {
        return Failure::new(
            "not a directory: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type",
        );
    }
    Failure(format!("make the mount point: {}", super::describe(error)))
}

fn file_system(kind: &str, mount: &Mount, options: &Options) -> Result<OwnedFd, Errno> {
    // The spec's word for the group hierarchy, whatever its version.
    let kind = if kind == "cgroup" { "cgroup2" } else { kind };
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(source) = mount.source() {
        fsconfig_set_string(&context, "source", source)?;
    }
    for (key, value) in &options.data {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str())?,
            None => fsconfig_set_flag(&context, key.as_str())?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

fn attach(detached: &OwnedFd, options: &Options, target: BorrowedFd<'_>) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::of("set mount attributes", error);
    if options.recursive_set != 0 {
        sys::set_mount_attributes(detached.as_fd(), options.recursive_set, 0, 0, true)
            .map_err(failed)?;
    }
    if options.set != 0 || options.clear != 0 {
        // Of this mount only: what is to hold below has words of its own (`rro`).
        sys::set_mount_attributes(detached.as_fd(), options.set, options.clear, 0, false)
            .map_err(failed)?;
    }
    if let Some(propagation) = options.propagation {
        propagation.set(detached.as_fd()).map_err(failed)?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(detached, "", target, "", flags).map_err(|error| Failure::of("attach", error))
}

fn kind_of(descriptor: BorrowedFd<'_>) -> Result<FileType, Failure> {
    fstat(descriptor)
        .map(|stat| FileType::from_raw_mode(stat.st_mode))
        .map_err(|error| Failure::of("look at a mount", error))
}

/// Makes the mount at a path read-only.
pub(super) fn set_read_only(path: &Path, recursive: bool) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::of(format!("make {} read-only", path.display()), error);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mount =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    sys::set_mount_attributes(mount.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, recursive)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(
            &words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn options_are_sorted_into_attributes_propagation_and_data() {
        let options = parse(&["rbind", "ro", "nosuid", "rslave", "size=1m", "newinstance"]);
        assert_eq!(
            options.set,
            libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID
        );
        assert_eq!(options.propagation, Propagation::parse("rslave"));
        assert!(options.bind && options.recursive_bind);
        assert_eq!(
            options.data,
            [
                ("size".to_owned(), Some("1m".to_owned())),
                ("newinstance".to_owned(), None)
            ]
        );
    }

    #[test]
    fn what_is_mounted_of_a_source_stays_inside_it() {
        use std::{fs, os::unix::fs::symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir(at("sub")).unwrap();
        symlink("sub", at("good")).unwrap();
        symlink("/", at("root")).unwrap();
        let inside = |word: &str| {
            let options = parse(&["rbind", word]);
            assert!(options.data.is_empty());
            open_inside(folder.path(), &options.inside.unwrap()).map(drop)
        };
        assert_eq!(inside("x-berth.inside=good"), Ok(()));
        assert_eq!(inside("x-berth.inside=root"), Err(Errno::XDEV));
        assert_eq!(inside("x-berth.inside=../x"), Err(Errno::XDEV));
        assert_eq!(inside("x-berth.inside=nothing"), Err(Errno::NOENT));
    }

    #[test]
    fn the_last_of_two_opposites_wins() {
        assert_eq!(parse(&["ro", "rw"]).set, 0);
        assert_eq!(parse(&["rw", "ro"]).clear, 0);
        assert_eq!(parse(&["rro"]).recursive_set, libc::MOUNT_ATTR_RDONLY);
    }
}
