//! Stop, kill, restart, pause and unpause.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use errdefs::{Classify, Error, ErrorKind, Result};

use super::{
    container::{Container, Life},
    state::Phase,
};
use crate::{
    Engine,
    ports::containers::Shim,
    spec::{is_supported, parse_signal},
};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// Between the stop signal and the kill, when nobody said another time.
const DEFAULT_STOP_SECONDS: i64 = 10;
/// The same when it could not be asked.
const UNASKED_WITHIN: Duration = Duration::from_secs(2);
/// How long a killed container may take to end before the caller is told that it does not.
const KILL_WITHIN: Duration = Duration::from_secs(10);

impl Engine {
    /// Asks a container to end, and kills it when it does not. `seconds`: -1 waits for ever; none: the container's own. Docker API: POST
    /// /containers/{id}/stop.
    ///
    /// # Errors
    /// `NotModified` when it does not run.
    pub async fn stop_container(
        self: &Arc<Self>,
        reference: &str,
        signal: Option<&str>,
        seconds: Option<i64>,
    ) -> Result<()> {
        let container = self.containers.find(reference)?;
        let state = container.state();
        if !state.is_running() && state.phase != Phase::Restarting {
            return Err(Error::new(ErrorKind::NotModified, "it does not run"));
        }
        // Whatever goes wrong, Docker has one kind for it.
        let failed = |error: Error| {
            let text = format!("cannot stop container: {reference}: {}", error.message());
            Error::new(ErrorKind::System, text).with_source(error)
        };
        let signal = wished(signal).map_err(failed)?;
        let engine = Arc::clone(self);
        self.to_the_end(async move { engine.stop(&container, signal, seconds).await })
            .await
            .map_err(failed)
    }

    /// Stops every container by its own signal and time, for a machine that is switched off: those that want to run for ever start again
    /// with it. From now on nothing starts.
    pub async fn power_down(self: &Arc<Self>) {
        self.going_down.store(true, Ordering::Release);
        let stops = self.containers.all().into_iter().map(|container| async move {
            let phase = container.state().phase;
            if !container.state().is_running() && phase != Phase::Restarting {
                return;
            }
            if let Err(error) = self.stop(&container, None, None).await {
                tracing::warn!(id = container.id.as_str(), %error, "stop a container with the machine");
            }
        });
        futures_util::future::join_all(stops).await;
    }

    async fn stop(
        self: &Arc<Self>,
        container: &Arc<Container>,
        signal: Option<i32>,
        seconds: Option<i64>,
    ) -> Result<()> {
        let record = container.record();
        let signal = match signal {
            Some(signal) => signal,
            None => stop_signal(&record.config.stop_signal),
        };
        let seconds = seconds
            .or(record.config.stop_timeout)
            .unwrap_or(DEFAULT_STOP_SECONDS);
        let mut life = container.watch();
        let since = life.borrow_and_update().ends;
        let by_user = !self.is_going_down();
        container.change(|life| life.state.stopped_by_user |= by_user);
        container.hurry.notify_waiters();
        self.save_state(container).await;
        let mut patience = u64::try_from(seconds).map(Duration::from_secs);
        if let Some(shim) = container.shim() {
            if let Err(error) = self.send(container, &shim, signal).await {
                tracing::warn!(id = container.id.as_str(), signal, %error, "ask a container to end");
                patience = patience.map(|_| UNASKED_WITHIN);
            }
            if container.state().phase == Phase::Paused {
                self.thaw(container, &shim).await?;
            }
        }
        let ended = wait_for_end(&mut life, since);
        let in_time = match patience {
            Ok(patience) => self.within(patience, ended).await,
            Err(_) => {
                ended.await;
                true
            }
        };
        if !in_time {
            self.kill_and_wait(container, since).await?;
        }
        self.tell_container(container, "stop", &[]);
        Ok(())
    }

    /// Kills a container and waits until it has ended.
    pub(super) async fn kill_and_wait(
        self: &Arc<Self>,
        container: &Arc<Container>,
        since: u64,
    ) -> Result<()> {
        let mut life = container.watch();
        if let Some(shim) = container.shim() {
            match self.send(container, &shim, SIGKILL).await {
                // It has ended meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                sent => sent?,
            }
            if container.state().phase == Phase::Paused {
                self.thaw(container, &shim).await?;
            }
        }
        if self
            .within(KILL_WITHIN, wait_for_end(&mut life, since))
            .await
        {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "tried to kill container, but did not receive an exit event",
            ))
        }
    }

    /// True: the future ended in time.
    async fn within(&self, bound: Duration, future: impl Future<Output = ()>) -> bool {
        futures_util::pin_mut!(future);
        let bound = self.ports.world.sleep(bound);
        matches!(
            futures_util::future::select(future, bound).await,
            futures_util::future::Either::Left(_)
        )
    }

    /// Sends a signal. Docker API: POST /containers/{id}/kill; no signal: SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn kill_container(
        self: &Arc<Self>,
        reference: &str,
        signal: Option<&str>,
    ) -> Result<()> {
        let refused = |error: Error| error.context(format!("cannot kill container: {reference}"));
        let container = self.containers.find(reference).map_err(refused)?;
        let signal = match signal.filter(|signal| !signal.is_empty()) {
            None => SIGKILL,
            Some(signal) => parse_signal(signal).and_then(supported).map_err(refused)?,
        };
        let state = container.state();
        if !state.is_running() && state.phase != Phase::Restarting {
            return Err(refused(not_running(&container)));
        }
        let engine = Arc::clone(self);
        let killed = self.to_the_end(async move { engine.kill(&container, signal).await });
        killed.await.map_err(refused)
    }

    async fn kill(self: &Arc<Self>, container: &Arc<Container>, signal: i32) -> Result<()> {
        let record = container.record();
        let own = &record.config.stop_signal;
        // Any signal is taken as the wish that it ends, unless the container has a stop signal of its own and this is another.
        let ends = signal == SIGKILL || own.is_empty() || signal == stop_signal(own);
        let since = container.life().ends;
        if ends {
            container.change(|life| life.state.stopped_by_user = true);
            container.hurry.notify_waiters();
            self.save_state(container).await;
        }
        if signal == SIGKILL {
            return self.kill_and_wait(container, since).await;
        }
        if let Some(shim) = container.shim() {
            self.send(container, &shim, signal).await?;
            if ends && container.state().phase == Phase::Paused {
                self.thaw(container, &shim).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, container: &Container, shim: &Arc<dyn Shim>, signal: i32) -> Result<()> {
        match shim.signal(signal, false).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.tell_container(container, "kill", &[("signal", signal.to_string())]);
                Ok(())
            }
        }
    }

    /// Stops and starts it. Docker API: POST /containers/{id}/restart.
    ///
    /// # Errors
    /// As stop and start, but for what is not modified.
    pub async fn restart_container(
        self: &Arc<Self>,
        reference: &str,
        signal: Option<&str>,
        seconds: Option<i64>,
    ) -> Result<()> {
        let container = self.containers.find(reference)?;
        let signal = signal.map(str::to_owned);
        let engine = Arc::clone(self);
        let restarted = self.to_the_end(async move {
            let state = container.state();
            if state.is_running() || state.phase == Phase::Restarting {
                let signal = wished(signal.as_deref())?;
                container.change(|life| life.keep = true);
                let stopped = engine.stop(&container, signal, seconds).await;
                container.change(|life| life.keep = false);
                stopped?;
            }
            engine.start(&container).await?;
            engine.tell_container(&container, "restart", &[]);
            Ok(())
        });
        // Docker keeps the text of what went wrong, not its kind.
        restarted.await.map_err(|error| {
            let text = format!("Cannot restart container {reference}: {}", error.message());
            Error::new(ErrorKind::System, text)
        })
    }

    /// Freezes it. Docker API: POST /containers/{id}/pause.
    ///
    /// # Errors
    /// `Conflict` in Docker's words.
    pub async fn pause_container(self: &Arc<Self>, reference: &str) -> Result<()> {
        let container = self.containers.find(reference)?;
        let engine = Arc::clone(self);
        self.to_the_end(async move {
            let _run = container.run.lock().await;
            let id = &container.id;
            match container.state().phase {
                Phase::Running => {}
                Phase::Paused => return Err(conflict(format!("Container {id} is already paused"))),
                Phase::Restarting => {
                    return Err(conflict(format!(
                        "Container {id} is restarting, wait until the container is running"
                    )));
                }
                _ => return Err(not_running(&container)),
            }
            let shim = container.shim().ok_or_else(|| not_running(&container))?;
            shim.pause()
                .await
                .map_err(|error| error.context(format!("Cannot pause container {id}")))?;
            container.change(|life| life.state.freeze(true));
            engine.pause_health(&container);
            engine.save_state(&container).await;
            engine.tell_container(&container, "pause", &[]);
            Ok(())
        })
        .await
    }

    /// Thaws it. Docker API: POST /containers/{id}/unpause.
    ///
    /// # Errors
    /// `System` when it is not paused, as Docker has it.
    pub async fn unpause_container(self: &Arc<Self>, reference: &str) -> Result<()> {
        let container = self.containers.find(reference)?;
        let engine = Arc::clone(self);
        self.to_the_end(async move {
            let _run = container.run.lock().await;
            let id = &container.id;
            let shim = container
                .shim()
                .filter(|_| container.state().phase == Phase::Paused);
            let shim = shim.ok_or_else(|| {
                Error::new(ErrorKind::System, format!("Container {id} is not paused"))
            })?;
            engine
                .thaw(&container, &shim)
                .await
                .map_err(|error| error.context(format!("Cannot unpause container {id}")))
        })
        .await
    }

    async fn thaw(
        self: &Arc<Self>,
        container: &Arc<Container>,
        shim: &Arc<dyn Shim>,
    ) -> Result<()> {
        shim.resume().await?;
        container.change(|life| {
            if life.state.phase == Phase::Paused {
                life.state.freeze(false);
            }
        });
        self.resume_health(container);
        self.save_state(container).await;
        self.tell_container(container, "unpause", &[]);
        Ok(())
    }
}

/// A signal that this system has.
fn supported(signal: i32) -> Result<i32> {
    if is_supported(signal) {
        Ok(signal)
    } else {
        Err(Error::new(
            ErrorKind::InvalidParameter,
            format!("the linux daemon does not support signal {signal}"),
        ))
    }
}

/// The signal a client named; an empty name is none.
fn wished(signal: Option<&str>) -> Result<Option<i32>> {
    signal
        .filter(|signal| !signal.is_empty())
        .map(parse_signal)
        .transpose()
}

/// The signal that asks a container to end; what was accepted at creation and cannot be read is SIGTERM.
fn stop_signal(text: &str) -> i32 {
    if text.is_empty() {
        SIGTERM
    } else {
        parse_signal(text).unwrap_or(SIGTERM)
    }
}

async fn wait_for_end(life: &mut tokio::sync::watch::Receiver<Life>, since: u64) {
    let ended = |life: &Life| {
        life.ends != since
            || life.removed
            || matches!(
                life.state.phase,
                Phase::Exited | Phase::Created | Phase::Dead
            )
    };
    // The sender lives as long as the container; without it there is nothing to wait for.
    let _ = life.wait_for(ended).await;
}

fn conflict(message: String) -> Error {
    Error::new(ErrorKind::Conflict, message)
}

pub(crate) fn not_running(container: &Container) -> Error {
    conflict(format!("container {} is not running", container.id))
}
