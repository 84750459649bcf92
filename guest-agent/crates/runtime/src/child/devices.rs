//! Device nodes, the links in /dev, and the terminal.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use oci_spec::runtime::{LinuxDeviceType, Spec};
use rustix::{
    fs::{
        FileType, Mode, OFlags, ResolveFlags, chmodat, chownat, fstat, fstatfs, makedev, mknodat,
        openat, openat2, symlinkat,
    },
    io::Errno,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
    process::{Gid, Uid},
    pty::{OpenptFlags, unlockpt},
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

/// Makes devices and links below /dev. A /dev that is bound from outside is left as it is.
pub(super) fn make(root: &RootFolder, spec: &Spec) -> Result<(), Failure> {
    let mut mounts = spec.mounts().iter().flatten();
    if mounts.any(|mount| {
        relative(mount.destination()) == Path::new("dev") && mount.typ().as_deref() == Some("bind")
    }) {
        return Ok(());
    }
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
    let folder = root
        .open(Path::new("dev/pts"), OFlags::PATH | OFlags::DIRECTORY)
        .map_err(no_terminal)?;
    let terminal = both_ends(open_multiplexer(&folder)?, rows, columns)?;
    let console = console(root).map_err(|error| Failure::of("make /dev/console", error))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    // From the descriptor: a path to it could be exchanged (CVE-2025-52565).
    let mount = open_tree(&terminal.inside, "", flags).map_err(no_terminal)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&mount, "", console.as_fd(), "", flags).map_err(no_terminal)?;
    Ok(terminal)
}

/// The file that the terminal is mounted over; a link of the image is not followed.
fn console(root: &RootFolder) -> std::io::Result<OwnedFd> {
    let folder = root.ensure_folder(Path::new("dev"))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&folder, "console", flags, Mode::from(0o600)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let console = openat(&folder, "console", flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&console)?.st_mode) {
        FileType::RegularFile | FileType::CharacterDevice => Ok(console),
        _ => Err(Errno::LOOP.into()),
    }
}

/// Opens a terminal in the devpts of the container this process is in.
pub(super) fn terminal_inside(rows: u16, columns: u16) -> Result<Terminal, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open("/dev/pts", flags, Mode::empty()).map_err(no_terminal)?;
    both_ends(open_multiplexer(&folder)?, rows, columns)
}

/// Opens a new terminal in a devpts. In one that really is, no container can have put anything else there.
fn open_multiplexer(folder: &OwnedFd) -> Result<OwnedFd, Failure> {
    /// Linux: include/uapi/linux/magic.h, DEVPTS_SUPER_MAGIC.
    const DEVPTS: rustix::fs::FsWord = 0x1cd1;
    if fstatfs(folder).map_err(no_terminal)?.f_type != DEVPTS {
        return Err(Failure::new("open a terminal: /dev/pts is not a devpts"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(folder, "ptmx", flags, Mode::empty(), resolve).map_err(no_terminal)
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
