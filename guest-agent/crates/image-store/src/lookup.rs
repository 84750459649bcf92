//! A file of a container's root, found in its layers without mounting them.
//!
//! An overlay mount is taken down only after a grace period of the kernel, which is longer than all the rest of a start. Most roots have
//! `/etc/passwd` as a plain file in plain folders, and then the rules of overlayfs are few: the topmost wins, a whiteout hides, an opaque folder
//! hides the folders below it. Whatever else is met (links, other attributes of overlayfs) is left to a mount.
//!
//! Linux: Documentation/filesystems/overlayfs.rst.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fgetxattr, fstat, open, openat},
    io::Errno,
};

const OPAQUE: &str = "trusted.overlay.opaque";
/// A folder or file with one of these is not what it seems.
const REDIRECT: &str = "trusted.overlay.redirect";
const METACOPY: &str = "trusted.overlay.metacopy";

/// What was found at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// A regular file, open for reading.
    File(File),
    /// There is nothing.
    Nothing,
    /// Only a mount can tell.
    Unsure,
}

/// One layer's word about a name.
enum Entry {
    Absent,
    Whiteout,
    Folder(OwnedFd),
    File(OwnedFd),
    Other,
}

/// Looks a path up in folders that lie over each other, the topmost first. A container may change the topmost meanwhile.
///
/// # Errors
/// A layer cannot be read.
pub(crate) fn find(layers: &[PathBuf], path: &Path) -> io::Result<Found> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir => {}
            Component::Normal(name) => names.push(name),
            _ => return Ok(Found::Unsure),
        }
    }
    let Some((file, folders)) = names.split_last() else {
        return Ok(Found::Unsure);
    };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut merged = Vec::with_capacity(layers.len());
    for layer in layers {
        merged.push(openat(CWD, layer, flags, Mode::empty())?);
    }
    for name in folders {
        match descend(&merged, name)? {
            Ok(below) => merged = below,
            Err(found) => return Ok(found),
        }
    }
    for folder in &merged {
        match look(folder.as_fd(), file)? {
            Entry::Absent => {}
            Entry::Whiteout => return Ok(Found::Nothing),
            Entry::File(file) => return readable(&file),
            Entry::Folder(_) | Entry::Other => return Ok(Found::Unsure),
        }
    }
    Ok(Found::Nothing)
}

/// The folders of one name that are seen together, or what is there in their place.
fn descend(merged: &[OwnedFd], name: &OsStr) -> io::Result<Result<Vec<OwnedFd>, Found>> {
    let mut below = Vec::new();
    for folder in merged {
        match look(folder.as_fd(), name)? {
            Entry::Absent => {}
            Entry::Folder(folder) => {
                if attribute(&folder, REDIRECT)?.is_some() {
                    return Ok(Err(Found::Unsure));
                }
                let opaque = attribute(&folder, OPAQUE)?;
                below.push(folder);
                match opaque {
                    None => {}
                    Some(b'y') => break,
                    Some(_) => return Ok(Err(Found::Unsure)),
                }
            }
            // Below a folder both hide what is further down.
            Entry::Whiteout => break,
            Entry::File(_) | Entry::Other if below.is_empty() => return Ok(Err(Found::Unsure)),
            Entry::File(_) | Entry::Other => break,
        }
    }
    Ok(if below.is_empty() {
        Err(Found::Nothing)
    } else {
        Ok(below)
    })
}

fn look(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<Entry> {
    // Nothing is opened before it is known what it is: a device would notice.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match openat(folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Entry::Absent),
        opened => opened?,
    };
    let stat = fstat(&place)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            Entry::Folder(openat(&place, ".", flags, Mode::empty())?)
        }
        FileType::RegularFile => Entry::File(place),
        FileType::CharacterDevice if stat.st_rdev == 0 => Entry::Whiteout,
        _ => Entry::Other,
    })
}

/// An attribute's value where it is one byte; 0 of any other.
fn attribute(fd: impl AsFd, name: &str) -> io::Result<Option<u8>> {
    let mut value = [0; 1];
    match fgetxattr(fd, name, &mut value) {
        Ok(1) => Ok(Some(value[0])),
        Ok(_) | Err(Errno::RANGE) => Ok(Some(0)),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn readable(place: &OwnedFd) -> io::Result<Found> {
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    // Its content may be in another layer.
    if attribute(&file, METACOPY)?.is_some() {
        return Ok(Found::Unsure);
    }
    Ok(Found::File(file.into()))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::fs::symlink};

    use super::*;

    /// Layers from descriptions of their entries, the topmost first: `path=content`, `path/` a folder, `path>target` a link, `path!` a whiteout.
    fn layers(all: &[&[&str]]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let root = tempfile::tempdir().expect("a folder");
        let mut folders = Vec::new();
        for (number, entries) in all.iter().enumerate() {
            let folder = root.path().join(number.to_string());
            fs::create_dir(&folder).expect("made");
            for entry in *entries {
                add(&folder, entry);
            }
            folders.push(folder);
        }
        (root, folders)
    }

    fn add(folder: &Path, entry: &str) {
        let ready = |path: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            path
        };
        if let Some((path, content)) = entry.split_once('=') {
            fs::write(ready(path), content).expect("written");
        } else if let Some((path, target)) = entry.split_once('>') {
            symlink(target, ready(path)).expect("linked");
        } else if let Some(path) = entry.strip_suffix('!') {
            let mode = Mode::empty();
            rustix::fs::mknodat(CWD, ready(path), FileType::CharacterDevice, mode, 0)
                .expect("anybody may make a whiteout");
        } else {
            fs::create_dir_all(ready(entry.trim_end_matches('/'))).expect("made");
        }
    }

    fn check(all: &[&[&str]], expected: &str) {
        let (_root, folders) = layers(all);
        let found = match find(&folders, Path::new("/etc/passwd")).expect("looked up") {
            Found::File(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text).expect("read");
                text
            }
            other => format!("{other:?}"),
        };
        assert_eq!(found, expected, "{all:?}");
    }

    #[test]
    fn the_topmost_file_is_found() {
        check(&[&[], &["etc/passwd=base"]], "base");
        check(&[&["etc/hosts=x"], &["etc/passwd=base"]], "base");
        check(&[&["etc/passwd=top"], &["etc/passwd=base"]], "top");
        check(&[&["etc/"], &["bin/"]], "Nothing");
        check(&[&[], &[]], "Nothing");
    }

    #[test]
    fn whiteouts_and_files_hide_what_is_below() {
        check(&[&["etc/passwd!"], &["etc/passwd=base"]], "Nothing");
        check(&[&["etc!"], &["etc/passwd=base"]], "Nothing");
        check(&[&["etc/"], &["etc!"], &["etc/passwd=base"]], "Nothing");
        check(&[&["etc/"], &["etc=file"], &["etc/passwd=base"]], "Nothing");
    }

    #[test]
    fn what_only_a_mount_can_tell_is_left_to_it() {
        check(&[&["etc>/usr/etc"], &["etc/passwd=base"]], "Unsure");
        check(&[&["etc/passwd>shadow"], &["etc/passwd=base"]], "Unsure");
        check(&[&["etc/passwd/"], &["etc/passwd=base"]], "Unsure");
        check(&[&["etc=file"], &["etc/passwd=base"]], "Unsure");
        let (_root, folders) = layers(&[&["etc/passwd=base"]]);
        let found = find(&folders, Path::new("/etc/../etc/passwd")).expect("looked up");
        assert!(matches!(found, Found::Unsure), "{found:?}");
    }

    #[test]
    fn an_opaque_folder_hides_and_other_attributes_are_left_to_a_mount() {
        for (name, value, expected) in [
            (OPAQUE, "y", "Nothing"),
            (OPAQUE, "x", "Unsure"),
            (REDIRECT, "/other", "Unsure"),
        ] {
            let (_root, folders) = layers(&[&["etc/"], &["etc/passwd=base"]]);
            let flags = rustix::fs::XattrFlags::empty();
            let etc = folders[0].join("etc");
            if rustix::fs::setxattr(&etc, name, value.as_bytes(), flags).is_err() {
                eprintln!("skipped: attributes of overlayfs need root");
                return;
            }
            let found = find(&folders, Path::new("etc/passwd")).expect("looked up");
            assert_eq!(format!("{found:?}"), expected, "{name}={value}");
        }
    }
}
