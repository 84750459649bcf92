//! What can go wrong.

/// A container could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The spec asks for something this runtime does not do.
    #[error("{0} is not supported by this runtime")]
    Unsupported(&'static str),
    /// The spec lacks or contradicts something.
    #[error("invalid spec: {0}")]
    Invalid(String),
    /// The cgroup could not be made.
    #[error("cgroup {path}")]
    Cgroup {
        /// Folder of the group.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A system call of the parent's failed.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The child could not set the container up; its own words, in the form that clients of Docker know.
    #[error("{0}")]
    Child(String),
}

/// A program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// exec failed; the words clients of Docker know, e.g. `exec: "/etc": is a directory`.
    #[error("{0}")]
    Exec(String),
    /// It was started before.
    #[error("the container was started before")]
    Started,
    /// The child is gone.
    #[error("the container ended before its program ran")]
    Gone,
}
