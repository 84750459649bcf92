//! The engine as a child of init: started, watched, started again when it dies.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use agent_api::BootSettings;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::{Machine, data_disk, docker, host_relay};

/// Where the engine listens.
pub(super) const SOCKET: &str = "/run/docker.sock";

const CONFIG: &str = "/run/berth/daemon.json";

/// First and longest pause before the engine is started again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// An engine that lived this long starts again without a pause.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Engine {
    ready: watch::Sender<bool>,
    pid: watch::Sender<Option<i32>>,
    restarts: AtomicU32,
    stopping: watch::Sender<bool>,
}

impl Engine {
    /// Waits until it answers.
    pub(super) async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        let _never_gone = ready.wait_for(|ready| *ready).await.is_ok();
    }

    pub(super) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    pub(super) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Ends it for good, within the bound.
    pub(super) async fn stop(&self, bound: Duration) {
        self.stopping.send_replace(true);
        let pid = *self.pid.borrow();
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _gone_already = kill_process(pid, Signal::TERM);
        }
        let mut pids = self.pid.subscribe();
        if tokio::time::timeout(bound, pids.wait_for(Option::is_none))
            .await
            .is_err()
        {
            tracing::warn!("the engine did not end in time");
        }
    }
}

/// Starts the engine and the task that keeps it running.
pub(super) fn start(machine: &Arc<Machine>, settings: &BootSettings) -> Result<()> {
    fs::write(CONFIG, &settings.daemon_json).with_context(|| format!("write {CONFIG}"))?;
    tokio::spawn(keep_running(machine.clone(), settings.share_tag.clone()));
    Ok(())
}

async fn keep_running(machine: Arc<Machine>, share_tag: Option<String>) {
    let engine = &machine.engine;
    let mut pause = FIRST_PAUSE;
    while !*engine.stopping.borrow() {
        let begun = Instant::now();
        match run_once(&machine, share_tag.as_deref()).await {
            Ok(code) => tracing::error!(code, "the engine ended"),
            Err(error) => tracing::error!("the engine could not be started: {error:#}"),
        }
        engine.ready.send_replace(false);
        engine.pid.send_replace(None);
        if *engine.stopping.borrow() {
            return;
        }
        pause = next_pause(pause, begun.elapsed());
        tokio::time::sleep(pause).await;
        engine.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

fn next_pause(last: Duration, lived: Duration) -> Duration {
    if lived >= GOOD_LIFE {
        FIRST_PAUSE
    } else {
        (last * 2).min(LONGEST_PAUSE)
    }
}

async fn run_once(machine: &Arc<Machine>, share_tag: Option<&str>) -> Result<i32> {
    let mut command = command(share_tag);
    let started = machine
        .children
        .spawn(&mut command)
        .context("start /proc/self/exe")?;
    let (mut child, exit) = started.split();
    machine
        .engine
        .pid
        .send_replace(Some(child.id().cast_signed()));
    if let Some(output) = child.stderr.take() {
        let output =
            tokio::process::ChildStderr::from_std(output).context("watch the engine's output")?;
        let log = machine.log.clone();
        tokio::spawn(async move { log.take_in(output).await });
    }
    let waiting = machine.clone();
    let becomes_ready = tokio::spawn(async move {
        match docker::wait_until_it_answers(SOCKET).await {
            Ok(()) => {
                waiting.engine.ready.send_replace(true);
            }
            Err(error) => tracing::error!("cannot tell when the engine answers: {error:#}"),
        }
    });
    let code = exit.await.unwrap_or(-1);
    becomes_ready.abort();
    Ok(code)
}

fn command(share_tag: Option<&str>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("berth-agent")
        .arg("engine")
        .args(["--root", &format!("{}/engine", data_disk::MOUNT_POINT)])
        .args(["--exec-root", "/run/berth"])
        .args(["--listen", &format!("unix://{SOCKET}")])
        .args(["--config", CONFIG])
        .args(["--host-services", &format!("unix://{}", host_relay::SOCKET)])
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/root")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(tag) = share_tag {
        command.args(["--share-tag", tag]);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_keeps_dying_waits_longer_up_to_the_bound() {
        let mut pause = FIRST_PAUSE;
        for _ in 0..20 {
            let next = next_pause(pause, Duration::from_secs(1));
            assert!(next >= pause);
            pause = next;
        }
        assert_eq!(pause, LONGEST_PAUSE);
    }

    #[test]
    fn an_engine_that_lived_well_starts_again_soon() {
        assert_eq!(next_pause(LONGEST_PAUSE, GOOD_LIFE), FIRST_PAUSE);
    }
}
