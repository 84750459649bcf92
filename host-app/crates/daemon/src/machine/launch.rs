//! Starting a berth-vmm that outlives us.

use std::{
    os::{
        fd::{AsFd, AsRawFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use machine_api::{MachineSpec, READY_LINE};
use rustix::io::{FdFlags, fcntl_setfd};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    assets::{self, Assets},
    context,
    home::MachineHome,
    lock::Lock,
    settings::MachineSettings,
};

/// How long berth-vmm may take until its socket listens.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How much of berth-vmm's log goes into an error.
const LOG_TAIL_BYTES: usize = 2000;

/// Starts berth-vmm and waits until it takes connections.
pub(super) async fn launch(
    home: &MachineHome,
    name: &str,
    settings: &MachineSettings,
) -> anyhow::Result<()> {
    let Some(lock) = Lock::try_take(&home.lock())? else {
        bail!("machine {name} is in use: its process has not ended yet; try again");
    };
    let spec = spec(home, name, settings)?;
    let text = serde_json::to_string_pretty(&spec).context("write the machine's spec")?;
    std::fs::write(home.spec(), text)
        .with_context(|| format!("write {}", home.spec().display()))?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(home.vmm_log())
        .with_context(|| format!("open {}", home.vmm_log().display()))?;
    // Inherited on purpose: the lock is free only when berth-vmm and QEMU are gone.
    let inherited = lock
        .as_fd()
        .try_clone_to_owned()
        .context("copy the machine's lock")?;
    fcntl_setfd(&inherited, FdFlags::empty()).context("let the machine's lock be inherited")?;
    let program = assets::sibling("berth-vmm")?;
    let mut command = std::process::Command::new(&program);
    command
        .arg(home.spec())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Its own group: Ctrl-C in berthd's terminal is not meant for it.
        .process_group(0);
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    tracing::info!(
        machine = name,
        pid = child.id(),
        lock = inherited.as_raw_fd(),
        "started berth-vmm"
    );
    drop(inherited);
    let stdout = child
        .stdout
        .take()
        .context("berth-vmm has no standard output")?;
    let mut line = String::new();
    let mut stdout = BufReader::new(stdout);
    let read = tokio::time::timeout(READY_WITHIN, stdout.read_line(&mut line)).await;
    let ready = matches!(&read, Ok(Ok(_))) && line.trim_end() == READY_LINE;
    if !ready {
        let _ = child.start_kill();
    }
    // Reaped whenever it ends; it may outlive us.
    let ended = tokio::spawn(async move { child.wait().await });
    if ready {
        return Ok(());
    }
    let status = ended
        .await
        .ok()
        .and_then(Result::ok)
        .map(|s| s.to_string())
        .unwrap_or_default();
    bail!(
        "the machine process did not start ({status}): {}",
        log_tail(&home.vmm_log())
    )
}

/// Makes the docker context; a failure is no reason not to start.
pub(super) fn docker_context(socket: &Path) {
    let Some(folder) = context::docker_folder() else {
        return;
    };
    let free = std::env::var_os("DOCKER_HOST").is_none()
        && std::env::var_os("DOCKER_CONTEXT").is_none()
        && !Path::new("/var/run/docker.sock").exists();
    if let Err(error) = context::ensure(&folder, socket, free) {
        tracing::warn!("docker context: {error:#}");
    }
}

fn spec(home: &MachineHome, name: &str, settings: &MachineSettings) -> anyhow::Result<MachineSpec> {
    let assets = Assets::find()?;
    let mut share_denied = settings.share_denied.clone();
    // A guest that writes settings or sockets of ours is a guest no more. Who names the folder wants it all the same.
    if !settings.share_roots.iter().any(|root| root == home.home()) {
        share_denied.push(home.home().to_owned());
    }
    Ok(MachineSpec {
        name: name.to_owned(),
        socket: home.socket(),
        run_dir: home.run_dir(),
        cpus: settings.cpus,
        memory_mib: settings.memory_mib,
        kernel: assets.kernel,
        initrd: assets.initrd,
        system_image: assets.system_image,
        data_disk: home.data_disk(),
        data_disk_bytes: settings.disk_bytes,
        share_roots: settings.share_roots.clone(),
        share_denied,
        daemon_json: settings.daemon_json.clone(),
        backend: settings.backend,
    })
}

fn log_tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let tail = &text[text.len().saturating_sub(LOG_TAIL_BYTES)..];
    String::from_utf8_lossy(tail).trim().to_owned()
}
