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

use std::{io::Write, sync::Arc};

use anyhow::Context;
use home::Home;
use machine::Machines;

/// Runs the daemon until it is asked to quit or receives SIGTERM or SIGINT. Machines go on.
///
/// # Errors
/// When another berthd serves this home, or the home cannot be used.
pub async fn run(home: Home) -> anyhow::Result<()> {
    home.ensure()?;
    let Some(_lock) = lock::Lock::try_take(&home.daemon_lock())? else {
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

/// Tells whoever started us that the control socket is there; they may have left already.
fn say_ready() {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{}", control_api::READY_LINE).and_then(|()| out.flush());
}
