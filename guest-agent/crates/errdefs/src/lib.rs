//! Error kinds that every room classifies its errors by.
//!
//! A room has small enums of its own; where an error crosses a port it becomes an [`Error`]: a kind, the text a Docker client reads, and
//! the cause. Exactly one function, in `api-server`, turns a kind into an HTTP status.

use std::fmt;

/// What sort of thing went wrong. Docker's own classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing named does not exist.
    NotFound,
    /// The request makes no sense.
    InvalidParameter,
    /// The request does not fit the present state.
    Conflict,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Something needed is not there now.
    Unavailable,
    /// Understood and refused.
    Forbidden,
    /// Nothing had to change.
    NotModified,
    /// This engine does not do that.
    NotImplemented,
    /// The caller gave up.
    Cancelled,
    /// Took longer than its bound.
    DeadlineExceeded,
    /// Data is damaged or lost.
    DataLoss,
    /// The engine's own fault, or the system's.
    System,
}

/// An error that knows its kind.
pub trait Classify {
    /// The kind.
    fn kind(&self) -> ErrorKind;
}

/// An error at a port: kind, message for the client, cause for the log.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What ports return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with Docker's text for the client.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: in_gos_words(message.into()),
            source: None,
        }
    }

    /// Wraps a room's own error: its kind and text are kept, it becomes the cause.
    pub fn from_classified<E>(error: E) -> Self
    where
        E: Classify + std::error::Error + Send + Sync + 'static,
    {
        Self {
            kind: error.kind(),
            message: in_gos_words(chain(&error)),
            source: Some(Box::new(error)),
        }
    }

    /// Puts what was tried before the cause's text, as `what: cause`.
    pub fn context(self, what: impl fmt::Display) -> Self {
        Self {
            kind: self.kind,
            message: format!("{what}: {}", self.message),
            source: self.source,
        }
    }

    /// The same kind and text with a cause for the log.
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The text a client reads.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().and_then(|e| e.source())
    }
}

/// What stands behind the system's own texts in Rust.
const NUMBER: &str = " (os error ";

/// A text with the system's errors as Go's programs say them: `no space left on device`, without its number.
fn in_gos_words(mut text: String) -> String {
    let mut from = 0;
    while let Some(at) = text[from..].find(NUMBER).map(|at| from + at) {
        from = at + NUMBER.len();
        let Some(length) = text[from..].find(')') else {
            return text;
        };
        let Ok(number) = text[from..from + length].parse::<i32>() else {
            continue;
        };
        let said = std::io::Error::from_raw_os_error(number).to_string();
        let end = from + length + 1;
        if let Some(before) = text[..end].strip_suffix(&said).map(str::len) {
            let words = said.split(NUMBER).next().unwrap_or_default();
            let mut letters = words.chars();
            let words: String = letters
                .next()
                .map(|first| first.to_lowercase().chain(letters).collect())
                .unwrap_or_default();
            text.replace_range(before..end, &words);
            from = before + words.len();
        }
    }
    text
}

/// The texts of an error and its causes, joined by `: `.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_errors_are_in_gos_words() {
        let full = std::io::Error::from_raw_os_error(28);
        let text = format!("write a: {full}, b: {full}: ä (os error 28) (os error x) (os error");
        let error = Error::new(ErrorKind::System, text);
        assert_eq!(
            error.message(),
            "write a: no space left on device, b: no space left on device: ä (os error 28) (os error x) (os error"
        );
    }

    #[test]
    fn context_stands_before_the_cause() {
        let error = Error::new(ErrorKind::NotFound, "no such file").context("open a");
        assert_eq!(error.to_string(), "open a: no such file");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
