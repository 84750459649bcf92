//! Sockets and frames: listening for this user only, frames over tokio, splicing with half-close.

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use agent_api::frame;
use anyhow::Context;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::{UnixListener, UnixStream};

/// Bytes moved at a time in each direction of a splice.
const SPLICE_BYTES: usize = 128 << 10;

/// Listens on a path that nobody else serves (the caller holds the lock that says so); mode 0600.
pub(crate) fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove stale socket {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("set mode of {}", path.display()))?;
    Ok(listener)
}

/// The next client that is this user (or root). Others are closed without a word.
pub(crate) async fn accept(listener: &UnixListener) -> UnixStream {
    let own = rustix::process::geteuid().as_raw();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match stream.peer_cred() {
                Ok(peer) if peer.uid() == own || peer.uid() == 0 => return stream,
                Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a client of another user"),
                Err(error) => tracing::warn!(%error, "refused a client without credentials"),
            },
            Err(error) => {
                // Out of descriptors: closing clients make room, so yield to them.
                tracing::error!(%error, "accept a client");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// One message; `None`: the other side is done.
pub(crate) async fn read_frame<T: DeserializeOwned>(
    stream: &mut UnixStream,
) -> anyhow::Result<Option<T>> {
    frame::receive(stream).await.context("read a frame")
}

/// Sends one message.
pub(crate) async fn write_frame(
    stream: &mut UnixStream,
    message: &impl Serialize,
) -> anyhow::Result<()> {
    frame::send(stream, message).await.context("write a frame")
}

/// Moves bytes both ways until both sides have ended; the end of one direction is passed on and leaves the other alone.
pub(crate) async fn splice(a: &mut UnixStream, b: &mut UnixStream) -> io::Result<()> {
    tokio::io::copy_bidirectional_with_sizes(a, b, SPLICE_BYTES, SPLICE_BYTES)
        .await
        .map(|_| ())
}
