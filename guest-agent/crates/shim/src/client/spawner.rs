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
    sync::{Mutex, PoisonError},
};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
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
}

impl Spawner {
    pub(super) fn new(program: (PathBuf, Vec<OsString>)) -> io::Result<Self> {
        let running = Mutex::new(start(&program)?);
        Ok(Self { program, running })
    }

    /// Forks a shim; gives the engine's ends of its two connections.
    pub(super) fn spawn(&self) -> io::Result<(UnixStream, UnixStream)> {
        let (control, their_control) = UnixStream::pair()?;
        let (events, their_events) = UnixStream::pair()?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if hand_over(&running.socket, &their_control, &their_events).is_err() {
            let _ = running.process.wait();
            *running = start(&self.program)?;
            hand_over(&running.socket, &their_control, &their_events)?;
        }
        drop(running);
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
    Ok(Running { socket, process })
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
