//! What a container said: one line, or a piece of a long one.

use engine::ports::world::Timestamp;

/// One message for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// From standard error.
    pub stderr: bool,
    /// When it was read; for pieces, when the first one was.
    pub at: Timestamp,
    /// The text without its line end.
    pub text: &'a [u8],
    /// It is a piece of a line.
    pub partial: Option<Partial<'a>>,
}

/// Which piece of which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial<'a> {
    /// The line's id, 64 hexadecimal digits.
    pub id: &'a str,
    /// Counted from 1.
    pub ordinal: i32,
    /// The piece with the line's end.
    pub last: bool,
}

impl Message<'_> {
    /// Whether the text is followed by a line end.
    #[must_use]
    pub fn ends_line(&self) -> bool {
        self.partial.is_none_or(|partial| partial.last)
    }
}
