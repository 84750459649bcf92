//! Shows a container.

use docker_api::{
    EndpointSettings, PortMap,
    inspect::{ContainerInspect, ContainerState, GraphDriver, MountPoint, NetworkSettings},
};
use errdefs::Result;

use super::{container::Container, record::ContainerRecord, state::State};
use crate::{
    Engine, logging,
    ports::logging::{LogFormat, LogTarget},
    spec::{self, MountKind},
    time::{rfc3339, rfc3339_or_never},
};

/// The storage driver's name.
pub(crate) const DRIVER: &str = "overlayfs";

impl Engine {
    /// Shows it, with the sizes of its layers when asked. Docker API: GET /containers/{id}/json.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn inspect_container(&self, reference: &str, size: bool) -> Result<ContainerInspect> {
        let container = self.containers.find(reference)?;
        let record = container.record();
        let folder = self.ports.store.folder(&record.id);
        let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (size_rw, size_root_fs) = if size {
            let (own, image) = self.ports.rootfs.usage(&record.id).await?;
            (Some(own), Some(own + image))
        } else {
            (None, None)
        };
        // Only json-file's is shown: what the others write is their own.
        let log_path = match logging::target(&record, "", &folder) {
            Ok(LogTarget::File(file)) if matches!(file.format, LogFormat::JsonLines { .. }) => {
                file.path.to_string_lossy().into_owned()
            }
            _ => String::new(),
        };
        let mut arguments = spec::arguments(&record.config).into_iter();
        let execs = self.execs.of(&record.id);
        Ok(ContainerInspect {
            id: record.id.to_string(),
            created: rfc3339(record.created),
            path: arguments.next().unwrap_or_default(),
            args: arguments.collect(),
            state: shown_state(&container),
            image: record
                .image
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path,
            name: format!("/{}", record.name),
            restart_count: container.state().restarts,
            driver: DRIVER.to_owned(),
            platform: "linux".to_owned(),
            exec_ids: (!execs.is_empty()).then_some(execs),
            host_config: record.host.clone(),
            graph_driver: GraphDriver {
                data: None,
                name: DRIVER.to_owned(),
            },
            size_rw,
            size_root_fs,
            mounts: shown_mounts(&record),
            config: record.config.clone(),
            network_settings: self.network_settings(&container),
            image_manifest_descriptor: record.manifest.clone(),
            ..ContainerInspect::default()
        })
    }

    /// The networks as they stand; of a container that does not run, as they were asked for.
    pub(super) fn network_settings(&self, container: &Container) -> NetworkSettings {
        let record = container.record();
        let mut settings = NetworkSettings {
            networks: record.networks.clone(),
            ..NetworkSettings::default()
        };
        if let Some(sandbox) = container.sandbox() {
            settings.sandbox_id.clone_from(&sandbox.id);
            settings.sandbox_key = sandbox.path.to_string_lossy().into_owned();
            settings.ports.clone_from(&sandbox.ports);
            settings.networks.extend(sandbox.endpoints.iter().cloned());
        } else if container.state().is_running() {
            settings.ports = PortMap::new();
        }
        if let Some(bridge) = settings.networks.get("bridge").cloned() {
            let EndpointSettings {
                endpoint_id,
                gateway,
                ip_address,
                ip_prefix_len,
                mac_address,
                ..
            } = bridge;
            settings.endpoint_id = endpoint_id;
            settings.gateway = gateway;
            settings.ip_address = ip_address;
            settings.ip_prefix_len = ip_prefix_len;
            settings.mac_address = mac_address;
            settings.global_ipv6_address = bridge.global_ipv6_address;
            settings.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len;
            settings.ipv6_gateway = bridge.ipv6_gateway;
        }
        settings
    }
}

fn shown_state(container: &Container) -> ContainerState {
    let life = container.life();
    let State {
        phase,
        pid,
        exit_code,
        oom_killed,
        error,
        started,
        finished,
        health,
        ..
    } = &life.state;
    use super::state::Phase;
    ContainerState {
        status: if life.removing {
            "removing"
        } else {
            life.state.word()
        }
        .to_owned(),
        // A container that waits for its next start counts as running.
        running: life.state.is_running() || *phase == Phase::Restarting,
        paused: *phase == Phase::Paused,
        restarting: *phase == Phase::Restarting,
        oom_killed: *oom_killed,
        dead: *phase == Phase::Dead,
        pid: *pid,
        exit_code: *exit_code,
        error: error.clone(),
        started_at: rfc3339_or_never(*started),
        finished_at: rfc3339_or_never(*finished),
        health: health.as_ref().map(super::health::Health::shown),
    }
}

/// The mounts, without those of `--tmpfs`, which Docker shows in the settings only.
pub(super) fn shown_mounts(record: &ContainerRecord) -> Vec<MountPoint> {
    let shown = record
        .mounts
        .iter()
        .filter(|mount| mount.kind != MountKind::Tmpfs || mount.wish.is_some());
    shown
        .map(|mount| MountPoint {
            kind: match mount.kind {
                MountKind::Bind => "bind",
                MountKind::Volume => "volume",
                MountKind::Tmpfs => "tmpfs",
            }
            .to_owned(),
            name: mount.name.clone(),
            source: mount.source.clone(),
            destination: mount.destination.clone(),
            driver: mount.driver.clone(),
            mode: mount.mode.clone(),
            read_write: mount.read_write,
            propagation: mount.propagation.clone(),
        })
        .collect()
}
