//! A layer's tar, as a folder for overlayfs.
//!
//! A layer is a difference: a name `.wh.x` removes `x` of the layers below, `.wh..wh..opq` empties its folder of them. With layers below, the tar
//! is applied to the overlay of all, so that a path through a link of a lower layer ends where a container would see it, and overlayfs itself
//! writes the whiteouts.
//!
//! Spec: OCI image, layer.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use tar::{Archive, Entry, EntryType};

use crate::{
    bounded::Bounded,
    make::{Maker, clean},
    pax::Pax,
    root::{Root, children, remove_all},
    sparse::{MAX_ZEROS_BYTES, Sparse},
};

/// Longest name in an archive. Linux: include/uapi/linux/limits.h, PATH_MAX.
pub(crate) const MAX_NAME_BYTES: usize = 4096;

/// Most entries of one layer; a large distribution has about a hundredth.
pub(crate) const MAX_ENTRIES: u64 = 10_000_000;

/// Prefix of a name that removes.
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// A layer could not be unpacked. Nothing of it is of use then.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is not one, or ends early.
    #[error("read the layer's archive")]
    Archive(#[source] io::Error),
    /// An entry that no layer may have.
    #[error("entry {name:?} of the layer: {reason}")]
    Entry {
        /// The entry's name, cut.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry could not be made.
    #[error("unpack {name:?}")]
    Make {
        /// The entry's name, cut.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The folder could not be used.
    #[error("prepare the layer's folder")]
    Prepare(#[source] io::Error),
}

/// Unpacks a tar into an empty folder; `lower` are the layers below, the topmost first, and `work` an empty folder on the same file system that
/// is used when there are any. Returns the bytes of all files.
///
/// Owners are kept when this process may give files away, that is as root.
///
/// # Errors
/// [`UnpackError`].
pub fn unpack(
    tar: impl Read,
    lower: &[PathBuf],
    folder: &Path,
    work: &Path,
) -> Result<u64, UnpackError> {
    let root = if lower.is_empty() {
        Root::plain(folder)
    } else {
        Root::over(lower, folder, work)
    };
    let root = root.map_err(UnpackError::Prepare)?;
    unpack_into(tar, root, lower.is_empty(), MAX_ZEROS_BYTES)
}

/// The same, into a root that is open.
pub(crate) fn unpack_into(
    tar: impl Read,
    root: Root,
    is_first: bool,
    most_zeros: u64,
) -> Result<u64, UnpackError> {
    let mut layer = Layer {
        maker: Maker::new(root, None),
        is_first,
        made: HashSet::new(),
    };
    let (tar, bound) = Bounded::new(Pax::new(tar), most_zeros);
    let mut archive = Archive::new(tar);
    let mut entries = archive.entries().map_err(UnpackError::Archive)?;
    let (mut bytes, mut count) = (0_u64, 0_u64);
    while let Some(entry) = bound.next(&mut entries) {
        let mut entry = entry.map_err(UnpackError::Archive)?;
        count += 1;
        bytes = bytes.saturating_add(layer.take(&mut entry, count)?);
        io::copy(&mut entry, &mut io::sink()).map_err(UnpackError::Archive)?;
    }
    layer
        .maker
        .finish()
        .map_err(|(path, source)| UnpackError::Make {
            name: path.display().to_string(),
            source,
        })?;
    Ok(bytes)
}

struct Layer {
    maker: Maker,
    is_first: bool,
    /// What this layer made: an opaque mark does not remove it. Empty for a first layer, where there is nothing to remove.
    made: HashSet<PathBuf>,
}

impl Layer {
    fn take(&mut self, entry: &mut Entry<'_, impl Read>, count: u64) -> Result<u64, UnpackError> {
        let mut sparse = Sparse::of(entry).map_err(UnpackError::Archive)?;
        let raw = match sparse.as_mut().and_then(|sparse| sparse.name.take()) {
            Some(name) => name,
            None => entry.path_bytes().into_owned(),
        };
        let shown: String = String::from_utf8_lossy(&raw).chars().take(200).collect();
        let wrong = |reason| UnpackError::Entry {
            name: shown.clone(),
            reason,
        };
        if count > MAX_ENTRIES {
            return Err(wrong("there are too many entries"));
        }
        if raw.len() > MAX_NAME_BYTES {
            return Err(wrong("the name is too long"));
        }
        let path = clean(Path::new(OsStr::from_bytes(&raw)))
            .ok_or_else(|| wrong("the name leads upward"))?;
        let Some(name) = path.file_name().map(PathBuf::from) else {
            // The root itself: only its metadata.
            let metadata = self.maker.metadata(entry).map_err(UnpackError::Archive)?;
            let folder = self
                .maker
                .root
                .folder(Path::new(""))
                .map_err(|error| UnpackError::Prepare(error.into()))?;
            return self
                .maker
                .dress_folder(&path, &folder, &metadata)
                .map(|()| 0)
                .map_err(|source| UnpackError::Make {
                    name: shown.clone(),
                    source,
                });
        };
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        let made = self.make(entry, sparse, &path, &parent, &name);
        made.map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => UnpackError::Archive(source),
            io::ErrorKind::Unsupported => wrong("it is of a kind that layers do not have"),
            _ => UnpackError::Make {
                name: shown.clone(),
                source,
            },
        })
    }

    fn make(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        sparse: Option<Sparse>,
        path: &Path,
        parent: &Path,
        name: &Path,
    ) -> io::Result<u64> {
        let folder = self.maker.root.ensure_folder(parent)?;
        let folder = folder.as_fd();
        let text = name.to_string_lossy();
        if text == OPAQUE {
            return self.empty(folder, parent).map(|()| 0);
        }
        if let Some(removed) = text.strip_prefix(WHITEOUT) {
            // `.wh.` and `.wh..wh.…` are marks of older tools, and mean nothing here.
            if !removed.is_empty()
                && !removed.starts_with(WHITEOUT)
                && removed != "."
                && removed != ".."
            {
                remove_all(folder, Path::new(removed))?;
            }
            return Ok(0);
        }
        let metadata = self.maker.metadata(entry)?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(0);
        }
        if kind != EntryType::Directory {
            remove_all(folder, name)?;
        }
        if !self.is_first {
            self.maker.keep(path)?;
            self.made.insert(path.to_owned());
        }
        self.maker
            .make(entry, sparse, path, folder, name, &metadata)
    }

    /// Removes what the layers below have in a folder.
    fn empty(&self, folder: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        if self.is_first {
            return Ok(());
        }
        for name in children(folder)? {
            if !self.made.contains(&path.join(&name)) {
                remove_all(folder, &name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use tar::{Builder, Header};

    use super::*;

    /// A tar of entries: name, kind, content or link target.
    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(
                0o644
                    | if *kind == EntryType::Directory {
                        0o111
                    } else {
                        0
                    },
            );
            header.set_mtime(1_000_000);
            header.set_uid(0);
            header.set_gid(0);
            header.set_device_major(0).expect("gnu");
            header.set_device_minor(0).expect("gnu");
            // Names are written raw: the builder would refuse the hostile ones.
            let field = &mut header.as_gnu_mut().expect("gnu").name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            if matches!(kind, EntryType::Link | EntryType::Symlink) {
                let field = &mut header.as_gnu_mut().expect("gnu").linkname;
                field[..content.len()].copy_from_slice(content.as_bytes());
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).expect("appended");
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder
                    .append(&header, content.as_bytes())
                    .expect("appended");
            }
        }
        builder.into_inner().expect("finished")
    }

    struct Layers {
        folder: tempfile::TempDir,
        made: Vec<PathBuf>,
    }

    impl Layers {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("temp folder");
            fs::create_dir(folder.path().join("outside")).expect("made");
            Self {
                folder,
                made: Vec::new(),
            }
        }

        /// Unpacks one layer over those before.
        fn add(&mut self, entries: &[(&str, EntryType, &str)]) -> Result<u64, UnpackError> {
            let base = self.folder.path().join(self.made.len().to_string());
            let (folder, work) = (base.join("fs"), base.join("work"));
            fs::create_dir_all(&folder).expect("made");
            fs::create_dir(&work).expect("made");
            let lower: Vec<PathBuf> = self.made.iter().rev().cloned().collect();
            self.made.push(folder.clone());
            unpack(&archive(entries)[..], &lower, &folder, &work)
        }

        fn top(&self) -> &Path {
            self.made.last().expect("a layer")
        }

        fn nothing_is_outside(&self) {
            let outside = self.folder.path().join("outside");
            assert_eq!(fs::read_dir(outside).expect("there").count(), 0);
            let names: Vec<_> = fs::read_dir(self.folder.path())
                .expect("there")
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            assert_eq!(names.len(), self.made.len() + 1, "{names:?}");
        }
    }

    fn needs_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("skipped: needs root for overlayfs");
        }
        !root
    }

    use EntryType::{Directory, Link, Regular, Symlink};

    #[test]
    fn files_folders_and_links_are_made_with_their_times() {
        let mut layers = Layers::new();
        let bytes = layers.add(&[
            ("a/", Directory, ""),
            ("a/file", Regular, "content"),
            ("a/hard", Link, "a/file"),
            ("./soft", Symlink, "/a/file"),
            ("without/parent", Regular, "x"),
        ]);
        assert_eq!(bytes.expect("unpacked"), 8);
        let top = layers.top();
        assert_eq!(
            fs::read_to_string(top.join("a/hard")).expect("there"),
            "content"
        );
        assert_eq!(fs::metadata(top.join("a/file")).expect("there").nlink(), 2);
        assert_eq!(
            fs::read_link(top.join("soft")).expect("there"),
            Path::new("/a/file")
        );
        for name in ["a", "a/file", "soft"] {
            assert_eq!(
                fs::symlink_metadata(top.join(name)).expect("there").mtime(),
                1_000_000,
                "{name}"
            );
        }
    }

    #[test]
    fn names_that_lead_upward_are_refused() {
        for name in ["../outside/x", "a/../../outside/x", "/../x"] {
            let mut layers = Layers::new();
            let error = layers.add(&[(name, Regular, "x")]).expect_err(name);
            assert!(matches!(error, UnpackError::Entry { .. }), "{error:?}");
            layers.nothing_is_outside();
        }
    }

    #[test]
    fn links_lead_nothing_outside() {
        let mut layers = Layers::new();
        let outside = layers.folder.path().join("outside").display().to_string();
        let up = "../../outside";
        // A folder that is a link to the outside, absolute and relative, written through and linked from.
        assert!(
            layers
                .add(&[("abs", Symlink, &outside), ("abs/x", Regular, "x")])
                .is_err()
        );
        assert!(
            layers
                .add(&[("up", Symlink, up), ("up/x", Regular, "x")])
                .is_err()
        );
        assert!(layers.add(&[("l", Link, "../../../etc/passwd")]).is_err());
        assert!(
            layers
                .add(&[("abs", Symlink, "/etc"), ("h", Link, "abs/passwd")])
                .is_err()
        );
        layers.nothing_is_outside();
    }

    #[test]
    fn a_file_takes_the_place_of_a_link_and_not_of_its_target() {
        let mut layers = Layers::new();
        layers
            .add(&[
                ("target", Regular, "old"),
                ("x", Symlink, "target"),
                ("x", Regular, "new"),
            ])
            .expect("unpacked");
        assert_eq!(
            fs::read_to_string(layers.top().join("target")).expect("there"),
            "old"
        );
        assert_eq!(
            fs::read_to_string(layers.top().join("x")).expect("there"),
            "new"
        );
    }

    #[test]
    fn a_cut_archive_is_an_error() {
        let whole = archive(&[("file", Regular, &"x".repeat(2000))]);
        let folder = tempfile::tempdir().expect("temp folder");
        let error = unpack(&whole[..1500], &[], folder.path(), folder.path()).expect_err("cut");
        assert!(matches!(error, UnpackError::Archive(_)), "{error:?}");
    }

    #[test]
    fn whiteouts_remove_what_is_below_and_paths_follow_links_of_lower_layers() {
        if needs_root() {
            return;
        }
        let mut layers = Layers::new();
        layers
            .add(&[
                ("usr/lib/a", Regular, "1"),
                ("lib", Symlink, "usr/lib"),
                ("d/x", Regular, "1"),
                ("d/y", Regular, "1"),
                ("gone", Regular, "1"),
            ])
            .expect("first");
        layers
            .add(&[
                ("lib/b", Regular, "2"),
                (".wh.gone", Regular, ""),
                ("d/new", Regular, "2"),
                ("d/.wh..wh..opq", Regular, ""),
            ])
            .expect("second");
        let top = layers.top().to_owned();
        assert_eq!(
            fs::read_to_string(top.join("usr/lib/b")).expect("through the link"),
            "2"
        );
        assert!(
            fs::symlink_metadata(top.join("lib")).is_err(),
            "the link is the lower layer's"
        );
        layers.add(&[("check", Regular, "3")]).expect("third");
        let lower: Vec<PathBuf> = layers.made.iter().rev().cloned().collect();
        let (upper, work) = (
            layers.folder.path().join("u"),
            layers.folder.path().join("w"),
        );
        fs::create_dir(&upper).expect("made");
        fs::create_dir(&work).expect("made");
        let merged = Root::over(&lower, &upper, &work).expect("mounted");
        let names = |path: &str| {
            let mut names =
                children(merged.folder(Path::new(path)).expect("there").as_fd()).expect("read");
            names.sort();
            names
        };
        assert_eq!(names(""), ["check", "d", "lib", "usr"].map(PathBuf::from));
        assert_eq!(names("d"), ["new"].map(PathBuf::from));
        assert_eq!(names("lib"), ["a", "b"].map(PathBuf::from));
    }

    #[test]
    fn overlayfs_own_marks_are_not_taken_from_an_archive() {
        if needs_root() {
            return;
        }
        let mut layers = Layers::new();
        assert!(matches!(
            layers.add(&[("wh", EntryType::Char, "")]),
            Err(UnpackError::Entry { .. })
        ));
    }
}
