//! The engine's face: the parts of the engine put together and served.
//!
//! Runs in the machine as init's child, or on any Linux as root:
//! `berth-agent engine --root DIR --exec-root DIR --listen unix:///PATH`.
//!
//! Every room that serves a port of the engine is opened here, and only here.

mod config;
mod host;
mod listen;
mod log;
mod machine;
mod world;

use std::{
    fs::{File, OpenOptions},
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
use observer::LocalObserver;
use registry::RegistryClient;
use rustix::{
    fs::{FlockOperation, flock},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use shim::{client::LocalShims, log::reader::LocalLogs};
use state_db::StateDb;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use volumes::LocalVolumes;

use self::{
    config::Config,
    host::MachineHost,
    listen::{Listener, Tls, TlsSettings},
    machine::ThisMachine,
    world::RealWorld,
};

/// Where the machine reaches the host's loopback: the gateway of its user-mode network.
const HOST_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 2, 2);

/// Mount of the unified cgroup hierarchy.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Berth's container engine, serving the Docker Engine API.
#[derive(Debug, Parser)]
#[command(name = "berth-agent engine", version)]
struct Arguments {
    /// Folder of everything that must survive [default: /var/lib/berth/engine].
    #[arg(long, alias = "data-root")]
    root: Option<PathBuf>,
    /// Folder of sockets and what a restart of the machine may lose [default: /run/berth].
    #[arg(long)]
    exec_root: Option<PathBuf>,
    /// Where to listen, `unix:///PATH` or `tcp://HOST:PORT`; may be given several times [default: unix:///run/docker.sock].
    #[arg(long, short = 'H', alias = "host")]
    listen: Vec<String>,
    /// TLS on tcp; implied by --tlsverify.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls: Option<bool>,
    /// TLS on tcp, and clients have to prove who they are.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tlsverify: Option<bool>,
    /// Trust certificates signed only by this authority [default: ~/.docker/ca.pem].
    #[arg(long)]
    tlscacert: Option<String>,
    /// The engine's certificate [default: ~/.docker/cert.pem].
    #[arg(long)]
    tlscert: Option<String>,
    /// The engine's key [default: ~/.docker/key.pem].
    #[arg(long)]
    tlskey: Option<String>,
    /// Settings with Docker's keys (`daemon.json`).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Socket where the host's services are asked for; none: this is the host.
    #[arg(long)]
    host_services: Option<String>,
    /// virtio-fs tag of the host's shared folders, which init has mounted at /run/berth/shares.
    #[arg(long)]
    share_tag: Option<String>,
}

/// Where things are kept.
struct Places {
    root: PathBuf,
    run: PathBuf,
}

impl Places {
    fn of(arguments: &Arguments, config: &Config) -> Self {
        let pick = |flag: &Option<PathBuf>, file: &Option<String>, default: &str| {
            flag.clone()
                .or_else(|| file.as_ref().map(PathBuf::from))
                .unwrap_or_else(|| default.into())
        };
        Self {
            root: pick(&arguments.root, &config.data_root, "/var/lib/berth/engine"),
            run: pick(&arguments.exec_root, &config.exec_root, "/run/berth"),
        }
    }
}

impl Arguments {
    /// Settings that were given as flags, by the keys they have in a file.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string());
        let hosts = (!self.listen.is_empty()).then(|| format!("[{}]", self.listen.join(" ")));
        [
            ("data-root", path(&self.root)),
            ("exec-root", path(&self.exec_root)),
            ("hosts", hosts),
            ("tls", flag(self.tls)),
            ("tlsverify", flag(self.tlsverify)),
            ("tlscacert", self.tlscacert.clone()),
            ("tlscert", self.tlscert.clone()),
            ("tlskey", self.tlskey.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    fn addresses(&self, config: &Config) -> Vec<String> {
        match (self.listen.as_slice(), config.hosts.as_slice()) {
            ([], []) => vec!["unix:///run/docker.sock".to_owned()],
            ([], hosts) => hosts.to_vec(),
            (listen, _) => listen.to_vec(),
        }
    }

    fn tls(&self, config: &Config) -> Result<Tls> {
        let home = std::env::var("HOME").unwrap_or_default();
        let pick = |flag: &Option<String>, file: &str, name: &str| match (flag, file) {
            (Some(path), _) => path.clone(),
            (None, "") => format!("{home}/.docker/{name}"),
            (None, path) => path.to_owned(),
        };
        Tls::new(&TlsSettings {
            tls: self.tls.or(config.tls),
            verify: self.tlsverify.or(config.tlsverify),
            authorities: &pick(&self.tlscacert, &config.tlscacert, "ca.pem"),
            certificate: &pick(&self.tlscert, &config.tlscert, "cert.pem"),
            key: &pick(&self.tlskey, &config.tlskey, "key.pem"),
        })
    }
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
    let config = config::load(arguments.config.as_deref(), &arguments.flags())?;
    let level = log::begin(config.level().unwrap_or(tracing::Level::INFO));
    let places = Places::of(arguments, &config);
    if let (Some(services), tag) = (&arguments.host_services, &arguments.share_tag) {
        tracing::debug!(services, ?tag, "in a machine");
    }
    let _lock = lock(&places.root)?;
    std::fs::create_dir_all(&places.run)
        .with_context(|| format!("make folder {}", places.run.display()))?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(serve(arguments, &config, &places, level))
}

/// The engine with its parts.
fn assemble(
    arguments: &Arguments,
    config: &Config,
    places: &Places,
    version: &SystemVersion,
) -> Result<Arc<Engine>> {
    let Places { root, run } = places;
    let defaults = config.defaults()?;
    let reloadable = config.reloadable();
    let program = std::env::current_exe().context("find this program")?;
    let images = ImageStore::open(&root.join("images"))?;
    let host: Arc<dyn Host> = match &arguments.host_services {
        Some(address) => Arc::new(MachineHost::new(address)),
        None => Arc::new(NativeHost::new()),
    };
    let in_machine = arguments.host_services.is_some();
    let host_address = in_machine.then_some(HOST_ADDRESS.into());
    let mut options =
        network::Options::new(root.join("network"), run.join("network"), Arc::clone(&host));
    if !config.bip.is_empty() {
        let subnet = config.bip.parse();
        options.subnet = Some(subnet.with_context(|| format!("invalid bip {:?}", config.bip))?);
    }
    let networks = Local::open(options)?;
    let shims = LocalShims::start(shim::client::Config {
        run: run.join("shims"),
        cgroup_root: CGROUP_ROOT.into(),
        spawner: (program.clone(), vec!["spawner".into()]),
    })
    .context("start the spawner")?;
    // After the spawner: containers keep the limits that the engine was started with.
    raise_own_limit();
    let ports = Ports {
        store: Arc::new(StateDb::open(root)?),
        images: images.clone(),
        rootfs: images.clone(),
        files: images.clone(),
        commits: images,
        registry: Arc::new(RegistryClient::new(&registry::Settings {
            host_loopback: host_address,
            insecure_registries: reloadable.insecure_registries.clone(),
            ..registry::Settings::default()
        })?),
        shims: Arc::new(shims),
        logs: Arc::new(LocalLogs),
        observer: Arc::new(LocalObserver::new(CGROUP_ROOT.into())),
        networks,
        volumes: Arc::new(LocalVolumes::open(root.join("volumes")).context("open the volumes")?),
        host,
        machine: Arc::new(ThisMachine::new(CGROUP_ROOT.into())),
        world: Arc::new(RealWorld),
    };
    let settings = Settings {
        cgroup_parent: match config.cgroup_parent.as_str() {
            "" => "docker".to_owned(),
            parent => parent.to_owned(),
        },
        init: program,
        root: root.clone(),
        version: version.version.clone(),
        kernel: version.kernel_version.clone(),
        id: identity(root)?,
        host_gateway: host_address,
        defaults,
        reloadable,
        experimental: config.experimental,
    };
    Ok(Engine::new(ports, settings))
}

/// Every client and follower is a descriptor of ours.
fn raise_own_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the bound on open files stays low");
    }
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
async fn begin(
    arguments: &Arguments,
    config: &Config,
    places: &Places,
    version: &SystemVersion,
) -> Result<Arc<Engine>> {
    let engine = assemble(arguments, config, places, version)?;
    engine.recover().await.context("take up the containers")?;
    Ok(engine)
}

async fn serve(
    arguments: &Arguments,
    config: &Config,
    places: &Places,
    level: log::Level,
) -> Result<()> {
    let version = version();
    let engine = begin(arguments, config, places, &version).await?;
    let api = Arc::new(Api::new(version).with_engine(Arc::clone(&engine)));
    let (stop, stopped) = watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    let tls = arguments.tls(config)?;
    for address in arguments.addresses(config) {
        let (listener, mut stopped) = (Listener::open(&address, &tls).await?, stopped.clone());
        let shutdown = async move {
            // The sender lives until the end of this function.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        servers.spawn(api_server::serve(Arc::clone(&api), listener, shutdown));
    }
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = hang_up.recv() => reload(arguments, &engine, &level),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("listen for SIGINT")?;
                break;
            }
        }
    }
    // Natively containers go on without us; a machine's end is theirs, and they are asked first.
    if arguments.host_services.is_some() {
        engine.power_down().await;
    }
    stop.send_replace(true);
    while servers.join_next().await.is_some() {}
    Ok(())
}

/// Reads the settings again; what is wrong with them changes nothing.
fn reload(arguments: &Arguments, engine: &Engine, level: &log::Level) {
    tracing::info!("got signal to reload the configuration");
    match config::load(arguments.config.as_deref(), &arguments.flags()) {
        Ok(config) => {
            level.set(config.level().unwrap_or(tracing::Level::INFO));
            let new = config.reloadable();
            if new.insecure_registries != engine.reloadable().insecure_registries {
                tracing::warn!("insecure-registries has its effect when the engine starts again");
            }
            engine.reload(new);
        }
        Err(error) => tracing::error!("reload the configuration: {error:#}"),
    }
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
        ("ApiVersion", api_server::version::OFFERED.to_string()),
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
