//! Namespaces that a container shares: another container's, or its own with others.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use docker_api::HostConfig;
use errdefs::{Error, ErrorKind, Result};

use super::{container::Container, record::ContainerRecord, state::Phase};
use crate::{Engine, ports::network::Sandbox, spec::NamespaceOf};

/// Where a mode names another container.
const CONTAINER: &str = "container:";
/// The container's folder that is the /dev/shm it shares.
const SHM: &str = "shm";
/// Containers that share one's memory through each other; more is a ring.
const MAX_CHAIN: usize = 64;

impl Engine {
    /// Writes the ids of containers in place of the names that a new container joins: names move on.
    ///
    /// # Errors
    /// `InvalidParameter` when the container of a process or IPC namespace is not there; that of a network may come later.
    pub(super) fn settle_joined(&self, host: &mut HostConfig) -> Result<()> {
        for (mode, must_be) in [
            (&mut host.pid_mode, true),
            (&mut host.ipc_mode, true),
            (&mut host.network_mode, false),
        ] {
            let Some(other) = mode.strip_prefix(CONTAINER) else {
                continue;
            };
            match self.containers.find(other) {
                Ok(other) => *mode = format!("{CONTAINER}{}", other.id),
                Err(error) if must_be => {
                    return Err(Error::new(
                        ErrorKind::InvalidParameter,
                        error.message().to_owned(),
                    ));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The container whose network it joins; none: it has another mode.
    ///
    /// # Errors
    /// `Conflict` when that one does not run; `System` when it is not there, or is itself.
    pub(super) fn network_donor(&self, record: &ContainerRecord) -> Result<Option<Arc<Container>>> {
        let Some(other) = record.host.network_mode.strip_prefix(CONTAINER) else {
            return Ok(None);
        };
        let donor = self.containers.find(other).map_err(|error| {
            Error::new(ErrorKind::System, error.message().to_owned())
                .context("joining network namespace of container")
        })?;
        if donor.id == record.id {
            return Err(Error::new(
                ErrorKind::System,
                "cannot join own network namespace",
            ));
        }
        let state = donor.state();
        if state.phase != Phase::Running {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "cannot join network namespace of a non running container: container {} is {}",
                    donor.record().name,
                    state.word()
                ),
            ));
        }
        Ok(Some(donor))
    }

    pub(super) fn network_namespace(
        &self,
        donor: Option<&Container>,
        sandbox: Option<&Sandbox>,
    ) -> NamespaceOf {
        if let Some(sandbox) = sandbox {
            return NamespaceOf::Path(sandbox.path.clone());
        }
        let Some(donor) = donor else {
            return NamespaceOf::Host;
        };
        NamespaceOf::Path(match donor.sandbox() {
            Some(sandbox) => sandbox.path.clone(),
            None => namespace_of(donor.state().pid, "net"),
        })
    }

    /// The process namespace.
    pub(super) fn pid_namespace(&self, mode: &str) -> Result<NamespaceOf> {
        self.shared_namespace("pid", mode).map_err(|error| {
            let text = format!("failed to join PID namespace: {}", error.message());
            Error::new(ErrorKind::System, text)
        })
    }

    /// The IPC namespace.
    pub(super) fn ipc_namespace(&self, mode: &str) -> Result<NamespaceOf> {
        self.shared_namespace("ipc", mode)
            .map_err(|error| error.context(NO_IPC))
    }

    /// A namespace that a mode takes from the machine or from another container.
    pub(super) fn shared_namespace(&self, kind: &str, mode: &str) -> Result<NamespaceOf> {
        match mode.strip_prefix(CONTAINER) {
            Some(other) => Ok(NamespaceOf::Path(namespace_of(
                self.joined(other)?.state().pid,
                kind,
            ))),
            None if mode == "host" => Ok(NamespaceOf::Host),
            None => Ok(NamespaceOf::New),
        }
    }

    /// A running container whose namespaces are joined.
    fn joined(&self, reference: &str) -> Result<Arc<Container>> {
        let container = self
            .containers
            .find(reference)
            .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.message().to_owned()))?;
        let conflict = |text: String| Err(Error::new(ErrorKind::Conflict, text));
        match container.state().phase {
            Phase::Running | Phase::Paused => Ok(container),
            Phase::Restarting => conflict(format!(
                "Container {reference} is restarting, wait until the container is running"
            )),
            _ => conflict(format!("container {reference} is not running")),
        }
    }

    /// The memory that is bound to /dev/shm: its own to share, mounted now, or another container's. None: it shares nothing.
    ///
    /// # Errors
    /// `InvalidParameter` when the other container does not share its own.
    pub(super) async fn shared_memory(&self, record: &ContainerRecord) -> Result<Option<PathBuf>> {
        if record.host.ipc_mode == "shareable" {
            let folder = self.shm_folder(record);
            self.ports
                .volumes
                .mount_memory(&folder, record.host.shm_size)
                .await?;
            return Ok(Some(folder));
        }
        let Some(donor) = record.host.ipc_mode.strip_prefix(CONTAINER) else {
            return Ok(None);
        };
        let mut other = donor.to_owned();
        for _ in 0..MAX_CHAIN {
            let of_other = self.joined(&other).map_err(|error| error.context(NO_IPC))?;
            let of_other = of_other.record();
            match of_other.host.ipc_mode.as_str() {
                "shareable" => return Ok(Some(self.shm_folder(&of_other))),
                "host" => return Ok(Some(PathBuf::from("/dev/shm"))),
                mode => match mode.strip_prefix(CONTAINER) {
                    Some(next) => next.clone_into(&mut other),
                    None => break,
                },
            }
        }
        Err(Error::new(
            ErrorKind::InvalidParameter,
            format!(
                "container {donor}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            ),
        )
        .context(NO_IPC))
    }

    /// Takes down what [`Engine::shared_memory`] mounted.
    pub(super) async fn release_memory(&self, record: &ContainerRecord) {
        if record.host.ipc_mode != "shareable" {
            return;
        }
        let folder = self.shm_folder(record);
        if let Err(error) = self.ports.volumes.unmount_memory(&folder).await {
            tracing::warn!(id = record.id.as_str(), %error, "unmount a container's shared memory");
        }
    }

    fn shm_folder(&self, record: &ContainerRecord) -> PathBuf {
        self.ports.store.folder(&record.id).join(SHM)
    }

    /// The files of /etc of a container whose network is joined: its joiners see the same.
    pub(super) fn network_files_of(&self, donor: &Container) -> Vec<(PathBuf, &'static str)> {
        let mut donor = donor.record();
        // The donor may have joined another's.
        for _ in 0..MAX_CHAIN {
            let Ok(Some(next)) = self.network_donor(&donor) else {
                break;
            };
            donor = next.record();
        }
        let folder = self.ports.store.folder(&donor.id);
        let file = |name: &str| Path::join(&folder, name);
        vec![
            (file("resolv.conf"), "/etc/resolv.conf"),
            (file("hostname"), "/etc/hostname"),
            (file("hosts"), "/etc/hosts"),
        ]
    }
}

/// Docker's words before why it cannot.
const NO_IPC: &str = "failed to join IPC namespace";

fn namespace_of(pid: u32, kind: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/{kind}"))
}
