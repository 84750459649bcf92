//! How a container is shown. Docker API: definitions ContainerInspectResponse, ContainerSummary, NetworkSettings, MountPoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ContainerConfig, EndpointSettings, HostConfig, PortMap};

/// `GET /containers/{id}/json`. Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerInspect {
    /// 64 hex digits.
    pub id: String,
    /// When it was made.
    pub created: String,
    /// Program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// How it stands.
    pub state: ContainerState,
    /// Image ID.
    pub image: String,
    /// File on the engine's side that is /etc/resolv.conf.
    pub resolv_conf_path: String,
    /// File that is /etc/hostname.
    pub hostname_path: String,
    /// File that is /etc/hosts.
    pub hosts_path: String,
    /// File of the log; empty when there is none.
    pub log_path: String,
    /// With a slash.
    pub name: String,
    /// Starts by the restart policy.
    pub restart_count: u64,
    /// Storage driver.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// SELinux; empty.
    pub mount_label: String,
    /// SELinux; empty.
    pub process_label: String,
    /// AppArmor profile; empty: none.
    pub app_armor_profile: String,
    /// Execs that are known; `null`: none.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// What was asked of this host.
    pub host_config: HostConfig,
    /// Storage driver and its data.
    pub graph_driver: GraphDriver,
    /// Bytes of the writable layer, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// Bytes of the whole root, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
    /// What was asked of any host.
    pub config: ContainerConfig,
    /// Networks.
    pub network_settings: NetworkSettings,
    /// The manifest it runs from; since 1.48.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<OciDescriptor>,
}

/// A storage driver as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// Always `null` with the containerd-like store.
    pub data: Option<BTreeMap<String, String>>,
    /// `overlayfs`.
    pub name: String,
}

/// What points at a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciDescriptor {
    /// Media type.
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Platform of a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<OciPlatform>,
}

/// A platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciPlatform {
    /// In Go's words.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// `v8` and the like.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub variant: String,
}

/// How a container stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
    pub status: String,
    /// It runs, paused or not.
    pub running: bool,
    /// It is frozen.
    pub paused: bool,
    /// It waits for its next start.
    pub restarting: bool,
    /// Something in it was killed for memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// It could not be removed.
    pub dead: bool,
    /// First process; 0: none.
    pub pid: u32,
    /// Last exit code.
    pub exit_code: i32,
    /// Why it did not start.
    pub error: String,
    /// Zero time: never.
    pub started_at: String,
    /// Zero time: never.
    pub finished_at: String,
    /// What its probes say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// A container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: i64,
    /// The last probes, oldest first.
    pub log: Vec<HealthcheckResult>,
}

/// A container's health in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthSummary {
    /// `none`, `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: i64,
}

/// One probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthcheckResult {
    /// When it was begun.
    pub start: String,
    /// When it had ended.
    pub end: String,
    /// 0: healthy; -1: it could not be run, or took too long.
    pub exit_code: i32,
    /// What it wrote.
    pub output: String,
}

/// A mount as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it is on the engine's side.
    pub source: String,
    /// Where it is in the container.
    pub destination: String,
    /// Volume driver.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Options as they were written.
    pub mode: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub read_write: bool,
    /// `rprivate` and the like.
    pub propagation: String,
}

/// Networks of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Always empty.
    pub bridge: String,
    /// 64 hex digits; empty: not connected.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// Path of the network namespace.
    pub sandbox_key: String,
    /// Published ports.
    pub ports: PortMap,
    /// Always false.
    pub hairpin_mode: bool,
    /// Always empty.
    #[serde(rename = "LinkLocalIPv6Address")]
    pub link_local_ipv6_address: String,
    /// Always 0.
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    pub link_local_ipv6_prefix_len: i64,
    /// Always `null`.
    #[serde(rename = "SecondaryIPAddresses")]
    pub secondary_ip_addresses: Option<Vec<String>>,
    /// Always `null`.
    #[serde(rename = "SecondaryIPv6Addresses")]
    pub secondary_ipv6_addresses: Option<Vec<String>>,
    /// The default bridge's end, for old clients.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The default bridge's gateway.
    pub gateway: String,
    /// The default bridge's IPv6 address.
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    /// Its prefix length.
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: i64,
    /// The default bridge's address.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// Its prefix length.
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: i64,
    /// The default bridge's IPv6 gateway.
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    /// The default bridge's hardware address.
    pub mac_address: String,
    /// Ends by network.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// One container in `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// 64 hex digits.
    pub id: String,
    /// Names with a slash.
    pub names: Vec<String>,
    /// Image as it was named, or its ID when the name moved on.
    pub image: String,
    /// Image ID.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// The manifest it runs from; since 1.48.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_manifest_descriptor: Option<OciDescriptor>,
    /// Program with its arguments.
    pub command: String,
    /// Seconds since 1970-01-01 UTC.
    pub created: i64,
    /// Published and exposed ports.
    pub ports: Vec<Port>,
    /// Bytes of the writable layer, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// Bytes of the whole root, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
    /// User labels.
    pub labels: BTreeMap<String, String>,
    /// As in [`ContainerState::status`].
    pub state: String,
    /// For people, e.g. `Up 3 minutes`.
    pub status: String,
    /// What its probes say; since 1.52.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSummary>,
    /// Network mode.
    pub host_config: SummaryHostConfig,
    /// Ends by network.
    pub network_settings: SummaryNetworks,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
}

/// What a list shows of the host's part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SummaryHostConfig {
    /// `bridge`, `host`, ….
    pub network_mode: String,
    /// Annotations of the runtime's spec; since 1.46.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What a list shows of the networks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SummaryNetworks {
    /// Ends by network.
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// A port in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    /// Host address, when it is published.
    #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Port in the container.
    pub private_port: u16,
    /// Port on the host, when it is published.
    #[serde(skip_serializing_if = "is_zero")]
    pub public_port: u16,
    /// `tcp`, `udp`, `sctp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

fn is_zero(value: &u16) -> bool {
    *value == 0
}

/// `POST /containers/{id}/wait`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerWait {
    /// Exit code.
    pub status_code: i32,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
}

/// Why a wait failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct WaitError {
    /// For people.
    pub message: String,
}

/// `GET /containers/{id}/top`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerTop {
    /// One list of fields a process; `null`: none.
    pub processes: Option<Vec<Vec<String>>>,
    /// Titles of the fields.
    pub titles: Vec<String>,
}
