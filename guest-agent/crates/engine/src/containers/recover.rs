//! After the engine's end: what runs is taken up again, what ended meanwhile is told, what nobody owns is swept.

use std::sync::Arc;

use errdefs::Result;

use super::{
    container::{Container, Run},
    state::Phase,
};
use crate::{
    Engine,
    ports::{
        containers::{Exit, Recovered},
        store::Kept,
    },
    spec::MountKind,
};

/// What is said of a container that ran when the machine was cut off.
const UNKNOWN_CODE: i32 = 255;

impl Engine {
    /// Takes up everything that was there. Call once, before anything is served.
    ///
    /// # Errors
    /// What is kept cannot be read; a single container that cannot be taken up is told and ended instead.
    pub async fn recover(self: &Arc<Self>) -> Result<()> {
        let kept = self.ports.store.containers().await?;
        let mut running = Vec::new();
        let mut ended = Vec::new();
        for Kept { record, state } in kept {
            if let Err(error) = self.containers.reserve(&record.name, &record.id) {
                tracing::error!(id = record.id.as_str(), %error, "two containers have one name");
            }
            let container = Container::new(record, state);
            self.containers.insert(Arc::clone(&container));
            match self.ports.shims.recover(&container.id).await {
                Ok(Recovered::Running { shim, pid, paused }) => {
                    let now = self.ports.world.now();
                    container.change(|life| {
                        if !life.state.is_running() {
                            // The engine ended before it wrote down that it runs.
                            life.state.start(pid, now);
                        }
                        life.state.pid = pid;
                        life.state.freeze(paused);
                    });
                    running.push((container, shim));
                }
                Ok(Recovered::Exited(exit)) if container.state().is_running() => {
                    ended.push((container, exit))
                }
                Ok(_) if container.state().is_running() => {
                    let exit = Exit {
                        code: UNKNOWN_CODE,
                        at: self.ports.world.now(),
                        oom_killed: false,
                    };
                    self.sweep(&container).await;
                    ended.push((container, exit));
                }
                // A start that the engine did not live to end may have left a group.
                Ok(Recovered::Unknown) => self.sweep(&container).await,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(id = container.id.as_str(), %error, "find out what became of a container");
                }
            }
        }
        let ids: Vec<_> = running
            .iter()
            .map(|(container, _)| container.id.clone())
            .collect();
        self.ports.networks.recover(&ids).await?;
        for (container, shim) in running {
            self.take_up(&container).await;
            container.set_shim(Some(Arc::clone(&shim)));
            self.begin_health(&container);
            self.save_state(&container).await;
            self.watch(&container, shim);
        }
        for (container, exit) in ended {
            self.ended(&container, exit).await;
        }
        self.sweep_layers().await?;
        // Who asks the engine for the first time finds them started, as with dockerd.
        let all = self.containers.all();
        let starts = all.iter().map(|container| self.start_by_policy(container));
        futures_util::future::join_all(starts).await;
        Ok(())
    }

    /// What the engine itself held for a running container.
    async fn take_up(&self, container: &Container) {
        match self.ports.networks.sandbox(&container.id).await {
            Ok(sandbox) => container.set_sandbox(sandbox),
            Err(error) => {
                tracing::error!(id = container.id.as_str(), %error, "find a container's network again")
            }
        }
        let mut run: tokio::sync::MutexGuard<'_, Run> = container.run.lock().await;
        for mount in container
            .record()
            .mounts
            .iter()
            .filter(|mount| mount.kind == MountKind::Volume)
        {
            match self.ports.volumes.mount(&mount.name).await {
                Ok(_) => run.volumes.push(mount.name.clone()),
                Err(error) => tracing::error!(volume = mount.name, %error, "hold a volume again"),
            }
        }
    }

    pub(super) async fn sweep(&self, container: &Container) {
        let cgroup = container.record().cgroup(&self.settings.cgroup_parent);
        if let Err(error) = self.ports.shims.sweep(&container.id, &cgroup).await {
            tracing::warn!(id = container.id.as_str(), %error, "sweep what a container left");
        }
    }

    /// Layers of containers that were being made or removed when the engine ended.
    async fn sweep_layers(&self) -> Result<()> {
        for id in self.ports.rootfs.containers().await? {
            if self.containers.by_id(&id).is_none() {
                self.ports.rootfs.remove(&id).await?;
                self.ports.shims.forget(&id).await?;
            }
        }
        Ok(())
    }

    /// Containers that ended with the machine, or waited for their restart.
    async fn start_by_policy(self: &Arc<Self>, container: &Arc<Container>) {
        let (state, record) = (container.state(), container.record());
        let policy = record.host.restart_policy.name.as_str();
        let again = match state.phase {
            Phase::Restarting => true,
            Phase::Exited => {
                policy == "always" || policy == "unless-stopped" && !state.stopped_by_user
            }
            _ => false,
        };
        if again {
            container.change(|life| life.state.phase = Phase::Restarting);
            let mut run = container.run.lock().await;
            self.start_again(container, &mut run).await;
        } else if record.host.auto_remove && state.phase == Phase::Exited {
            self.remove_later(container);
        }
    }
}
