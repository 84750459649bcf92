//! Logs of containers, in Docker's forms on disk, so that other tools read ours and we read theirs; and services that take them.
//!
//! ```text
//!   pipes ─► cutter ─► messages ─┬─► file (json lines | entries) ─► rotated, compressed      ◄─ reader ─ engine
//!                                └─► remote ─ pipe ─► a child of the shim ─► the service
//! ```

mod compress;
mod cutter;
mod file;
pub mod line;
mod names;
pub mod reader;
mod remote;
pub(crate) mod source;
mod watches;
pub mod writer;
