//! Where the machine is in its life, for whoever watches.

use std::time::Instant;

use machine_api::{VmmState, VmmStatus};
use tokio::sync::watch;

/// The machine's state and what else a status shows.
pub(crate) struct State {
    since: Instant,
    status: watch::Sender<VmmStatus>,
    heard: watch::Sender<bool>,
}

impl State {
    pub(crate) fn new() -> Self {
        let status = VmmStatus {
            state: VmmState::Starting {
                phase: "process".to_owned(),
            },
            backend: "qemu".to_owned(),
            pid: std::process::id(),
            timeline: Vec::new(),
            ports: Vec::new(),
            grants: Vec::new(),
        };
        Self {
            since: Instant::now(),
            status: watch::Sender::new(status),
            heard: watch::Sender::new(false),
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<VmmStatus> {
        self.status.subscribe()
    }

    /// The phase before is done, this one begins. Without effect once the start is over.
    pub(crate) fn enter(&self, phase: &str) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.status
            .send_if_modified(|status| match &mut status.state {
                VmmState::Starting { phase: current } => {
                    status
                        .timeline
                        .push((std::mem::replace(current, phase.to_owned()), now));
                    true
                }
                _ => false,
            });
    }

    /// The engine answers: the last phase is done.
    pub(crate) fn running(&self) {
        self.enter("ready");
        self.status.send_if_modified(|status| {
            let starting = matches!(status.state, VmmState::Starting { .. });
            if starting {
                status.state = VmmState::Running;
            }
            starting
        });
    }

    pub(crate) fn set(&self, state: VmmState) {
        self.status.send_modify(|status| status.state = state);
    }

    pub(crate) fn runs_on(&self, backend: &str) {
        self.status
            .send_modify(|status| backend.clone_into(&mut status.backend));
    }

    pub(crate) fn set_ports(&self, ports: Vec<String>) {
        self.status.send_modify(|status| status.ports = ports);
    }

    pub(crate) fn set_grants(&self, grants: Vec<String>) {
        self.status.send_modify(|status| status.grants = grants);
    }

    /// The phase under way, or the last one.
    pub(crate) fn phase(&self) -> String {
        let status = self.status.borrow();
        match &status.state {
            VmmState::Starting { phase } => phase.clone(),
            _ => "running".to_owned(),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.status.borrow().state, VmmState::Stopping)
    }

    /// Somebody read the final state.
    pub(crate) fn was_heard(&self) {
        self.heard.send_replace(true);
    }

    /// Waits for [`State::was_heard`].
    pub(crate) async fn heard(&self) {
        // The sender is ours, so the wait ends only with the value.
        let _ = self.heard.subscribe().wait_for(|heard| *heard).await;
    }
}

/// No state follows this one.
pub(crate) fn is_final(state: &VmmState) -> bool {
    matches!(state, VmmState::Stopped | VmmState::Failed { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_kept_in_order_and_end_with_the_start() {
        let state = State::new();
        state.enter("qemu");
        state.running();
        state.enter("late");
        let status = state.watch().borrow().clone();
        let names: Vec<&str> = status
            .timeline
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["process", "qemu"]);
        assert_eq!(status.state, VmmState::Running);
    }

    #[test]
    fn a_machine_that_is_being_stopped_does_not_become_running() {
        let state = State::new();
        state.set(VmmState::Stopping);
        state.running();
        assert!(state.is_stopping());
    }
}
