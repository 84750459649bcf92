//! From a container's settings to an OCI runtime spec, as dockerd 28.5 does it.
//!
//! ```text
//!   ContainerConfig + HostConfig ── validate (create) ──► checked settings, warnings
//!                                └─ mount_points (create) ──► MountPoint… ─┐
//!   checked settings + image's passwd/group + Machine ─────────────────────┴─ build (start) ──► Spec
//!   running container's settings + ExecWish ──────────── exec_process ──► Process
//! ```
//! Nothing here touches a file: what the machine looks like comes in through [`Machine`]. Wrong settings are refused at create with kind
//! `InvalidParameter`; what only shows against the image or the machine (users, devices, seccomp profiles) is refused at start with kind `System`.
//!
//! Spec: OCI runtime, config. Docker API: POST /containers/create.

pub mod capabilities;
mod devices;
pub mod identity;
pub mod mount_point;
mod mounts;
mod namespaces;
mod owner;
mod paths;
pub mod process;
mod resources;
mod seccomp;
mod security;
mod signal;
mod sysctls;
pub mod validate;

use std::path::{Path, PathBuf};

use docker_api::{ContainerConfig, HostConfig};
use errdefs::{Error, ErrorKind, Result};
use oci_spec::{
    OciSpecError,
    runtime::{Linux, RootBuilder, Spec},
};

use crate::id::ContainerId;

pub use mount_point::{
    MountKind, MountPoint, ReadOnlyRecursive, keep_root_free, mount_points, volumes_from,
};
pub use owner::owner;
pub(crate) use paths::clean as clean_path;
pub use process::{ExecWish, check_user, exec_process};
pub use resources::limits;
pub use signal::is_supported;
pub(crate) use validate::LINKS_WITH_HOST;
pub use validate::{parse_signal, validate, validate_resources, validate_update};

/// Version of the specification that is written. Spec: OCI runtime, config, specification version.
const OCI_VERSION: &str = "1.2.1";

/// Facts about the machine that the checks and the spec need; served by the rim.
pub trait Machine: Send + Sync {
    /// CPUs that are online.
    fn cpus(&self) -> u32;
    /// Size of its memory.
    fn memory_bytes(&self) -> u64;
    /// Whether a cgroup controller (`memory`, `cpu`, `cpuset`, `pids`, `io`) is there; `swap`: whether swap is accounted.
    fn controller(&self, name: &str) -> bool;
    /// Number of the highest capability the kernel knows, e.g. 40. Linux: /proc/sys/kernel/cap_last_cap.
    fn last_capability(&self) -> u32;
    /// Capabilities the engine itself has, a bit each: it cannot give others.
    fn held_capabilities(&self) -> u64 {
        u64::MAX
    }
    /// The device node at a path, links followed, or every node below a folder.
    ///
    /// # Errors
    /// When there is nothing.
    fn devices(&self, path: &Path) -> std::io::Result<Vec<HostDevice>>;
    /// All devices of /dev, for privileged containers.
    ///
    /// # Errors
    /// When /dev cannot be read.
    fn all_devices(&self) -> std::io::Result<Vec<HostDevice>>;
    /// Whether a CPU has thermal counters, which are hidden. Linux: /sys/devices/system/cpu/cpuN/thermal_throttle.
    fn has_thermal_counters(&self, _cpu: u32) -> bool {
        true
    }
    /// The kernel's version, major and minor, for seccomp profiles that ask. Berth's image has at least this.
    fn kernel_version(&self) -> (u32, u32) {
        (6, 12)
    }
}

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

/// Where a namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceOf {
    /// Made for the container.
    New,
    /// The engine's own.
    Host,
    /// An existing one: its file.
    Path(PathBuf),
}

/// What a spec is built from.
pub struct SpecInput<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// Merged with the image's config; the hostname is filled in with the short id.
    pub config: &'a ContainerConfig,
    /// Checked by [`validate`].
    pub host: &'a HostConfig,
    /// User mounts; `source` is a path on this machine.
    pub mounts: &'a [MountPoint],
    /// resolv.conf, hostname, hosts: file on this machine, path in the container. Those that a user mount stands in for are left out.
    pub network_files: &'a [(PathBuf, &'static str)],
    /// Network namespace.
    pub network: NamespaceOf,
    /// Process namespace.
    pub pid: NamespaceOf,
    /// IPC namespace.
    pub ipc: NamespaceOf,
    /// Host name's namespace.
    pub uts: NamespaceOf,
    /// Cgroup namespace.
    pub cgroup_namespace: NamespaceOf,
    /// The owner's /dev/shm folder (shareable, `container:ID`), bound; none: a tmpfs of its own, nothing (ipc `none`) or the machine's (ipc `host`).
    pub shm: Option<&'a Path>,
    /// The root's /etc/passwd.
    pub passwd: Option<&'a [u8]>,
    /// The root's /etc/group.
    pub group: Option<&'a [u8]>,
    /// The docker-init program on this machine, when it is wanted.
    pub init: Option<&'a Path>,
    /// Path below the hierarchy's root, e.g. `/docker/<id>`.
    pub cgroup: &'a Path,
    /// The machine.
    pub machine: &'a dyn Machine,
}

/// Builds the spec of a container. Its `root.path` is left for the runtime, which knows where the root is mounted.
///
/// # Errors
/// `System`, with the texts that dockerd and runc have for what is only found out at start: users, groups, devices, seccomp profiles, sysctls, limits.
pub fn build(input: &SpecInput<'_>) -> Result<Spec> {
    let security = security::SecurityOptions::parse(input.host)?;
    let capabilities = capabilities::of_container(input.host, input.machine)?;
    let process = process::container_process(input, &security, &capabilities)?;
    let mut resources = resources::resources(input.host, input.machine)?;
    let (devices, rules) = devices::devices(input.host, input.machine)?;
    resources.set_devices(Some(rules));

    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces::namespaces(input)?))
        .set_sysctl(Some(sysctls::sysctls(input)?))
        .set_cgroups_path(Some(input.cgroup.to_owned()))
        .set_resources(Some(resources))
        .set_devices(Some(devices))
        .set_seccomp(seccomp::filter(
            &security,
            input.host.privileged,
            &capabilities,
            input.machine,
        )?)
        .set_masked_paths(security::masked_paths(input.host, input.machine))
        .set_readonly_paths(security::readonly_paths(input.host))
        .set_rootfs_propagation(mounts::root_propagation(input.mounts).map(str::to_owned));

    let mut spec = Spec::default();
    let uts_host = input.uts == NamespaceOf::Host;
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(built(
            RootBuilder::default()
                .path("rootfs")
                .readonly(input.host.readonly_rootfs)
                .build(),
        )?))
        .set_hostname((!uts_host).then(|| input.config.hostname.clone()))
        .set_mounts(Some(mounts::mounts(input)?))
        .set_process(Some(process))
        .set_annotations(
            input
                .host
                .annotations
                .clone()
                .map(|all| all.into_iter().collect()),
        )
        .set_linux(Some(linux));
    Ok(spec)
}

/// Entrypoint and Cmd in one.
pub fn arguments(config: &ContainerConfig) -> Vec<String> {
    let entrypoint = config.entrypoint.iter().flatten();
    entrypoint
        .chain(config.cmd.iter().flatten())
        .cloned()
        .collect()
}

/// A setting that makes no sense.
fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, text)
}

/// Something that came out at start.
fn system(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::System, text)
}

/// A part of the spec, with the builder's complaint as ours: it has one when a field is missing, which would be a fault in this room.
fn built<T>(part: std::result::Result<T, OciSpecError>) -> Result<T> {
    part.map_err(|error| system(format!("build the container's spec: {error}")))
}

#[cfg(test)]
mod tests;
