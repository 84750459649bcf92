//! Network namespaces, made ahead of time by threads of their own: a namespace is a thread's.
//!
//! ```text
//! thread: unshare → pin → veth pair, eth0 inside → up → back ──▶ channel (the warm pool) ──▶ connect
//! ```
//! A namespace is pinned by a bind mount, so it lasts without us. One that nobody took goes when it is dropped.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    mount::{UnmountFlags, mount_bind, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::sync::{Mutex, mpsc};

use crate::{
    netlink::{
        Socket,
        route::{self, Mac, Pair},
    },
    random, sys,
};

/// The calling thread's own namespace.
const OWN: &str = "/proc/thread-self/ns/net";
/// Loopback is always the first link.
const LOOPBACK: u32 = 1;
/// A bridge's port that does not forward by then is left to itself.
const FORWARDING_WITHIN: Duration = Duration::from_millis(500);

/// Where namespaces are pinned and what they are tied to.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) folder: PathBuf,
    /// `None`: only loopback.
    pub(crate) bridge: Option<Bridge>,
}

/// The bridge of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
}

/// A namespace that waits for a container.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// 64 hex digits.
    pub(crate) id: String,
    pub(crate) pin: Pin,
    pub(crate) eth0: Option<Eth0>,
    /// Rtnetlink inside. It keeps the namespace, so it is closed soon.
    pub(crate) inside: Socket,
}

/// A namespace's end of a pair.
#[derive(Debug, Clone)]
pub(crate) struct Eth0 {
    pub(crate) index: u32,
    pub(crate) mac: Mac,
    /// The name of our end.
    pub(crate) link: String,
}

/// A path where a namespace is kept; removed when dropped unless it was [`Pin::keep`]t.
#[derive(Debug)]
pub(crate) struct Pin(Option<PathBuf>);

impl Pin {
    /// It is somebody's now.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            remove_pin(path);
        }
    }
}

/// Lets a namespace go. Fine when it is gone.
pub(crate) fn remove_pin(path: &Path) {
    let _ = unmount(path, UnmountFlags::DETACH);
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "remove a network namespace");
    }
}

/// Is a namespace pinned there?
pub(crate) fn is_pinned(path: &Path) -> bool {
    /// Linux: include/uapi/linux/magic.h.
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(NSFS_MAGIC))
}

/// Namespaces, ready before they are asked for.
#[derive(Debug)]
pub(crate) struct Pool {
    ready: Option<Mutex<mpsc::Receiver<io::Result<Namespace>>>>,
    size: usize,
    maker: Option<JoinHandle<()>>,
}

impl Pool {
    /// Keeps `size` ready (at least 2: one waits, one is in the maker's hand).
    ///
    /// # Errors
    /// When no thread can be had.
    pub(crate) fn new(plan: Plan, size: usize) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(size.saturating_sub(1).max(1));
        let home = File::open(OWN)?;
        let host = Socket::route()?;
        let mut maker = Maker {
            plan,
            home: home.into(),
            host,
        };
        let work = move || {
            loop {
                let made = maker.make();
                let lost = matches!(&made, Err(Failure::Lost(_)));
                if sender.blocking_send(made.map_err(Failure::into)).is_err() || lost {
                    return;
                }
            }
        };
        let maker = std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn(work)?;
        Ok(Self {
            ready: Some(Mutex::new(receiver)),
            size,
            maker: Some(maker),
        })
    }

    /// One of them, or a new one.
    ///
    /// # Errors
    /// Why none can be made.
    pub(crate) async fn take(&self) -> io::Result<Namespace> {
        let gone = || io::Error::other("the maker of network namespaces is gone");
        let mut ready = self.ready.as_ref().ok_or_else(gone)?.lock().await;
        let mut last = gone();
        // Failures wait in the channel like namespaces do; the cause may be over.
        for _ in 0..self.size + 2 {
            match ready.recv().await.ok_or_else(gone)? {
                Ok(namespace) => return Ok(namespace),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.ready = None;
        if let Some(maker) = self.maker.take() {
            let _ = maker.join();
        }
    }
}

enum Failure {
    Failed(io::Error),
    /// The thread could not come back to its own namespace.
    Lost(io::Error),
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed(error) | Failure::Lost(error) => error,
        }
    }
}

struct Maker {
    plan: Plan,
    home: OwnedFd,
    host: Socket,
}

impl Maker {
    fn make(&mut self) -> Result<Namespace, Failure> {
        let id = random::hex::<32>();
        let path = self.plan.folder.join(&id[..12]);
        File::create_new(&path).map_err(Failure::Failed)?;
        let pin = Pin(Some(path));
        sys::unshare_network().map_err(Failure::Failed)?;
        let made = self.furnish(pin.path());
        move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| Failure::Lost(error.into()))?;
        let (inside, eth0) = made.map_err(Failure::Failed)?;
        if let Some(eth0) = &eth0 {
            self.wait_forwarding(&eth0.link).map_err(Failure::Failed)?;
        }
        Ok(Namespace {
            id,
            pin,
            eth0,
            inside,
        })
    }

    /// Runs inside of the new namespace; `self.host` still speaks to our own.
    fn furnish(&mut self, pin: &Path) -> io::Result<(Socket, Option<Eth0>)> {
        mount_bind(OWN, pin)?;
        let mut inside = Socket::route()?;
        inside.ask(route::set_up(LOOPBACK))?;
        let Some(bridge) = self.plan.bridge else {
            return Ok((inside, None));
        };
        let namespace = File::open(pin)?;
        let link = format!("veth{}", &random::hex::<4>()[..7]);
        let mac = random::mac();
        self.host.ask(route::new_pair(&Pair {
            name: &link,
            bridge: bridge.index,
            mtu: bridge.mtu,
            peer_mac: mac,
            peer_namespace: namespace.as_fd(),
        }))?;
        // No IPv6 in this network: not even a link-local address. The file is absent where the kernel has no IPv6.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1");
        let index = inside.link("eth0")?.index;
        inside.ask(route::set_up(index))?;
        Ok((inside, Some(Eth0 { index, mac, link })))
    }

    /// A bridge's port forwards when its link is operational; what is sent before is lost.
    fn wait_forwarding(&mut self, link: &str) -> io::Result<()> {
        if self.host.link(link)?.operational {
            return Ok(());
        }
        let changes = Socket::of_link_changes()?;
        let end = Instant::now() + FORWARDING_WITHIN;
        while !self.host.link(link)?.operational {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !changes.wait(left)? {
                tracing::warn!(link, "does not forward yet");
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether the kernel gives a namespace's loopback an IPv6 address.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}
