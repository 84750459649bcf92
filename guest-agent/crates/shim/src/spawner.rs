//! The process that shims are forked from: small and with one thread, so that a fork is cheap and whole.
//!
//! The engine starts it with a socket as standard input, and hands it two descriptors for each container: the shim's control connection
//! (the [`Launch`](crate::protocol::Launch) follows on it) and the connection for events. It ends with the socket; shims stay.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::{
    process,
    protocol::{self, Failure, Reply},
    sys,
};

/// Serves until the engine is gone. Begins by running this program anew, with the same arguments, from a read-only mount.
///
/// # Errors
/// The socket broke, or the program cannot be protected from containers.
pub fn run() -> io::Result<()> {
    runtime::protect::protect(std::env::args_os().skip(1))?;
    sys::reap_children_by_kernel(true);
    sys::ignore_broken_pipes();
    let engine = std::io::stdin();
    while let Some([control, events]) = receive(&engine)? {
        match sys::fork() {
            Ok(0) => {
                sys::reap_children_by_kernel(false);
                become_shim(UnixStream::from(control), UnixStream::from(events));
            }
            // Our ends are dropped; the shim's keep the connections open.
            Ok(_) => {}
            Err(error) => {
                let text = format!("fork a shim: {error}");
                let kind = Failure::System;
                // The engine may have gone.
                let _ = protocol::write(&UnixStream::from(control), &Reply::Failed { kind, text });
            }
        }
    }
    Ok(())
}

fn become_shim(control: UnixStream, events: UnixStream) -> ! {
    let detached = rustix::process::setsid().and_then(|_| {
        // The engine's socket: its end must be seen by the spawner's successor, not kept by shims.
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR,
            rustix::fs::Mode::empty(),
        )?;
        rustix::stdio::dup2_stdin(&null)
    });
    let ended = detached
        .map_err(io::Error::from)
        .and_then(|()| process::run(control, events));
    if let Err(error) = ended {
        tracing::error!(%error, "a shim failed");
        std::process::exit(1);
    }
    std::process::exit(0)
}

/// The next two descriptors; none: the engine is gone.
fn receive(socket: &impl AsFd) -> io::Result<Option<[OwnedFd; 2]>> {
    loop {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if received == 0 {
            return Ok(None);
        }
        let descriptors = ancillary
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => {
                    Some(descriptors.collect::<Vec<_>>())
                }
                _ => None,
            })
            .unwrap_or_default();
        if let Ok(pair) = <[OwnedFd; 2]>::try_from(descriptors) {
            return Ok(Some(pair));
        }
    }
}
