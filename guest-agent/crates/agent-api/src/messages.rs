//! The messages themselves.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// First frame of every connection the host makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::VERSION`] of the sender.
    pub version: u32,
    /// The secret that [`BootSettings`] carried.
    pub secret: String,
    /// What the connection is for.
    pub service: Service,
}

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// The engine's Docker API: raw bytes, half-close kept.
    Docker,
    /// [`ControlRequest`]s, one answer each.
    Control,
    /// Roles reversed: the guest asks with [`HostRequest`]s, the host answers.
    HostServices,
    /// Raw bytes to a TCP address inside the guest: a published port. Half-close kept.
    Forward {
        /// Where to connect.
        target: SocketAddr,
    },
    /// A process in the guest for `berth shell`; [`ShellFrame`]s both ways after the reply.
    Shell {
        /// Program and arguments; empty: a login shell.
        arguments: Vec<String>,
        /// Rows and columns; none: no terminal.
        terminal: Option<(u16, u16)>,
    },
    /// The guest's own log (init, engine) as raw text; follows when asked.
    Logs {
        /// Stay for what comes.
        follow: bool,
    },
}

/// Answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HelloReply {
    /// The service has the connection now.
    Welcome,
    /// It is closed after this.
    Refused {
        /// Why and what to do.
        reason: String,
    },
}

/// What the guest reports while it boots, in order. Milliseconds are of the guest's monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootEvent {
    /// vsock is up and the guest listens. The host answers with [`BootSettings`].
    Listening {
        /// [`crate::VERSION`] of the guest.
        version: u32,
        /// `uname -r`.
        kernel: String,
        /// Since boot.
        milliseconds: u64,
    },
    /// A phase is done.
    Phase {
        /// `modules`, `time`, `network`, `data_disk`, `engine`.
        name: String,
        /// Since boot.
        milliseconds: u64,
    },
    /// The engine answers. Last event of a good boot; the connection stays open.
    EngineReady {
        /// Since boot.
        milliseconds: u64,
    },
    /// Boot cannot go on.
    Failed {
        /// The phase that failed.
        phase: String,
        /// What failed and what to do.
        message: String,
    },
}

/// What the host tells the guest at boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSettings {
    /// [`crate::VERSION`] of the host.
    pub version: u32,
    /// Must be in every later [`Hello`].
    pub secret: String,
    /// Nanoseconds since 1970-01-01 UTC.
    pub unix_time_ns: i64,
    /// Name of the machine: host name of the guest.
    pub machine: String,
    /// The data disk's identity when the host knows one; a blank disk gets this one, another disk is refused.
    pub disk_identity: String,
    /// The data disk may be formatted if it is blank (the host saw that it made it new).
    pub format_blank_disk: bool,
    /// `daemon.json` of the engine.
    pub daemon_json: String,
    /// virtio-fs tag whose root lists the grants; none: nothing is shared.
    pub share_tag: Option<String>,
    /// Extra name servers; empty: what DHCP says.
    pub name_servers: Vec<IpAddr>,
}

/// What the host asks of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// How are you?
    Status,
    /// Set the wall clock.
    SetTime {
        /// Nanoseconds since 1970-01-01 UTC.
        unix_time_ns: i64,
    },
    /// Stop containers in order, sync, power off. Answered before the machine goes.
    PowerOff {
        /// Bound for the containers, in seconds.
        timeout_seconds: u64,
    },
}

/// Answer to a [`ControlRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// Answer to [`ControlRequest::Status`].
    Status {
        /// The engine answers.
        engine_ready: bool,
        /// Times the engine was started again.
        engine_restarts: u32,
        /// Bytes of the data disk's file system, and how many are used.
        disk_bytes: (u64, u64),
        /// Bytes of memory, and how many are available.
        memory_bytes: (u64, u64),
    },
    /// Done.
    Done,
    /// Not done.
    Failed {
        /// What failed and what to do.
        message: String,
    },
}

/// A question of the guest to the host, answered by a [`HostReply`] with the same id, in any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRequest {
    /// Made up by the guest, unique on the connection.
    pub id: u64,
    /// The question.
    pub request: HostCall,
}

/// What the guest may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostCall {
    /// Share a host folder or file.
    Grant {
        /// Absolute path on the host, as the user wrote it.
        path: String,
        /// The host refuses writes too.
        read_only: bool,
        /// Make a missing folder.
        create: bool,
    },
    /// Take a host port; connections arrive as [`Service::Forward`] to `target`.
    Reserve {
        /// `tcp` or `udp`.
        protocol: String,
        /// Host address; unspecified: all of the family.
        address: IpAddr,
        /// First acceptable port; 0 with `last_port` 0: any.
        first_port: u16,
        /// Last acceptable port.
        last_port: u16,
        /// Where connections go in the guest.
        target: SocketAddr,
    },
    /// Give a port back.
    Release {
        /// From [`HostAnswer::Reserved`].
        reservation: u64,
    },
    /// After the engine was restarted: everything that is not in this list is given back.
    Keep {
        /// Reservations still in use.
        reservations: Vec<u64>,
    },
}

/// An answer to a [`HostRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReply {
    /// The request's id.
    pub id: u64,
    /// The answer.
    pub answer: HostAnswer,
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAnswer {
    /// The grant's entry in the share's root (`/run/berth/shares` in the machine), and the rest of the path below it (empty: the entry itself).
    Granted {
        /// Name of the entry.
        entry: String,
        /// Path below it, no leading slash.
        rest: String,
    },
    /// The port is held.
    Reserved {
        /// Names it for [`HostCall::Release`].
        reservation: u64,
        /// The port taken.
        port: u16,
    },
    /// Done.
    Done,
    /// Policy says no.
    Forbidden {
        /// Text for the user, with the way out.
        message: String,
    },
    /// The thing named is not there.
    Missing {
        /// Text for the user.
        message: String,
    },
    /// Taken, or failed otherwise.
    Failed {
        /// Text for the user.
        message: String,
    },
}

/// Both ways on a [`Service::Shell`] connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShellFrame {
    /// Input (host to guest) or output (guest to host). Bytes as text where they are UTF-8 is not promised: a list of numbers.
    Data(Vec<u8>),
    /// Standard error, when there is no terminal.
    Error(Vec<u8>),
    /// No more input.
    End,
    /// New size of the terminal: rows, columns.
    Resize(u16, u16),
    /// The process ended; last frame.
    Exit(i32),
}
