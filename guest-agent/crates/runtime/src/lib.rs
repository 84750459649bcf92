//! The OCI runtime: makes a container from a runtime spec and runs its program.
//!
//! Synchronous, and for callers with one thread: the child is cloned without exec, so another thread's lock would stay locked in it. The
//! caller is the shim, which is such a process.
//!
//! ```text
//! Container::create                                Container::start
//!  cgroup, clone3(namespaces, into cgroup) ─► child: root, mounts, devices, pivot_root,   ─► go ─► exec
//!                                             masks, user, capabilities, program found
//!        ◄──────────── ready, terminal ──────────┘            ◄── end of channel, or why not ──┘
//! ```
//! The container's whole view of files is made with detached mounts (`fsopen`, `open_tree`, `move_mount`), each attached to a descriptor that
//! was resolved inside the new root, so no symlink of the image can lead a mount outside (CVE-2021-30465).
//!
//! Nothing that an image, a volume or a neighbour puts in the way decides what is mounted, written or run: see `child::procfs`,
//! `child::sysctl` and [`protect`]. [`init`] is another program: a container's first process, when its user asks for one.
//!
//! What a spec may ask and this runtime does not do yet is refused with its name: user namespaces, AppArmor and SELinux
//! labels, hooks.
//!
//! Spec: OCI runtime 1.2, config and config-linux.

mod cgroup;
mod channel;
mod child;
mod container;
mod device_filter;
mod error;
mod exec;
mod init;
pub mod protect;
mod seccomp;
mod sys;

pub use cgroup::Cgroup;
pub use container::{Container, CreateOptions, Root, Stdio};
pub use error::{CreateError, StartError};
pub use exec::{Exec, ExecOptions};
pub use init::init;
pub use seccomp::Filter;
