//! Waits for a container's end.

use docker_api::inspect::{ContainerWait, WaitError};
use errdefs::{Error, ErrorKind, Result};
use tokio::sync::watch;

use super::{container::Life, state::Phase};
use crate::Engine;

/// What is waited for. Docker API: POST /containers/{id}/wait, condition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run; at once when it does not run now.
    #[default]
    NotRunning,
    /// Its next end; a start that fails is none.
    NextExit,
    /// It is gone.
    Removed,
}

impl std::str::FromStr for WaitCondition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("invalid condition: {text:?}"),
            )),
        }
    }
}

/// A wait that has begun: nothing that happens from now on is missed.
#[derive(Debug)]
pub struct Waiting {
    life: watch::Receiver<Life>,
    condition: WaitCondition,
    ends_before: u64,
    exits_before: u64,
}

impl Waiting {
    /// Ends when what is waited for happened.
    pub async fn end(mut self) -> ContainerWait {
        let (condition, exits, ends) = (self.condition, self.exits_before, self.ends_before);
        let met = |life: &Life| match condition {
            WaitCondition::NotRunning => {
                !life.state.is_running() && life.state.phase != Phase::Restarting
                    || life.ends != ends
            }
            WaitCondition::NextExit => life.exits != exits || life.removed,
            WaitCondition::Removed => life.removed,
        };
        match self.life.wait_for(met).await {
            Ok(life) => ContainerWait {
                status_code: life.state.exit_code,
                // Who waited for its removal got what was waited for, whatever went wrong before.
                error: (!life.removed && !life.state.error.is_empty()).then(|| WaitError {
                    message: life.state.error.clone(),
                }),
            },
            Err(_) => ContainerWait {
                status_code: -1,
                error: Some(WaitError {
                    message: "the container is gone".to_owned(),
                }),
            },
        }
    }
}

impl Engine {
    /// Begins to wait.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn wait_for_container(&self, reference: &str, condition: WaitCondition) -> Result<Waiting> {
        let container = self.containers.find(reference)?;
        let life = container.watch();
        let (ends_before, exits_before) = {
            let now = life.borrow();
            (now.ends, now.exits)
        };
        Ok(Waiting {
            life,
            condition,
            ends_before,
            exits_before,
        })
    }
}
