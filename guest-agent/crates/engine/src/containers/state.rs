//! How a container stands, and how that changes. Pure.

use serde::{Deserialize, Serialize};

use super::health::Health;
use crate::ports::{containers::Exit, world::Timestamp};

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Never ran.
    #[default]
    Created,
    /// Its first process runs.
    Running,
    /// It is frozen.
    Paused,
    /// It ended and waits for its next start.
    Restarting,
    /// It ended.
    Exited,
    /// It could not be removed.
    Dead,
}

/// How a container stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it is.
    pub phase: Phase,
    /// First process; 0: none.
    pub pid: u32,
    /// Last exit code, or the code for a start that failed.
    pub exit_code: i32,
    /// Something in it was killed for memory.
    pub oom_killed: bool,
    /// Why it did not start.
    pub error: String,
    /// 0: never.
    pub started: Timestamp,
    /// 0: never.
    pub finished: Timestamp,
    /// Starts by the restart policy since a user started it.
    pub restarts: u64,
    /// A user stopped it: `unless-stopped` and a restarted engine leave it alone.
    pub stopped_by_user: bool,
    /// What its probes say; none: it was never probed.
    #[serde(default)]
    pub health: Option<Health>,
}

impl State {
    /// It runs, frozen or not.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused)
    }

    /// Docker's word for it.
    pub fn word(&self) -> &'static str {
        match self.phase {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Restarting => "restarting",
            Phase::Exited => "exited",
            Phase::Dead => "dead",
        }
    }

    /// Its program runs.
    pub fn start(&mut self, pid: u32, at: Timestamp) {
        self.phase = Phase::Running;
        self.pid = pid;
        self.exit_code = 0;
        self.oom_killed = false;
        self.error.clear();
        self.started = at;
        self.stopped_by_user = false;
    }

    /// It did not start.
    pub fn fail(&mut self, exit_code: i32, error: impl Into<String>) {
        if self.phase == Phase::Restarting {
            self.phase = Phase::Exited;
        }
        self.pid = 0;
        self.exit_code = exit_code;
        self.error = error.into();
    }

    /// It ended, for good or until its next start.
    pub fn end(&mut self, exit: Exit, restarting: bool) {
        self.phase = if restarting {
            Phase::Restarting
        } else {
            Phase::Exited
        };
        self.pid = 0;
        self.exit_code = exit.code;
        self.oom_killed = exit.oom_killed;
        self.finished = exit.at;
        if restarting {
            self.restarts += 1;
        }
    }

    /// It is frozen, or not any more.
    pub fn freeze(&mut self, frozen: bool) {
        self.phase = if frozen {
            Phase::Paused
        } else {
            Phase::Running
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT: Exit = Exit {
        code: 3,
        at: Timestamp(9),
        oom_killed: false,
    };

    #[test]
    fn a_life_is_told_in_dockers_words() {
        let mut state = State::default();
        assert_eq!(state.word(), "created");
        state.start(7, Timestamp(1));
        assert_eq!(
            (state.word(), state.pid, state.is_running()),
            ("running", 7, true)
        );
        state.freeze(true);
        assert_eq!((state.word(), state.is_running()), ("paused", true));
        state.end(EXIT, true);
        assert_eq!(
            (state.word(), state.pid, state.restarts),
            ("restarting", 0, 1)
        );
        state.end(EXIT, false);
        assert_eq!((state.word(), state.exit_code), ("exited", 3));
    }

    #[test]
    fn a_start_that_fails_leaves_the_phase_and_says_why() {
        let mut state = State::default();
        state.fail(127, "no such program");
        assert_eq!((state.word(), state.exit_code), ("created", 127));
        state.start(7, Timestamp(1));
        assert_eq!((state.exit_code, state.error.as_str()), (0, ""));
    }
}
