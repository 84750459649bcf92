//! From a path that somebody wrote to an open folder that policy allows.
//!
//! A guest that may write to one share can move folders and put links in the way of the next one. So a path is made canonical, judged, and then
//! opened without following any link: what is served is what was judged, and from then on it is held by its descriptor.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2},
    io::Errno,
};

use crate::policy::{Policy, Refusal};

/// A folder that may be served.
#[derive(Debug)]
pub struct Source {
    /// Where it is, canonical; with the file's name if it is one file.
    pub path: PathBuf,
    pub(crate) folder: OwnedFd,
    /// The one file of the folder that is meant.
    pub(crate) file: Option<OsString>,
}

/// A path that is not served.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// Policy says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing is there. The text is Docker's.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", .0.display())]
    Missing(PathBuf),
    /// A socket, a pipe or a device.
    #[error("{} cannot be shared with the machine: it is neither a folder nor a file", .0.display())]
    Kind(PathBuf),
    /// The bound on grants.
    #[error("{} cannot be shared with the machine: {} folders are shared already; restart the machine", .path.display(), .bound)]
    TooMany {
        /// What was asked for.
        path: PathBuf,
        /// The bound.
        bound: usize,
    },
    /// The system says no.
    #[error("share {} with the machine: {source}", .path.display())]
    Io {
        /// What was asked for.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// Opens what a path names if policy allows it; `create` makes the folders that are missing.
///
/// Policy comes before existence, so that nobody learns what there is outside of the shared roots.
///
/// # Errors
/// [`GrantError`].
pub fn open(path: &Path, create: bool, policy: &Policy) -> Result<Source, GrantError> {
    let failed = |source: io::Error| GrantError::Io {
        path: path.to_owned(),
        source,
    };
    if !path.is_absolute() {
        return Err(Refusal::NotCanonical(path.to_owned()).into());
    }
    let (known, missing) = canonical_as_far_as_it_exists(path).map_err(failed)?;
    if missing
        .iter()
        .any(|part| matches!(part.as_bytes(), b".." | b"."))
    {
        return Err(Refusal::NotCanonical(path.to_owned()).into());
    }
    let whole: PathBuf = std::iter::once(known.as_os_str())
        .chain(missing.iter().map(OsString::as_os_str))
        .collect();
    policy.judge(&whole)?;
    if !missing.is_empty() {
        if !create {
            return Err(GrantError::Missing(path.to_owned()));
        }
        let folder = make(&known, &missing).map_err(failed)?;
        return Ok(Source {
            path: whole,
            folder,
            file: None,
        });
    }
    let opened = open_without_links(&known).map_err(failed)?;
    let kind = FileType::from_raw_mode(
        fstat(&opened)
            .map_err(|error| failed(error.into()))?
            .st_mode,
    );
    match (kind, known.parent(), known.file_name()) {
        (FileType::Directory, ..) => Ok(Source {
            path: known,
            folder: opened,
            file: None,
        }),
        (FileType::RegularFile, Some(parent), Some(name)) => Ok(Source {
            folder: open_without_links(parent).map_err(failed)?,
            file: Some(name.to_owned()),
            path: known,
        }),
        _ => Err(GrantError::Kind(path.to_owned())),
    }
}

/// A path without links as far as it leads, and the names that follow; for the settings' folders, which need not exist.
///
/// # Errors
/// What the system says, other than that something is not there.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    let (known, missing) = canonical_as_far_as_it_exists(path)?;
    Ok(std::iter::once(known.into_os_string())
        .chain(missing)
        .collect())
}

fn canonical_as_far_as_it_exists(path: &Path) -> io::Result<(PathBuf, Vec<OsString>)> {
    let mut missing = Vec::new();
    let mut known = path;
    loop {
        match known.canonicalize() {
            Ok(canonical) => {
                missing.reverse();
                return Ok((canonical, missing));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(last)) = (known.parent(), known.components().next_back())
                else {
                    return Err(error);
                };
                if matches!(last, Component::RootDir) {
                    return Err(error);
                }
                missing.push(last.as_os_str().to_owned());
                known = parent;
            }
            Err(error) => return Err(error),
        }
    }
}

fn open_without_links(path: &Path) -> io::Result<OwnedFd> {
    openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(Into::into)
}

/// Makes folders one in the other, as the user.
fn make(known: &Path, missing: &[OsString]) -> io::Result<OwnedFd> {
    let mut folder = open_without_links(known)?;
    for name in missing {
        match mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        folder = step(&folder, name)?;
    }
    Ok(folder)
}

fn step(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    openat(
        folder,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, PathBuf, Policy) {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        for name in ["home/u/site", "home/u/.ssh", "etc"] {
            std::fs::create_dir_all(root.join(name)).expect("made");
        }
        std::fs::write(root.join("home/u/file"), "x").expect("written");
        let policy = Policy::new(vec![root.join("home/u")], vec![root.join("home/u/.ssh")]);
        (folder, root, policy)
    }

    #[test]
    fn folders_and_files_below_a_root_are_opened() {
        let (_guard, root, policy) = tree();
        let site = open(&root.join("home/u/./site"), false, &policy).expect("shared");
        assert_eq!((site.path, site.file), (root.join("home/u/site"), None));
        let file = open(&root.join("home/u/site/../file"), false, &policy).expect("shared");
        assert_eq!(file.file.as_deref(), Some(OsStr::new("file")));
        assert_eq!(file.path, root.join("home/u/file"));
    }

    #[test]
    fn a_link_is_judged_by_what_it_points_at() {
        let (_guard, root, policy) = tree();
        for (name, target) in [("out", "etc"), ("keys", "home/u/.ssh")] {
            let link = root.join("home/u").join(name);
            std::os::unix::fs::symlink(root.join(target), &link).expect("linked");
            let error = open(&link, true, &policy).expect_err(name);
            assert!(matches!(error, GrantError::Refused(_)), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named_or_made() {
        let (_guard, root, policy) = tree();
        let path = root.join("home/u/new/deep");
        let error = open(&path, false, &policy).expect_err("missing");
        assert_eq!(
            error.to_string(),
            format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                path.display()
            )
        );
        let made = open(&path, true, &policy).expect("made");
        assert!(path.is_dir() && made.path == path);
        // Outside of the roots nothing is made, and not even said to be missing.
        for (bad, create) in [
            ("nothing", true),
            ("nothing", false),
            ("home/u/.ssh/x", true),
        ] {
            let error = open(&root.join(bad), create, &policy).expect_err(bad);
            assert!(matches!(error, GrantError::Refused(_)), "{error}");
            assert!(!root.join(bad).exists());
        }
        let error = open(&root.join("home/u/new2/../../../etc"), true, &policy).expect_err("dots");
        assert!(matches!(error, GrantError::Refused(_)), "{error}");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_not_followed_by_making_folders() {
        let (_guard, root, policy) = tree();
        let link = root.join("home/u/dangling");
        std::os::unix::fs::symlink(root.join("etc/made"), &link).expect("linked");
        open(&link.join("x"), true, &policy).expect_err("a link is in the way");
        assert!(!root.join("etc/made").exists());
    }

    #[test]
    fn sockets_and_relative_paths_are_refused() {
        let (_guard, root, policy) = tree();
        let path = root.join("home/u/socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        assert!(matches!(
            open(&path, false, &policy),
            Err(GrantError::Kind(_))
        ));
        assert!(matches!(
            open(Path::new("home"), false, &policy),
            Err(GrantError::Refused(_))
        ));
    }
}
