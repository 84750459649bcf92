//! The json-file log: one JSON object a line, as Docker keeps it on disk, so that other tools read ours and we read theirs.

pub mod line;
pub mod reader;
pub mod writer;
