//! The host's folders for the guest: the settings' word on sharing, and the virtio-fs device that serves what was granted.

mod device;

pub(crate) use device::QUEUE_SIZE;

use std::path::{Path, PathBuf};

use agent_api::HostAnswer;
use anyhow::{Context, anyhow};
use machine_api::MachineSpec;
use rustix::process::{Resource, getrlimit, setrlimit};
use share_fs::{
    FuseServer, Granted, Owner, Shares, Wish,
    folder::{self, GrantError},
    policy::Policy,
};
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// What the guest mounts.
pub(crate) const TAG: &str = "berth-shares";

/// Descriptors that are ours whatever the guest does: sockets of streams and ports above all.
const OWN_DESCRIPTORS: u64 = 8192;

/// What a grant may have at least, on a system with few.
const LEAST_DESCRIPTORS: u64 = 256;

/// What is shared, and what may be.
pub(crate) struct Sharing {
    shares: Shares,
    policy: Policy,
}

impl Sharing {
    /// Serves the device at a socket that QEMU connects to, on threads of its own; they end with QEMU.
    pub(crate) fn serve(socket: &Path, spec: &MachineSpec) -> anyhow::Result<Self> {
        let shares = Shares::new(Owner::of_process(), descriptors());
        let server = FuseServer::new(shares.clone());
        let device = device::Device::start(server).context("start the threads of shares")?;
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let mut daemon = VhostUserDaemon::new("shares".to_owned(), device, memory)
            .map_err(|error| anyhow!("make the back end of shares: {error}"))?;
        // Bound here, so that the socket is there when this returns.
        let mut listener = vhost::vhost_user::Listener::new(socket, true)
            .map_err(|error| anyhow!("listen on {}: {error}", socket.display()))?;
        std::thread::Builder::new()
            .name("shares".to_owned())
            .spawn(move || {
                if let Err(error) = daemon.start(&mut listener) {
                    tracing::error!(%error, "the back end of shares did not start");
                    return;
                }
                if let Err(error) = daemon.wait() {
                    tracing::debug!(%error, "the back end of shares ended");
                }
            })
            .context("start the thread of shares")?;
        Ok(Self {
            shares,
            policy: policy(&spec.share_roots, &spec.share_denied),
        })
    }

    /// Answers the guest's wish. Touches disks: not for a thread that others wait for.
    pub(crate) fn grant(&self, wish: &Wish) -> HostAnswer {
        match self.shares.grant(&self.policy, wish) {
            Ok(Granted { number, rest }) => HostAnswer::Granted {
                entry: number.to_string(),
                rest,
            },
            Err(error) => {
                let message = error.to_string();
                match error {
                    GrantError::Refused(_) | GrantError::Kind(_) => {
                        HostAnswer::Forbidden { message }
                    }
                    GrantError::Missing(_) => HostAnswer::Missing { message },
                    GrantError::TooMany { .. } | GrantError::Io { .. } => {
                        HostAnswer::Failed { message }
                    }
                }
            }
        }
    }

    /// Host paths that are shared, each once.
    pub(crate) fn shown(&self) -> Vec<String> {
        let mut shown: Vec<String> = self
            .shares
            .paths()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        shown.sort();
        shown.dedup();
        shown
    }
}

/// The settings' folders without links. Made once, before the guest runs: later it could put a link in a root's place.
fn policy(roots: &[PathBuf], denied: &[PathBuf]) -> Policy {
    let resolve = |path: &Path| folder::canonical(path).unwrap_or_else(|_| path.to_owned());
    // Where a denied folder is a link, both the link and what it points at are denied.
    let spelled = |path: &Path| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => path.to_owned(),
    };
    let mut all: Vec<PathBuf> = denied
        .iter()
        .flat_map(|path| [spelled(path), resolve(path)])
        .collect();
    all.sort();
    all.dedup();
    Policy::new(roots.iter().map(|path| resolve(path)).collect(), all)
}

/// Raises our bound on descriptors as far as it goes, since each file that the guest knows is one; how many a grant may have.
fn descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the bound on open files stays low");
        }
    }
    let bound = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    bound.saturating_sub(OWN_DESCRIPTORS).max(LEAST_DESCRIPTORS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_link_is_denied_with_what_it_points_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        std::fs::create_dir_all(root.join("keys/ssh")).expect("made");
        std::os::unix::fs::symlink(root.join("keys/ssh"), root.join(".ssh")).expect("linked");
        let policy = policy(
            std::slice::from_ref(&root),
            &[root.join(".ssh"), root.join("not/there")],
        );
        let hidden: Vec<&Path> = policy.hidden_below(&root).collect();
        let expected = [".ssh", "keys/ssh", "not/there"].map(|path| root.join(path));
        assert_eq!(hidden, expected);
    }
}
