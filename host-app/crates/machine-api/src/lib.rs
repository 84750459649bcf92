//! Messages between berthd and berth-vmm.
//!
//! berthd starts berth-vmm with the path of a [`MachineSpec`] file; berth-vmm listens on the unix socket named there (0600, same uid). Each
//! connection starts with one [`VmmRequest`] frame (framing of `agent-api`). [`VmmRequest::Dial`] turns it into the stream asked for.
//! Once the socket takes connections, berth-vmm writes the line [`READY_LINE`] to its standard output and closes it; an end before that line is
//! a failed start, whose reason is on standard error. berthd holds a `flock` on the machine's lock file through a file descriptor that
//! berth-vmm and QEMU inherit: the lock is free only when nothing uses the data disk any more.

use std::path::PathBuf;

use agent_api::Service;
pub use agent_api::frame;
use serde::{Deserialize, Serialize};

/// What berth-vmm writes to its standard output, with a line end, when its socket takes connections.
pub const READY_LINE: &str = "ready";

/// What a machine is. Written by berthd, read once by berth-vmm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Name, `[a-z0-9][a-z0-9-]{0,31}`.
    pub name: String,
    /// Socket berth-vmm listens on.
    pub socket: PathBuf,
    /// Folder for sockets, console log and lock of this run; only the user may enter.
    pub run_dir: PathBuf,
    /// Virtual CPUs, ≥ 1.
    pub cpus: u32,
    /// Guest memory.
    pub memory_mib: u64,
    /// Kernel image.
    pub kernel: PathBuf,
    /// Initial RAM file system.
    pub initrd: PathBuf,
    /// Read-only system image, if there is one beside the initrd.
    pub system_image: Option<PathBuf>,
    /// Data disk: sparse raw file.
    pub data_disk: PathBuf,
    /// Size a new data disk appears to have.
    pub data_disk_bytes: u64,
    /// Host folders that may be granted, with what below them may not.
    pub share_roots: Vec<PathBuf>,
    /// Folders below the roots that are refused all the same.
    pub share_denied: Vec<PathBuf>,
    /// The engine's settings.
    pub daemon_json: String,
    /// What runs it.
    pub backend: Backend,
}

/// What runs the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// KVM if a test boot proves it, else emulation.
    Auto,
    /// QEMU with KVM.
    QemuKvm,
    /// QEMU's emulation.
    QemuTcg,
}

/// First frame of a connection to berth-vmm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmmRequest {
    /// [`VmmStatus`] frames: one now, one at each change.
    Watch,
    /// Connect to a service in the guest (waits until it listens). Answer: [`VmmReply`], then raw bytes.
    Dial {
        /// Which.
        service: Service,
    },
    /// Ask the guest to power off; [`VmmReply`] at once, watch for the end. After the bound it is killed.
    Stop {
        /// Bound in seconds.
        timeout_seconds: u64,
    },
    /// Power cut, now.
    Kill,
}

/// Answer to [`VmmRequest::Dial`], [`VmmRequest::Stop`], [`VmmRequest::Kill`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmmReply {
    /// Yes.
    Done,
    /// No.
    Failed {
        /// What failed and what to do.
        message: String,
    },
}

/// The machine as berth-vmm sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmStatus {
    /// State.
    pub state: VmmState,
    /// What runs it, e.g. `qemu (tcg)`.
    pub backend: String,
    /// Process of berth-vmm.
    pub pid: u32,
    /// Phases done, with milliseconds since berth-vmm started.
    pub timeline: Vec<(String, u64)>,
    /// Published ports, e.g. `0.0.0.0:8080/tcp`.
    pub ports: Vec<String>,
    /// Grants, as host paths.
    pub grants: Vec<String>,
}

/// Where a machine is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum VmmState {
    /// Starting: the phase under way.
    Starting {
        /// Name of the phase.
        phase: String,
    },
    /// The engine answers.
    Running,
    /// Powering off.
    Stopping,
    /// It ended.
    Stopped,
    /// It ended badly.
    Failed {
        /// The phase that failed.
        phase: String,
        /// What failed and what to do.
        message: String,
    },
}
