//! Starts a container.
//!
//! ```text
//!   sandbox ┐
//!   mounts  ├─► files of /etc ─► spec ─► shim launched ─► early clients attached ─► program runs ─► state kept, told
//!   root    ┘
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use errdefs::{Classify, Error, ErrorKind, Result};

use super::{
    container::{Container, Run},
    links::{self, Linked},
    network_files,
    record::ContainerRecord,
    state::Phase,
    steps::Steps,
};
use crate::{
    Engine, logging,
    ports::{
        containers::{LaunchRequest, Shim},
        logging::LogTarget,
        network::{ConnectRequest, Sandbox},
    },
    spec::{self, NamespaceOf, SpecInput},
};

/// Docker's words before what the runtime says.
const CREATE_FAILED: &str = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process";

/// The outermost words of every failure of a start.
const TASK_FAILED: &str = "failed to create task for container";
/// What a log that cannot be opened is called.
pub(crate) const LOG_FAILED: &str = "failed to initialize logging driver";

impl Engine {
    /// Starts a container. Docker API: POST /containers/{id}/start.
    ///
    /// # Errors
    /// `NotModified` when it runs already; `InvalidParameter` when its program cannot be run; else Docker's words.
    pub async fn start_container(self: &Arc<Self>, reference: &str) -> Result<()> {
        let container = self.containers.find(reference)?;
        let engine = Arc::clone(self);
        self.to_the_end(async move { engine.start(&container).await })
            .await
    }

    pub(crate) async fn start(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        if self.is_going_down() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the machine is being switched off: start it again with `berth start`",
            ));
        }
        let mut run = container.run.lock().await;
        let life = container.life();
        if life.removing || life.removed || life.state.phase == Phase::Dead {
            return Err(Error::new(
                ErrorKind::Conflict,
                "container is marked for removal and cannot be started",
            ));
        }
        match life.state.phase {
            Phase::Paused => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "cannot start a paused container, try unpause instead",
                ));
            }
            Phase::Running => return Err(Error::new(ErrorKind::NotModified, "it runs")),
            _ => {}
        }
        run.backoff = std::time::Duration::ZERO;
        container.change(|life| life.state.restarts = 0);
        self.start_locked(container, &mut run).await
    }

    /// Starts it for a user or for its restart policy; the caller holds its life.
    pub(super) async fn start_locked(
        self: &Arc<Self>,
        container: &Arc<Container>,
        run: &mut Run,
    ) -> Result<()> {
        let record = container.record();
        match self.bring_up(container, &record, run).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // A shim that was killed meanwhile has left its group, and perhaps a program in it.
                self.sweep(container).await;
                self.take_down(container, &record, run).await;
                container.drop_early();
                let (code, error) = explain(error);
                container.change(|life| {
                    // Whoever waited through its restarts waits no longer.
                    life.exits += u64::from(life.state.phase == Phase::Restarting);
                    life.state.fail(code, error.message());
                    life.ends += 1;
                });
                self.save_state(container).await;
                if record.host.auto_remove {
                    self.remove_later(container);
                }
                Err(error)
            }
        }
    }

    async fn bring_up(
        self: &Arc<Self>,
        container: &Arc<Container>,
        record: &ContainerRecord,
        run: &mut Run,
    ) -> Result<()> {
        let donor = self.network_donor(record)?;
        let mut record = self.settings.defaults.at_start(record);
        let linked = self.linked(&record)?;
        links::add_variables(&record.name, &linked, &mut record.config);
        if let Some(donor) = &donor {
            let of_donor = &donor.record().config;
            record.config.hostname.clone_from(&of_donor.hostname);
            record.config.domainname.clone_from(&of_donor.domainname);
        }
        let record = &record;
        let id = &record.id;
        let mut steps = Steps::begin(&*self.ports.world);
        let in_root = |path: &'static str| self.ports.rootfs.read_file(id, path.as_ref());
        let (sandbox, shm, mounts, rootfs, passwd, group) = futures_util::join!(
            self.connect(record),
            self.shared_memory(record),
            self.resolve_mounts(record, run),
            self.ports.rootfs.mounts(id),
            in_root("/etc/passwd"),
            in_root("/etc/group"),
        );
        // Kept before anything else can fail, so that it is taken down again.
        let sandbox = sandbox?;
        container.set_sandbox(sandbox.clone());
        let (shm, mounts) = (shm?, mounts?);
        let (rootfs, passwd, group) = (rootfs?, passwd?, group?);
        let network = self.network_namespace(donor.as_deref(), sandbox.as_ref());
        steps.end("network, mounts and user files");
        let files = match &donor {
            Some(donor) => self.network_files_of(donor),
            None => {
                self.write_network_files(record, sandbox.as_ref(), &linked, &network)
                    .await?
            }
        };
        steps.end("files of /etc");
        let cgroup = record.cgroup(&self.settings.cgroup_parent);
        let spec = spec::build(&SpecInput {
            id,
            config: &record.config,
            host: &record.host,
            mounts: &mounts,
            network_files: &files,
            network,
            pid: self.pid_namespace(&record.host.pid_mode)?,
            ipc: self.ipc_namespace(&record.host.ipc_mode)?,
            uts: self.shared_namespace("uts", &record.host.uts_mode)?,
            cgroup_namespace: if record.host.cgroupns_mode == "host" {
                NamespaceOf::Host
            } else {
                NamespaceOf::New
            },
            shm: shm.as_deref(),
            passwd: passwd.as_deref(),
            group: group.as_deref(),
            init: record
                .host
                .init
                .unwrap_or(false)
                .then_some(self.settings.init.as_path()),
            cgroup: &cgroup,
            machine: &*self.ports.machine,
        })?;
        steps.end("spec");
        let [rows, columns] = record
            .host
            .console_size
            .map(|cells| u16::try_from(cells).unwrap_or(u16::MAX));
        let folder = self.ports.store.folder(id);
        let shim = self
            .ports
            .shims
            .launch(LaunchRequest {
                id: id.clone(),
                spec,
                rootfs,
                open_stdin: record.config.open_stdin,
                stdin_once: record.config.stdin_once,
                log: self.log_target(record, &folder)?,
                terminal_size: (rows, columns),
                folder,
                run_at_once: !container.has_early(),
            })
            .await
            .map_err(launch_failed)?;
        self.tell_networks(record, sandbox.as_ref(), "connect")
            .await;
        steps.end("shim and container");
        self.attach_early(container, &shim).await;
        let pid = match shim.start().await {
            Ok(pid) => pid,
            Err(error) => {
                container.set_shim(None);
                if let Err(error) = shim.delete().await {
                    tracing::warn!(%id, %error, "delete a container that did not start");
                }
                return Err(error.context(CREATE_FAILED));
            }
        };
        steps.end("program");
        let now = self.ports.world.now();
        container.change(|life| life.state.start(pid, now));
        self.begin_health(container);
        self.save_state(container).await;
        steps.end("state");
        tracing::debug!(id = id.as_str(), %steps, "started");
        self.tell_parents(container).await;
        self.tell_container(container, "start", &[]);
        self.watch(container, shim);
        Ok(())
    }

    fn log_target(&self, record: &ContainerRecord, folder: &Path) -> Result<LogTarget> {
        logging::target(record, &self.ports.world.host_name(), folder)
            .map_err(|error| launch_failed(error.context(LOG_FAILED)))
    }

    /// Undoes all of a start that can be undone without its shim.
    pub(super) async fn take_down(
        &self,
        container: &Container,
        record: &ContainerRecord,
        run: &mut Run,
    ) {
        container.set_shim(None);
        let sandbox = container.sandbox();
        container.set_sandbox(None);
        if let Err(error) = self.ports.networks.disconnect(&record.id).await {
            tracing::warn!(id = record.id.as_str(), %error, "disconnect a container");
        }
        self.tell_networks(record, sandbox.as_deref(), "disconnect")
            .await;
        self.release_mounts(record, run).await;
        self.release_memory(record).await;
    }

    async fn connect(&self, record: &ContainerRecord) -> Result<Option<Sandbox>> {
        let mode = record.host.network_mode.as_str();
        if mode == "host" || mode.starts_with("container:") {
            return Ok(None);
        }
        let networks = if mode == "none" || record.config.network_disabled {
            Vec::new()
        } else {
            record
                .networks
                .iter()
                .map(|(name, settings)| (name.clone(), settings.clone()))
                .collect()
        };
        let request = ConnectRequest {
            container: record.id.clone(),
            name: record.name.clone(),
            networks,
            ports: record.host.port_bindings.clone().unwrap_or_default(),
            exposed: record
                .config
                .exposed_ports
                .iter()
                .flatten()
                .map(|(port, _)| port.clone())
                .collect(),
            publish_all: record.host.publish_all_ports,
        };
        let sandbox = self
            .ports
            .networks
            .connect(request)
            .await
            .map_err(|error| error.context("failed to set up container networking"))?;
        Ok(Some(sandbox))
    }

    async fn write_network_files(
        &self,
        record: &ContainerRecord,
        sandbox: Option<&Sandbox>,
        linked: &[Linked],
        network: &NamespaceOf,
    ) -> Result<Vec<(PathBuf, &'static str)>> {
        let servers = sandbox
            .map(|sandbox| sandbox.dns.as_slice())
            .unwrap_or_default();
        let own = !matches!(network, NamespaceOf::Host);
        let resolv_conf =
            network_files::resolv_conf(record, &self.ports.world.resolv_conf(), servers, own);
        let has_own_hosts = record.host.extra_hosts.iter().any(|all| !all.is_empty());
        let of_machine = self.ports.world.hosts().filter(|_| !own && !has_own_hosts);
        let mut hosts = of_machine.unwrap_or_else(|| {
            network_files::hosts(
                record,
                sandbox,
                !own || has_ipv6(sandbox, record),
                self.settings.host_gateway,
            )
        });
        hosts.extend(linked.iter().map(links::hosts_lines));
        let store = &self.ports.store;
        let (resolv_conf, host_name, hosts) = futures_util::try_join!(
            store.write_file(&record.id, "resolv.conf", resolv_conf.as_bytes()),
            async {
                store
                    .write_file(
                        &record.id,
                        "hostname",
                        network_files::host_name(record).as_bytes(),
                    )
                    .await
            },
            store.write_file(&record.id, "hosts", hosts.as_bytes()),
        )?;
        Ok(vec![
            (resolv_conf, "/etc/resolv.conf"),
            (host_name, "/etc/hostname"),
            (hosts, "/etc/hosts"),
        ])
    }

    /// Connects those who attached before there was a shim, so that they miss nothing.
    async fn attach_early(&self, container: &Container, shim: &Arc<dyn Shim>) {
        loop {
            let early = container.take_early_or_open(shim);
            if early.is_empty() {
                return;
            }
            for client in early {
                match shim.attach(client.request).await {
                    // It may have left.
                    Ok(stream) => drop(client.stream.send(container.clients.count(stream))),
                    Err(error) => {
                        tracing::warn!(id = container.id.as_str(), %error, "attach a client")
                    }
                }
            }
        }
    }

    /// Writes down how a container stands; a disk that does not take it is told, the container goes on.
    pub(super) async fn save_state(&self, container: &Container) {
        // After a power cut it decides whether a container starts again; of others it says only how they ended.
        let policy = &container.record().host.restart_policy.name;
        let durable = !matches!(policy.as_str(), "" | "no");
        let (id, state) = (&container.id, container.state());
        if let Err(error) = self.ports.store.save_state(id, &state, durable).await {
            tracing::error!(id = container.id.as_str(), %error, "keep a container's state");
        }
    }
}

/// Whether a program that listens at `localhost` may do so by IPv6.
fn has_ipv6(sandbox: Option<&Sandbox>, record: &ContainerRecord) -> bool {
    let switched_off = |name: &str| {
        let sysctls = record.host.sysctls.iter().flatten();
        sysctls
            .filter(|(key, _)| key.as_str() == name)
            .any(|(_, value)| value != "0")
    };
    sandbox.is_some_and(|sandbox| sandbox.loopback_ipv6)
        && !switched_off("net.ipv6.conf.all.disable_ipv6")
        && !switched_off("net.ipv6.conf.lo.disable_ipv6")
}

/// The exit code that stands for a failed start, and the error with Docker's kind for it.
/// A log that cannot be opened is told apart from a container that cannot be made.
fn launch_failed(error: Error) -> Error {
    let of_log = error.message().starts_with(LOG_FAILED);
    error.context(if of_log { TASK_FAILED } else { CREATE_FAILED })
}

fn explain(error: Error) -> (i32, Error) {
    let text = error.message();
    let has = |part: &str| text.contains(part);
    let of_program = has(CREATE_FAILED) && has("exec:");
    let (code, kind) = if of_program
        && (has("executable file not found") || has("no such file or directory"))
    {
        (127, ErrorKind::InvalidParameter)
    } else if of_program
        && (has("permission denied") || has("is a directory") || has("exec format error"))
    {
        (126, ErrorKind::InvalidParameter)
    } else if has(CREATE_FAILED) && has("not a directory") {
        let text = format!(
            "{text}: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
        );
        return (127, Error::new(ErrorKind::InvalidParameter, text));
    } else {
        (128, error.kind())
    };
    let text = error.message().to_owned();
    (code, Error::new(kind, text).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_has_dockers_exit_code() {
        for (inner, code, kind) in [
            (
                "exec: \"x\": executable file not found in $PATH",
                127,
                ErrorKind::InvalidParameter,
            ),
            (
                "exec: \"/x\": stat /x: no such file or directory",
                127,
                ErrorKind::InvalidParameter,
            ),
            (
                "exec: \"/etc/passwd\": permission denied",
                126,
                ErrorKind::InvalidParameter,
            ),
            ("out of memory", 128, ErrorKind::System),
        ] {
            let (got, error) = explain(Error::new(ErrorKind::System, inner).context(CREATE_FAILED));
            assert_eq!((got, error.kind()), (code, kind), "{inner}");
        }
        let (code, error) = explain(Error::new(ErrorKind::NotFound, "network nope not found"));
        assert_eq!((code, error.kind()), (128, ErrorKind::NotFound));
    }
}
