//! Running containers: one shim each. Served by `shim` (its client side), which uses `runtime`.
//!
//! ```text
//!   launch ──► (shim up, namespaces made, user program not yet run) ──attach*──► start ──► events … Exited
//!                                                  └────────── kill/delete ──────────────────────┘
//! ```
//! The shim outlives the engine: [`Shims::recover`] finds it again, or reads how it ended.

use std::{collections::BTreeMap, path::PathBuf};

use async_trait::async_trait;
use errdefs::Result;
use serde::{Deserialize, Serialize};

pub use super::logging::LogTarget;
use super::{BoxStream, ByteStream, rootfs::Rootfs, world::Timestamp};
use crate::id::{ContainerId, ExecId};

/// Everything a shim needs.
#[derive(Debug, Clone)]
pub struct LaunchRequest {
    /// Who.
    pub id: ContainerId,
    /// What to run. Spec: OCI runtime, config. `process.terminal` says whether there is a TTY; `root.path` is ignored.
    pub spec: oci_spec::runtime::Spec,
    /// Its root.
    pub rootfs: Rootfs,
    /// Keep standard input open for attached clients.
    pub open_stdin: bool,
    /// End standard input when the first client that attached to it leaves.
    pub stdin_once: bool,
    /// Where output is kept.
    pub log: LogTarget,
    /// Rows and columns of a terminal at first.
    pub terminal_size: (u16, u16),
    /// The container's folder on the data disk: output for a client that stalls waits there.
    pub folder: PathBuf,
    /// Nobody is to be attached before the program runs: it runs as soon as it can, and [`Shim::start`] only says how that went.
    pub run_at_once: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal when killed.
    pub code: i32,
    /// When.
    pub at: Timestamp,
    /// The kernel killed something in the container for memory.
    pub oom_killed: bool,
}

/// What a container tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShimEvent {
    /// The container's first process ended, its output is in the log, and the exit file is written.
    Exited(Exit),
    /// An exec ended.
    ExecExited(ExecId, Exit),
    /// Something in the container was killed for memory.
    OutOfMemory,
    /// The shim itself is gone without an exit record; its container was killed.
    Lost,
}

/// Streams a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// Feed standard input.
    pub stdin: bool,
    /// Receive standard output.
    pub stdout: bool,
    /// Receive standard error.
    pub stderr: bool,
}

impl AttachRequest {
    /// Whether there is anything to attach.
    pub fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}

/// A process to run inside a running container.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// Its id.
    pub id: ExecId,
    /// Spec: OCI runtime, process.
    pub process: oci_spec::runtime::Process,
    /// Streams for the client; all false: detached.
    pub attach: AttachRequest,
}

/// What is left of a container after the engine comes back.
pub enum Recovered {
    /// It runs on.
    Running {
        /// Its shim.
        shim: std::sync::Arc<dyn Shim>,
        /// First process, in the engine's pid namespace.
        pid: u32,
        /// It is paused.
        paused: bool,
    },
    /// It ended.
    Exited(Exit),
    /// No trace: machine was cut off, or it was never started.
    Unknown,
}

/// Makes and finds shims.
#[async_trait]
pub trait Shims: Send + Sync {
    /// Starts a shim and makes the container, its program not yet run.
    ///
    /// # Errors
    /// As [`Shim::start`] for what can be known before exec; nothing is left behind.
    async fn launch(&self, request: LaunchRequest) -> Result<std::sync::Arc<dyn Shim>>;

    /// Finds what became of a container that was running when the engine ended.
    async fn recover(&self, id: &ContainerId) -> Result<Recovered>;

    /// Kills whatever is left in a container's cgroup (path below the hierarchy's root) and removes it: its shim was killed. Idempotent.
    async fn sweep(&self, id: &ContainerId, cgroup: &std::path::Path) -> Result<()>;

    /// Removes what the shim kept on disk (socket, exit file, bundle). Idempotent.
    async fn forget(&self, id: &ContainerId) -> Result<()>;
}

/// One container's shim.
#[async_trait]
pub trait Shim: Send + Sync {
    /// Connects a client. Before `start` nothing of the output is missed. Output comes raw with a TTY, else in frames of 8-byte headers
    /// (Docker API: POST /containers/{id}/attach, stream format); what is written is standard input, shutting down ends it.
    /// The stream ends when the process has ended and all output was delivered.
    async fn attach(&self, request: AttachRequest) -> Result<ByteStream>;

    /// Runs the program. Returns its pid once exec succeeded.
    ///
    /// # Errors
    /// Docker's texts: `failed to create task for container: failed to create shim task: OCI runtime create failed: …: exec: "nope": executable
    /// file not found in $PATH` with kind `InvalidParameter`, from which the engine takes exit code 127 (not found) or 126 (not executable).
    async fn start(&self) -> Result<u32>;

    /// The next thing that happened. Call from one place.
    async fn next_event(&self) -> ShimEvent;

    /// Sends a signal to the first process, or to all.
    async fn signal(&self, signal: i32, all: bool) -> Result<()>;

    /// Freezes every process.
    async fn pause(&self) -> Result<()>;

    /// Thaws them.
    async fn resume(&self) -> Result<()>;

    /// Runs a process; the stream is there when anything is attached. Returns its pid once exec succeeded.
    async fn exec(&self, request: ExecRequest) -> Result<(u32, Option<ByteStream>)>;

    /// Sends a signal to an exec's process.
    async fn exec_signal(&self, exec: &ExecId, signal: i32) -> Result<()>;

    /// Sets the size of the container's terminal, or of an exec's.
    async fn resize(&self, exec: Option<&ExecId>, rows: u16, columns: u16) -> Result<()>;

    /// Sets limits of the running container; what the machine has no controller for is left out.
    async fn limit(&self, limits: oci_spec::runtime::LinuxResources) -> Result<()>;

    /// Process ids in the container, in the engine's pid namespace.
    async fn pids(&self) -> Result<Vec<u32>>;

    /// Kills everything and removes what is left: cgroup, mounts. Idempotent; used on failed starts too.
    async fn delete(&self) -> Result<()>;
}

/// Which lines of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Last lines; none: all.
    pub tail: Option<u64>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Stay for what comes, until the container ends.
    pub follow: bool,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// From standard error.
    pub stderr: bool,
    /// When it was read.
    pub at: Timestamp,
    /// The text with its line end, if it had one.
    pub line: Vec<u8>,
    /// What the driver kept with it.
    pub attributes: BTreeMap<String, String>,
}

/// Reads logs back.
#[async_trait]
pub trait Logs: Send + Sync {
    /// Opens a log. `ended` resolves when the container has ended, so that a follower reads what is left and stops.
    ///
    /// # Errors
    /// `NotImplemented`: `configured logging driver does not support reading`.
    async fn read(
        &self,
        target: &LogTarget,
        query: LogQuery,
        ended: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Result<BoxStream<Result<LogEntry>>>;
}
