//! What Docker's users do and see, checked on any engine through the real docker CLI.
//!
//! A check is a function on a [`Bed`]: an engine with a CLI, test images and, where there is one, a registry. The native lane runs every
//! check on Debian's dockerd first and then on ours, in namespaces; the machine lane runs the same checks through a VM's socket. Checks run
//! side by side in one bed, so each makes up its own names and removes what it made.

mod bed;
mod checks;
pub mod coverage;

pub use bed::{Bed, Network};
pub use checks::{Check, all};
