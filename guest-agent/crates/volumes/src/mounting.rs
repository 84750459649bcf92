//! Volumes with options: a file system mounted over `_data` while somebody uses it.

use std::{io, path::Path};

use errdefs::{Error, ErrorKind, Result};
use rustix::{
    fs::{AtFlags, StatxAttributes, StatxFlags},
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};

use crate::options::MountOptions;

/// Mounts it, unless it is mounted already (by an engine before us).
pub(crate) fn ensure_mounted(options: &MountOptions, target: &Path) -> Result<()> {
    let describe = |error: io::Error| {
        Error::new(
            ErrorKind::System,
            format!(
                "error while mounting volume '{}': {error}",
                target.display()
            ),
        )
    };
    if is_mounted(target).map_err(describe)? {
        return Ok(());
    }
    mount(options, target).map_err(|errno| refusal(options, target, errno))
}

/// Mounts memory at a folder, which is made, as a /dev/shm.
pub(crate) fn ensure_memory(target: &Path, size_bytes: i64) -> Result<(), Error> {
    std::fs::create_dir_all(target).map_err(|error| {
        Error::new(
            ErrorKind::System,
            format!("make {}: {error}", target.display()),
        )
    })?;
    let options = MountOptions {
        device: "shm".to_owned(),
        fs_type: "tmpfs".to_owned(),
        flags: MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV,
        data: format!("mode=1777,size={size_bytes}"),
    };
    ensure_mounted(&options, target)
}

/// Takes it off. Idempotent. What is still open keeps working until it is closed.
pub(crate) fn ensure_unmounted(target: &Path) -> io::Result<()> {
    let mounted = match is_mounted(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        result => result?,
    };
    if mounted {
        rustix::mount::unmount(target, UnmountFlags::DETACH)?;
    }
    Ok(())
}

fn mount(options: &MountOptions, target: &Path) -> Result<(), Errno> {
    let data = std::ffi::CString::new(options.data.as_str()).map_err(|_| Errno::INVAL)?;
    let data = (!options.data.is_empty()).then_some(data.as_c_str());
    if !options.flags.contains(MountFlags::BIND) {
        return rustix::mount::mount(
            options.device.as_str(),
            target,
            options.fs_type.as_str(),
            options.flags,
            data,
        );
    }
    let recursive = options.flags & MountFlags::REC;
    rustix::mount::mount(
        options.device.as_str(),
        target,
        "none",
        MountFlags::BIND | recursive,
        None,
    )?;
    let further = options.flags - MountFlags::BIND - MountFlags::REC;
    if further.is_empty() {
        return Ok(());
    }
    // A bind mount takes other flags only in a second step.
    rustix::mount::mount_remount(target, MountFlags::BIND | further, "").inspect_err(|_| {
        // The first error is the one that matters.
        let _ = rustix::mount::unmount(target, UnmountFlags::DETACH);
    })
}

fn refusal(options: &MountOptions, target: &Path, errno: Errno) -> Error {
    let hint = match errno {
        Errno::NODEV => format!(
            " (this machine's kernel has no file system {:?})",
            options.fs_type
        ),
        _ => String::new(),
    };
    let cause = match errno {
        // Go's words, which people search for.
        Errno::NODEV => "no such device".to_owned(),
        Errno::NOENT => "no such file or directory".to_owned(),
        Errno::INVAL => "invalid argument".to_owned(),
        Errno::PERM => "operation not permitted".to_owned(),
        other => io::Error::from(other).to_string(),
    };
    let mut details = format!("mount {}:{}", options.device, target.display());
    if !options.flags.is_empty() {
        details.push_str(&format!(", flags: {:#x}", options.flags.bits()));
    }
    if !options.data.is_empty() {
        details.push_str(&format!(", data: {}", options.data));
    }
    Error::new(
        ErrorKind::System,
        format!(
            "error while mounting volume '{}': failed to mount local volume: {details}: {cause}{hint}",
            target.display()
        ),
    )
}

fn is_mounted(target: &Path) -> io::Result<bool> {
    let status = rustix::fs::statx(
        rustix::fs::CWD,
        target,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::BASIC_STATS,
    )?;
    Ok(status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
