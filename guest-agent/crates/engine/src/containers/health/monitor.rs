//! The task that probes one container, while it runs and is not paused.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{Either, FutureExt, select};
use tokio::sync::oneshot;

use super::{Check, HealthStatus};
use crate::{
    Engine,
    containers::{container::Container, state::Phase},
    ports::world::Timestamp,
};

/// A container's monitor, when it has one: dropping what is held ends it.
#[derive(Debug, Default)]
pub(in crate::containers) struct Monitor(Mutex<Option<oneshot::Sender<()>>>);

impl Monitor {
    fn held(&self) -> MutexGuard<'_, Option<oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// The container has started, or runs on after the engine's end: it is starting until a probe says otherwise.
    pub(in crate::containers) fn begin_health(self: &Arc<Self>, container: &Arc<Container>) {
        if Check::of(&container.record().config).is_none() {
            return;
        }
        self.pause_health(container);
        container.change(|life| life.state.health.get_or_insert_default().begin());
        self.resume_health(container);
    }

    /// Probes it again.
    pub(in crate::containers) fn resume_health(self: &Arc<Self>, container: &Arc<Container>) {
        let Some(check) = Check::of(&container.record().config) else {
            return;
        };
        let mut held = container.monitor.held();
        let state = container.state();
        if held.is_some() || state.health.is_none() || state.phase != Phase::Running {
            return;
        }
        let (stop, stopped) = oneshot::channel();
        *held = Some(stop);
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.ports.world.spawn(Box::pin(async move {
            engine.monitor_health(&container, &check, stopped).await;
        }));
    }

    /// Nobody probes it any more.
    pub(in crate::containers) fn pause_health(&self, container: &Container) {
        if container.monitor.held().take().is_some() {
            container.change(|life| {
                if let Some(health) = &mut life.state.health {
                    health.status = HealthStatus::Unhealthy;
                }
            });
        }
    }

    async fn monitor_health(
        self: &Arc<Self>,
        container: &Arc<Container>,
        check: &Check,
        stopped: oneshot::Receiver<()>,
    ) {
        // Ends once the sender is dropped.
        let stopped = stopped.map(drop).shared();
        let started = container.state().started;
        loop {
            let status = container.state().health.unwrap_or_default().status;
            let pause = check.pause(status, age(started, self.ports.world.now()));
            if let Either::Right(_) = select(self.ports.world.sleep(pause), stopped.clone()).await {
                return;
            }
            let result = pin!(self.probe(container, check, stopped.clone())).await;
            let changed = {
                // Held so that no result comes in after the monitor has been ended.
                let _held = container.monitor.held();
                if stopped.clone().now_or_never().is_some() {
                    return;
                }
                let at = age(started, result.start);
                container.change(|life| life.state.health.as_mut()?.take(result, check, at))
            };
            if let Some(status) = changed {
                let action = format!("health_status: {}", status.word());
                self.tell_container(container, &action, &[]);
            }
        }
    }
}

fn age(started: Timestamp, now: Timestamp) -> Duration {
    Duration::from_nanos(u64::try_from(now.0.saturating_sub(started.0)).unwrap_or(0))
}
