//! What a container uses. Docker API: GET /containers/{id}/stats.
//!
//! ```text
//!   first who watches ─► sampler (one a container): look, tell all, wait a second … ─► ends with the last who watches
//! ```
//! Nothing is looked at when nobody watches.

mod sample;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use docker_api::stats::ContainerStats;
use errdefs::{Classify, Error, ErrorKind, Result};
use futures_util::future::select;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    Engine,
    containers::{container::Container, state::Phase},
    ports::observe::SampleRequest,
    time::rfc3339_or_never,
};

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Samples that one who is slow may be behind.
const BACKLOG: usize = 4;

/// Who samples a container, while somebody watches.
#[derive(Debug, Default)]
pub(crate) struct Sampler(Mutex<Option<broadcast::Sender<Arc<ContainerStats>>>>);

impl Sampler {
    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<Arc<ContainerStats>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that watches a container.
#[derive(Debug)]
pub struct StatsWatch {
    samples: broadcast::Receiver<Arc<ContainerStats>>,
    name: String,
    id: String,
    before: Option<Arc<ContainerStats>>,
}

impl StatsWatch {
    /// The next sample, with the processor's numbers of the one before; none: the container is gone.
    pub async fn next(&mut self) -> Option<ContainerStats> {
        let sample = loop {
            match self.samples.recv().await {
                Ok(sample) => break sample,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        };
        let mut shown = ContainerStats {
            name: self.name.clone(),
            id: self.id.clone(),
            preread: rfc3339_or_never(Default::default()),
            ..ContainerStats::clone(&sample)
        };
        if let Some(before) = self.before.replace(sample) {
            shown.precpu_stats = before.cpu_stats.clone();
            shown.preread.clone_from(&before.read);
        }
        Some(shown)
    }
}

impl Engine {
    /// What a container uses now, without a sample before; of one that does not run an empty record.
    ///
    /// # Errors
    /// `NotFound` for the container.
    pub async fn container_stats_once(&self, reference: &str) -> Result<ContainerStats> {
        let container = self.containers.find(reference)?;
        if !is_up(&container) {
            return Ok(named(&container));
        }
        match self.try_look(&container).await {
            Err(error) if is_over(&error) => Ok(named(&container)),
            looked => looked,
        }
    }

    /// What a container uses, compared with a second before; of one that does not run an empty record.
    ///
    /// # Errors
    /// `NotFound` for the container.
    pub async fn container_stats_compared(
        self: &Arc<Self>,
        reference: &str,
    ) -> Result<ContainerStats> {
        let container = self.containers.find(reference)?;
        if !is_up(&container) {
            return Ok(named(&container));
        }
        let mut watch = self.subscribe(&container);
        // The first one has nothing to be compared with.
        watch.next().await;
        Ok(watch.next().await.unwrap_or_else(|| named(&container)))
    }

    /// Watches a container until it is gone, whether it runs or not.
    ///
    /// # Errors
    /// `NotFound` for the container.
    pub fn watch_container_stats(self: &Arc<Self>, reference: &str) -> Result<StatsWatch> {
        let container = self.containers.find(reference)?;
        Ok(self.subscribe(&container))
    }

    fn subscribe(self: &Arc<Self>, container: &Arc<Container>) -> StatsWatch {
        let record = container.record();
        let mut sender = container.sampler.sender();
        let samples = match &*sender {
            Some(sender) => sender.subscribe(),
            None => {
                let (new, samples) = broadcast::channel(BACKLOG);
                *sender = Some(new);
                let (engine, container) = (Arc::clone(self), Arc::clone(container));
                self.ports
                    .world
                    .spawn(Box::pin(async move { engine.sample(&container).await }));
                samples
            }
        };
        StatsWatch {
            samples,
            name: format!("/{}", record.name),
            id: record.id.to_string(),
            before: None,
        }
    }

    /// Samples while somebody watches.
    async fn sample(&self, container: &Container) {
        let mut life = container.watch();
        loop {
            let sample = Arc::new(self.look(container).await);
            {
                let mut sender = container.sampler.sender();
                // Nobody can begin to watch meanwhile.
                if sender
                    .as_ref()
                    .is_none_or(|sender| sender.send(sample).is_err())
                {
                    *sender = None;
                    return;
                }
            }
            let gone = life.wait_for(|life| life.removed);
            futures_util::pin_mut!(gone);
            select(gone, self.ports.world.sleep(INTERVAL)).await;
            if container.life().removed {
                *container.sampler.sender() = None;
                return;
            }
        }
    }

    async fn look(&self, container: &Container) -> ContainerStats {
        if !is_up(container) {
            return empty();
        }
        self.try_look(container).await.unwrap_or_else(|error| {
            if !is_over(&error) {
                tracing::warn!(id = container.id.as_str(), %error, "sample a container");
            }
            empty()
        })
    }

    async fn try_look(&self, container: &Container) -> Result<ContainerStats> {
        let record = container.record();
        let has_network = !record.config.network_disabled && record.host.network_mode != "host";
        let request = SampleRequest {
            cgroup: &record.cgroup(&self.settings.cgroup_parent),
            network_of: Some(container.state().pid).filter(|pid| has_network && *pid != 0),
        };
        let files = self.ports.observer.sample(&request).await?;
        Ok(ContainerStats {
            read: rfc3339_or_never(self.ports.world.now()),
            preread: rfc3339_or_never(Default::default()),
            ..sample::sample(&files)
        })
    }
}

fn is_up(container: &Container) -> bool {
    matches!(container.state().phase, Phase::Running | Phase::Paused)
}

/// It ended while it was looked at.
fn is_over(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict)
}

/// A container that does not run uses nothing.
fn empty() -> ContainerStats {
    let never = rfc3339_or_never(Default::default());
    ContainerStats {
        read: never.clone(),
        preread: never,
        ..ContainerStats::default()
    }
}

fn named(container: &Container) -> ContainerStats {
    ContainerStats {
        name: format!("/{}", container.record().name),
        id: container.id.to_string(),
        ..empty()
    }
}
