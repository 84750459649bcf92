//! Device nodes, the links in /dev, and the terminal.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use oci_spec::runtime::{LinuxDeviceType, Spec};
use rustix::{
    fs::{FileType, Mode, OFlags, chmodat, chownat, makedev, mknodat, symlinkat},
    io::Errno,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
    process::{Gid, Uid},
    pty::{OpenptFlags, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::{Failure, relative, root::RootFolder};

/// Devices every container has. Spec: OCI runtime, config-linux, default devices.
const DEFAULT: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Links every container has. Spec: OCI runtime, runtime-linux, dev symbolic links.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Both ends of a terminal in the container.
pub(super) struct Terminal {
    pub(super) inside: OwnedFd,
    pub(super) outside: OwnedFd,
}

/// Makes devices and links below /dev, which must be a mount of the container's own.
pub(super) fn make(root: &RootFolder, spec: &Spec) -> Result<(), Failure> {
    let folder = root
        .ensure_folder(Path::new("dev"))
        .map_err(|error| Failure::of("open /dev", error))?;
    for &(name, major, minor) in DEFAULT {
        make_one(
            &folder,
            Path::new(name),
            FileType::CharacterDevice,
            (major, minor),
            0o666,
            (0, 0),
        )?;
    }
    for device in spec
        .linux()
        .iter()
        .flat_map(|linux| linux.devices().iter().flatten())
    {
        let path = relative(device.path());
        let parent = root
            .ensure_folder(path.parent().unwrap_or(Path::new("")))
            .map_err(|error| {
                Failure::of(
                    format!("make the folder of {}", device.path().display()),
                    error,
                )
            })?;
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::P => FileType::Fifo,
            _ => FileType::CharacterDevice,
        };
        let number = |value: i64| {
            u32::try_from(value).map_err(|_| Failure(format!("device number {value}")))
        };
        let numbers = (number(device.major())?, number(device.minor())?);
        let name = path
            .file_name()
            .ok_or_else(|| Failure::new("a device without a name"))?;
        let owner = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
        make_one(
            &parent,
            Path::new(name),
            kind,
            numbers,
            device.file_mode().unwrap_or(0o666),
            owner,
        )?;
    }
    for &(target, name) in LINKS {
        match symlinkat(target, &folder, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Failure::of(format!("link /dev/{name}"), error)),
        }
    }
    Ok(())
}

fn make_one(
    folder: &OwnedFd,
    name: &Path,
    kind: FileType,
    (major, minor): (u32, u32),
    mode: u32,
    (uid, gid): (u32, u32),
) -> Result<(), Failure> {
    let failed = |error| Failure::of(format!("make device {}", name.display()), error);
    let mode = Mode::from_raw_mode(mode & 0o7777);
    match mknodat(folder, name, kind, mode, makedev(major, minor)) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    // The umask was in the way.
    chmodat(folder, name, mode, rustix::fs::AtFlags::empty()).map_err(failed)?;
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    chownat(
        folder,
        name,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        flags,
    )
    .map_err(failed)
}

/// Opens a terminal in the container's own devpts and mounts it at /dev/console.
pub(super) fn terminal(root: &RootFolder, rows: u16, columns: u16) -> Result<Terminal, Failure> {
    // Through the mount itself: /dev/ptmx of an image could be anything (CVE-2025-52565).
    let outside = root
        .open(
            Path::new("dev/pts/ptmx"),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW,
        )
        .map_err(no_terminal)?;
    let name = ptsname(&outside, Vec::new()).map_err(no_terminal)?;
    let name = name.to_string_lossy().into_owned();
    let terminal = both_ends(outside, rows, columns)?;
    let console = root
        .ensure_file(Path::new("dev/console"))
        .map_err(|error| Failure::of("make /dev/console", error))?;
    let node = root
        .open(&relative(Path::new(&name)), OFlags::PATH | OFlags::NOFOLLOW)
        .map_err(no_terminal)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(&node, "", flags).map_err(no_terminal)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", console.as_fd(), "", flags).map_err(no_terminal)?;
    Ok(terminal)
}

/// Opens a terminal in the devpts of the container this process is in.
pub(super) fn terminal_inside(rows: u16, columns: u16) -> Result<Terminal, Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let outside = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).map_err(no_terminal)?;
    both_ends(outside, rows, columns)
}

fn no_terminal(error: Errno) -> Failure {
    Failure::of("open a terminal", error)
}

fn both_ends(outside: OwnedFd, rows: u16, columns: u16) -> Result<Terminal, Failure> {
    unlockpt(&outside).map_err(no_terminal)?;
    let inside = ioctl_tiocgptpeer(&outside).map_err(no_terminal)?;
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&outside, size).map_err(no_terminal)?;
    Ok(Terminal { inside, outside })
}

/// The other end of a terminal, without a path that could be exchanged.
fn ioctl_tiocgptpeer(outside: &OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::pty::ioctl_tiocgptpeer(
        outside,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
}
