//! Errors at the ports, by kind.

use std::fmt::Display;

use errdefs::{Error, ErrorKind};
use rustix::io::Errno;

use crate::UnpackError;

/// The system's own fault.
pub(crate) fn system(what: impl Display, error: impl Display) -> Error {
    Error::new(ErrorKind::System, format!("{what}: {error}"))
}

/// What was given makes no sense.
pub(crate) fn invalid(message: impl Display) -> Error {
    Error::new(ErrorKind::InvalidParameter, message.to_string())
}

/// Content that does not fit its digest.
pub(crate) fn damaged(message: impl Display) -> Error {
    Error::new(ErrorKind::DataLoss, message.to_string())
}

/// Docker's text for a name or an id that no image has.
pub(crate) fn no_such_image(familiar: impl Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("No such image: {familiar}"))
}

/// A layer could not be made.
#[derive(Debug)]
pub(crate) enum LayerError {
    /// Its content is at fault: what was wrong.
    Content(String),
    /// The system is.
    System(Error),
}

impl LayerError {
    /// As an error of a kind that the caller chooses for bad content.
    pub(crate) fn into_error(self, kind: ErrorKind) -> Error {
        match self {
            Self::Content(message) => Error::new(kind, message),
            Self::System(error) => error,
        }
    }
}

impl From<UnpackError> for LayerError {
    fn from(error: UnpackError) -> Self {
        let is_content = match &error {
            UnpackError::Entry { .. } => true,
            // Decoders' own errors have no number; those of the disk have.
            UnpackError::Archive(source) => source.raw_os_error().is_none(),
            UnpackError::Make { source, .. } => !is_systems(source),
            UnpackError::Prepare(_) => false,
        };
        let message = errdefs::chain(&error);
        if is_content {
            Self::Content(message)
        } else {
            Self::System(Error::new(ErrorKind::System, message))
        }
    }
}

/// Numbers that no content can cause.
fn is_systems(error: &std::io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::NOSPC
                | Errno::DQUOT
                | Errno::IO
                | Errno::ROFS
                | Errno::NOMEM
                | Errno::MFILE
                | Errno::NFILE
                | Errno::PERM
                | Errno::ACCESS
        )
    )
}
