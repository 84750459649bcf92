//! Makes a container.

use std::{os::fd::AsRawFd, path::PathBuf, sync::Arc};

use docker_api::{ContainerCreateRequest, EndpointSettings};
use errdefs::{Error, ErrorKind, Result};

use super::{container::Container, merge, name, record::ContainerRecord, state::State};
use crate::{
    Engine,
    id::ContainerId,
    images, logging,
    ports::rootfs::PickedImage,
    spec::{self, MountKind, MountPoint, ReadOnlyRecursive},
};

/// Attempts at making up a name that nobody has.
const NAME_ATTEMPTS: u32 = 32;

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What could not be honoured.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Makes a container; it does not run yet. `read_only` is how read-only binds treat mounts below them when they do not say it themselves.
    /// Docker API: POST /containers/create. Durable when it returns.
    ///
    /// # Errors
    /// In Docker's words: `InvalidParameter` for settings, `NotFound` for the image, `Conflict` for the name. Nothing is left behind.
    pub async fn create_container(
        self: &Arc<Self>,
        name: Option<String>,
        platform: Option<String>,
        request: ContainerCreateRequest,
        read_only: ReadOnlyRecursive,
    ) -> Result<Created> {
        let engine = Arc::clone(self);
        self.to_the_end(async move {
            engine
                .create(name.as_deref(), platform.as_deref(), request, read_only)
                .await
        })
        .await
    }

    async fn create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        request: ContainerCreateRequest,
        read_only: ReadOnlyRecursive,
    ) -> Result<Created> {
        let ContainerCreateRequest {
            config,
            mut host_config,
            networking_config,
        } = request;
        let mut config = config.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidParameter,
                "config cannot be empty in order to create a container",
            )
        })?;
        let name = name
            .filter(|name| !name.is_empty())
            .map(name::check)
            .transpose()?;
        if matches!(host_config.network_mode.as_str(), "" | "default") {
            host_config.network_mode = "bridge".to_owned();
        }
        let defaults = &self.settings.defaults;
        defaults.at_create(&mut host_config);
        logging::merge_and_check(&mut host_config.log_config, &defaults.log_config)?;
        let mut warnings = spec::validate(&mut config, &mut host_config, &*self.ports.machine)?;
        self.settle_joined(&mut host_config)?;
        let _images = self.images_in_use.read().await;
        let image = match config.image.as_str() {
            "" => None,
            image => Some(self.ports.rootfs.pick(image, platform).await?),
        };
        if let Some(image) = &image {
            merge::merge(&mut config, &image.config);
        }
        merge::settle_command(&mut config)?;
        merge::fill_in(&mut config);
        let id = ContainerId::from_random(self.ports.world.random());
        if config.hostname.is_empty() {
            config.hostname =
                if host_config.network_mode == "host" || host_config.uts_mode == "host" {
                    self.ports.world.host_name()
                } else {
                    id.short().to_owned()
                };
        }
        let inherited =
            self.inherited_mounts(host_config.volumes_from.as_deref().unwrap_or_default())?;
        let mut mounts = spec::mount_points(&config, &host_config, inherited)?;
        spec::keep_root_free(&mut mounts, &self.settings.root.to_string_lossy())?;
        for mount in &mut mounts {
            if mount.kind == MountKind::Bind
                && !mount.read_write
                && mount.read_only_recursive == ReadOnlyRecursive::Enabled
            {
                mount.read_only_recursive = read_only;
            }
        }
        let mut networks = networks_of(
            &host_config.network_mode,
            networking_config.endpoints_config.unwrap_or_default(),
        );
        let address = std::mem::take(&mut config.mac_address);
        warnings.extend(own_mac_address(
            &mut networks,
            &host_config.network_mode,
            address,
        )?);
        let links = self.new_links(&host_config)?;
        let record = ContainerRecord {
            name: self.take_name(name, &id)?,
            created: self.ports.world.now(),
            config,
            host: host_config,
            networks,
            image: image.as_ref().map(|image| image.id.clone()),
            image_manifest: image
                .as_ref()
                .map(|image| images::of_platform(&image.manifest, &image.config)),
            image_name: image.as_ref().and_then(|image| image.name.clone()),
            links,
            mounts,
            id: id.clone(),
        };
        let name = record.name.clone();
        let _volumes = self.volumes_in_use.read().await;
        match self.make(record, image.as_ref()).await {
            Ok(container) => {
                self.tell_container(&container, "create", &[]);
                Ok(Created { id, warnings })
            }
            Err(error) => {
                self.containers.release(&name, &id);
                Err(error)
            }
        }
    }

    fn take_name(&self, name: Option<&str>, id: &ContainerId) -> Result<String> {
        if let Some(name) = name {
            self.containers.reserve(name, id)?;
            return Ok(name.to_owned());
        }
        let made_up = (0..NAME_ATTEMPTS)
            .map(|attempt| name::make_up(self.ports.world.random(), attempt))
            .find(|name| self.containers.reserve(name, id).is_ok());
        match made_up {
            Some(name) => Ok(name),
            None => {
                self.containers.reserve(id.short(), id)?;
                Ok(id.short().to_owned())
            }
        }
    }

    /// Everything on disk, or nothing.
    async fn make(
        &self,
        mut record: ContainerRecord,
        image: Option<&PickedImage>,
    ) -> Result<Arc<Container>> {
        let mut new_volumes = Vec::new();
        let made = self
            .make_on_disk(&mut record, image, &mut new_volumes)
            .await;
        if let Err(error) = made {
            for undone in [
                self.ports.store.remove(&record.id).await,
                self.ports.rootfs.remove(&record.id).await,
            ] {
                if let Err(error) = undone {
                    tracing::warn!(id = record.id.as_str(), %error, "undo a failed creation");
                }
            }
            for volume in new_volumes {
                if let Err(error) = self.ports.volumes.remove(&volume).await {
                    tracing::warn!(volume, %error, "remove a volume of a failed creation");
                }
            }
            return Err(error);
        }
        let container = Container::new(record, State::default());
        self.containers.insert(Arc::clone(&container));
        Ok(container)
    }

    async fn make_on_disk(
        &self,
        record: &mut ContainerRecord,
        image: Option<&PickedImage>,
        new_volumes: &mut Vec<String>,
    ) -> Result<()> {
        for mount in &record.mounts {
            if mount.kind == MountKind::Bind && !mount.create_source {
                // Refused now, before there is a container.
                self.ports
                    .host
                    .grant(&mount.source, !mount.read_write, false)
                    .await?;
            }
        }
        for mount in &mut record.mounts {
            if mount.kind == MountKind::Volume {
                self.ensure_volume(mount, new_volumes).await?;
            }
        }
        let Some(image) = image else {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "no image was named: a container needs one",
            ));
        };
        // Two durable writes at a time; what only one of them left is swept when the engine starts.
        let (layer, kept) = futures_util::join!(
            self.ports.rootfs.create(&record.id, image),
            self.ports.store.put(record),
        );
        layer.and(kept)?;
        for mount in record
            .mounts
            .iter()
            .filter(|mount| mount.kind == MountKind::Volume && mount.copy_up)
        {
            self.fill_volume(record, mount).await?;
        }
        Ok(())
    }

    /// Copies what the image has at the mount's place into a volume that is empty.
    async fn fill_volume(&self, record: &ContainerRecord, mount: &MountPoint) -> Result<()> {
        let folder = self.ports.volumes.mount(&mount.name).await?;
        let copied = self.fill(record, mount, folder).await;
        let unmounted = self.ports.volumes.unmount(&mount.name).await;
        copied.and(unmounted)
    }

    async fn fill(
        &self,
        record: &ContainerRecord,
        mount: &MountPoint,
        folder: PathBuf,
    ) -> Result<()> {
        let (rootfs, destination) = (&self.ports.rootfs, mount.destination.as_ref());
        if mount.subpath.is_empty() {
            return rootfs
                .copy_up(&record.id, destination, &folder)
                .await
                .map(drop);
        }
        match self
            .ports
            .volumes
            .open_inside(&folder, &mount.subpath)
            .await
        {
            Ok(inside) => {
                // Held open, so that it is what was found, whatever its path leads to by now.
                let held = PathBuf::from(format!("/proc/self/fd/{}", inside.as_raw_fd()));
                rootfs
                    .copy_up(&record.id, destination, &held)
                    .await
                    .map(drop)
            }
            // Said when the container starts: it may be there by then.
            Err(_) => Ok(()),
        }
    }
}

/// The address that old clients give the whole container goes to its main network.
fn own_mac_address(
    networks: &mut std::collections::BTreeMap<String, EndpointSettings>,
    mode: &str,
    address: String,
) -> Result<Option<String>> {
    if address.is_empty() {
        return Ok(None);
    }
    if let Some(main) = networks
        .get_mut(mode)
        .filter(|_| !matches!(mode, "host" | "none"))
    {
        if main.mac_address.is_empty() {
            main.mac_address = address;
        } else if main.mac_address != address {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
            ));
        }
    }
    Ok(Some("The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.".to_owned()))
}

/// The networks a container joins: the mode's, with what was asked there under either of its names, and the others.
fn networks_of(
    mode: &str,
    mut asked: std::collections::BTreeMap<String, EndpointSettings>,
) -> std::collections::BTreeMap<String, EndpointSettings> {
    if mode.starts_with("container:") {
        return std::collections::BTreeMap::new();
    }
    if mode == "bridge"
        && let Some(settings) = asked.remove("default")
    {
        asked.entry("bridge".to_owned()).or_insert(settings);
    }
    asked.entry(mode.to_owned()).or_default();
    asked
}
