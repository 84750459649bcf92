//! What is seen of a container's files from outside: its root, with its volumes, binds and network files mounted.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use errdefs::Result;
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    container::{Container, Run},
    record::ContainerRecord,
};
use crate::{
    Engine,
    ports::{
        ByteReader,
        files::{Guard, Tree, TreeMount},
    },
    spec::MountKind,
};

/// Files the engine writes for a container, and where they are seen.
const NETWORK_FILES: [(&str, &str); 3] = [
    ("resolv.conf", "/etc/resolv.conf"),
    ("hostname", "/etc/hostname"),
    ("hosts", "/etc/hosts"),
];

/// Where users may not write.
pub(super) fn guard(record: &ContainerRecord) -> Guard {
    let mounts = record.mounts.iter();
    Guard {
        read_only_root: record.host.readonly_rootfs,
        mounts: mounts
            // A tmpfs counts only in its long form, as in Docker.
            .filter(|mount| mount.kind != MountKind::Tmpfs || mount.wish.is_some())
            .map(|mount| (mount.destination.clone(), mount.read_write))
            .collect(),
    }
}

/// A tree with its volumes ready; they are released with it.
pub(super) struct HeldTree {
    engine: Arc<Engine>,
    record: Arc<ContainerRecord>,
    run: Run,
    pub(super) tree: Tree,
}

impl Engine {
    /// Makes a container's files ready to be looked at.
    pub(super) async fn hold_tree(self: &Arc<Self>, container: &Container) -> Result<HeldTree> {
        let record = container.record();
        let mut held = HeldTree {
            engine: Arc::clone(self),
            record: Arc::clone(&record),
            run: Run::default(),
            tree: bare_tree(container),
        };
        let mut resolved = self.resolve_mounts(&record, &mut held.run).await?;
        resolved.retain(|mount| mount.kind != MountKind::Tmpfs);
        resolved.sort_by_key(|mount| mount.destination.matches('/').count());
        let mounts = resolved.iter().map(|mount| TreeMount {
            source: mount.source.as_str().into(),
            inside: mount.subpath.clone(),
            destination: mount.destination.clone(),
            read_only: !mount.read_write,
            recursive: mount.recursive,
            optional: false,
        });
        held.tree.mounts = mounts.collect();
        let folder = self.ports.store.folder(&record.id);
        let is_taken = |place: &str| record.mounts.iter().any(|mount| mount.destination == place);
        for (name, place) in NETWORK_FILES {
            if !is_taken(place) {
                held.tree.mounts.push(TreeMount {
                    source: folder.join(name),
                    inside: String::new(),
                    destination: place.to_owned(),
                    read_only: false,
                    recursive: false,
                    optional: true,
                });
            }
        }
        Ok(held)
    }
}

/// A container's root alone.
pub(super) fn bare_tree(container: &Container) -> Tree {
    let state = container.state();
    Tree {
        container: container.id.clone(),
        pid: Some(state.pid).filter(|pid| state.is_running() && *pid > 0),
        mounts: Vec::new(),
    }
}

impl Drop for HeldTree {
    fn drop(&mut self) {
        let mut run = std::mem::take(&mut self.run);
        if run.volumes.is_empty() {
            return;
        }
        let (engine, record) = (Arc::clone(&self.engine), Arc::clone(&self.record));
        let release = async move { engine.release_mounts(&record, &mut run).await };
        self.engine.ports.world.spawn(Box::pin(release));
    }
}

/// A reader that tells when it was read to its end, once.
pub(super) struct Ending<F: FnOnce()> {
    inner: ByteReader,
    at_end: Option<F>,
}

impl<F: FnOnce()> Ending<F> {
    pub(super) fn new(inner: ByteReader, at_end: F) -> Self {
        Self {
            inner,
            at_end: Some(at_end),
        }
    }
}

impl<F: FnOnce() + Unpin> AsyncRead for Ending<F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if buffer.filled().len() == before
            && buffer.remaining() > 0
            && let Some(at_end) = self.at_end.take()
        {
            at_end();
        }
        Poll::Ready(Ok(()))
    }
}
