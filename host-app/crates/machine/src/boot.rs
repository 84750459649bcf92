//! The guest's boot, as it tells it on the ready line.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agent_api::{BootEvent, BootSettings, VERSION, frame};
use anyhow::{Context, bail};
use machine_api::MachineSpec;
use tokio::{net::UnixStream, sync::mpsc};

use crate::{disk::DataDisk, guest::Guest, shares};

/// How long the kernel may take until init speaks. Emulation on a busy machine is slow; a hang takes for ever.
const KERNEL_WITHIN: Duration = Duration::from_secs(120);

/// How long each phase after that may take.
const PHASE_WITHIN: Duration = Duration::from_secs(120);

/// Follows the boot until the engine answers. The line stays open after that, for the guest to see that we live.
pub(crate) async fn follow(
    mut line: mpsc::Receiver<std::os::unix::net::UnixStream>,
    spec: &MachineSpec,
    disk: DataDisk,
    guest: Arc<Guest>,
) -> anyhow::Result<()> {
    let stream = match tokio::time::timeout(KERNEL_WITHIN, line.recv()).await {
        Ok(stream) => stream.context("the vsock device ended")?,
        Err(_) => bail!(
            "the guest did not speak within {} s",
            KERNEL_WITHIN.as_secs()
        ),
    };
    let mut stream = UnixStream::from_std(stream)?;
    match next(&mut stream).await? {
        BootEvent::Listening {
            version: VERSION, ..
        } => {}
        BootEvent::Listening { version, .. } => {
            bail!(
                "the machine's image speaks version {version} and this Berth {VERSION}: build or install both anew"
            )
        }
        other => bail!("the guest's first word is {other:?}"),
    }
    frame::send(&mut stream, &settings(spec, &disk, guest.secret()))
        .await
        .context("send the settings")?;
    guest.is_listening();
    guest.state().enter("init");
    loop {
        match next(&mut stream).await? {
            BootEvent::Listening { .. } => bail!("the guest began to boot twice"),
            BootEvent::Phase { name, .. } => {
                if name == "data_disk" {
                    disk.is_in_use();
                }
                guest.state().enter(&format!("after {name}"));
            }
            BootEvent::EngineReady { .. } => {
                guest.state().running();
                // Held until the guest is gone.
                tokio::spawn(async move {
                    while let Ok(Some(_)) = frame::receive::<BootEvent>(&mut stream).await {}
                });
                return Ok(());
            }
            BootEvent::Failed { phase, message } => bail!("{phase}: {message}"),
        }
    }
}

async fn next(stream: &mut UnixStream) -> anyhow::Result<BootEvent> {
    match tokio::time::timeout(PHASE_WITHIN, frame::receive(stream)).await {
        Ok(event) => event
            .context("hear the guest")?
            .context("the guest ended while it booted"),
        Err(_) => bail!("nothing was heard for {} s", PHASE_WITHIN.as_secs()),
    }
}

fn settings(spec: &MachineSpec, disk: &DataDisk, secret: &str) -> BootSettings {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    BootSettings {
        version: VERSION,
        secret: secret.to_owned(),
        unix_time_ns: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        machine: spec.name.clone(),
        disk_identity: disk.identity.clone(),
        format_blank_disk: disk.format_blank,
        daemon_json: spec.daemon_json.clone(),
        share_tag: Some(shares::TAG.to_owned()),
        name_servers: Vec::new(),
    }
}
