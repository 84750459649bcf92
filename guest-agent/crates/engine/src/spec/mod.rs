//! From a container's settings to what the runtime runs. Pure.
//!
//! ```text
//!   settings ─ validate (at creation) ─► settings with defaults
//!   binds, volumes, tmpfs ─ mount_points ─► kept with the container
//!   both + places, namespaces, the root's users ─ build ─► OCI runtime spec
//! ```
//! Spec: OCI runtime 1.2, config and config-linux; defaults and texts are dockerd's.

mod build;
mod capabilities;
mod devices;
mod identity;
mod mount_point;
mod mounts;
mod process;
mod resources;
mod seccomp;
mod signal;
mod validate;

use std::path::{Path, PathBuf};

use docker_api::{ContainerConfig, HostConfig};
use errdefs::{Error, ErrorKind};

use crate::id::ContainerId;

pub use build::{arguments, build};
pub use mount_point::{MountKind, MountPoint, mount_points};
pub use process::exec_process;
pub use signal::parse_signal;
pub use validate::validate;

/// A device node of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Where it is.
    pub path: PathBuf,
    /// `c` or `b`.
    pub kind: char,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Facts about the machine. Served by the rim.
pub trait Machine: Send + Sync {
    /// Processors that are there.
    fn cpus(&self) -> u32;
    /// Bytes of memory.
    fn memory_bytes(&self) -> u64;
    /// Whether a cgroup controller (`memory`, `cpu`, `cpuset`, `pids`, `io`) is there.
    fn controller(&self, name: &str) -> bool;
    /// Capabilities the engine itself has, a bit each: it cannot give others.
    fn capabilities(&self) -> u64;
    /// The device nodes at a path: one, or all below a folder.
    ///
    /// # Errors
    /// There is nothing, or no device.
    fn devices(&self, path: &Path) -> std::io::Result<Vec<HostDevice>>;
}

/// Where a namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceOf {
    /// A new one.
    New,
    /// The machine's.
    Host,
    /// One that is there.
    Path(PathBuf),
}

/// What a spec is made from.
pub struct SpecInput<'a> {
    /// Who.
    pub id: &'a ContainerId,
    /// Settings with the image's merged in.
    pub config: &'a ContainerConfig,
    /// Settings that passed [`validate`].
    pub host: &'a HostConfig,
    /// Mounts whose `source` is a place on this machine.
    pub mounts: &'a [MountPoint],
    /// Files of /etc: place on this machine, path in the container.
    pub network_files: &'a [(PathBuf, &'static str)],
    /// Network namespace.
    pub network: NamespaceOf,
    /// Process ids.
    pub pid: NamespaceOf,
    /// System V and POSIX objects.
    pub ipc: NamespaceOf,
    /// Names of the machine.
    pub uts: NamespaceOf,
    /// View of cgroups.
    pub cgroup_namespace: NamespaceOf,
    /// A shared /dev/shm; none: one of its own.
    pub shm: Option<&'a Path>,
    /// The root's /etc/passwd.
    pub passwd: Option<&'a [u8]>,
    /// The root's /etc/group.
    pub group: Option<&'a [u8]>,
    /// Program for process 1, with `--init`.
    pub init: Option<&'a Path>,
    /// Path of the cgroup below the root of the hierarchy.
    pub cgroup: &'a Path,
    /// Facts.
    pub machine: &'a dyn Machine,
}

/// What an exec asks for.
pub struct ExecWish<'a> {
    /// Program and arguments.
    pub args: &'a [String],
    /// `NAME=value` beside the container's.
    pub env: &'a [String],
    /// `user[:group]`; empty: the container's.
    pub user: &'a str,
    /// Working folder; empty: the container's.
    pub working_dir: &'a str,
    /// With a terminal.
    pub tty: bool,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
    /// With every capability.
    pub privileged: bool,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}

fn system(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::System, message)
}
