//! Denied folders below a granted one: they are not there for the guest.
//!
//! Hidden is a place, not an inode: whatever lies at the denied path, now or later. A place is recognised by the name in a request and by whether
//! the request's folder is the one that the path leads to. The guest cannot move the folders on the way, so a place stays where it is.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};

/// What a name in a folder is to the hidden places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing special.
    Open,
    /// A folder on the way to a hidden one: it must stay where it is.
    OnTheWay,
    /// Not there.
    Hidden,
}

/// The hidden places of a grant.
#[derive(Debug)]
pub(crate) struct Hidden {
    root: OwnedFd,
    /// Relative to the root, not empty.
    paths: Vec<PathBuf>,
}

impl Hidden {
    /// `paths` are relative to the root.
    pub(crate) fn new(root: OwnedFd, paths: Vec<PathBuf>) -> Self {
        let paths = paths
            .into_iter()
            .filter(|path| path.components().next().is_some())
            .collect();
        Self { root, paths }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// What a name is in a folder, whose inode number is asked for only when the name could matter.
    pub(crate) fn place(
        &self,
        name: &[u8],
        folder: impl Fn() -> io::Result<u64>,
    ) -> io::Result<Place> {
        let mut place = Place::Open;
        for path in &self.paths {
            let mut on_the_way = PathBuf::new();
            let mut parts = path.components().peekable();
            while let Some(part) = parts.next() {
                // Some folders do not tell cases apart, and hiding one name too many does no harm.
                if part.as_os_str().as_bytes().eq_ignore_ascii_case(name)
                    && self.is_at(&on_the_way, folder()?)?
                {
                    if parts.peek().is_none() {
                        return Ok(Place::Hidden);
                    }
                    place = Place::OnTheWay;
                }
                on_the_way.push(part);
            }
        }
        Ok(place)
    }

    /// Names that are not there in the folder with this inode number.
    pub(crate) fn names_in(&self, folder: u64) -> io::Result<Vec<&OsStr>> {
        let mut names = Vec::new();
        for path in &self.paths {
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
                && self.is_at(parent, folder)?
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether the folder with this inode number is the one at a path below the root. Numbers are compared without their device: a folder of
    /// another file system with the same number hides one name too many, which does no harm.
    fn is_at(&self, path: &Path, folder: u64) -> io::Result<bool> {
        let number = if path.as_os_str().is_empty() {
            fstat(&self.root)?.st_ino
        } else {
            let opened = openat2(
                self.root.as_fd(),
                path,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
            );
            match opened {
                Ok(opened) => fstat(&opened)?.st_ino,
                Err(
                    rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP,
                ) => {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        };
        Ok(number == folder)
    }
}
