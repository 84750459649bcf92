//! Paths of the container as texts: cleaned, absolute, inside.

/// The shortest path that means the same, by its text alone, as Go's `path.Clean` does it.
pub(crate) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Whether a path stays below where it starts.
pub(super) fn is_local(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && clean(path) != ".."
        && !clean(path).starts_with("../")
}

/// How deep a path is; mounts are made in this order so that none hides another.
pub(super) fn depth(path: &str) -> usize {
    clean(path).matches('/').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does_it() {
        for (path, want) in [
            ("", "."),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("/../a", "/a"),
            ("a/../..", ".."),
            ("./a/.", "a"),
            ("/a/b/../c", "/a/c"),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
    }

    #[test]
    fn a_local_path_does_not_lead_out() {
        assert!(is_local("a/../b") && is_local("a"));
        assert!(!is_local("..") && !is_local("a/../../b") && !is_local("/a") && !is_local(""));
    }
}
