//! What follows when a container ends: taken down, told, and by its policy started again or removed.

use std::{sync::Arc, time::Duration};

use docker_api::RestartPolicy;

use super::container::{Container, Run};
use crate::{
    Engine,
    ports::containers::{Exit, Recovered, Shim, ShimEvent},
};

/// The first wait before a restart; each next one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest.
const LAST_BACKOFF: Duration = Duration::from_secs(60);
/// A container that ran so long starts again with the first wait.
const RAN_WELL: Duration = Duration::from_secs(10);
/// How long attached clients may take to get the last output before an end is told; dockerd waits as long for its streams.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// What is said of a container whose shim was killed: it was killed too.
const KILLED: i32 = 137;

impl Engine {
    /// Listens to a shim until its container has ended.
    pub(crate) fn watch(self: &Arc<Self>, container: &Arc<Container>, shim: Arc<dyn Shim>) {
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.ports.world.spawn(Box::pin(async move {
            let exit = loop {
                match shim.next_event().await {
                    ShimEvent::Exited(exit) => break exit,
                    ShimEvent::ExecExited(id, exit) => engine.exec_ended(&container, &id, exit),
                    ShimEvent::OutOfMemory => engine.tell_container(&container, "oom", &[]),
                    ShimEvent::Lost => break engine.lost(&container).await,
                }
            };
            engine.ended(&container, exit).await;
        }));
    }

    /// The shim was killed: what it left is ended, unless its last word says how its container ended before.
    async fn lost(&self, container: &Container) -> Exit {
        let id = &container.id;
        if let Ok(Recovered::Exited(exit)) = self.ports.shims.recover(id).await {
            return exit;
        }
        tracing::error!(%id, "a container's shim is gone: the container is ended");
        let cgroup = container.record().cgroup(&self.settings.cgroup_parent);
        if let Err(error) = self.ports.shims.sweep(id, &cgroup).await {
            tracing::error!(%id, %error, "end a container without shim");
        }
        Exit {
            code: KILLED,
            at: self.ports.world.now(),
            oom_killed: false,
        }
    }

    /// Takes down what has ended.
    pub(crate) async fn ended(self: &Arc<Self>, container: &Arc<Container>, exit: Exit) {
        self.pause_health(container);
        let record = container.record();
        let mut run = container.run.lock().await;
        self.take_down(container, &record, &mut run).await;
        self.output_taken(container).await;
        self.execs.end_container(&container.id);
        let started = container.state().started;
        let ran = Duration::from_nanos(u64::try_from(exit.at.0 - started.0).unwrap_or(0));
        let stays = !self.is_going_down();
        let restarting = container.change(|life| {
            let again = stays
                && !life.removing
                && !life.state.stopped_by_user
                && starts_again(&record.host.restart_policy, exit.code, life.state.restarts);
            life.state.end(exit, again);
            life.ends += 1;
            life.exits += 1;
            again
        });
        self.save_state(container).await;
        if let Err(error) = self.ports.shims.forget(&container.id).await {
            tracing::warn!(id = container.id.as_str(), %error, "remove what a shim left");
        }
        if exit.oom_killed {
            self.tell_container(container, "oom", &[]);
        }
        self.tell_container(
            container,
            "die",
            &[
                ("exitCode", exit.code.to_string()),
                ("execDuration", ran.as_secs().to_string()),
            ],
        );
        if restarting {
            run.backoff = next_backoff(run.backoff, ran);
            let wait = run.backoff;
            drop(run);
            self.start_again_after(container, wait);
        } else if record.host.auto_remove && !container.life().keep {
            drop(run);
            self.remove_later(container);
        }
    }

    /// Who is told of an end and then looks at what a client got finds all of it, unless that client does not read.
    async fn output_taken(&self, container: &Container) {
        let (taken, enough) = (
            container.clients.gone(),
            self.ports.world.sleep(TAKEN_WITHIN),
        );
        futures_util::pin_mut!(taken);
        futures_util::future::select(taken, enough).await;
    }

    fn start_again_after(self: &Arc<Self>, container: &Arc<Container>, wait: Duration) {
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        self.ports.world.spawn(Box::pin(async move {
            let (pause, hurry) = (engine.ports.world.sleep(wait), container.hurry.notified());
            futures_util::pin_mut!(hurry);
            futures_util::future::select(pause, hurry).await;
            let mut run = container.run.lock().await;
            engine.start_again(&container, &mut run).await;
        }));
    }

    pub(super) async fn start_again(self: &Arc<Self>, container: &Arc<Container>, run: &mut Run) {
        let life = container.life();
        if life.state.phase != super::state::Phase::Restarting || life.removing {
            return;
        }
        if life.state.stopped_by_user || self.is_going_down() {
            container.change(|life| {
                life.state.phase = super::state::Phase::Exited;
                life.ends += 1;
                life.exits += 1;
            });
            self.save_state(container).await;
            return;
        }
        if let Err(error) = self.start_locked(container, run).await {
            tracing::error!(id = container.id.as_str(), %error, "restart a container");
        }
    }
}

/// Whether a policy wants another start; `restarts` were made already.
fn starts_again(policy: &RestartPolicy, exit_code: i32, restarts: u64) -> bool {
    match policy.name.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => {
            let bound = u64::try_from(policy.maximum_retry_count).unwrap_or(0);
            exit_code != 0 && (bound == 0 || restarts < bound)
        }
        _ => false,
    }
}

fn next_backoff(last: Duration, ran: Duration) -> Duration {
    if last.is_zero() || ran >= RAN_WELL {
        FIRST_BACKOFF
    } else {
        (last * 2).min(LAST_BACKOFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, maximum_retry_count: i64) -> RestartPolicy {
        RestartPolicy {
            name: name.to_owned(),
            maximum_retry_count,
        }
    }

    #[test]
    fn policies_decide_as_dockers() {
        assert!(!starts_again(&policy("no", 0), 1, 0));
        assert!(!starts_again(&policy("", 0), 1, 0));
        assert!(starts_again(&policy("always", 0), 0, 99));
        assert!(starts_again(&policy("unless-stopped", 0), 0, 99));
        assert!(!starts_again(&policy("on-failure", 0), 0, 0));
        assert!(starts_again(&policy("on-failure", 0), 1, 99));
        assert!(starts_again(&policy("on-failure", 2), 1, 1));
        assert!(!starts_again(&policy("on-failure", 2), 1, 2));
    }

    #[test]
    fn waits_double_to_their_bound_and_begin_anew_after_a_good_run() {
        let short = Duration::from_secs(1);
        let mut wait = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..12 {
            wait = next_backoff(wait, short);
            waits.push(wait.as_millis());
        }
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[11], 60_000);
        assert_eq!(next_backoff(wait, RAN_WELL), FIRST_BACKOFF);
    }
}
