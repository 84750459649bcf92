//! A path inside a volume (`volume-subpath`).
//!
//! What is in a volume was made by containers, and others may change it at any moment: the kernel resolves the path below the volume's folder in one
//! step, and what it found is held open until it is mounted.

use std::{os::fd::OwnedFd, path::Path};

use errdefs::{Error, ErrorKind, Result};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, open, openat2},
    io::Errno,
};

/// Opens what is at a path below a folder; links are followed as long as they stay below.
pub(crate) fn open_inside(folder: &Path, path: &str) -> Result<OwnedFd> {
    let whole = folder.join(path);
    let missing = |error: Errno| {
        let cause = std::io::Error::from(error);
        let text = format!(
            "cannot access path {0}: lstat {0}: {cause}",
            whole.display()
        );
        Error::new(ErrorKind::NotFound, text)
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let base = open(folder, flags | OFlags::DIRECTORY, Mode::empty()).map_err(missing)?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(&base, path, flags, Mode::empty(), beneath).map_err(|error| match error {
        Errno::XDEV => Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "path concatenation escapes the base directory, base: {}, subpath: {path}",
                folder.display()
            ),
        ),
        error => missing(error),
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_lead_no_further_than_the_volume() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "here").unwrap();
        symlink("a/b", at("inside")).unwrap();
        symlink("/", at("root")).unwrap();
        symlink("../../..", at("a/up")).unwrap();
        symlink("root", at("again")).unwrap();
        let text = |path: &str| {
            let found = open_inside(folder.path(), path).unwrap();
            let found = std::os::fd::AsRawFd::as_raw_fd(&found);
            let mut text = String::new();
            fs::File::open(format!("/proc/self/fd/{found}"))
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            text
        };
        assert_eq!(
            (text("a/b/file"), text("inside/file")),
            ("here".into(), "here".into())
        );
        for path in ["root", "root/etc", "a/up", "again", "a/../../x", "/etc"] {
            let error = open_inside(folder.path(), path).unwrap_err();
            assert!(
                error.message().contains("escapes the base directory"),
                "{error}"
            );
        }
        let error = open_inside(folder.path(), "a/nothing").unwrap_err();
        let expected = format!(
            "cannot access path {0}: lstat {0}: no such file or directory",
            at("a/nothing").display()
        );
        assert_eq!(error.message(), expected);
    }
}
