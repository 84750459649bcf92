//! Removes a container.

use std::sync::Arc;

use errdefs::{Error, ErrorKind, Result};

use super::{container::Container, mounts::ANONYMOUS, state::Phase};
use crate::{Engine, spec::MountKind};

/// How to remove. Docker API: DELETE /containers/{id}.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first.
    pub force: bool,
    /// Its anonymous volumes go too.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container. Durable when it returns.
    ///
    /// # Errors
    /// `Conflict` while it runs, unless by force; while another removal is under way.
    pub async fn remove_container(
        self: &Arc<Self>,
        reference: &str,
        options: RemoveOptions,
    ) -> Result<()> {
        let container = self.containers.find(reference)?;
        let (engine, reference) = (Arc::clone(self), reference.to_owned());
        self.to_the_end(async move { engine.remove(&container, &reference, options).await })
            .await
    }

    /// Removes a container that ended and does not want to stay.
    pub(super) fn remove_later(self: &Arc<Self>, container: &Arc<Container>) {
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.ports.world.spawn(Box::pin(async move {
            let options = RemoveOptions { force: true, volumes: true };
            if let Err(error) = engine.remove(&container, container.id.as_str(), options).await {
                // Somebody else removes it: fine.
                tracing::debug!(id = container.id.as_str(), %error, "remove a container that ended");
            }
        }));
    }

    async fn remove(
        self: &Arc<Self>,
        container: &Arc<Container>,
        reference: &str,
        options: RemoveOptions,
    ) -> Result<()> {
        let claimed = container.change(|life| !std::mem::replace(&mut life.removing, true));
        if !claimed {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("removal of container {reference} is already in progress"),
            ));
        }
        let removed = self.remove_claimed(container, reference, options).await;
        if removed.is_err() {
            container.change(|life| life.removing = false);
        }
        removed
    }

    async fn remove_claimed(
        self: &Arc<Self>,
        container: &Arc<Container>,
        reference: &str,
        options: RemoveOptions,
    ) -> Result<()> {
        let life = container.life();
        let running = life.state.is_running() || life.state.phase == Phase::Restarting;
        if running && !options.force {
            let hint = match life.state.phase {
                Phase::Paused => "container is paused and must be unpaused first",
                Phase::Restarting => {
                    "container is restarting: stop the container before removing or force remove"
                }
                _ => "container is running: stop the container before removing or force remove",
            };
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "cannot remove container \"{}\": {hint}",
                    reference.trim_start_matches('/')
                ),
            ));
        }
        if running {
            container.hurry.notify_waiters();
            if life.state.phase != Phase::Restarting {
                self.kill_and_wait(container, life.ends)
                    .await
                    .map_err(|error| {
                        error.context(format!(
                            "cannot remove container \"{reference}\": could not kill"
                        ))
                    })?;
            }
        }
        // Whoever starts it or takes it down has finished.
        let _run = container.run.lock().await;
        let record = container.record();
        self.ports.store.remove(&record.id).await?;
        // From here on it is gone for good; what cannot be cleaned now is swept at the engine's next start.
        self.containers.remove(&record.id);
        self.execs.forget_container(&record.id);
        self.containers.release(&record.name, &record.id);
        container.drop_early();
        for failed in [
            self.ports.rootfs.remove(&record.id).await,
            self.ports.shims.forget(&record.id).await,
        ] {
            if let Err(error) = failed {
                tracing::warn!(id = record.id.as_str(), %error, "clean up after a container");
            }
        }
        if options.volumes {
            self.remove_anonymous_volumes(&record).await;
        }
        container.change(|life| life.removed = true);
        self.tell_container(container, "destroy", &[]);
        Ok(())
    }

    async fn remove_anonymous_volumes(&self, record: &super::record::ContainerRecord) {
        let _nobody_takes_them = self.volumes_in_use.write().await;
        for mount in record
            .mounts
            .iter()
            .filter(|mount| mount.kind == MountKind::Volume)
        {
            let Ok(volume) = self.ports.volumes.get(&mount.name).await else {
                continue;
            };
            if !volume.labels.contains_key(ANONYMOUS)
                || !self.users_of_volume(&mount.name).is_empty()
            {
                continue;
            }
            match self.ports.volumes.remove(&mount.name).await {
                Ok(()) => self.tell(
                    "volume",
                    "destroy",
                    &mount.name,
                    &[("driver", &volume.driver)],
                ),
                Err(error) => {
                    tracing::warn!(volume = mount.name, %error, "remove an anonymous volume")
                }
            }
        }
    }
}
