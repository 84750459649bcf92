//! Machines: each is a berth-vmm process that outlives the daemon.
//!
//! ```text
//!            start                    engine answers              stop
//!  Stopped ─────────► Starting ─────────────────────► Running ─────────► Stopping ──► Stopped
//!     ▲                   │ a phase fails                │ berth-vmm is gone
//!     └──── start ── Failed ◄────────────────────────────┘
//! ```
//! The lock file decides between Stopped and the rest: berth-vmm and QEMU inherit its descriptor, so it is free only when the data disk is.

mod launch;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use agent_api::Service;
use anyhow::{Context, bail};
use control_api::MachineStatus;
use machine_api::{VmmReply, VmmRequest, VmmState, VmmStatus};
use tokio::{net::UnixStream, sync::Mutex};

use crate::{
    docker_socket,
    home::{self, Home, MachineHome},
    lock::Lock,
    settings::{HostFacts, MachineSettings, RawSettings},
    wire,
};

/// How long a machine may take to power off in order before its plug is pulled, in seconds.
const STOP_SECONDS: u64 = 60;

/// How long a machine's processes may take to be gone: an orderly stop with all its bounds, and some more.
const END_WITHIN: std::time::Duration = std::time::Duration::from_secs(STOP_SECONDS + 40);

/// What the daemon knows of a machine.
#[derive(Debug, Clone)]
pub(crate) enum Observed {
    /// No process.
    Stopped,
    /// berth-vmm's own word.
    Live(VmmStatus),
    /// It ended badly, or never began.
    Failed(String),
}

/// One machine.
pub(crate) struct Machine {
    name: String,
    home: MachineHome,
    settings_file: std::path::PathBuf,
    /// Start and stop exclude each other.
    operation: Mutex<()>,
    observed: tokio::sync::watch::Sender<Observed>,
    docker: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// A wish for a machine to run; whoever has it may give it up.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// A machine was launched for it, and takes requests.
    launched: AtomicBool,
    given_up: AtomicBool,
}

/// All machines of a home.
pub(crate) struct Machines {
    home: Home,
    known: std::sync::Mutex<BTreeMap<String, Arc<Machine>>>,
}

impl Machines {
    pub(crate) fn open(home: Home) -> Self {
        Self {
            home,
            known: std::sync::Mutex::default(),
        }
    }

    /// A machine by name, whether it was made or not.
    pub(crate) fn get(&self, name: &str) -> anyhow::Result<Arc<Machine>> {
        home::check_machine_name(name)?;
        let mut known = self.known.lock().expect("no holder panics");
        let machine = known.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Machine {
                name: name.to_owned(),
                home: self.home.machine(name),
                settings_file: self.home.settings(),
                operation: Mutex::new(()),
                observed: tokio::sync::watch::Sender::new(Observed::Stopped),
                docker: std::sync::Mutex::default(),
            })
        });
        Ok(Arc::clone(machine))
    }

    /// Machines that were made, in the order of their names.
    pub(crate) fn list(&self) -> Vec<Arc<Machine>> {
        self.home
            .machines()
            .iter()
            .filter_map(|name| self.get(name).ok())
            .collect()
    }

    /// Whether a machine process is known to live.
    pub(crate) fn any_live(&self) -> bool {
        let known = self.known.lock().expect("no holder panics");
        known
            .values()
            .any(|machine| matches!(*machine.observed.borrow(), Observed::Live(_)))
    }

    /// Finds the machines that outlived the last daemon.
    pub(crate) async fn attach_running(&self) {
        for machine in self.list() {
            let result = machine.attach_if_running().await;
            if let Err(error) = result {
                tracing::error!(machine = machine.name, "attach: {error:#}");
            }
        }
    }
}

impl Machine {
    /// Serves the Docker socket and watches berth-vmm if it lives. True: it does.
    async fn attach_if_running(self: &Arc<Self>) -> anyhow::Result<bool> {
        if let Some(_free) = Lock::try_take(&self.home.lock())? {
            return Ok(false);
        }
        let live = matches!(*self.observed.borrow(), Observed::Live(_));
        let watched = if live {
            watch::check(self).await
        } else {
            watch::begin(self).await
        };
        match watched {
            Ok(()) => {}
            // berth-vmm is gone and QEMU, which holds the lock too, is about to be.
            Err(watch::WatchError::Gone(_)) => {
                self.until_the_end_is_heard().await;
                self.wait_for_the_end().await?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        self.serve_docker()?;
        Ok(true)
    }

    /// Waits until whoever watched berth-vmm has said what became of it, so that it is not said of the next one.
    async fn until_the_end_is_heard(&self) {
        let mut changes = self.observed.subscribe();
        let heard = changes.wait_for(|observed| !matches!(observed, Observed::Live(_)));
        if tokio::time::timeout(END_WITHIN, heard).await.is_err() {
            tracing::error!(machine = self.name, "the end of its process is not heard");
        }
    }

    /// Waits until nothing uses the data disk any more.
    async fn wait_for_the_end(&self) -> anyhow::Result<()> {
        let lock = self.home.lock();
        let free = tokio::task::spawn_blocking(move || Lock::take(&lock).map(drop));
        match tokio::time::timeout(END_WITHIN, free).await {
            Ok(free) => free?,
            Err(_) => bail!(
                "machine {} has no machine process but something still uses its data disk: end the QEMU process whose command line names {}",
                self.name,
                self.home.data_disk().display()
            ),
        }
    }

    fn serve_docker(self: &Arc<Self>) -> anyhow::Result<()> {
        let mut task = self.docker.lock().expect("no holder panics");
        if task.is_none() {
            let listener = wire::listen(&self.home.docker_socket())?;
            *task = Some(tokio::spawn(docker_socket::serve(
                listener,
                Arc::clone(self),
            )));
        }
        Ok(())
    }

    /// Starts it unless it runs; `progress` hears each phase as it begins.
    pub(crate) async fn start(
        self: &Arc<Self>,
        wish: &Wish,
        mut progress: impl FnMut(&str),
    ) -> anyhow::Result<()> {
        let _one = self.operation.lock().await;
        self.home.ensure()?;
        if !self.attach_if_running().await? {
            let settings = self.settings()?;
            progress("process");
            self.serve_docker()?;
            if wish.given_up.load(Ordering::SeqCst) {
                bail!("the start of machine {} was given up", self.name);
            }
            if let Err(error) = launch::launch(&self.home, &self.name, &settings).await {
                self.observed
                    .send_replace(Observed::Failed(format!("{error:#}")));
                return Err(error);
            }
            watch::begin(self).await?;
            wish.launched.store(true, Ordering::SeqCst);
            if wish.given_up.load(Ordering::SeqCst) {
                self.ask(&VmmRequest::Kill).await?;
            }
            if settings.docker_context && self.name == control_api::DEFAULT_MACHINE {
                launch::docker_context(&self.home.docker_socket());
            }
            let ran = self.wait_running(progress).await;
            if ran.is_err() && wish.given_up.load(Ordering::SeqCst) {
                self.until_the_end_is_heard().await;
                self.wait_for_the_end().await?;
            }
            return ran;
        }
        // Somebody else's start, perhaps, which is not ours to give up.
        self.wait_running(progress).await
    }

    /// Cuts the power of a machine that was launched for this wish, now or as soon as it is; one that was there before goes on.
    pub(crate) async fn give_up(&self, wish: &Wish) {
        wish.given_up.store(true, Ordering::SeqCst);
        if !wish.launched.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.ask(&VmmRequest::Kill).await {
            tracing::debug!(machine = self.name, "give a start up: {error:#}");
        }
    }

    async fn wait_running(&self, mut progress: impl FnMut(&str)) -> anyhow::Result<()> {
        let mut changes = self.observed.subscribe();
        let mut last = String::new();
        loop {
            match &*changes.borrow_and_update() {
                Observed::Live(VmmStatus {
                    state: VmmState::Running,
                    ..
                }) => return Ok(()),
                Observed::Live(VmmStatus {
                    state: VmmState::Starting { phase },
                    ..
                }) => {
                    if *phase != last {
                        progress(phase);
                        last.clone_from(phase);
                    }
                }
                Observed::Live(VmmStatus {
                    state: VmmState::Failed { phase, message },
                    ..
                }) => {
                    bail!("machine {} failed in phase {phase}: {message}", self.name)
                }
                Observed::Live(_) | Observed::Stopped => {
                    bail!("machine {} was stopped while it started", self.name)
                }
                Observed::Failed(reason) => bail!("machine {}: {reason}", self.name),
            }
            changes
                .changed()
                .await
                .context("the machine's state is not watched any more")?;
        }
    }

    /// Stops it; returns when nothing uses the data disk any more. No error when it does not run.
    pub(crate) async fn stop(
        self: &Arc<Self>,
        force: bool,
        mut progress: impl FnMut(&str),
    ) -> anyhow::Result<()> {
        let _one = self.operation.lock().await;
        if !self.home.folder().exists() {
            return Ok(());
        }
        if self.attach_if_running().await? {
            progress(if force {
                "power cut"
            } else {
                "containers and disk"
            });
            let request = if force {
                VmmRequest::Kill
            } else {
                VmmRequest::Stop {
                    timeout_seconds: STOP_SECONDS,
                }
            };
            self.ask(&request)
                .await
                .with_context(|| format!("stop machine {}", self.name))?;
            self.wait_for_the_end().await?;
        }
        self.observed.send_replace(Observed::Stopped);
        Ok(())
    }

    /// One request to berth-vmm; the connection carries what the reply promises.
    async fn ask(&self, request: &VmmRequest) -> anyhow::Result<UnixStream> {
        let socket = self.home.socket();
        let mut stream = UnixStream::connect(&socket)
            .await
            .with_context(|| format!("connect to {}", socket.display()))?;
        wire::write_frame(&mut stream, request).await?;
        match wire::read_frame(&mut stream).await? {
            Some(VmmReply::Done) => Ok(stream),
            Some(VmmReply::Failed { message }) => bail!("{message}"),
            None => bail!("the machine process closed the connection"),
        }
    }

    /// A stream to a service in the guest; waits while it boots.
    pub(crate) async fn dial(&self, service: Service) -> anyhow::Result<UnixStream> {
        match &*self.observed.borrow() {
            Observed::Live(VmmStatus {
                state: VmmState::Starting { .. } | VmmState::Running,
                ..
            }) => {}
            Observed::Live(VmmStatus {
                state: VmmState::Stopping,
                ..
            }) => {
                bail!("machine {} is stopping", self.name)
            }
            _ => bail!(
                "machine {0} is not running: start it with `berth start`",
                self.name
            ),
        }
        self.ask(&VmmRequest::Dial { service }).await
    }

    /// berth-vmm's own log and the console's, for a machine that is not there to be asked.
    pub(crate) fn log_files(&self) -> [std::path::PathBuf; 2] {
        [self.home.vmm_log(), self.home.run_dir().join("console.log")]
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(
            &*self.observed.borrow(),
            Observed::Live(VmmStatus {
                state: VmmState::Running,
                ..
            })
        )
    }

    pub(crate) fn settings(&self) -> anyhow::Result<MachineSettings> {
        RawSettings::load(&self.settings_file)?.resolve(&self.name, &HostFacts::read())
    }

    /// How it stands, for people and scripts.
    pub(crate) fn status(&self) -> MachineStatus {
        let observed = self.observed.borrow().clone();
        let settings = self.settings().ok();
        let disk = std::fs::metadata(self.home.data_disk()).ok();
        let disk_bytes = disk.map_or((0, 0), |disk| {
            use std::os::unix::fs::MetadataExt;
            (disk.blocks() * 512, disk.len())
        });
        let (state, reason) = describe(&observed);
        let live = match observed {
            Observed::Live(status) => Some(status),
            Observed::Stopped | Observed::Failed(_) => None,
        };
        MachineStatus {
            name: self.name.clone(),
            state: state.to_owned(),
            reason,
            backend: live.as_ref().map(|vmm| vmm.backend.clone()),
            docker_socket: live
                .as_ref()
                .map(|_| format!("unix://{}", self.home.docker_socket().display())),
            cpus: settings.as_ref().map_or(0, |settings| settings.cpus),
            memory_mib: settings.as_ref().map_or(0, |settings| settings.memory_mib),
            disk_bytes,
            pid: live.as_ref().map(|vmm| vmm.pid),
            timeline: live
                .as_ref()
                .map(|vmm| vmm.timeline.clone())
                .unwrap_or_default(),
            ports: live
                .as_ref()
                .map(|vmm| vmm.ports.clone())
                .unwrap_or_default(),
            grants: live.map(|vmm| vmm.grants).unwrap_or_default(),
        }
    }
}

fn describe(observed: &Observed) -> (&'static str, Option<String>) {
    match observed {
        Observed::Stopped => ("stopped", None),
        Observed::Failed(reason) => ("failed", Some(reason.clone())),
        Observed::Live(status) => match &status.state {
            VmmState::Starting { phase } => ("starting", Some(phase.clone())),
            VmmState::Running => ("running", None),
            VmmState::Stopping => ("stopping", None),
            VmmState::Stopped => ("stopped", None),
            VmmState::Failed { phase, message } => ("failed", Some(format!("{phase}: {message}"))),
        },
    }
}
