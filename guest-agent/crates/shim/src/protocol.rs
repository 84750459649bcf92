//! What the engine and a shim say to each other over the shim's socket.
//!
//! ```text
//!   engine ──► length (u32, big endian) · JSON of a Request        shim ──► length · JSON of a Reply
//! ```
//! A connection carries one request after the other. After [`Request::Attach`], and after [`Request::Exec`] with streams, it carries the
//! process's bytes and nothing else; after [`Request::Events`] only replies of the kind [`Reply::Event`].

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use engine::ports::{
    containers::{AttachRequest, Exit, LogTarget},
    rootfs::Rootfs,
};
use errdefs::ErrorKind;
use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Longest message; a spec with a custom seccomp profile is the largest.
pub(crate) const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// The first message: what to make.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) id: String,
    pub(crate) spec: Spec,
    pub(crate) root: Rootfs,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) log: LogTarget,
    pub(crate) terminal_size: (u16, u16),
    /// The shim's folder in the exec root.
    pub(crate) run: PathBuf,
    /// The container's folder on the data disk.
    pub(crate) folder: PathBuf,
    pub(crate) cgroup_root: PathBuf,
    /// As if [`Request::Start`] had followed.
    pub(crate) run_at_once: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Start,
    Attach(AttachRequest),
    Exec {
        id: String,
        process: Box<Process>,
        streams: AttachRequest,
    },
    Signal {
        exec: Option<String>,
        signal: i32,
        all: bool,
    },
    Resize {
        exec: Option<String>,
        rows: u16,
        columns: u16,
    },
    Freeze(bool),
    Limit(Box<LinuxResources>),
    Pids,
    State,
    Events,
    Delete,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Pid(u32),
    Pids(Vec<u32>),
    State {
        pid: u32,
        started: bool,
        paused: bool,
    },
    Failed {
        kind: Failure,
        text: String,
    },
    Event(Event),
}

/// The few kinds of errors that a shim has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// The request or the program is at fault.
    Invalid,
    /// There is no such process any more.
    NotFound,
    /// It does not fit the state.
    Conflict,
    /// The system's fault.
    System,
}

impl From<Failure> for ErrorKind {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid => Self::InvalidParameter,
            Failure::NotFound => Self::NotFound,
            Failure::Conflict => Self::Conflict,
            Failure::System => Self::System,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Event {
    Exited(Exit),
    ExecExited(String, Exit),
}

/// A message with its length before it.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4)
        .ok()
        .filter(|_| bytes.len() - 4 <= MAX_MESSAGE_BYTES)
        .ok_or_else(|| io::Error::other("the message is too long"))?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// The length that a header says.
///
/// # Errors
/// Longer than [`MAX_MESSAGE_BYTES`].
pub(crate) fn length(header: [u8; 4]) -> io::Result<usize> {
    usize::try_from(u32::from_be_bytes(header))
        .ok()
        .filter(|length| *length <= MAX_MESSAGE_BYTES)
        .ok_or_else(|| io::Error::other("the message is too long"))
}

/// Takes the first whole message out of what has come in.
pub(crate) fn take<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some(header) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let end = 4 + length(*header)?;
    if buffer.len() < end {
        return Ok(None);
    }
    let message = serde_json::from_slice(&buffer[4..end])?;
    buffer.drain(..end);
    Ok(Some(message))
}

/// Reads one message, waiting for it.
pub(crate) fn read<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut header = [0; 4];
    from.read_exact(&mut header)?;
    let mut bytes = vec![0; length(header)?];
    from.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Writes one message, waiting until it is taken.
pub(crate) fn write(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_one_by_one_and_only_whole() {
        let mut bytes = encode(&Request::Start).unwrap();
        let second = encode(&Request::Pids).unwrap();
        bytes.extend_from_slice(&second[..3]);
        assert!(matches!(take(&mut bytes).unwrap(), Some(Request::Start)));
        assert!(take::<Request>(&mut bytes).unwrap().is_none());
        bytes.extend_from_slice(&second[3..]);
        assert!(matches!(take(&mut bytes).unwrap(), Some(Request::Pids)));
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_length_out_of_bounds_is_refused() {
        assert!(take::<Request>(&mut vec![0xff; 8]).is_err());
        assert!(take::<Request>(&mut b"\0\0\0\x02{x".to_vec()).is_err());
    }
}
