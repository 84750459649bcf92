//! Which host paths may be shared: below a root that the settings name, and not below a folder that they deny.
//!
//! Paths come here canonical (absolute, without links and `..`): what a link points at is what is shared, so that is what is judged.

use std::path::{Component, Path, PathBuf};

/// The settings' word on sharing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    roots: Vec<PathBuf>,
    denied: Vec<PathBuf>,
}

/// A path that is not shared; the text is for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path is not one to judge.
    #[error("{0} is not an absolute path without links")]
    NotCanonical(PathBuf),
    /// It is below no root.
    #[error(
        "{path} is not shared with the machine: add it, or a folder above it, to share_roots in settings.toml and restart the machine (shared now: {roots})"
    )]
    OutsideRoots {
        /// What was asked for.
        path: String,
        /// What is shared.
        roots: String,
    },
    /// It is, or holds, or is below a denied folder.
    #[error(
        "{path} is not shared with the machine because of {denied}, which holds secrets: name that folder in share_roots in settings.toml to share it all the same"
    )]
    Denied {
        /// What was asked for.
        path: String,
        /// The denied folder.
        denied: PathBuf,
    },
}

impl Policy {
    /// From canonical folders.
    pub fn new(roots: Vec<PathBuf>, denied: Vec<PathBuf>) -> Self {
        Self { roots, denied }
    }

    /// Whether a canonical path may be shared.
    ///
    /// A root's own folder may be shared although a denied one is below it: the whole home folder is what people mount. Whoever serves it hides
    /// what is denied; see [`Policy::hidden_below`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(&self, path: &Path) -> Result<(), Refusal> {
        let canonical = path.is_absolute()
            && !path
                .components()
                .any(|part| matches!(part, Component::ParentDir | Component::CurDir));
        if !canonical {
            return Err(Refusal::NotCanonical(path.to_owned()));
        }
        let shown = path.display().to_string();
        if let Some(denied) = self.denied.iter().find(|denied| path.starts_with(denied)) {
            return Err(Refusal::Denied {
                path: shown,
                denied: denied.clone(),
            });
        }
        if !self.roots.iter().any(|root| path.starts_with(root)) {
            let roots: Vec<String> = self
                .roots
                .iter()
                .map(|root| root.display().to_string())
                .collect();
            let roots = if roots.is_empty() {
                "nothing".to_owned()
            } else {
                roots.join(", ")
            };
            return Err(Refusal::OutsideRoots { path: shown, roots });
        }
        Ok(())
    }

    /// Denied folders below a shared path: they must not be seen through it.
    pub fn hidden_below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.denied
            .iter()
            .map(PathBuf::as_path)
            .filter(move |denied| denied.starts_with(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::new(
            vec!["/home/u".into(), "/srv".into()],
            vec!["/home/u/.ssh".into()],
        )
    }

    #[test]
    fn what_is_below_a_root_is_shared() {
        for good in ["/home/u", "/home/u/site", "/srv/x/y", "/home/u/.sshx"] {
            assert_eq!(policy().judge(Path::new(good)), Ok(()), "{good}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_way_out() {
        for (bad, word) in [
            ("/etc", "share_roots"),
            ("/home/user2", "share_roots"),
            ("/home/u/.ssh", "secrets"),
            ("/home/u/.ssh/id", "secrets"),
            ("/home/u/../v", "absolute"),
            ("relative", "absolute"),
        ] {
            let refusal = policy().judge(Path::new(bad)).expect_err(bad).to_string();
            assert!(refusal.contains(word), "{bad}: {refusal}");
        }
        let nothing = Policy::new(vec![], vec![])
            .judge(Path::new("/x"))
            .expect_err("nothing is shared");
        assert!(nothing.to_string().contains("shared now: nothing"));
    }

    #[test]
    fn a_denied_folder_below_a_shared_one_is_to_be_hidden() {
        let policy = policy();
        assert_eq!(
            policy
                .hidden_below(Path::new("/home/u"))
                .collect::<Vec<_>>(),
            [Path::new("/home/u/.ssh")]
        );
        assert_eq!(policy.hidden_below(Path::new("/srv")).count(), 0);
    }
}
