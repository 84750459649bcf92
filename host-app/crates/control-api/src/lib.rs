//! Messages between the CLI or UI and berthd.
//!
//! berthd listens on `$BERTH_HOME/run/berthd.sock` (0600, same uid). One [`ControlRequest`] frame a connection (framing of `agent-api`), then
//! [`ControlReply`] frames until [`ControlReply::Done`] or [`ControlReply::Failed`]; logs and shell go on as their variants say.

mod places;

pub use agent_api::frame;
pub use places::{CONTROL_SOCKET, DAEMON_LOG, READY_LINE, home_folder};
use serde::{Deserialize, Serialize};

/// The machine that is meant when none is named.
pub const DEFAULT_MACHINE: &str = "default";

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// Start a machine, making it if it is new. Progress until it runs. No error when it runs already.
    Start {
        /// Machine.
        machine: String,
    },
    /// Stop a machine in order.
    Stop {
        /// Machine.
        machine: String,
        /// Pull the plug.
        force: bool,
    },
    /// One [`ControlReply::Status`].
    Status {
        /// Machine.
        machine: String,
    },
    /// One [`ControlReply::Status`] a machine.
    List,
    /// [`ControlReply::Text`] until the end.
    Logs {
        /// Machine.
        machine: String,
        /// Stay for what comes.
        follow: bool,
    },
    /// [`ControlReply::Done`], then the connection carries `agent_api::ShellFrame`s.
    Shell {
        /// Machine.
        machine: String,
        /// Program and arguments; empty: a shell.
        arguments: Vec<String>,
        /// Rows and columns; none: no terminal.
        terminal: Option<(u16, u16)>,
    },
    /// End berthd; machines go on.
    Quit,
}

/// What berthd answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// A phase has begun.
    Progress {
        /// Phase, for people.
        phase: String,
    },
    /// A machine as it stands.
    Status(MachineStatus),
    /// A piece of log.
    Text(String),
    /// It worked; last frame.
    Done,
    /// It did not; last frame.
    Failed {
        /// What failed.
        message: String,
        /// What to do about it; may be empty.
        hint: String,
    },
}

/// A machine as people and scripts see it (`berth status --json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Name.
    pub name: String,
    /// `stopped`, `starting`, `running`, `stopping`, `failed`.
    pub state: String,
    /// Why, when failed or starting: the phase or the cause.
    pub reason: Option<String>,
    /// What runs it.
    pub backend: Option<String>,
    /// Docker socket.
    pub docker_socket: Option<String>,
    /// Phases of the last start with milliseconds.
    pub timeline: Vec<(String, u64)>,
    /// Published ports.
    pub ports: Vec<String>,
    /// Shared folders.
    pub grants: Vec<String>,
    /// CPUs.
    pub cpus: u32,
    /// Memory of the guest.
    pub memory_mib: u64,
    /// Bytes the data disk takes on the host, and appears to have.
    pub disk_bytes: (u64, u64),
    /// Process of berth-vmm while it runs.
    pub pid: Option<u32>,
}
