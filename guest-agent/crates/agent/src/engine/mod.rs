//! The engine's face: the parts of the engine put together and served.
//!
//! Runs in the machine as init's child, or on any Linux as root:
//! `berth-agent engine --root DIR --exec-root DIR --listen unix:///PATH`.
//!
//! Every room that serves a port of the engine is opened here, and only here.

mod config;
mod host;
mod machine;
mod world;

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
use engine::{Engine, Ports, Settings, ports::host::Host};
use image_store::ImageStore;
use network::{Local, NativeHost};
use registry::RegistryClient;
use rustix::fs::{FlockOperation, flock};
use shim::{client::LocalShims, log::reader::LocalLogs};
use state_db::StateDb;
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use volumes::LocalVolumes;

use self::{host::MachineHost, machine::ThisMachine, world::RealWorld};

/// Mount of the unified cgroup hierarchy.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

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
        .block_on(serve(arguments))
}

/// The engine with its parts.
fn assemble(arguments: &Arguments, version: &SystemVersion) -> Result<Arc<Engine>> {
    let (root, run) = (&arguments.root, &arguments.exec_root);
    let program = std::env::current_exe().context("find this program")?;
    let images = ImageStore::open(&root.join("images"))?;
    let host: Arc<dyn Host> = match &arguments.host_services {
        Some(address) => Arc::new(MachineHost::new(address)),
        None => Arc::new(NativeHost::new()),
    };
    let networks = Local::open(network::Options::new(
        root.join("network"),
        run.join("network"),
        Arc::clone(&host),
    ))?;
    let shims = LocalShims::start(shim::client::Config {
        run: run.join("shims"),
        cgroup_root: CGROUP_ROOT.into(),
        spawner: (program.clone(), vec!["spawner".into()]),
    })
    .context("start the spawner")?;
    let ports = Ports {
        store: Arc::new(StateDb::open(root)?),
        images: images.clone(),
        rootfs: images,
        registry: Arc::new(RegistryClient::new(&registry::Settings::default())?),
        shims: Arc::new(shims),
        logs: Arc::new(LocalLogs),
        networks,
        volumes: Arc::new(LocalVolumes::open(root.join("volumes")).context("open the volumes")?),
        host,
        machine: Arc::new(ThisMachine::new(CGROUP_ROOT.into())),
        world: Arc::new(RealWorld),
    };
    let settings = Settings {
        cgroup_parent: "docker".to_owned(),
        init: program,
        root: root.clone(),
        version: version.version.clone(),
        kernel: version.kernel_version.clone(),
        id: identity(root)?,
        log_config: docker_api::LogConfig::default(),
    };
    Ok(Engine::new(ports, settings))
}

/// The engine's own id, made once.
fn identity(root: &Path) -> Result<String> {
    let path = root.join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path) {
        return Ok(id);
    }
    let random = engine::ports::world::World::random(&RealWorld);
    let id: String = random[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    std::fs::write(&path, &id).with_context(|| format!("write {}", path.display()))?;
    Ok(id)
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

/// The engine with its containers taken up.
async fn begin(arguments: &Arguments, version: &SystemVersion) -> Result<Arc<Engine>> {
    let engine = assemble(arguments, version)?;
    engine.recover().await.context("take up the containers")?;
    Ok(engine)
}

async fn serve(arguments: &Arguments) -> Result<()> {
    let version = version();
    let api = Api::new(version.clone());
    let api = Arc::new(match begin(arguments, &version).await {
        Ok(engine) => api.with_engine(engine),
        // In a machine the API stays: the host learns from it that the machine is up, and the log says what is wrong.
        Err(error) if arguments.host_services.is_some() => {
            tracing::error!("no containers can be run: {error:#}");
            api
        }
        Err(error) => return Err(error),
    });
    let (stop, stopped) = watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    for address in &arguments.listen {
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
