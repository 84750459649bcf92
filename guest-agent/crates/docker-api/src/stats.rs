//! What a container uses. Docker API: definitions ContainerStatsResponse and what belongs to it, on the unified cgroup hierarchy.

use std::collections::BTreeMap;

use serde::Serialize;

/// One sample. Docker API: GET /containers/{id}/stats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContainerStats {
    /// With a slash.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// 64 hex digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// `linux`; since 1.52.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_type: String,
    /// When it was taken; zero time: never.
    pub read: String,
    /// When the one before it was taken.
    pub preread: String,
    /// Processes.
    pub pids_stats: PidsStats,
    /// Block devices.
    pub blkio_stats: BlkioStats,
    /// Windows only.
    pub num_procs: u32,
    /// Windows only.
    pub storage_stats: StorageStats,
    /// Processors.
    pub cpu_stats: CpuStats,
    /// The same of the sample before.
    pub precpu_stats: CpuStats,
    /// Memory.
    pub memory_stats: MemoryStats,
    /// Networks by link.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, NetworkStats>,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PidsStats {
    /// How many there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// How many there may be; the largest number: no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices. `null` where the unified hierarchy does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlkioStats {
    /// Bytes by device.
    pub io_service_bytes_recursive: Option<Vec<BlkioStatEntry>>,
    /// Always `null`.
    pub io_serviced_recursive: Option<Vec<BlkioStatEntry>>,
    /// Always `null`.
    pub io_queue_recursive: Option<Vec<BlkioStatEntry>>,
    /// Always `null`.
    pub io_service_time_recursive: Option<Vec<BlkioStatEntry>>,
    /// Always `null`.
    pub io_wait_time_recursive: Option<Vec<BlkioStatEntry>>,
    /// Always `null`.
    pub io_merged_recursive: Option<Vec<BlkioStatEntry>>,
    /// Always `null`.
    pub io_time_recursive: Option<Vec<BlkioStatEntry>>,
    /// Always `null`.
    pub sectors_recursive: Option<Vec<BlkioStatEntry>>,
}

/// One count of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlkioStatEntry {
    /// Device.
    pub major: u64,
    /// Device.
    pub minor: u64,
    /// `read` or `write`.
    pub op: String,
    /// Bytes.
    pub value: u64,
}

/// Windows only: empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StorageStats {}

/// Processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuStats {
    /// Of the container.
    pub cpu_usage: CpuUsage,
    /// Of the machine, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub system_cpu_usage: u64,
    /// Processors of the machine.
    #[serde(skip_serializing_if = "is_zero_32")]
    pub online_cpus: u32,
    /// How it was held back.
    pub throttling_data: ThrottlingData,
}

/// Time of processors, ns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    /// All.
    pub total_usage: u64,
    /// In the kernel.
    pub usage_in_kernelmode: u64,
    /// In the programs.
    pub usage_in_usermode: u64,
}

/// How a limit held it back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ThrottlingData {
    /// Periods.
    pub periods: u64,
    /// Those in which it was held back.
    pub throttled_periods: u64,
    /// How long, ns.
    pub throttled_time: u64,
}

/// Memory, bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryStats {
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// By kind; the kernel's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stats: BTreeMap<&'static str, u64>,
    /// How often the limit was in the way.
    #[serde(skip_serializing_if = "is_zero")]
    pub failcnt: u64,
    /// Limit; the machine's memory when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// One link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NetworkStats {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Errors on receiving.
    pub rx_errors: u64,
    /// Packets dropped on receiving.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Errors on sending.
    pub tx_errors: u64,
    /// Packets dropped on sending.
    pub tx_dropped: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_zero_32(value: &u32) -> bool {
    *value == 0
}
