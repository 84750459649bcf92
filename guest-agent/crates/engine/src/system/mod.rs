//! What the engine says about itself.

pub mod reload;
mod usage;

use std::{sync::Arc, time::Duration};

use docker_api::EventMessage;
use errdefs::Result;

use crate::{
    Engine,
    containers::state::Phase,
    events::Listener,
    ports::{registry::Credentials, world::Timestamp},
};

/// Numbers for `GET /info`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All containers.
    pub containers: usize,
    /// Those that run.
    pub running: usize,
    /// Those that are frozen.
    pub paused: usize,
    /// The others.
    pub stopped: usize,
    /// Images.
    pub images: usize,
}

impl Engine {
    /// Counts what there is.
    pub async fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for container in self.containers.all() {
            counts.containers += 1;
            match container.state().phase {
                Phase::Running | Phase::Restarting => counts.running += 1,
                Phase::Paused => counts.paused += 1,
                _ => counts.stopped += 1,
            }
        }
        counts.images = self.ports.images.list().await.map_or(0, |images| {
            // Docker counts names.
            images.iter().map(|image| image.tags.len().max(1)).sum()
        });
        counts
    }

    /// Whether a client's credentials are good for a registry; a token that stands for them, or nothing. Docker API: POST /auth.
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn login(&self, server: &str, credentials: &Credentials) -> Result<String> {
        self.ports.registry.login(server, credentials).await
    }

    /// The next event; none: `until` is over.
    pub async fn next_event(
        &self,
        listener: &mut Listener,
        until: Option<Timestamp>,
    ) -> Option<Arc<EventMessage>> {
        let Some(until) = until else {
            return listener.next().await;
        };
        let left = u64::try_from(until.0 - self.ports.world.now().0).ok()?;
        let next = listener.next();
        futures_util::pin_mut!(next);
        match futures_util::future::select(next, self.ports.world.sleep(Duration::from_nanos(left)))
            .await
        {
            futures_util::future::Either::Left((event, _)) => event,
            futures_util::future::Either::Right(_) => None,
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &crate::Settings {
        &self.settings
    }

    /// Facts about the machine.
    pub fn machine(&self) -> &dyn crate::spec::Machine {
        &*self.ports.machine
    }

    /// The machine's name.
    pub fn host_name(&self) -> String {
        self.ports.world.host_name()
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.ports.world.now()
    }
}
