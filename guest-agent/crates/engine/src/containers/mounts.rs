//! A container's mounts: volumes made for it, and everything turned into places on this machine.

use errdefs::{Error, ErrorKind, Result};

use super::{container::Run, record::ContainerRecord};
use crate::{
    Engine,
    ports::volumes::NewVolume,
    spec::{self, MountKind, MountPoint},
};

/// The label of volumes that nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

impl Engine {
    /// The mounts of other containers (`ID[:mode]`).
    pub(super) fn inherited_mounts(&self, sources: &[String]) -> Result<Vec<MountPoint>> {
        let mut inherited: Vec<MountPoint> = Vec::new();
        for source in sources {
            let (reference, writable) = spec::volumes_from(source)?;
            let container = self
                .containers
                .find(reference)
                .map_err(|error| invalid(error.message()))?;
            for mount in &container.record().mounts {
                if mount.kind == MountKind::Tmpfs {
                    continue;
                }
                let mut mount = mount.clone();
                mount.read_write &= writable;
                // It has its content.
                mount.copy_up = false;
                inherited.retain(|other| other.destination != mount.destination);
                inherited.push(mount);
            }
        }
        Ok(inherited)
    }

    /// Makes a mount's volume unless it is there, and fills in what the mount did not know of it.
    pub(super) async fn ensure_volume(
        &self,
        mount: &mut MountPoint,
        new: &mut Vec<String>,
    ) -> Result<()> {
        let mut labels = mount.volume_labels.clone();
        if mount.name.is_empty() {
            mount.name = hex(self.ports.world.random());
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        let (volume, is_new) = self
            .ports
            .volumes
            .ensure(NewVolume {
                name: mount.name.clone(),
                driver: mount.driver.clone(),
                labels,
                options: mount.volume_options.clone(),
                created: self.ports.world.now(),
            })
            .await?;
        mount.driver = volume.driver;
        mount.source = volume.mountpoint.to_string_lossy().into_owned();
        if is_new {
            new.push(mount.name.clone());
            self.tell(
                "volume",
                "create",
                &mount.name,
                &[("driver", &mount.driver)],
            );
        }
        Ok(())
    }

    /// The mounts with their places on this machine. What was mounted for it is told to `run` as it happens.
    pub(super) async fn resolve_mounts(
        &self,
        record: &ContainerRecord,
        run: &mut Run,
    ) -> Result<Vec<MountPoint>> {
        let mut resolved = record.mounts.clone();
        for mount in &mut resolved {
            let place = match mount.kind {
                MountKind::Tmpfs => continue,
                MountKind::Bind => {
                    self.ports
                        .host
                        .grant(&mount.source, !mount.read_write, mount.create_source)
                        .await?
                }
                MountKind::Volume => {
                    let place = self.ports.volumes.mount(&mount.name).await?;
                    run.volumes.push(mount.name.clone());
                    let read_write = if mount.read_write { "true" } else { "false" };
                    self.tell(
                        "volume",
                        "mount",
                        &mount.name,
                        &[
                            ("driver", &mount.driver),
                            ("container", record.id.as_str()),
                            ("destination", &mount.destination),
                            ("read/write", read_write),
                            ("propagation", &mount.propagation),
                        ],
                    );
                    place
                }
            };
            if !mount.subpath.is_empty() {
                // Told now in Docker's words; what is mounted is looked up by whoever mounts it.
                let volumes = &self.ports.volumes;
                volumes.open_inside(&place, &mount.subpath).await?;
            }
            mount.source = place.to_string_lossy().into_owned();
        }
        Ok(resolved)
    }

    /// Undoes what [`Engine::resolve_mounts`] did.
    pub(super) async fn release_mounts(&self, record: &ContainerRecord, run: &mut Run) {
        for volume in run.volumes.drain(..) {
            if let Err(error) = self.ports.volumes.unmount(&volume).await {
                tracing::warn!(volume, %error, "unmount a volume");
            }
            self.tell(
                "volume",
                "unmount",
                &volume,
                &[("container", record.id.as_str()), ("driver", "local")],
            );
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}

/// 64 hex digits.
pub(crate) fn hex(bytes: [u8; 32]) -> String {
    crate::id::ContainerId::from_random(bytes).to_string()
}
