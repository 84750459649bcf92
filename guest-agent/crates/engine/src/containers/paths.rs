//! Paths as clients of `docker cp` write them: what a slash or a dot at the end says must not get lost. Pure.

use crate::spec::clean_path;

/// A path from the root, cleaned, with a slash or a dot at its end kept.
pub(super) fn absolute(path: &str) -> String {
    with_trailing(&clean_path(&format!("/{path}")), path)
}

/// What stands behind a path that must be a folder.
pub(super) fn trailing(path: &str) -> &'static str {
    match base(path) {
        "." if path != "/" && !path.ends_with('/') => "/.",
        _ if path.ends_with('/') && clean_path(path) != "/" => "/",
        _ => "",
    }
}

/// The last part of a path, as Go's `filepath.Base` has it.
pub(super) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return "/";
    }
    path.rsplit('/').next().unwrap_or(path)
}

fn with_trailing(cleaned: &str, original: &str) -> String {
    let mut path = cleaned.to_owned();
    if base(original) == "." && base(&path) != "." {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push('.');
    }
    if original.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_at_the_end_is_kept() {
        for (path, whole, name) in [
            ("/etc/passwd", "/etc/passwd", "passwd"),
            ("etc", "/etc", "etc"),
            ("/etc/", "/etc/", "etc"),
            ("/etc/.", "/etc/.", "."),
            ("/", "/", "/"),
            ("/.", "/.", "."),
            (".", "/.", "."),
            ("..", "/", "/"),
            ("/etc/../../..", "/", "/"),
            ("//a//b/../c", "/a/c", "c"),
        ] {
            assert_eq!(absolute(path), whole, "{path}");
            assert_eq!(base(&absolute(path)), name, "{path}");
        }
        assert_eq!(
            ["/a", "/a/", "/a/.", "/", "/."].map(trailing),
            ["", "/", "/.", "", "/."]
        );
    }
}
