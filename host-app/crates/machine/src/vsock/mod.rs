//! The vsock device as QEMU's vhost-user back end.
//!
//! [`Vsock`] is what the rest of berth-vmm holds: it opens streams to the guest and takes the ones the guest opens. The device itself runs on
//! the vhost-user worker's thread ([`device`]); requests reach it through a queue and an eventfd.

mod device;
mod end;

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, oneshot};
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::{epoll::EventSet, eventfd::EventFd};

/// The guest's context id. Each QEMU has its own back end, so ids need not differ between machines.
pub(crate) const GUEST_CID: u64 = 3;

/// Streams from the guest that wait to be taken at one port.
const BACKLOG: usize = 16;

/// A wish for the device.
struct Request {
    guest_port: u32,
    host_end: UnixStream,
    opened: oneshot::Sender<bool>,
}

#[derive(Default)]
struct Inbox {
    requests: Mutex<Vec<Request>>,
    listeners: Mutex<HashMap<u32, mpsc::Sender<UnixStream>>>,
}

/// A handle on the device.
#[derive(Clone)]
pub(crate) struct Vsock {
    inbox: Arc<Inbox>,
    wake: Arc<EventFd>,
}

impl Vsock {
    /// Serves the device at a socket that QEMU connects to, on threads of its own; they end with QEMU.
    pub(crate) fn serve(socket: &Path) -> anyhow::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let wake = Arc::new(
            EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).context("make an eventfd")?,
        );
        let device = device::Device::new(Arc::clone(&inbox), Arc::clone(&wake))?;
        let host_events = device.epoll_fd();
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let mut daemon =
            VhostUserDaemon::new("vsock".to_owned(), Arc::new(Mutex::new(device)), memory)
                .map_err(|error| anyhow!("make the vsock back end: {error}"))?;
        for handler in daemon.get_epoll_handlers() {
            handler
                .register_listener(host_events, EventSet::IN, device::HOST_EVENTS)
                .context("watch host streams")?;
        }
        // Bound here, so that the socket is there when this returns.
        let mut listener = vhost::vhost_user::Listener::new(socket, true)
            .map_err(|error| anyhow!("listen on {}: {error}", socket.display()))?;
        std::thread::Builder::new()
            .name("vsock".to_owned())
            .spawn(move || {
                if let Err(error) = daemon.start(&mut listener) {
                    tracing::error!(%error, "vsock back end did not start");
                    return;
                }
                // Ends when QEMU does; what became of QEMU is told by its own watcher.
                if let Err(error) = daemon.wait() {
                    tracing::debug!(%error, "vsock back end ended");
                }
            })
            .context("start the vsock thread")?;
        Ok(Self { inbox, wake })
    }

    /// Opens a stream to a port of the guest.
    pub(crate) async fn connect(&self, guest_port: u32) -> anyhow::Result<tokio::net::UnixStream> {
        let (ours, host_end) = pair()?;
        let (opened, answer) = oneshot::channel();
        self.inbox
            .requests
            .lock()
            .expect("no holder panics")
            .push(Request {
                guest_port,
                host_end,
                opened,
            });
        self.wake.write(1).context("wake the vsock device")?;
        if answer.await.unwrap_or(false) {
            Ok(tokio::net::UnixStream::from_std(ours)?)
        } else {
            Err(anyhow!(
                "the guest refused a connection to vsock port {guest_port}"
            ))
        }
    }

    /// Takes streams that the guest opens to a port.
    pub(crate) fn listen(&self, host_port: u32) -> mpsc::Receiver<UnixStream> {
        let (sender, streams) = mpsc::channel(BACKLOG);
        self.inbox
            .listeners
            .lock()
            .expect("no holder panics")
            .insert(host_port, sender);
        streams
    }
}

/// Two ends of a stream, neither of which blocks.
fn pair() -> std::io::Result<(UnixStream, UnixStream)> {
    let (a, b) = UnixStream::pair()?;
    a.set_nonblocking(true)?;
    b.set_nonblocking(true)?;
    Ok((a, b))
}
