//! The one connection the guest makes: boot events to the host, settings from it.

use std::os::unix::net::UnixStream as StdUnixStream;

use agent_api::{BootEvent, BootSettings, READY_PORT, VERSION, frame};
use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::UnixStream;

use super::sys;

/// The line to the host and the phase that is under way.
#[derive(Debug)]
pub(super) struct BootLine {
    stream: UnixStream,
    phase: &'static str,
}

impl BootLine {
    /// Tells the host that we listen.
    pub(super) async fn dial() -> Result<Self> {
        let socket =
            sys::vsock_connect(sys::HOST_CID, READY_PORT).context("dial the host's ready port")?;
        let stream = stream(socket)?;
        let mut line = Self {
            stream,
            phase: "settings",
        };
        let listening = BootEvent::Listening {
            version: VERSION,
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            milliseconds: since_boot(),
        };
        frame::send(&mut line.stream, &listening)
            .await
            .context("say that we listen")?;
        Ok(line)
    }

    /// The host's answer.
    pub(super) async fn settings(&mut self) -> Result<BootSettings> {
        let settings: BootSettings = frame::receive(&mut self.stream)
            .await
            .context("read the settings")?
            .context("the host hung up instead of sending settings")?;
        ensure!(
            settings.version == VERSION,
            "the host speaks version {} of the agent's language, this image version {VERSION}: update the image",
            settings.version
        );
        Ok(settings)
    }

    /// A phase begins.
    pub(super) fn enter(&mut self, phase: &'static str) {
        self.phase = phase;
    }

    /// It is done.
    pub(super) async fn done(&mut self) {
        let name = self.phase.to_owned();
        self.say(&BootEvent::Phase {
            name,
            milliseconds: since_boot(),
        })
        .await;
    }

    /// The engine answers.
    pub(super) async fn engine_ready(&mut self) {
        self.say(&BootEvent::EngineReady {
            milliseconds: since_boot(),
        })
        .await;
    }

    /// The phase failed.
    pub(super) async fn failed(&mut self, error: &anyhow::Error) {
        let phase = self.phase.to_owned();
        self.say(&BootEvent::Failed {
            phase,
            message: format!("{error:#}"),
        })
        .await;
    }

    /// A host that no longer listens is no reason to stop: the machine goes on without it.
    async fn say(&mut self, event: &BootEvent) {
        tracing::info!(?event, "boot");
        if let Err(error) = frame::send(&mut self.stream, event).await {
            tracing::warn!(%error, "the host does not take boot events");
        }
    }
}

/// A vsock socket as one of tokio's streams. Tokio has none for vsock; a Unix stream makes the same calls (read, write, shutdown, epoll) and
/// never looks at the address.
pub(super) fn stream(socket: std::os::fd::OwnedFd) -> Result<UnixStream> {
    let stream = StdUnixStream::from(socket);
    stream
        .set_nonblocking(true)
        .context("make a vsock stream non-blocking")?;
    UnixStream::from_std(stream).context("hand a vsock stream to the runtime")
}

/// Milliseconds since the kernel started.
fn since_boot() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let milliseconds = now.tv_sec * 1000 + now.tv_nsec / 1_000_000;
    u64::try_from(milliseconds).unwrap_or(0)
}
