//! A container's root with all that is mounted in it, in a mount namespace that only one thread has. It goes with the thread.
//!
//! ```text
//! runs:     a copy of the mount of its root, taken in its own namespace ┐
//! is still: its overlay, mounted anew                                   ├─► attached, then volumes, binds and the network's files on it
//! looked at: its layers below a scratch one, so that nothing is in use  ┘
//! ```
//! Every destination is resolved by the kernel inside the root. Two writable mounts of one overlay would spoil it, hence the three ways.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use engine::ports::{
    files::{Tree, TreeMount},
    rootfs::Rootfs,
};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2, readlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
        OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change,
        move_mount, open_tree,
    },
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{containers::Container, error::system, root::Root, store::Inner, sys};

/// Most that is read of a process's list of mounts: its root comes first.
const MAX_MOUNT_LIST_BYTES: u64 = 1 << 20;

/// What a view is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Look,
    Change,
}

/// A container's files, for the thread that made it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) root: Root,
    at: PathBuf,
}

impl View {
    /// The path inside of what is open, without links.
    pub(crate) fn path_of(&self, file: impl AsFd) -> io::Result<PathBuf> {
        let name = format!("/proc/thread-self/fd/{}", file.as_fd().as_raw_fd());
        let path = readlinkat(CWD, name, Vec::new())?;
        let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
        let inside = path.strip_prefix(&self.at).map_err(|_| Errno::NOENT)?;
        Ok(Path::new("/").join(inside))
    }
}

impl Inner {
    /// Puts a container's files together. For a thread that does nothing else, before or after.
    pub(super) fn enter(&self, tree: &Tree, purpose: Purpose) -> errdefs::Result<View> {
        let rootfs = self.mounts(&tree.container)?;
        let folder = Container::folder(&self.root, &tree.container);
        enter(tree, purpose, &rootfs, &folder)
            .map_err(|error| system(format!("look into container {}", tree.container), error))
    }
}

fn enter(tree: &Tree, purpose: Purpose, rootfs: &Rootfs, folder: &Path) -> io::Result<View> {
    sys::unshare_mounts()?;
    let everything = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", everything)?;
    let mount = match (tree.pid, purpose, rootfs) {
        (Some(pid), ..) => of_process(pid, tree.container.as_str())?,
        (None, _, Rootfs::Folder(folder)) => copy_of(CWD, folder.as_path(), false)?,
        (None, Purpose::Look, Rootfs::Overlay { lower, upper, .. }) => {
            looked_at(upper, lower, &folder.join("work"))?
        }
        (None, Purpose::Change, Rootfs::Overlay { lower, upper, work }) => {
            overlay(lower, upper, work)?
        }
    };
    sys::set_private(mount.as_fd(), false, false)?;
    attach(&mount, folder)?;
    let view = View {
        root: Root::plain(folder)?,
        at: folder.to_owned(),
    };
    for mount in &tree.mounts {
        add(&view.root, mount).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("mount {}: {error}", mount.destination),
            )
        })?;
    }
    Ok(view)
}

/// The mount of a process's root, without what is mounted in it.
fn of_process(pid: u32, container: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let home = open("/proc/thread-self/ns/mnt", flags, Mode::empty())?;
    // All that follows is of this one process, even if it ends and its number is another's.
    let process = open(
        format!("/proc/{pid}"),
        flags | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    let mounts = File::from(openat(&process, "mountinfo", flags, Mode::empty())?);
    let namespace = openat(&process, "ns/mnt", flags, Mode::empty())?;
    let mut list = Vec::new();
    mounts.take(MAX_MOUNT_LIST_BYTES).read_to_end(&mut list)?;
    let list = String::from_utf8_lossy(&list);
    if !has_root_of(&list, container) {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "its process is gone",
        ));
    }
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
    let copied = copy_of(CWD, "/", false);
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Mount))?;
    copied
}

/// Whether the root in a list of mounts is a container's own. Linux: Documentation/filesystems/proc.rst, mountinfo.
fn has_root_of(list: &str, container: &str) -> bool {
    let upper = format!("/containers/{container}/upper");
    list.lines().any(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        fields.get(4) == Some(&"/")
            && (fields.get(3).is_some_and(|root| root.ends_with(&upper))
                || fields.last().is_some_and(|options| {
                    options
                        .split(',')
                        .filter_map(|option| option.strip_prefix("upperdir="))
                        .any(|path| path.ends_with(&upper))
                }))
    })
}

/// A detached copy of a mount; an empty path: of what `from` is.
fn copy_of(from: impl AsFd, path: impl rustix::path::Arg, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(from, path, flags)?)
}

fn overlay(lower: &[PathBuf], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in lower {
        fsconfig_set_string(&context, "lowerdir+", layer)?;
    }
    fsconfig_set_string(&context, "upperdir", upper)?;
    fsconfig_set_string(&context, "workdir", work)?;
    // With an index the kernel refuses a layer that is in use elsewhere, and a folder that is looked at may be.
    fsconfig_set_string(&context, "index", "off")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// All layers for reading, under an empty one of memory that takes the places of mounts.
fn looked_at(upper: &Path, lower: &[PathBuf], scratch: &Path) -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "size", "1m")?;
    fsconfig_create(&context)?;
    let memory = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    attach(&memory, scratch)?;
    let (top, work) = (scratch.join("top"), scratch.join("work"));
    let metadata = fs::metadata(upper)?;
    fs::create_dir(&top)?;
    fs::create_dir(&work)?;
    dress_like(&top, &metadata)?;
    let mut layers = vec![upper.to_owned()];
    layers.extend_from_slice(lower);
    overlay(&layers, &top, &work)
}

/// The topmost layer's folder is what the root looks like.
fn dress_like(path: &Path, like: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    chown(path, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(path, like.permissions())?;
    let times = fs::FileTimes::new()
        .set_accessed(like.accessed()?)
        .set_modified(like.modified()?);
    File::open(path)?.set_times(times)
}

fn attach(mount: &OwnedFd, at: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(mount, "", CWD, at, flags)?)
}

fn add(root: &Root, mount: &TreeMount) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut source = match open(&mount.source, flags, Mode::empty()) {
        Err(Errno::NOENT) if mount.optional => return Ok(()),
        result => result?,
    };
    if !mount.inside.is_empty() {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        source = openat2(&source, &mount.inside, flags, Mode::empty(), beneath)?;
    }
    let is_folder = FileType::from_raw_mode(fstat(&source)?.st_mode) == FileType::Directory;
    let copy = copy_of(&source, "", mount.recursive)?;
    sys::set_private(copy.as_fd(), mount.read_only, mount.recursive)?;
    let path = Path::new(&mount.destination);
    let place = match root.place(path, true) {
        Err(Errno::NOENT) => {
            make_place(root, path, is_folder)?;
            root.place(path, true)?
        }
        result => result?,
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(&copy, "", &place, "", flags)?)
}

/// Makes what something is mounted on.
fn make_place(root: &Root, path: &Path, is_folder: bool) -> io::Result<()> {
    if is_folder {
        root.ensure_folder(path)?;
        return Ok(());
    }
    let folder = root.ensure_folder(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(&folder, name, flags, Mode::from(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_containers_own_root_is_taken_for_it() {
        let own = "36 35 98:0 / / rw,noatime - overlay overlay rw,lowerdir=/a,upperdir=/r/containers/abc/upper,workdir=/w";
        assert!(has_root_of(own, "abc"));
        assert!(!has_root_of(own, "abd"));
        let elsewhere = own.replace(" / / rw", " / /mnt rw");
        assert!(!has_root_of(&elsewhere, "abc"));
        assert!(has_root_of(
            "36 35 98:0 /r/containers/abc/upper / rw - ext4 /dev/x rw",
            "abc"
        ));
        assert!(!has_root_of("36 35 98:0 / / rw - ext4 /dev/x rw", "abc"));
        assert!(!has_root_of("", "abc"));
    }
}
