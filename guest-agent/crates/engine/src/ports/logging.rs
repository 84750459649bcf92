//! Where a container's output goes: files that are read back, and services on the network. Plain data, sent to the container's shim.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A container's log driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    /// Nothing is kept.
    None,
    /// Files.
    File(LogFile),
    /// A service, and files beside it from which `docker logs` reads.
    Remote {
        /// The service.
        remote: Box<Remote>,
        /// The files; none: nothing can be read back.
        cache: Option<LogFile>,
    },
}

impl LogTarget {
    /// The files that can be read back.
    pub fn file(&self) -> Option<&LogFile> {
        match self {
            Self::None => None,
            Self::File(file) => Some(file),
            Self::Remote { cache, .. } => cache.as_ref(),
        }
    }
}

/// A log in files: the current one, and rotated ones with `.1`, `.2`, … (and `.gz`) after their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The current file.
    pub path: PathBuf,
    /// What is in it.
    pub format: LogFormat,
    /// A new file is begun once this many bytes are reached; none: never.
    pub max_size_bytes: Option<u64>,
    /// Files kept, the current one among them, ≥ 1.
    pub max_files: u32,
    /// Rotated files are compressed.
    pub compress: bool,
}

/// How entries are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// Docker's `json-file`: a JSON object a line.
    JsonLines {
        /// What every entry carries, shown by `docker logs --details`.
        attributes: BTreeMap<String, String>,
    },
    /// Docker's `local`: protobuf messages between their lengths.
    Entries,
}

/// A service that takes the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Bytes that may wait for it before output is dropped; none: the container waits instead.
    pub buffer_bytes: Option<u64>,
    /// The machine's name.
    pub host_name: String,
}

/// Protocols of log services with their settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Spec: RFC 3164, RFC 5424, RFC 5425 (over TLS).
    Syslog {
        /// Where.
        address: SyslogAddress,
        /// Number of the facility, not shifted.
        facility: u8,
        /// Form of a message.
        format: SyslogFormat,
        /// Tag of each message.
        tag: String,
    },
    /// Graylog's format. Spec: GELF 1.1.
    Gelf {
        /// Where.
        address: GelfAddress,
        /// Fields of each message beside the usual ones.
        extra: BTreeMap<String, String>,
    },
    /// Fluentd's. Spec: Forward Protocol v1, message mode.
    Fluentd {
        /// Where.
        address: FluentdAddress,
        /// Tag of each event.
        tag: String,
        /// Fields of each record.
        record: BTreeMap<String, String>,
        /// The rest.
        settings: FluentdSettings,
    },
    /// The journal's native protocol.
    Journald {
        /// Fields of each entry.
        fields: BTreeMap<String, String>,
    },
}

/// Where a syslog server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyslogAddress {
    /// The usual sockets of this machine.
    Local,
    /// A stream socket.
    Unix(PathBuf),
    /// A datagram socket.
    UnixDatagram(PathBuf),
    /// `host:port`.
    Udp(String),
    /// `host:port`.
    Tcp(String),
    /// `host:port`, over TLS.
    Tls(String, TlsFiles),
}

/// Files with certificates; empty: not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// Who is believed; empty: the system's authorities.
    pub authorities: String,
    /// Ours.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The server need not prove who it is.
    pub skip_verify: bool,
}

/// Form of a syslog message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyslogFormat {
    /// As for this machine's own server: no host name.
    Unix,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424, whole seconds.
    Rfc5424,
    /// RFC 5424 with microseconds.
    Rfc5424Micro,
}

/// Where a GELF server is: `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GelfAddress {
    /// Datagrams, in chunks when they are long.
    Udp {
        /// `host:port`.
        address: String,
        /// Compression.
        compression: Compression,
        /// -1 (the library's choice) to 9.
        level: i8,
    },
    /// A stream, each message ended by a zero byte.
    Tcp {
        /// `host:port`.
        address: String,
        /// Attempts beyond the first.
        max_reconnect: u32,
        /// Seconds before each.
        reconnect_delay_seconds: u64,
    },
}

/// Compression of GELF datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// None.
    None,
}

/// Where a fluentd is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FluentdAddress {
    /// Host and port.
    Tcp(String, u16),
    /// Host and port, over TLS.
    Tls(String, u16),
    /// A socket.
    Unix(PathBuf),
}

/// How a fluentd is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FluentdSettings {
    /// The container does not wait for the connection.
    pub asynchronous: bool,
    /// Events that may wait when asynchronous.
    pub buffer_limit: u64,
    /// Wait before the first new attempt; later ones wait longer.
    pub retry_wait_ms: u64,
    /// Attempts.
    pub max_retries: u32,
    /// The connection is made anew after this long; 0: never.
    pub reconnect_interval_ms: u64,
    /// Times with nanoseconds.
    pub sub_second: bool,
    /// The server confirms each event.
    pub acknowledge: bool,
    /// Bound of a write; 0: none.
    pub write_timeout_ms: u64,
}
