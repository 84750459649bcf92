//! The spawner's process, from the engine's side: started, and started again when it died.

use std::{
    ffi::OsString,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType, sendmsg, socketpair,
    },
};

#[derive(Debug)]
pub(super) struct Spawner {
    program: (PathBuf, Vec<OsString>),
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    process: Child,
    /// A shim that waits for its container.
    spare: Option<Ends>,
}

/// The engine's ends of a shim's two connections: control and events.
type Ends = (UnixStream, UnixStream);

impl Spawner {
    pub(super) fn new(program: (PathBuf, Vec<OsString>)) -> io::Result<Self> {
        let running = Mutex::new(start(&program)?);
        let spawner = Self { program, running };
        spawner.prepare();
        Ok(spawner)
    }

    /// A shim: the one that waits, or a new one.
    pub(super) fn spawn(&self) -> io::Result<Ends> {
        let mut running = self.running();
        match running.spare.take() {
            Some(spare) if is_connected(&spare.0) => Ok(spare),
            _ => self.fork(&mut running),
        }
    }

    /// Makes a shim that waits, unless there is one. What fails here is told by the next [`Spawner::spawn`].
    pub(super) fn prepare(&self) {
        let mut running = self.running();
        if running.spare.is_none() {
            running.spare = self.fork(&mut running).ok();
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fork(&self, running: &mut Running) -> io::Result<Ends> {
        let (control, their_control) = UnixStream::pair()?;
        let (events, their_events) = UnixStream::pair()?;
        if hand_over(&running.socket, &their_control, &their_events).is_err() {
            // The one that is replaced is ended with its last owner, should it live.
            *running = start(&self.program)?;
            hand_over(&running.socket, &their_control, &their_events)?;
        }
        control.set_nonblocking(true)?;
        events.set_nonblocking(true)?;
        Ok((control, events))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends with its socket; ended here so that it can be waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start((program, arguments): &(PathBuf, Vec<OsString>)) -> io::Result<Running> {
    let flags = SocketFlags::CLOEXEC;
    let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let process = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(theirs))
        .spawn()?;
    Ok(Running {
        socket,
        process,
        spare: None,
    })
}

/// False: the shim at the other end was killed.
fn is_connected(control: &UnixStream) -> bool {
    let mut ready = [PollFd::new(control, PollFlags::RDHUP)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut ready, Some(&at_once)), Ok(0))
}

fn hand_over(socket: &OwnedFd, control: &UnixStream, events: &UnixStream) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [control.as_fd(), events.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(
        socket,
        &[IoSlice::new(b"s")],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}
