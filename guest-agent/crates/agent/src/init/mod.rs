//! PID 1 of the machine.
//!
//! ```text
//! proc sys dev → vsock modules → listen, dial the host: Listening ─► BootSettings
//!   → leave the initramfs, mounts → modules → time → network → data disk → engine ─► EngineReady
//! ```
//!
//! Each arrow is a [`BootEvent::Phase`]; a phase that fails is a [`BootEvent::Failed`] with its text, and the machine stays up so that the
//! host can read the log. Init never ends: what goes wrong while it serves is one connection's trouble, and the end of PID 1 would be a
//! panic of the kernel.

mod boot_line;
mod children;
mod control;
mod data_disk;
mod docker;
mod engine;
mod host_relay;
mod log;
mod modules;
mod mounts;
mod network;
mod services;
mod shell;
mod sys;

use std::{process::ExitCode, sync::Arc};

use agent_api::BootSettings;
use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::sync::watch;

use self::{
    boot_line::BootLine, children::Children, engine::Engine, host_relay::HostRelay, log::Log,
};

/// What the parts of init share.
#[derive(Debug)]
pub(super) struct Machine {
    log: Log,
    children: Children,
    engine: Engine,
    host: HostRelay,
    /// Known once the host has answered our first event.
    settings: watch::Sender<Option<Arc<BootSettings>>>,
}

/// Runs as PID 1; returns only when it is not.
pub(crate) fn main() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        eprintln!("berth-agent init: runs only as the first process of a machine");
        return ExitCode::from(2);
    }
    let log = Log::new();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::INFO)
        .with_writer({
            let log = log.clone();
            move || log.clone()
        })
        .init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    match std::panic::catch_unwind(|| live(log)) {
        Ok(Err(error)) => tracing::error!("init cannot go on: {error:#}"),
        Ok(Ok(never)) => match never {},
        Err(_) => tracing::error!("init panicked"),
    }
    // The host sees the console and the missing events; a second life would not know what the first one did.
    park()
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

fn live(log: Log) -> Result<std::convert::Infallible> {
    mounts::first()?;
    limits()?;
    modules::load("vsock")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let machine = Arc::new(Machine {
            log,
            children: Children::default(),
            engine: Engine::default(),
            host: HostRelay::default(),
            settings: watch::Sender::new(None),
        });
        tokio::spawn(machine.children.clone().reap());
        let listener = services::Listener::bind()?;
        let mut line = BootLine::dial().await?;
        tokio::spawn(services::serve(listener, machine.clone()));
        let settings = Arc::new(line.settings().await?);
        machine.settings.send_replace(Some(settings.clone()));
        if let Err(error) = boot(&machine, &settings, &mut line).await {
            tracing::error!("boot failed: {error:#}");
            line.failed(&error).await;
        }
        // The line stays open: its end tells the host that the machine is gone.
        std::future::pending().await
    })
}

/// Open files of everything that runs here: containers get what they get from containerd 2 under systemd.
fn limits() -> Result<()> {
    let files = Rlimit {
        current: Some(1024),
        maximum: Some(512 << 10),
    };
    setrlimit(Resource::Nofile, files).context("set the limit of open files")
}

async fn boot(machine: &Arc<Machine>, settings: &BootSettings, line: &mut BootLine) -> Result<()> {
    line.enter("mounts");
    mounts::leave_initramfs()?;
    mounts::rest()?;
    line.done().await;
    line.enter("modules");
    modules::load("rest")?;
    line.done().await;
    line.enter("time");
    control::set_time(settings.unix_time_ns)?;
    line.done().await;
    line.enter("network");
    network::bring_up(&settings.machine, &settings.name_servers)?;
    line.done().await;
    line.enter("data_disk");
    data_disk::mount_data_disk(settings, &machine.children).await?;
    line.done().await;
    if let Some(tag) = &settings.share_tag
        && let Err(error) = mounts::shares(tag)
    {
        // Containers that mount nothing of the host's do not miss it.
        tracing::error!("the host's folders cannot be reached: {error:#}");
    }
    line.enter("engine");
    host_relay::listen(machine.clone())?;
    engine::start(machine, settings)?;
    machine.engine.ready().await;
    line.engine_ready().await;
    Ok(())
}
