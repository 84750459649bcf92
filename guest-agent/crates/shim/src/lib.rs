//! One small process a container: stdio, logs, exit status.
//!
//! Standing so far are the two formats it speaks, both pure: [`log`] is what goes to disk, [`frame`] what attached clients receive. The process
//! itself, its spawner and the client behind `engine::ports::containers::Shims` are not here yet.

pub mod frame;
pub mod log;
