//! The part of a container's settings that belongs to this host. Docker API: definitions HostConfig, Resources, Mount.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container::is_false;

/// Host-dependent settings of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// `source:target[:options]`.
    pub binds: Option<Vec<String>>,
    /// File on the host that receives the id.
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    /// Log driver.
    pub log_config: LogConfig,
    /// `default`, `bridge`, `host`, `none`, `container:ID` or a network.
    pub network_mode: String,
    /// Published ports.
    pub port_bindings: Option<PortMap>,
    /// When to start again.
    pub restart_policy: RestartPolicy,
    /// Remove when it ends.
    pub auto_remove: bool,
    /// Volume driver for volumes without one.
    pub volume_driver: String,
    /// `container[:ro|rw]` whose mounts are taken over.
    pub volumes_from: Option<Vec<String>>,
    /// Rows and columns of the first terminal.
    pub console_size: [u32; 2],
    /// Kept for inspect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Capabilities added.
    pub cap_add: Option<Vec<String>>,
    /// Capabilities dropped.
    pub cap_drop: Option<Vec<String>>,
    /// `private`, `host` or empty.
    pub cgroupns_mode: String,
    /// DNS servers.
    #[serde(rename = "Dns")]
    pub dns: Option<Vec<String>>,
    /// DNS resolver options.
    pub dns_options: Option<Vec<String>>,
    /// DNS search domains.
    pub dns_search: Option<Vec<String>>,
    /// `name:address` lines for /etc/hosts.
    pub extra_hosts: Option<Vec<String>>,
    /// Supplementary groups.
    pub group_add: Option<Vec<String>>,
    /// `none`, `private`, `shareable`, `container:ID`, `host`.
    pub ipc_mode: String,
    /// cgroup of another container (legacy).
    pub cgroup: String,
    /// Legacy links.
    pub links: Option<Vec<String>>,
    /// -1000..=1000.
    pub oom_score_adj: i64,
    /// ``, `container:ID`, `host`.
    pub pid_mode: String,
    /// Everything allowed.
    pub privileged: bool,
    /// Publish every exposed port.
    pub publish_all_ports: bool,
    /// Root file system read-only.
    pub readonly_rootfs: bool,
    /// `seccomp=…`, `apparmor=…`, `no-new-privileges`, ….
    pub security_opt: Option<Vec<String>>,
    /// Kept for inspect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_opt: Option<BTreeMap<String, String>>,
    /// Target to mount options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<BTreeMap<String, String>>,
    /// ``, `host`.
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    /// ``, `host`.
    pub userns_mode: String,
    /// Size of /dev/shm in bytes; 0: 64 MiB.
    pub shm_size: i64,
    /// Kernel settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysctls: Option<BTreeMap<String, String>>,
    /// Name of the OCI runtime.
    pub runtime: String,
    /// Windows only.
    pub isolation: String,

    /// Relative share of CPU.
    pub cpu_shares: i64,
    /// Bytes; 0: no limit.
    pub memory: i64,
    /// CPUs in units of 1e-9.
    pub nano_cpus: i64,
    /// Parent cgroup.
    pub cgroup_parent: String,
    /// 10..=1000, 0: default.
    pub blkio_weight: u16,
    /// Weights by device.
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    /// Bytes a second.
    pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
    /// Bytes a second.
    pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
    /// Operations a second.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
    /// Operations a second.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds in a period.
    pub cpu_quota: i64,
    /// Microseconds.
    pub cpu_realtime_period: i64,
    /// Microseconds.
    pub cpu_realtime_runtime: i64,
    /// CPU list, `0-2,4`.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// Devices made available.
    pub devices: Option<Vec<DeviceMapping>>,
    /// `c 1:3 rwm` rules.
    pub device_cgroup_rules: Option<Vec<String>>,
    /// Requests to device drivers (GPUs).
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// Bytes.
    pub memory_reservation: i64,
    /// Bytes of memory and swap; -1: no limit.
    pub memory_swap: i64,
    /// 0..=100.
    pub memory_swappiness: Option<i64>,
    /// Never killed for memory.
    pub oom_kill_disable: Option<bool>,
    /// 0 or -1: no limit.
    pub pids_limit: Option<i64>,
    /// Process limits.
    pub ulimits: Option<Vec<Ulimit>>,
    /// Windows only.
    pub cpu_count: i64,
    /// Windows only.
    pub cpu_percent: i64,
    /// Windows only.
    #[serde(rename = "IOMaximumIOps")]
    pub io_maximum_iops: u64,
    /// Windows only.
    #[serde(rename = "IOMaximumBandwidth")]
    pub io_maximum_bandwidth: u64,

    /// Mounts in the long form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<Mount>>,
    /// Paths hidden from the container; absent: Docker's list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths read-only in the container; absent: Docker's list.
    pub readonly_paths: Option<Vec<String>>,
    /// Run docker-init as PID 1; absent: the daemon's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

/// Log driver and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// Driver; empty: the daemon's default.
    #[serde(rename = "Type")]
    pub driver: String,
    /// Options.
    pub config: BTreeMap<String, String>,
}

/// When to start a container again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// ``, `no`, `always`, `unless-stopped`, `on-failure`.
    pub name: String,
    /// Bound for `on-failure`; 0: none.
    pub maximum_retry_count: i64,
}

/// Container port (`80/tcp`) to host ends.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

/// One host end of a published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortBinding {
    /// Host address; empty: all.
    pub host_ip: String,
    /// Host port or range; empty: any free one.
    pub host_port: String,
}

/// A mount in the long form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `npipe`, `cluster`, `image`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Folder or volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Read-only.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// `default`, `consistent`, `cached`, `delegated`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub consistency: String,
    /// For binds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// For volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// For tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// Options of a bind mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindOptions {
    /// `private`, `rprivate`, `shared`, ….
    #[serde(skip_serializing_if = "String::is_empty")]
    pub propagation: String,
    /// Leave out mounts below.
    #[serde(skip_serializing_if = "is_false")]
    pub non_recursive: bool,
    /// Make a missing source.
    #[serde(skip_serializing_if = "is_false")]
    pub create_mountpoint: bool,
    /// Mounts below stay writable.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only_non_recursive: bool,
    /// Fail when mounts below cannot be made read-only.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only_force_recursive: bool,
}

/// Options of a volume mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeOptions {
    /// Do not copy the image's content.
    #[serde(skip_serializing_if = "is_false")]
    pub no_copy: bool,
    /// Labels of a new volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Folder inside the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// Driver of a new volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<DriverConfig>,
}

/// A volume driver with options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DriverConfig {
    /// Driver; empty: local.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
}

/// Options of a tmpfs mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsOptions {
    /// Bytes; 0: no limit.
    #[serde(skip_serializing_if = "crate::container::is_zero")]
    pub size_bytes: i64,
    /// Mode bits; 0: 1777.
    #[serde(skip_serializing_if = "is_zero_u32")]
    pub mode: u32,
    /// Flags, `["noexec"]` or `["uid", "0"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<Vec<String>>>,
}

/// A device made available.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceMapping {
    /// Path on the host.
    pub path_on_host: String,
    /// Path in the container.
    pub path_in_container: String,
    /// Some of `rwm`.
    pub cgroup_permissions: String,
}

/// A request to a device driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceRequest {
    /// Driver.
    pub driver: String,
    /// -1: all.
    pub count: i64,
    /// Devices by id.
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Option<Vec<String>>,
    /// Alternatives of sets.
    pub capabilities: Option<Vec<Vec<String>>>,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
}

/// Weight of one block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WeightDevice {
    /// Device path.
    pub path: String,
    /// 10..=1000.
    pub weight: u16,
}

/// Rate of one block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ThrottleDevice {
    /// Device path.
    pub path: String,
    /// A second.
    pub rate: u64,
}

/// A process limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ulimit {
    /// Name without RLIMIT_, lower case.
    pub name: String,
    /// Upper bound; -1: none.
    pub hard: i64,
    /// Value; -1: none.
    pub soft: i64,
}

fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}
