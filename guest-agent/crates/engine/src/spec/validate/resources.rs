//! Limits, checked against what the machine can do. Docker: daemon/daemon_unix.go, verifyPlatformContainerResources.

use docker_api::HostConfig;
use errdefs::Result;

use super::super::{Machine, invalid};

/// Least memory that a container can be started with.
const MINIMUM_MEMORY: i64 = 6 << 20;

/// Highest CPU or memory node that can be named, unless there are more. Linux: NR_CPUS at most.
const MAX_LISTED: u32 = 8192;

const NANOS_PER_CPU: i64 = 1_000_000_000;

/// Checks limits and drops those that the machine has no control for; the warnings say which. `update`: of a container that exists.
///
/// # Errors
/// `InvalidParameter`, with dockerd's text.
pub fn validate_resources(
    host: &mut HostConfig,
    machine: &dyn Machine,
    update: bool,
) -> Result<Vec<String>> {
    let mut warnings = memory(host, machine, update)?;
    warnings.extend(processes(host, machine));
    warnings.extend(cpu(host, machine)?);
    warnings.extend(cpuset(host, machine)?);
    warnings.extend(block_io(host, machine)?);
    Ok(warnings)
}

fn memory(host: &mut HostConfig, machine: &dyn Machine, update: bool) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    let limited = machine.controller("memory");
    host.memory_swappiness = host.memory_swappiness.filter(|&value| value != -1);
    if host.memory != 0 && host.memory < MINIMUM_MEMORY {
        return Err(invalid("Minimum memory limit allowed is 6MB"));
    }
    if host.memory > 0 && !limited {
        warn(
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        (host.memory, host.memory_swap) = (0, -1);
    }
    if host.memory > 0 && host.memory_swap != -1 && !machine.controller("swap") {
        warn(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
        );
        host.memory_swap = -1;
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(invalid(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ));
    }
    if host.memory == 0 && host.memory_swap > 0 && !update {
        return Err(invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    // The unified hierarchy has no such control.
    if host.memory_swappiness.take().is_some() {
        warn(
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
        );
    }
    if host.memory_reservation > 0 && !limited {
        warn(
            "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
        );
        host.memory_reservation = 0;
    }
    if host.memory_reservation > 0 && host.memory_reservation < MINIMUM_MEMORY {
        return Err(invalid("Minimum memory reservation allowed is 6MB"));
    }
    if host.memory > 0 && host.memory_reservation > 0 && host.memory < host.memory_reservation {
        return Err(invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    // Nor this one.
    if host.oom_kill_disable.take() == Some(true) {
        warn("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
    }
    Ok(warnings)
}

fn processes(host: &mut HostConfig, machine: &dyn Machine) -> Option<String> {
    if machine.controller("pids") {
        return None;
    }
    host.pids_limit.take().filter(|&limit| limit > 0).map(|_| {
        "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.".to_owned()
    })
}

fn cpu(host: &mut HostConfig, machine: &dyn Machine) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let scheduled = machine.controller("cpu");
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return Err(invalid(
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ));
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return Err(invalid(
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ));
    }
    if host.nano_cpus > 0 && !scheduled {
        return Err(invalid(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        ));
    }
    let cpus = machine.cpus();
    if host.nano_cpus < 0 || host.nano_cpus > i64::from(cpus) * NANOS_PER_CPU {
        return Err(invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    if host.cpu_shares > 0 && !scheduled {
        warnings.push("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.".to_owned());
        host.cpu_shares = 0;
    }
    if (host.cpu_period != 0 || host.cpu_quota != 0) && !scheduled {
        warnings.push(
            "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
                .to_owned(),
        );
        (host.cpu_period, host.cpu_quota) = (0, 0);
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return Err(invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return Err(invalid(
            "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        ));
    }
    if host.cpu_percent > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".to_owned());
        host.cpu_percent = 0;
    }
    Ok(warnings)
}

fn cpuset(host: &mut HostConfig, machine: &dyn Machine) -> Result<Option<String>> {
    let asked = !host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty();
    if asked && !machine.controller("cpuset") {
        host.cpuset_cpus.clear();
        host.cpuset_mems.clear();
        return Ok(Some(
            "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded."
                .to_owned(),
        ));
    }
    let wrong = |list: &str, what: &str, why: String| {
        invalid(format!("Invalid value {list} for cpuset {what}: {why}"))
    };
    let last_cpu = machine.cpus().saturating_sub(1);
    let highest =
        highest(&host.cpuset_cpus).map_err(|why| wrong(&host.cpuset_cpus, "cpus", why))?;
    if highest.is_some_and(|cpu| cpu > last_cpu) {
        return Err(invalid(format!(
            "Requested CPUs are not available - requested {}, available: {}",
            host.cpuset_cpus,
            if last_cpu == 0 {
                "0".to_owned()
            } else {
                format!("0-{last_cpu}")
            }
        )));
    }
    // The machine has one node.
    let highest =
        self::highest(&host.cpuset_mems).map_err(|why| wrong(&host.cpuset_mems, "mems", why))?;
    if highest.is_some_and(|node| node > 0) {
        return Err(invalid(format!(
            "Requested memory nodes are not available - requested {}, available: 0",
            host.cpuset_mems
        )));
    }
    Ok(None)
}

/// The highest number in a list like `0,3-4,7`. Linux: Documentation/admin-guide/cgroup-v2.rst, cpuset.cpus.
fn highest(list: &str) -> std::result::Result<Option<u32>, String> {
    let mut highest = None;
    if list.is_empty() {
        return Ok(highest);
    }
    let number = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| format!("invalid format: {list}"))
    };
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(format!("invalid format: {list}"));
        }
        if last > MAX_LISTED {
            return Err(format!("value of out range, maximum is {MAX_LISTED}"));
        }
        highest = highest.max(Some(last));
    }
    Ok(highest)
}

fn block_io(host: &mut HostConfig, machine: &dyn Machine) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let controlled = machine.controller("io");
    if host.blkio_weight > 0 && !controlled {
        warnings.push("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.".to_owned());
        host.blkio_weight = 0;
    }
    if host.blkio_weight > 0 && !(10..=1000).contains(&host.blkio_weight) {
        return Err(invalid("Range of blkio weight is from 10 to 1000"));
    }
    if controlled {
        return Ok(warnings);
    }
    let weights = host.blkio_weight_device.as_mut();
    if weights.is_some_and(|list| !std::mem::take(list).is_empty()) {
        warnings.push("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.".to_owned());
    }
    let rates = [
        (
            &mut host.blkio_device_read_bps,
            "BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
        ),
        (
            &mut host.blkio_device_write_bps,
            "BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.",
        ),
        (
            &mut host.blkio_device_read_iops,
            "IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.",
        ),
        (
            &mut host.blkio_device_write_iops,
            "IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.",
        ),
    ];
    for (list, what) in rates {
        if list
            .as_mut()
            .is_some_and(|list| !std::mem::take(list).is_empty())
        {
            warnings.push(format!("Your kernel does not support {what}"));
        }
    }
    Ok(warnings)
}
