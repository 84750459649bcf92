//! What berth-vmm is: one machine, put together from QEMU, the vsock device, the data disk and the host's services.
//!
//! ```text
//!               ┌──────────────── berth-vmm ────────────────┐
//!  berthd ──────┤ control ── guest (dial) ── vsock ─────────┤── virtqueues ── guest
//!               │             boot (ready line) ─┘          │
//!  host ports ──┤ ports ── host_services                    │
//!               │          shares ──┘                        │
//!               └─ qemu (child, dies with us) ── disk ──────┘
//! ```
//! Each phase of a start has a name, a bound and an error. Once running, the machine needs no berthd.

mod boot;
mod control;
mod disk;
mod guest;
mod host_services;
mod kvm;
mod ports;
mod qemu;
mod shares;
mod state;
mod vsock;

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use disk::DataDisk;
use guest::Guest;
use machine_api::{MachineSpec, READY_LINE, VmmState};
use qemu::{Accelerator, Sockets};
use shares::Sharing;
use state::State;
use tokio::io::AsyncReadExt;

use crate::vsock::Vsock;

/// How long the last word of a failed start is offered to a berthd that has not asked yet.
const LAST_WORD: Duration = Duration::from_secs(10);

/// Most of QEMU's own complaint that goes into an error.
const MAX_COMPLAINT_BYTES: u64 = 4096;

/// Runs the machine of a spec file until it ends.
///
/// # Errors
/// When it cannot even be begun; later failures are states that berthd hears.
pub fn run(spec: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(spec).with_context(|| format!("read {}", spec.display()))?;
    let spec: MachineSpec = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a machine's spec", spec.display()))?;
    // QEMU is bound to the life of the thread that starts it: this one, which stays until the end.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(live(spec))
}

async fn live(spec: MachineSpec) -> anyhow::Result<()> {
    let listener = control::listen(&spec.socket)?;
    let state = Arc::new(State::new());
    let mut out = std::io::stdout();
    writeln!(out, "{READY_LINE}")
        .and_then(|()| out.flush())
        .context("say that we are ready")?;
    let (requests, inbox) = control::channel();
    let sockets = Sockets::in_folder(&spec.run_dir);
    let vsock = Vsock::serve(&sockets.vsock)?;
    let sharing = Arc::new(Sharing::serve(&sockets.shares, &spec)?);
    let guest = Arc::new(Guest::new(vsock, Arc::clone(&state))?);
    tokio::spawn(control::serve(listener, Arc::clone(&guest), requests));
    let end = match machine(&spec, &sockets, &guest, sharing, inbox).await {
        Ok(()) => VmmState::Stopped,
        Err(error) => {
            tracing::error!("{error:#}");
            VmmState::Failed {
                phase: state.phase(),
                message: format!("{error:#}"),
            }
        }
    };
    state.set(end);
    let _ = tokio::time::timeout(LAST_WORD, state.heard()).await;
    let _ = std::fs::remove_file(&spec.socket);
    Ok(())
}

/// Everything from the disk to the end of QEMU.
async fn machine(
    spec: &MachineSpec,
    sockets: &Sockets,
    guest: &Arc<Guest>,
    sharing: Arc<Sharing>,
    mut inbox: control::Inbox,
) -> anyhow::Result<()> {
    let state = guest.state();
    state.enter("disk");
    let disk = DataDisk::ensure(&spec.data_disk, spec.data_disk_bytes)?;
    let accelerator = Accelerator::pick(spec, state).await;
    state.runs_on(accelerator.name());
    state.enter("qemu");
    let boot_line = guest.listen_for_boot();
    let mut qemu = qemu::start(spec, sockets, accelerator)?;
    let pid = qemu.id().context("QEMU ended at once")?;
    state.enter("kernel");
    let boot = boot::follow(boot_line, spec, disk, Arc::clone(guest));
    tokio::spawn(host_services::serve(Arc::clone(guest), sharing));
    let mut boot = std::pin::pin!(boot);
    let mut booting = true;
    let mut failure = None;
    loop {
        tokio::select! {
            ended = qemu.wait() => {
                let status = ended.context("wait for QEMU")?;
                let mut complaint = String::new();
                if let Some(stderr) = qemu.stderr.take() {
                    let _ = stderr.take(MAX_COMPLAINT_BYTES).read_to_string(&mut complaint).await;
                }
                return match failure {
                    Some(error) => Err(error),
                    None if state.is_stopping() => Ok(()),
                    // A panic of the guest's kernel ends QEMU as quietly as power off does.
                    None if status.success() => Err(anyhow::anyhow!(
                        "the guest ended by itself; its console said: {}",
                        console_tail(spec)
                    )),
                    None => Err(qemu::failure(status, complaint.trim(), spec)),
                };
            }
            result = &mut boot, if booting => {
                booting = false;
                if let Err(error) = result {
                    failure = Some(error.context(format!("the machine did not start; its console said: {}", console_tail(spec))));
                    qemu::kill(pid);
                }
            }
            request = inbox.recv() => match request {
                Some(control::Order::Stop(bound)) => {
                    state.set(VmmState::Stopping);
                    tokio::spawn(stop(Arc::clone(guest), bound, pid));
                }
                Some(control::Order::Kill) | None => {
                    state.set(VmmState::Stopping);
                    qemu::kill(pid);
                }
            }
        }
    }
}

/// Asks the guest to power off; pulls the plug when it does not within its bound.
async fn stop(guest: Arc<Guest>, bound: Duration, pid: u32) {
    /// Beyond the guest's own bound: sync, unmount, power off.
    const GRACE: Duration = Duration::from_secs(20);
    if let Err(error) = guest.power_off(bound).await {
        tracing::warn!("the guest does not power off in order: {error:#}");
        qemu::kill(pid);
        return;
    }
    tokio::time::sleep(bound + GRACE).await;
    tracing::warn!("the guest did not power off in time");
    qemu::kill(pid);
}

fn console_tail(spec: &MachineSpec) -> String {
    const TAIL_BYTES: usize = 1500;
    let text = std::fs::read(qemu::console_log(spec)).unwrap_or_default();
    let tail = &text[text.len().saturating_sub(TAIL_BYTES)..];
    let tail = String::from_utf8_lossy(tail).trim().to_owned();
    if tail.is_empty() {
        "nothing".to_owned()
    } else {
        tail
    }
}
