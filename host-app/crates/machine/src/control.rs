//! The socket berthd connects to.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use machine_api::{VmmReply, VmmRequest, frame};
use tokio::{
    io::AsyncReadExt,
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

use crate::{guest::Guest, state};

/// Bytes moved at a time in each direction of a stream.
const SPLICE_BYTES: usize = 128 << 10;

/// Orders that wait.
const INBOX: usize = 16;

/// What berthd wants of the machine itself.
#[derive(Debug)]
pub(crate) enum Order {
    /// Power off in order, within a bound.
    Stop(Duration),
    /// Power cut.
    Kill,
}

pub(crate) type Inbox = mpsc::Receiver<Order>;

pub(crate) fn channel() -> (mpsc::Sender<Order>, Inbox) {
    mpsc::channel(INBOX)
}

/// Listens for this user only. The caller holds the machine's lock, so a socket that is there is stale.
pub(crate) fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let _not_there = std::fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("set mode of {}", path.display()))?;
    Ok(listener)
}

pub(crate) async fn serve(listener: UnixListener, guest: Arc<Guest>, orders: mpsc::Sender<Order>) {
    let own = rustix::process::geteuid().as_raw();
    loop {
        match listener.accept().await {
            Ok((client, _)) if client.peer_cred().is_ok_and(|peer| peer.uid() == own) => {
                let (guest, orders) = (Arc::clone(&guest), orders.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(client, &guest, &orders).await {
                        tracing::debug!("a client of the control socket: {error:#}");
                    }
                });
            }
            Ok(_) => tracing::warn!("refused a client of another user"),
            Err(error) => {
                // Out of descriptors: closing clients make room, so yield to them.
                tracing::error!(%error, "accept a client");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn answer(
    mut client: UnixStream,
    guest: &Guest,
    orders: &mpsc::Sender<Order>,
) -> anyhow::Result<()> {
    match frame::receive(&mut client).await? {
        None => Ok(()),
        Some(VmmRequest::Watch) => watch(client, guest).await,
        Some(VmmRequest::Dial { service }) => match guest.dial(service).await {
            Ok(mut stream) => {
                frame::send(&mut client, &VmmReply::Done).await?;
                tokio::io::copy_bidirectional_with_sizes(
                    &mut client,
                    &mut stream,
                    SPLICE_BYTES,
                    SPLICE_BYTES,
                )
                .await?;
                Ok(())
            }
            Err(error) => {
                let message = format!("{error:#}");
                Ok(frame::send(&mut client, &VmmReply::Failed { message }).await?)
            }
        },
        Some(VmmRequest::Stop { timeout_seconds }) => {
            orders
                .send(Order::Stop(Duration::from_secs(timeout_seconds)))
                .await?;
            Ok(frame::send(&mut client, &VmmReply::Done).await?)
        }
        Some(VmmRequest::Kill) => {
            orders.send(Order::Kill).await?;
            Ok(frame::send(&mut client, &VmmReply::Done).await?)
        }
    }
}

async fn watch(mut client: UnixStream, guest: &Guest) -> anyhow::Result<()> {
    let mut changes = guest.state().watch();
    let mut nothing = [0];
    loop {
        let status = changes.borrow_and_update().clone();
        frame::send(&mut client, &status).await?;
        if state::is_final(&status.state) {
            guest.state().was_heard();
            return Ok(());
        }
        tokio::select! {
            changed = changes.changed() => changed?,
            // Nothing is expected from a watcher but its end.
            _ = client.read(&mut nothing) => return Ok(()),
        }
    }
}
