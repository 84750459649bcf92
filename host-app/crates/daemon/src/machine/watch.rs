//! Hearing what berth-vmm says of itself, until it is gone.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use machine_api::{VmmRequest, VmmState, VmmStatus};
use tokio::net::UnixStream;

use super::{Machine, Observed};
use crate::wire;

/// How long berth-vmm may take for its first word; it answers from memory.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Why a machine cannot be watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// There is no berth-vmm at its socket, or it ends right now.
    #[error("the machine process is gone")]
    Gone(#[source] anyhow::Error),
    /// It is there and says nothing.
    #[error(
        "the machine process of {machine} does not answer within {} s: end it (its log is {log}) and start again",
        FIRST_WORD.as_secs()
    )]
    Silent {
        /// Machine.
        machine: String,
        /// berth-vmm's log.
        log: String,
    },
}

/// Connects and takes the first status; goes on in a task of its own.
pub(super) async fn begin(machine: &Arc<Machine>) -> Result<(), WatchError> {
    let (stream, status) = first_word(machine).await?;
    machine.observed.send_replace(Observed::Live(status));
    tokio::spawn(follow(Arc::clone(machine), stream));
    Ok(())
}

/// Whether berth-vmm is still there: its death may not have been heard yet.
pub(super) async fn check(machine: &Machine) -> Result<(), WatchError> {
    first_word(machine).await.map(drop)
}

async fn first_word(machine: &Machine) -> Result<(UnixStream, VmmStatus), WatchError> {
    let word = async {
        let mut stream = UnixStream::connect(machine.home.socket()).await?;
        wire::write_frame(&mut stream, &VmmRequest::Watch).await?;
        let status = wire::read_frame::<VmmStatus>(&mut stream).await?;
        anyhow::Ok((stream, status.context("it closed the connection")?))
    };
    match tokio::time::timeout(FIRST_WORD, word).await {
        Ok(word) => word.map_err(WatchError::Gone),
        Err(_) => Err(WatchError::Silent {
            machine: machine.name.clone(),
            log: machine.home.vmm_log().display().to_string(),
        }),
    }
}

async fn follow(machine: Arc<Machine>, mut stream: UnixStream) {
    while let Ok(Some(status)) = wire::read_frame::<VmmStatus>(&mut stream).await {
        machine.observed.send_replace(Observed::Live(status));
    }
    machine
        .observed
        .send_modify(|observed| *observed = after_the_end(observed));
}

/// What a machine is once its process is gone.
fn after_the_end(last: &Observed) -> Observed {
    match last {
        Observed::Live(status) => match &status.state {
            VmmState::Stopping | VmmState::Stopped => Observed::Stopped,
            VmmState::Failed { phase, message } => Observed::Failed(format!("{phase}: {message}")),
            VmmState::Starting { .. } | VmmState::Running => Observed::Failed(
                "the machine process (berth-vmm) ended unexpectedly, which is a power cut for the machine: \
                 what was acknowledged is on its disk; start it again with `berth start`"
                    .to_owned(),
            ),
        },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(state: VmmState) -> Observed {
        Observed::Live(VmmStatus {
            state,
            backend: String::new(),
            pid: 1,
            timeline: vec![],
            ports: vec![],
            grants: vec![],
        })
    }

    #[test]
    fn an_end_that_nobody_asked_for_is_a_failure() {
        assert!(matches!(
            after_the_end(&live(VmmState::Running)),
            Observed::Failed(_)
        ));
        assert!(matches!(
            after_the_end(&live(VmmState::Stopping)),
            Observed::Stopped
        ));
        let failed = VmmState::Failed {
            phase: "qemu".into(),
            message: "no memory".into(),
        };
        match after_the_end(&live(failed)) {
            Observed::Failed(reason) => assert_eq!(reason, "qemu: no memory"),
            other => panic!("{other:?}"),
        }
    }
}
