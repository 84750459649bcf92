//! Child processes of PID 1, and every orphan of the machine: one place waits for them all.

use std::{
    collections::HashMap,
    io,
    process::{Child, Command},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{WaitOptions, WaitStatus, wait};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// How a process ended: its exit code, or 128 and the signal.
pub(super) type ExitCode = i32;

/// A cheap handle on the children.
#[derive(Debug, Clone, Default)]
pub(super) struct Children {
    waiting: Arc<Mutex<HashMap<i32, oneshot::Sender<ExitCode>>>>,
}

/// A started child. Its `wait` must not be called: [`Children`] does that.
#[derive(Debug)]
pub(super) struct Started {
    /// For its pipes.
    pub(super) child: Child,
    exit: oneshot::Receiver<ExitCode>,
}

impl Started {
    /// Waits for the end.
    pub(super) async fn wait(self) -> ExitCode {
        self.ended().await
    }

    async fn ended(self) -> ExitCode {
        self.exit.await.unwrap_or(-1)
    }

    /// Splits into the child and the promise of its end.
    pub(super) fn split(self) -> (Child, oneshot::Receiver<ExitCode>) {
        (self.child, self.exit)
    }
}

impl Children {
    /// Starts a process.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Started> {
        // Held over the spawn: a child that ends at once is not looked up before it is listed.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        let (ended, exit) = oneshot::channel();
        waiting.insert(child.id().cast_signed(), ended);
        Ok(Started { child, exit })
    }

    /// Reaps for ever.
    pub(super) async fn reap(self) -> io::Result<()> {
        let mut signals = signal(SignalKind::child())?;
        loop {
            self.reap_ended();
            if signals.recv().await.is_none() {
                return Ok(());
            }
        }
    }

    fn reap_ended(&self) {
        loop {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) else {
                return;
            };
            if let Some(ended) = waiting.remove(&pid.as_raw_nonzero().get()) {
                let _nobody_waits = ended.send(exit_code(status));
            }
        }
    }
}

fn exit_code(status: WaitStatus) -> ExitCode {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}
