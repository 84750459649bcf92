//! Real parts for tests: engines in namespaces of their own, a real registry, the real docker CLI, images made from Debian packages.
//!
//! ```text
//! Sandbox (mount, net, pid namespaces)
//!   ├── Engine     ours, or the reference dockerd; its socket is a path that is visible outside
//!   └── Registry   Debian's docker-registry on the sandbox's loopback
//! Docker           the docker CLI, talking to either of them or to a machine
//! ```
//! Whatever is started here ends with its guard; a sandbox takes every process in it along.

pub mod disk;
mod docker;
mod engine;
mod image;
mod registry;
mod sandbox;
pub mod tools;

pub use docker::{Docker, Output};
pub use engine::{Engine, Kind};
pub use image::{Image, busybox, busybox_layer, busybox_with, debian};
pub use registry::{Login, Registry};
pub use sandbox::{Sandbox, enter_network};

/// Why the native lane cannot run here, if it cannot.
pub fn native_lane_missing() -> Option<&'static str> {
    (!rustix::process::geteuid().is_root()).then_some("needs root for namespaces")
}
