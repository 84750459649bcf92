//! berthd as a library: settings, machines, the Docker socket and the control socket. One daemon a user and `BERTH_HOME`, no root.
//!
//! berthd is dispensable: a machine is its berth-vmm process, and the lock that process inherited says whether it lives. A daemon that was
//! killed leaves machines, containers and ports untouched; the next one finds them by their locks and attaches again.
//!
//! ```text
//! berth ──control-api──► control ─┐                       ┌─► berth-vmm (one a machine)
//! docker ──bytes──► docker_socket ┴─► machine::Machine ───┤   machine-api
//! ```
//!
//! What this room refuses to know: Docker's HTTP (bytes are spliced, not read), and how a machine is run.

pub mod assets;
pub mod context;
mod control;
mod docker_socket;
pub mod home;
mod lock;
mod machine;
pub mod settings;
mod wire;

use std::{io::Write, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use control_api::{ControlReply, ControlRequest};
use home::Home;
use machine::Machines;
use tokio::net::UnixStream;

/// How long a daemon that lives may take for its first word.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How long a daemon that holds the lock may take to listen, or to be gone.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(10);

/// Runs the daemon until it is asked to quit or receives SIGTERM or SIGINT. Machines go on.
///
/// # Errors
/// When another berthd serves this home, or the home cannot be used.
pub async fn run(home: Home) -> anyhow::Result<()> {
    home.ensure()?;
    let Some(_lock) = take_over(&home).await? else {
        say_ready();
        return Ok(());
    };
    let machines = Arc::new(Machines::open(home.clone()));
    machines.attach_running().await;
    let listener = wire::listen(&home.control_socket())?;
    say_ready();
    let quit = Arc::new(tokio::sync::Notify::new());
    let serve = control::serve(listener, Arc::clone(&machines), Arc::clone(&quit));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("listen for SIGTERM")?;
    tokio::select! {
        () = serve => {}
        () = quit.notified() => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    let _ = std::fs::remove_file(home.control_socket());
    Ok(())
}

/// The daemon's lock; `None`: another berthd serves this home.
///
/// A lock that is held by one that does not answer belongs to a daemon that is about to listen, or to one that is about to be gone. Which of
/// the two happens has no single event to wait for, so both are looked at until one is true.
async fn take_over(home: &Home) -> anyhow::Result<Option<lock::Lock>> {
    const LOOK_EVERY: Duration = Duration::from_millis(5);
    let end = tokio::time::Instant::now() + TAKE_OVER_WITHIN;
    loop {
        if let Some(lock) = lock::Lock::try_take(&home.daemon_lock())? {
            return Ok(Some(lock));
        }
        if answers(home).await {
            return Ok(None);
        }
        if tokio::time::Instant::now() >= end {
            bail!(
                "another berthd holds {} and does not answer: end it and try again",
                home.daemon_lock().display()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether a berthd serves the control socket. Taking the connection is no proof: one that was killed does that while it dies.
async fn answers(home: &Home) -> bool {
    let asked = async {
        let mut stream = UnixStream::connect(home.control_socket()).await?;
        wire::write_frame(&mut stream, &ControlRequest::List).await?;
        wire::read_frame::<ControlReply>(&mut stream).await
    };
    matches!(
        tokio::time::timeout(ANSWER_WITHIN, asked).await,
        Ok(Ok(Some(_)))
    )
}

/// Tells whoever started us that the control socket is there; they may have left already.
fn say_ready() {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{}", control_api::READY_LINE).and_then(|()| out.flush());
}
