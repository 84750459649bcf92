//! What the kernel says of running containers. Served by `observer`.

use std::path::Path;

use async_trait::async_trait;
use errdefs::Result;

/// A process's files in /proc, as they were read. Their content is in the hands of the process. Linux: Documentation/filesystems/proc.rst.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessFiles {
    /// In the engine's pid namespace.
    pub pid: u32,
    /// `stat`.
    pub stat: String,
    /// `status`.
    pub status: String,
    /// `cmdline`, its beginning.
    pub command: Vec<u8>,
    /// `wchan`: where it sleeps.
    pub wchan: String,
}

/// Processes with what of the machine is needed to show them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessTable {
    /// Those that still are, in the order they were asked for.
    pub processes: Vec<ProcessFiles>,
    /// Seconds since 1970-01-01 UTC when the machine was started.
    pub booted: u64,
    /// Hundredths of a second since then.
    pub uptime_ticks: u64,
    /// KiB of memory.
    pub memory_kib: u64,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// The machine's `/etc/passwd`; empty: none.
    pub passwd: Vec<u8>,
    /// Its `/etc/group`.
    pub group: Vec<u8>,
}

/// Looks at processes and groups.
#[async_trait]
pub trait Observer: Send + Sync {
    /// Reads what /proc says of processes; those that ended meanwhile are left out.
    ///
    /// # Errors
    /// /proc itself cannot be read.
    async fn processes(&self, pids: &[u32]) -> Result<ProcessTable>;

    /// Reads files of a container's cgroup (path below the hierarchy's root), of its network and of the machine.
    ///
    /// # Errors
    /// `NotFound`: the group is gone.
    async fn sample(&self, request: &SampleRequest<'_>) -> Result<SampleFiles>;
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct SampleRequest<'a> {
    /// The container's cgroup, below the hierarchy's root.
    pub cgroup: &'a Path,
    /// A process whose network is asked for.
    pub network_of: Option<u32>,
}

/// The files of a cgroup as they were read; a controller that the machine has not leaves its files out.
/// Linux: Documentation/admin-guide/cgroup-v2.rst.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SampleFiles {
    /// `cpu.stat`.
    pub cpu_stat: Option<String>,
    /// `memory.current`.
    pub memory_current: Option<String>,
    /// `memory.max`.
    pub memory_max: Option<String>,
    /// `memory.stat`.
    pub memory_stat: Option<String>,
    /// `memory.events`.
    pub memory_events: Option<String>,
    /// `pids.current`.
    pub pids_current: Option<String>,
    /// `pids.max`.
    pub pids_max: Option<String>,
    /// `io.stat`.
    pub io_stat: Option<String>,
    /// `/proc/PID/net/dev` of the process that was named.
    pub network: Option<String>,
    /// The machine's `/proc/stat`.
    pub machine_stat: String,
    /// Bytes of the machine's memory.
    pub machine_memory: u64,
}
