//! A user's tar, unpacked into a folder of a container.
//!
//! The folder is the root of all names and links in the archive: they are resolved inside of it by the kernel. Texts are those of Docker.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use engine::ports::files::PutRequest;
use errdefs::{Error, ErrorKind};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat},
    io::Errno,
};
use tar::{Archive, Entry, EntryType};

use super::{
    stat::{failed, follow, go_text},
    view::View,
};
use crate::{
    bounded::Bounded,
    error::invalid,
    make::{AttributeError, ByUser, Maker},
    pax::Pax,
    root::{Root, remove_all},
    sparse::{MAX_ZEROS_BYTES, Sparse},
    unpack::{MAX_ENTRIES, MAX_NAME_BYTES},
};

/// What the `tar` crate says of an archive that ends right behind an entry's content.
const CUT_PADDING: &str = "unexpected EOF during skip";

/// Unpacks a plain tar at the request's path.
pub(super) fn put(view: &View, request: PutRequest, tar: impl Read) -> errdefs::Result<()> {
    let (root, at) = folder(view, &request)?;
    let owner = request.owner?;
    let put = Put {
        maker: Maker::new(root, Some(ByUser { owner })),
        at,
        keep_kinds: request.keep_kinds,
    };
    put.all(tar, MAX_ZEROS_BYTES)
}

/// The same in a folder that is open, for whoever has no container.
pub(crate) fn put_into(
    root: Root,
    keep_kinds: bool,
    most_zeros: u64,
    tar: impl Read,
) -> errdefs::Result<()> {
    let put = Put {
        maker: Maker::new(root, Some(ByUser::default())),
        at: PathBuf::from("/"),
        keep_kinds,
    };
    put.all(tar, most_zeros)
}

/// The folder that is unpacked into, and its path without links.
fn folder(view: &View, request: &PutRequest) -> errdefs::Result<(Root, PathBuf)> {
    let path = request.path.as_str();
    let of_path = |error| failed("lstat", path, error);
    let place = view.root.place(Path::new(path), true).map_err(of_path)?;
    let stat = fstat(&place).map_err(of_path)?;
    let at = view
        .path_of(&place)
        .map_err(|_| failed("lstat", path, Errno::NOENT))?;
    let shown = at.to_string_lossy();
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        if !request.trailing.is_empty() {
            let shown = format!("{shown}{}", request.trailing);
            return Err(failed("lstat", &shown, Errno::NOTDIR));
        }
        return Err(invalid("extraction point is not a directory"));
    }
    request.guard.check(&shown)?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = openat(&place, ".", flags, Mode::empty()).map_err(of_path)?;
    let at = at.clone();
    Ok((Root::of(folder), at))
}

struct Put {
    maker: Maker,
    /// The folder's path in the container, for texts.
    at: PathBuf,
    keep_kinds: bool,
}

impl Put {
    fn all(mut self, tar: impl Read, most_zeros: u64) -> errdefs::Result<()> {
        let (tar, bound) = Bounded::new(Pax::new(tar), most_zeros);
        let mut archive = Archive::new(tar);
        let mut entries = archive.entries().map_err(|error| unread(&error))?;
        let mut count = 0;
        while let Some(entry) = bound.next(&mut entries) {
            let mut entry = match entry {
                // The last one's content was whole: what fills its block up is missed by nobody.
                Err(error) if error.to_string() == CUT_PADDING => break,
                entry => entry.map_err(|error| unread(&error))?,
            };
            count += 1;
            if count > MAX_ENTRIES {
                return Err(invalid("the archive has too many entries"));
            }
            self.take(&mut entry)?;
            io::copy(&mut entry, &mut io::sink()).map_err(|error| unread(&error))?;
        }
        self.maker.finish().map_err(|(path, error)| {
            let path = self.at.join(path);
            Error::new(
                ErrorKind::System,
                format!("chtimes {}: {}", path.display(), go_text(&error)),
            )
        })
    }

    fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> errdefs::Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let mut sparse = Sparse::of(entry).map_err(|error| unread(&error))?;
        let raw = match sparse.as_mut().and_then(|sparse| sparse.name.take()) {
            Some(name) => name,
            None => entry.path_bytes().into_owned(),
        };
        if raw.len() > MAX_NAME_BYTES {
            return Err(invalid("an entry's name is too long"));
        }
        let Some(path) = local(&raw) else {
            let raw = String::from_utf8_lossy(&raw).into_owned();
            return Err(system(format!("invalid entry name {raw:?}")));
        };
        let Some(name) = path.file_name().map(PathBuf::from) else {
            return Ok(());
        };
        if kind == EntryType::Link {
            check_link(entry)?;
        }
        let is_folder = kind == EntryType::Directory;
        let parent = path.parent().unwrap_or(Path::new(""));
        let of_path = |error: io::Error| self.failed(&path, &error);
        let parent = self.parent(parent).map_err(|error| of_path(error.into()))?;
        self.make_room(parent.as_fd(), &name, &path, is_folder)?;
        let metadata = self.maker.metadata(entry).map_err(|error| unread(&error))?;
        let made = self
            .maker
            .make(entry, sparse, &path, parent.as_fd(), &name, &metadata);
        match made {
            Ok(_) => Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::Unsupported && error.raw_os_error().is_none() =>
            {
                let kind = kind.as_byte();
                Err(system(format!("unhandled tar header type {kind}")))
            }
            Err(error) => Err(self.failed(&path, &error)),
        }
    }

    /// The folder an entry is made in. Where a link leads to nothing yet, what it leads to is made.
    fn parent(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.maker.root.ensure_folder(path) {
            Err(Errno::NOTDIR) => {
                let end = follow(&self.maker.root, path)?;
                self.maker.root.ensure_folder(&end)
            }
            result => result,
        }
    }

    /// Takes away what has the name, unless a folder meets a folder.
    fn make_room(
        &self,
        parent: BorrowedFd<'_>,
        name: &Path,
        path: &Path,
        is_folder: bool,
    ) -> errdefs::Result<()> {
        let Ok(stat) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(());
        };
        let was_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let (shown, at) = (path.to_string_lossy(), self.at.to_string_lossy());
        match (was_folder, is_folder) {
            (true, true) => return Ok(()),
            (true, false) if self.keep_kinds => {
                return Err(system(format!(
                    "cannot overwrite directory {shown:?} with non-directory {at:?}"
                )));
            }
            (false, true) if self.keep_kinds => {
                return Err(system(format!(
                    "cannot overwrite non-directory {shown:?} with directory {at:?}"
                )));
            }
            _ => {}
        }
        remove_all(parent, name)
            .map_err(|error| system(format!("RemoveAll {shown}: {}", go_text(&error.into()))))
    }

    fn failed(&self, path: &Path, error: &io::Error) -> Error {
        let refused = error
            .get_ref()
            .and_then(|error| error.downcast_ref::<AttributeError>());
        if let Some(AttributeError { name, source }) = refused {
            let (path, why) = (self.at.join(path), go_text(source));
            return system(format!(
                "lsetxattr {}: xattr {name:?}: {why}",
                path.display()
            ));
        }
        match Errno::from_io_error(error) {
            None => unread(error),
            Some(Errno::NOENT) => Error::new(ErrorKind::NotFound, go_text(error)),
            Some(Errno::PERM) => system(go_text(error)),
            Some(_) => {
                let path = self.at.join(path);
                system(format!("{}: {}", path.display(), go_text(error)))
            }
        }
    }
}

/// A link to another name in the archive stays below the folder.
fn check_link(entry: &Entry<'_, impl Read>) -> errdefs::Result<()> {
    let target = entry.link_name_bytes().unwrap_or_default();
    match local(&target) {
        Some(path) if path.file_name().is_some() => Ok(()),
        _ => {
            let target = String::from_utf8_lossy(&target).into_owned();
            Err(system(format!("invalid hardlink target {target:?}")))
        }
    }
}

/// A name below the folder, by its text: leading slashes mean nothing, `..` is worked out. `None`: it leads out.
fn local(raw: &[u8]) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(raw)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

fn system(message: String) -> Error {
    Error::new(ErrorKind::System, message)
}

/// The archive cannot be read.
fn unread(error: &io::Error) -> Error {
    let text = match (error.kind(), error.raw_os_error()) {
        (_, Some(_)) => go_text(error),
        (io::ErrorKind::UnexpectedEof, _) => "unexpected EOF".to_owned(),
        _ if error.to_string().contains("failed to read entire block") => {
            "unexpected EOF".to_owned()
        }
        _ => {
            tracing::debug!(%error, "a user's archive");
            "archive/tar: invalid tar header".to_owned()
        }
    };
    system(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_folder() {
        for (name, inside) in [
            ("a/b/", Some("a/b")),
            ("/a", Some("a")),
            ("./", Some("")),
            ("a/../b", Some("b")),
            ("..", None),
            ("../a", None),
            ("a/../../b", None),
            ("/../a", None),
        ] {
            assert_eq!(
                local(name.as_bytes()).as_deref(),
                inside.map(Path::new),
                "{name}"
            );
        }
    }
}
