//! The machine's mounts: first those that need no module, then the system root, then the rest.

use std::{ffi::CStr, fs, io, path::Path};

use anyhow::{Context, Result};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_move,
};

const NOTHING: MountFlags = MountFlags::empty();
const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// `/proc`, `/sys`, `/dev`: what init itself needs to begin.
pub(super) fn first() -> Result<()> {
    ensure("proc", "/proc", "proc", SAFE, c"")?;
    ensure("sysfs", "/sys", "sysfs", SAFE, c"")?;
    ensure(
        "devtmpfs",
        "/dev",
        "devtmpfs",
        MountFlags::NOSUID,
        c"mode=0755",
    )
}

/// Leaves the initramfs: its root cannot be pivoted away from, so a container could not start in it. The same files, bound to a mount of
/// their own and moved over `/`, can.
pub(super) fn leave_initramfs() -> Result<()> {
    const NEW: &str = "/mnt";
    mount_bind("/", NEW).context("bind the initramfs for leaving it")?;
    for kept in ["/proc", "/sys", "/dev"] {
        mount_move(kept, format!("{NEW}{kept}")).with_context(|| format!("move {kept}"))?;
    }
    std::env::set_current_dir(NEW).context("enter the new root")?;
    mount_move(".", "/").context("move the new root over the old one")?;
    rustix::process::chroot(".").context("change root")?;
    std::env::set_current_dir("/").context("enter the new root")
}

/// Everything else.
pub(super) fn rest() -> Result<()> {
    mount_change(
        "/",
        MountPropagationFlags::SHARED | MountPropagationFlags::REC,
    )
    .context("make mounts shared")?;
    ensure(
        "devpts",
        "/dev/pts",
        "devpts",
        SAFE - MountFlags::NODEV,
        c"gid=5,mode=0620,ptmxmode=0666",
    )?;
    ensure(
        "tmpfs",
        "/dev/shm",
        "tmpfs",
        SAFE - MountFlags::NOEXEC,
        c"mode=1777",
    )?;
    ensure("mqueue", "/dev/mqueue", "mqueue", SAFE, c"")?;
    ensure(
        "tmpfs",
        "/run",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        c"mode=0755",
    )?;
    ensure(
        "tmpfs",
        "/tmp",
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        c"mode=1777",
    )?;
    ensure(
        "cgroup2",
        "/sys/fs/cgroup",
        "cgroup2",
        SAFE,
        c"nsdelegate,memory_recursiveprot",
    )?;
    ensure("bpf", "/sys/fs/bpf", "bpf", SAFE, c"mode=0700")?;
    device_links()?;
    all_controllers()
}

/// Where the host's grants are, one entry each.
pub(super) const SHARES: &str = "/run/berth/shares";

/// Mounts what the host shares. Nothing in it may gain rights here or be a device.
pub(super) fn shares(tag: &str) -> Result<()> {
    ensure(
        tag,
        SHARES,
        "virtiofs",
        MountFlags::NOSUID | MountFlags::NODEV,
        c"",
    )
}

/// Mounts unless it is mounted; the folder is made.
fn ensure(source: &str, target: &str, kind: &str, flags: MountFlags, options: &CStr) -> Result<()> {
    make_folder(target)?;
    match mount(source, target, kind, flags | NOTHING, options) {
        Ok(()) | Err(rustix::io::Errno::BUSY) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("mount {kind} at {target}")),
    }
}

/// A folder that may be there; on a read-only root it has to be.
pub(super) fn make_folder(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    match fs::create_dir_all(path) {
        Err(_) if path.is_dir() => Ok(()),
        result => result.with_context(|| format!("make the folder {}", path.display())),
    }
}

/// The links every program expects in `/dev`.
fn device_links() -> Result<()> {
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        match std::os::unix::fs::symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("link {link}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Hands every controller of the root cgroup to its children.
fn all_controllers() -> Result<()> {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
        .context("list cgroup controllers")?;
    for controller in controllers.split_whitespace() {
        if let Err(error) = fs::write(
            "/sys/fs/cgroup/cgroup.subtree_control",
            format!("+{controller}"),
        ) {
            tracing::warn!(controller, %error, "a cgroup controller stays off");
        }
    }
    Ok(())
}
