//! What the engine says about itself.

use crate::{Engine, containers::state::Phase};

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
        counts.images = self.ports.images.list().await.map_or(0, |images| images.len());
        counts
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
    pub fn now(&self) -> crate::ports::world::Timestamp {
        self.ports.world.now()
    }
}
