//! Limits of the container's cgroup.

use docker_api::{HostConfig, ThrottleDevice};
use errdefs::Result;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpu, LinuxMemory, LinuxPidsBuilder, LinuxResources,
    LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};

use super::{Machine, built, devices, system};

/// What `NanoCpus` is a share of, in microseconds. Docker: daemon/daemon_unix.go.
const PERIOD_MICROSECONDS: u64 = 100_000;

const NANOS_PER_CPU: i128 = 1_000_000_000;

/// All limits but those on devices' use.
///
/// # Errors
/// `System`, when a block device is not there.
pub(super) fn resources(host: &HostConfig, machine: &dyn Machine) -> Result<LinuxResources> {
    let mut all = LinuxResources::default();
    let pids = host.pids_limit.map(|limit| {
        let limit = if limit <= 0 { -1 } else { limit };
        LinuxPidsBuilder::default().limit(limit).build()
    });
    all.set_memory(memory(host))
        .set_cpu(cpu(host)?)
        .set_pids(pids.map(built).transpose()?)
        .set_block_io(Some(block_io(host, machine)?));
    Ok(all)
}

/// Limits that can be changed while it runs: all but those by device.
///
/// # Errors
/// `System`, for a number that makes no sense.
pub fn limits(host: &HostConfig, machine: &dyn Machine) -> Result<LinuxResources> {
    let without_devices = HostConfig {
        blkio_weight_device: None,
        blkio_device_read_bps: None,
        blkio_device_write_bps: None,
        blkio_device_read_iops: None,
        blkio_device_write_iops: None,
        ..host.clone()
    };
    resources(&without_devices, machine)
}

fn memory(host: &HostConfig) -> Option<LinuxMemory> {
    let positive = |value: i64| (value > 0).then_some(value);
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(positive(host.memory))
        .set_reservation(positive(host.memory_reservation))
        .set_swap(positive(host.memory_swap))
        .set_swappiness(
            host.memory_swappiness
                .and_then(|value| u64::try_from(value).ok()),
        )
        .set_disable_oom_killer(host.oom_kill_disable);
    (memory != LinuxMemory::default()).then_some(memory)
}

fn cpu(host: &HostConfig) -> Result<Option<LinuxCpu>> {
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|&value| value != 0);
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    if host.cpu_shares < 0 {
        return Err(system(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            host.cpu_shares
        )));
    }
    let (mut period, mut quota) = (None, None);
    if host.nano_cpus > 0 {
        let share = i128::from(host.nano_cpus) * i128::from(PERIOD_MICROSECONDS) / NANOS_PER_CPU;
        (period, quota) = (Some(PERIOD_MICROSECONDS), i64::try_from(share).ok());
    }
    period = unsigned(host.cpu_period).or(period);
    quota = (host.cpu_quota != 0).then_some(host.cpu_quota).or(quota);
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(unsigned(host.cpu_shares))
        .set_period(period)
        .set_quota(quota)
        .set_cpus(text(&host.cpuset_cpus))
        .set_mems(text(&host.cpuset_mems));
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn block_io(host: &HostConfig, machine: &dyn Machine) -> Result<LinuxBlockIo> {
    let mut weights = Vec::new();
    for device in host.blkio_weight_device.iter().flatten() {
        let (major, minor) = devices::numbers(&device.path, machine)?;
        let one = LinuxWeightDeviceBuilder::default()
            .major(major)
            .minor(minor)
            .weight(device.weight);
        weights.push(built(one.build())?);
    }
    let throttle = |list: &Option<Vec<ThrottleDevice>>| throttles(list.as_deref(), machine);
    let mut all = built(LinuxBlockIoBuilder::default().build())?;
    all.set_weight((host.blkio_weight != 0).then_some(host.blkio_weight))
        .set_weight_device((!weights.is_empty()).then_some(weights))
        .set_throttle_read_bps_device(throttle(&host.blkio_device_read_bps)?)
        .set_throttle_write_bps_device(throttle(&host.blkio_device_write_bps)?)
        .set_throttle_read_iops_device(throttle(&host.blkio_device_read_iops)?)
        .set_throttle_write_iops_device(throttle(&host.blkio_device_write_iops)?);
    Ok(all)
}

fn throttles(
    list: Option<&[ThrottleDevice]>,
    machine: &dyn Machine,
) -> Result<Option<Vec<LinuxThrottleDevice>>> {
    let mut all = Vec::new();
    for device in list.unwrap_or_default() {
        let (major, minor) = devices::numbers(&device.path, machine)?;
        let one = LinuxThrottleDeviceBuilder::default()
            .major(major)
            .minor(minor)
            .rate(device.rate);
        all.push(built(one.build())?);
    }
    Ok((!all.is_empty()).then_some(all))
}

#[cfg(test)]
mod tests;
