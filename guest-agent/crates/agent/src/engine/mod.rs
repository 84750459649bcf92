//! The engine's face: the parts of the engine put together and served.
//!
//! Runs in the machine as init's child, or on any Linux as root:
//! `berth-agent engine --root DIR --exec-root DIR --listen unix:///PATH`.
//!
//! What is served so far is the API's door: `version` and `_ping`; every other operation answers that it is not there yet.

mod config;

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use api_server::Api;
use clap::Parser;
use docker_api::{ComponentVersion, Platform, SystemVersion};
use rustix::fs::{FlockOperation, flock};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Berth's container engine, serving the Docker Engine API.
#[derive(Debug, Parser)]
#[command(name = "berth-agent engine", version)]
struct Arguments {
    /// Folder of everything that must survive.
    #[arg(long, default_value = "/var/lib/berth/engine")]
    root: PathBuf,
    /// Folder of sockets and what a restart of the machine may lose.
    #[arg(long, default_value = "/run/berth")]
    exec_root: PathBuf,
    /// Where to listen, `unix:///PATH`; may be given several times.
    #[arg(long, short = 'H', default_value = "unix:///run/docker.sock")]
    listen: Vec<String>,
    /// Settings with Docker's keys (`daemon.json`).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Socket where the host's services are asked for; none: this is the host.
    #[arg(long)]
    host_services: Option<String>,
    /// virtio-fs tag of the host's shared folders.
    #[arg(long)]
    share_tag: Option<String>,
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn main(arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let name = std::ffi::OsString::from("berth-agent engine");
    let arguments = Arguments::parse_from(std::iter::once(name).chain(arguments));
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("berth-agent engine: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let config = config::load(arguments.config.as_deref())?;
    let level = if config.debug {
        tracing::Level::DEBUG
    } else {
        tracing::Level::INFO
    };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .init();
    if let (Some(services), tag) = (&arguments.host_services, &arguments.share_tag) {
        tracing::debug!(services, ?tag, "in a machine");
    }
    let _lock = lock(&arguments.root)?;
    std::fs::create_dir_all(&arguments.exec_root)
        .with_context(|| format!("make folder {}", arguments.exec_root.display()))?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(serve(&arguments.listen))
}

/// One engine a root: two would ruin each other's state.
fn lock(root: &Path) -> Result<File> {
    std::fs::create_dir_all(root).with_context(|| format!("make folder {}", root.display()))?;
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!(
                "another engine uses {}: stop it, or choose another --root",
                root.display()
            )
        }
        Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

async fn serve(addresses: &[String]) -> Result<()> {
    let api = Arc::new(Api::new(version()));
    let (stop, stopped) = watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    for address in addresses {
        let (listener, mut stopped) = (listen(address)?, stopped.clone());
        let shutdown = async move {
            // The sender lives until the end of this function.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        servers.spawn(api_server::serve(Arc::clone(&api), listener, shutdown));
    }
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listen for SIGINT")?,
    }
    stop.send_replace(true);
    while servers.join_next().await.is_some() {}
    Ok(())
}

/// A socket that a killed engine left is replaced: the lock on the root says that nobody serves it.
fn listen(address: &str) -> Result<UnixListener> {
    let Some(path) = address
        .strip_prefix("unix://")
        .filter(|path| path.starts_with('/'))
    else {
        bail!("cannot listen on {address}: only unix:///PATH is served")
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove stale socket {path}"));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("listen on {path}"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("set mode of {path}"))?;
    Ok(listener)
}

fn version() -> SystemVersion {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let arch = match text(uname.machine()).as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    let kernel_version = text(uname.release());
    let details = [
        ("ApiVersion", api_server::version::MAX.to_string()),
        ("Arch", arch.clone()),
        ("Experimental", "false".to_owned()),
        ("KernelVersion", kernel_version.clone()),
        ("MinAPIVersion", api_server::version::MIN.to_string()),
        ("Os", "linux".to_owned()),
    ];
    SystemVersion {
        platform: Platform {
            name: "Berth".to_owned(),
        },
        components: vec![ComponentVersion {
            name: "Engine".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            details: details.map(|(key, value)| (key.to_owned(), value)).into(),
        }],
        version: env!("CARGO_PKG_VERSION").to_owned(),
        os: "linux".to_owned(),
        arch,
        kernel_version,
        ..SystemVersion::default()
    }
}
