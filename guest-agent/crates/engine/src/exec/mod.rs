//! Processes run in running containers.
//!
//! ```text
//!   create (kept in memory) ─► start ─► stream of the client ─► ended (exit code kept until the container ends)
//! ```

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use docker_api::exec::{ExecConfig, ExecInspect, ExecProcessConfig, ExecStartConfig};
use errdefs::{Classify, Error, ErrorKind, Result};
use tokio::sync::watch;

use crate::{
    Engine,
    containers::{Attachment, container::Container, links, signals::not_running, state::Phase},
    id::{ContainerId, ExecId},
    ports::containers::{AttachRequest, ExecRequest, Exit},
    spec::{self, ExecWish, NamespaceOf, SpecInput},
};

/// Docker's words before what the runtime says.
const EXEC_FAILED: &str = "OCI runtime exec failed: exec failed: unable to start container process";
/// Ended execs that are remembered; the oldest go first.
const MAX_ENDED: usize = 1024;
/// How long a client's end waits for the exit code to be known.
const KNOWN_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// How an exec stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standing {
    started: bool,
    pid: u32,
    exit_code: Option<i32>,
}

/// One exec.
#[derive(Debug)]
struct Exec {
    id: ExecId,
    container: ContainerId,
    config: ExecConfig,
    standing: watch::Sender<Standing>,
    /// Order of creation.
    number: u64,
}

impl Exec {
    /// Takes it for its only start.
    fn claim(&self) -> Result<()> {
        let mut before = Standing::default();
        self.standing.send_modify(|standing| {
            before = *standing;
            standing.started = true;
        });
        let what = match before {
            Standing { started: false, .. } => return Ok(()),
            Standing {
                exit_code: None, ..
            } => "is already running",
            _ => "has already run",
        };
        Err(Error::new(
            ErrorKind::Conflict,
            format!("exec command {} {what}", self.id),
        ))
    }
}

/// Every exec that is known.
#[derive(Debug, Default)]
pub struct Execs(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    all: BTreeMap<String, Arc<Exec>>,
    next: u64,
}

impl Execs {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let found = self.table().all.get(id).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("No such exec instance: {id}")))
    }

    /// Those of a container that have not ended.
    pub(crate) fn of(&self, container: &ContainerId) -> Vec<String> {
        let table = self.table();
        let own = table.all.values().filter(|exec| {
            exec.container == *container && exec.standing.borrow().exit_code.is_none()
        });
        own.map(|exec| exec.id.to_string()).collect()
    }

    /// A container ended, and its execs with it. Those that ran are kept: a client may still ask how its own ended.
    pub(crate) fn end_container(&self, container: &ContainerId) {
        let mut table = self.table();
        table
            .all
            .retain(|_, exec| exec.container != *container || exec.standing.borrow().started);
        for exec in table.all.values() {
            if exec.container == *container {
                exec.standing.send_modify(|standing| {
                    standing.exit_code.get_or_insert(137);
                });
            }
        }
    }

    /// A container was removed.
    pub(crate) fn forget_container(&self, container: &ContainerId) {
        self.table()
            .all
            .retain(|_, exec| exec.container != *container);
    }

    fn insert(&self, id: ExecId, container: ContainerId, config: ExecConfig) {
        let mut table = self.table();
        let ended = || {
            table
                .all
                .values()
                .filter(|exec| exec.standing.borrow().exit_code.is_some())
        };
        if ended().count() >= MAX_ENDED
            && let Some(oldest) = ended()
                .min_by_key(|exec| exec.number)
                .map(|exec| exec.id.to_string())
        {
            table.all.remove(&oldest);
        }
        table.next += 1;
        let exec = Exec {
            id: id.clone(),
            container,
            config,
            standing: watch::channel(Standing::default()).0,
            number: table.next,
        };
        table.all.insert(id.to_string(), Arc::new(exec));
    }
}

impl Engine {
    /// Prepares a process. Docker API: POST /containers/{id}/exec.
    ///
    /// # Errors
    /// `Conflict` when the container does not run or is paused.
    pub async fn create_exec(&self, reference: &str, config: ExecConfig) -> Result<ExecId> {
        let arguments = config.cmd.clone().unwrap_or_default();
        if arguments.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "No exec command specified",
            ));
        }
        let container = self.running(reference)?;
        if !config.user.is_empty() {
            // Told now rather than in the stream's place; looked up again at the start.
            let (passwd, group) = self.user_files(&container.id).await?;
            spec::check_user(&config.user, passwd.as_deref(), group.as_deref())?;
        }
        let id = ExecId::from_random(self.ports.world.random());
        let action = format!("exec_create: {} {}", arguments[0], arguments[1..].join(" "));
        self.execs.insert(id.clone(), container.id.clone(), config);
        self.tell_container(&container, &action, &[("execID", id.to_string())]);
        Ok(id)
    }

    fn running(&self, reference: &str) -> Result<Arc<Container>> {
        let container = self.containers.find(reference)?;
        let refuse = |text: String| Err(Error::new(ErrorKind::Conflict, text));
        match container.state().phase {
            Phase::Running => Ok(container),
            Phase::Paused => refuse(format!(
                "Container {reference} is paused, unpause the container before exec"
            )),
            Phase::Restarting => refuse(format!(
                "Container {reference} is restarting, wait until the container is running"
            )),
            _ => Err(not_running(&container)),
        }
    }

    /// `/etc/passwd` and `/etc/group` of a container.
    async fn user_files(&self, id: &ContainerId) -> Result<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        let rootfs = &self.ports.rootfs;
        futures_util::try_join!(
            rootfs.read_file(id, "/etc/passwd".as_ref()),
            rootfs.read_file(id, "/etc/group".as_ref()),
        )
    }

    /// Runs it without streams. Docker API: POST /exec/{id}/start with `Detach`.
    ///
    /// # Errors
    /// `Conflict` when it was started before; `InvalidParameter` when its program cannot be run.
    pub async fn start_exec_detached(
        self: &Arc<Self>,
        id: &str,
        start: &ExecStartConfig,
    ) -> Result<()> {
        let (exec, container) = self.startable(id)?;
        exec.claim()?;
        let engine = Arc::clone(self);
        let size = start.console_size;
        self.to_the_end(async move {
            engine
                .run_exec(&exec, &container, AttachRequest::default(), size)
                .await
                .map(|_| ())
        })
        .await
    }

    /// Runs it for a client. An error of its start is told in the stream's place, also that it was started before.
    ///
    /// # Errors
    /// `NotFound` when nobody knows it; `Conflict` when its container does not run.
    pub fn start_exec(self: &Arc<Self>, id: &str, start: &ExecStartConfig) -> Result<Attachment> {
        let (exec, container) = self.startable(id)?;
        let (left, place) = (Arc::clone(&exec), Arc::clone(&container));
        let claimed = exec.claim();
        let streams = AttachRequest {
            stdin: exec.config.attach_stdin,
            stdout: exec.config.attach_stdout,
            stderr: exec.config.attach_stderr,
        };
        let tty = exec.config.tty;
        let mut standing = exec.standing.subscribe();
        let (engine, size) = (Arc::clone(self), start.console_size);
        let (world, teller) = (Arc::clone(&self.ports.world), Arc::clone(self));
        let run = {
            let engine = Arc::clone(self);
            async move {
                claimed?;
                engine.run_exec(&exec, &container, streams, size).await
            }
        };
        Ok(Attachment {
            tty,
            stream: Box::pin(async move { engine.to_the_end(run).await }),
            known: Box::pin(async move {
                let ended = standing.wait_for(|standing| standing.exit_code.is_some());
                futures_util::pin_mut!(ended);
                futures_util::future::select(ended, world.sleep(KNOWN_WITHIN)).await;
            }),
            detached: Box::new(move || {
                let attributes = [("execID", left.id.to_string())];
                teller.tell_container(&place, "exec_detach", &attributes);
            }),
        })
    }

    /// An exec with its container, which runs.
    fn startable(&self, id: &str) -> Result<(Arc<Exec>, Arc<Container>)> {
        let exec = self.execs.find(id)?;
        let container = self.running(exec.container.as_str())?;
        Ok((exec, container))
    }

    async fn run_exec(
        &self,
        exec: &Exec,
        container: &Container,
        streams: AttachRequest,
        console_size: Option<[u32; 2]>,
    ) -> Result<Option<crate::ports::ByteStream>> {
        let started = self.try_exec(exec, container, streams, console_size).await;
        match started {
            Ok(stream) => Ok(stream),
            Err(error) => {
                let text = error.message();
                let code = if text.contains("executable file not found")
                    || text.contains("no such file or directory")
                {
                    127
                } else {
                    126
                };
                exec.standing
                    .send_modify(|standing| standing.exit_code = Some(code));
                Err(error)
            }
        }
    }

    async fn try_exec(
        &self,
        exec: &Exec,
        container: &Container,
        streams: AttachRequest,
        console_size: Option<[u32; 2]>,
    ) -> Result<Option<crate::ports::ByteStream>> {
        let record = container.record();
        let config = &exec.config;
        let shim = container.shim().ok_or_else(|| not_running(container))?;
        let (passwd, group) = self.user_files(&record.id).await?;
        let cells = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let wish = ExecWish {
            args: config.cmd.as_deref().unwrap_or_default(),
            env: config.env.as_deref().unwrap_or_default(),
            user: &config.user,
            working_dir: &config.working_dir,
            tty: config.tty,
            console_size: console_size
                .or(config.console_size)
                .map(|[rows, columns]| (cells(rows), cells(columns))),
            privileged: config.privileged,
        };
        // The container's own process again: what an exec does not say is taken from it.
        let mut own = Cow::Borrowed(&record.config);
        let linked = self.linked(&record)?;
        if !linked.is_empty() {
            links::add_variables(&record.name, &linked, own.to_mut());
        }
        let cgroup = record.cgroup(&self.settings.cgroup_parent);
        let process = spec::exec_process(
            &SpecInput {
                id: &record.id,
                config: &own,
                host: &record.host,
                mounts: &[],
                network_files: &[],
                network: NamespaceOf::New,
                pid: NamespaceOf::New,
                ipc: NamespaceOf::New,
                uts: NamespaceOf::New,
                cgroup_namespace: NamespaceOf::New,
                shm: None,
                passwd: passwd.as_deref(),
                group: group.as_deref(),
                init: None,
                cgroup: &cgroup,
                machine: &*self.ports.machine,
            },
            &wish,
        )?;
        let arguments = wish.args;
        let action = format!("exec_start: {} {}", arguments[0], arguments[1..].join(" "));
        self.tell_container(container, &action, &[("execID", exec.id.to_string())]);
        let request = ExecRequest {
            id: exec.id.clone(),
            process,
            attach: streams,
        };
        let (pid, stream) = shim.exec(request).await.map_err(|error| {
            let error = error.context(EXEC_FAILED);
            if error.kind() == ErrorKind::InvalidParameter {
                error
            } else {
                Error::new(ErrorKind::InvalidParameter, error.message().to_owned())
            }
        })?;
        exec.standing.send_modify(|standing| standing.pid = pid);
        Ok(stream)
    }

    /// An exec's process ended.
    pub(crate) fn exec_ended(&self, container: &Container, id: &ExecId, exit: Exit) {
        if let Ok(exec) = self.execs.find(id.as_str()) {
            exec.standing
                .send_modify(|standing| standing.exit_code = Some(exit.code));
        }
        let attributes = [
            ("execID", id.to_string()),
            ("exitCode", exit.code.to_string()),
        ];
        self.tell_container(container, "exec_die", &attributes);
    }

    /// Shows it. Docker API: GET /exec/{id}/json.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inspect_exec(&self, id: &str) -> Result<ExecInspect> {
        let exec = self.execs.find(id)?;
        let standing = *exec.standing.borrow();
        let mut arguments = exec.config.cmd.clone().unwrap_or_default().into_iter();
        Ok(ExecInspect {
            id: exec.id.to_string(),
            running: standing.started && standing.exit_code.is_none(),
            exit_code: standing.exit_code,
            process_config: ExecProcessConfig {
                tty: exec.config.tty,
                entrypoint: arguments.next().unwrap_or_default(),
                arguments: arguments.collect(),
                privileged: exec.config.privileged,
                user: exec.config.user.clone(),
            },
            open_stdin: exec.config.attach_stdin,
            open_stderr: exec.config.attach_stderr,
            open_stdout: exec.config.attach_stdout,
            can_remove: false,
            container_id: exec.container.to_string(),
            detach_keys: exec.config.detach_keys.clone(),
            pid: standing.pid,
        })
    }

    /// Sets the size of its terminal. Docker API: POST /exec/{id}/resize.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it does not run.
    pub async fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let exec = self.execs.find(id)?;
        // It may just be starting: the client sends its size at once.
        let mut standing = exec.standing.subscribe();
        let begun = standing.wait_for(|standing| standing.pid != 0 || standing.exit_code.is_some());
        futures_util::pin_mut!(begun);
        futures_util::future::select(
            begun,
            self.ports.world.sleep(std::time::Duration::from_secs(10)),
        )
        .await;
        let container = self.running(exec.container.as_str())?;
        let shim = container
            .shim()
            .filter(|_| exec.standing.borrow().exit_code.is_none());
        // No fault of the client's, as Docker sees it.
        let shim = shim.ok_or_else(|| {
            let text = "cannot resize a stopped container";
            Error::new(ErrorKind::System, text)
        })?;
        if !exec.config.tty {
            return Ok(());
        }
        shim.resize(Some(&exec.id), rows, columns).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_an_exec_ended_is_known_until_its_container_is_removed() {
        let execs = Execs::default();
        let [one, other] = [1, 2].map(|byte| ContainerId::from_random([byte; 32]));
        let id = ExecId::from_random([3; 32]);
        let never_ran = ExecId::from_random([4; 32]);
        execs.insert(id.clone(), one.clone(), ExecConfig::default());
        execs.insert(never_ran.clone(), one.clone(), ExecConfig::default());
        let exec = execs.find(id.as_str()).expect("known");
        exec.standing
            .send_modify(|standing| standing.started = true);
        assert_eq!(execs.of(&one).len(), 2);
        execs.end_container(&one);
        assert!(execs.find(never_ran.as_str()).is_err());
        let exec = execs.find(id.as_str()).expect("kept");
        assert_eq!(exec.standing.borrow().exit_code, Some(137));
        assert!(execs.of(&one).is_empty());
        execs.forget_container(&other);
        assert!(execs.find(id.as_str()).is_ok());
        execs.forget_container(&one);
        assert!(execs.find(id.as_str()).is_err());
    }
}
