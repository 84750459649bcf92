//! Settings checked at creation, with Docker's defaults filled in.

use docker_api::{ContainerConfig, HostConfig};
use errdefs::Result;

use super::{Machine, capabilities, invalid, mounts::SHM_BYTES, signal::parse_signal};

/// Smallest memory limit, bytes.
const MIN_MEMORY: i64 = 6 << 20;
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Checks settings, fills in what inspect shows, drops what the machine cannot do. Gives the warnings.
///
/// # Errors
/// `InvalidParameter` in Docker's words.
pub fn validate(
    config: &mut ContainerConfig,
    host: &mut HostConfig,
    machine: &dyn Machine,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    check_process(config, host)?;
    check_policy(host)?;
    check_modes(host)?;
    check_limits(host, machine, &mut warnings)?;
    capabilities::of_container(
        host.cap_add.as_deref().unwrap_or_default(),
        host.cap_drop.as_deref().unwrap_or_default(),
        false,
        machine.capabilities(),
    )?;
    if let Some(unknown) = host
        .security_opt
        .iter()
        .flatten()
        .find(|option| !known_security_option(option))
    {
        return Err(invalid(format!("invalid --security-opt 2: {unknown:?}")));
    }
    fill_in(host);
    Ok(warnings)
}

fn check_process(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    if !config.stop_signal.is_empty() {
        parse_signal(&config.stop_signal)?;
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    for entry in config.env.iter().flatten() {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(invalid(format!("invalid environment variable: {entry}")));
        }
    }
    if host.oom_score_adj < -1000 || host.oom_score_adj > 1000 {
        return Err(invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    Ok(())
}

fn check_policy(host: &HostConfig) -> Result<()> {
    let policy = &host.restart_policy;
    let count = policy.maximum_retry_count;
    match policy.name.as_str() {
        "always" | "unless-stopped" | "no" | "" if count != 0 => Err(invalid(format!(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'{}",
            if count < 0 {
                " and cannot be negative"
            } else {
                ""
            }
        ))),
        "on-failure" if count < 0 => Err(invalid(
            "invalid restart policy: maximum retry count cannot be negative",
        )),
        "" | "no" | "always" | "unless-stopped" | "on-failure" => {
            if host.auto_remove && !matches!(policy.name.as_str(), "" | "no") {
                return Err(invalid(
                    "can't create 'AutoRemove' container with restart policy",
                ));
            }
            Ok(())
        }
        other => Err(invalid(format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ))),
    }
}

fn check_modes(host: &HostConfig) -> Result<()> {
    let of_container = |mode: &str| {
        mode.strip_prefix("container:")
            .is_some_and(|name| !name.is_empty())
    };
    let check = |what: &str, mode: &str, known: &[&str]| {
        if known.contains(&mode) || of_container(mode) {
            Ok(())
        } else {
            Err(invalid(format!("invalid {what} mode: {mode}")))
        }
    };
    check("IPC", &host.ipc_mode, &["", "none", "private", "host"])?;
    check("PID", &host.pid_mode, &["", "host"])?;
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return Err(invalid(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return Err(invalid(format!(
            "invalid cgroup namespace mode: {}",
            host.cgroupns_mode
        )));
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return Err(invalid(format!(
            "invalid user namespace mode: {}",
            host.userns_mode
        )));
    }
    if !matches!(
        host.runtime.as_str(),
        "" | "runc" | "io.containerd.runc.v2" | "berth"
    ) {
        return Err(invalid(format!(
            "unknown or invalid runtime name: {}",
            host.runtime
        )));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(invalid(format!(
            "invalid isolation '{}' on linux",
            host.isolation
        )));
    }
    if host.shm_size < 0 {
        return Err(invalid("SHM size can not be less than 0"));
    }
    Ok(())
}

fn check_limits(
    host: &mut HostConfig,
    machine: &dyn Machine,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if host.memory > 0 && host.memory < MIN_MEMORY {
        return Err(invalid("Minimum memory limit allowed is 6MB"));
    }
    if host.memory == 0 && host.memory_swap > 0 {
        return Err(invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(invalid(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ));
    }
    if host.memory_reservation > 0 && host.memory > 0 && host.memory < host.memory_reservation {
        return Err(invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    let cpus = i64::from(machine.cpus());
    if host.nano_cpus != 0 && (host.nano_cpus < 10_000_000 || host.nano_cpus > cpus * 1_000_000_000)
    {
        return Err(invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    if host.nano_cpus > 0 && (host.cpu_quota > 0 || host.cpu_period > 0) {
        let other = if host.cpu_period > 0 {
            "CPU Period"
        } else {
            "CPU Quota"
        };
        return Err(invalid(format!(
            "Conflicting options: Nano CPUs and {other} cannot both be set."
        )));
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return Err(invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return Err(invalid(
            "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        ));
    }
    if host.blkio_weight > 0 && !(10..=1000).contains(&host.blkio_weight) {
        return Err(invalid("Range of blkio weight is from 10 to 1000"));
    }
    if host
        .memory_swappiness
        .is_some_and(|value| !(-1..=100).contains(&value))
    {
        return Err(invalid(format!(
            "Invalid value: {}, valid memory swappiness range is 0-100",
            host.memory_swappiness.unwrap_or(0)
        )));
    }
    if host.memory > 0 && !machine.controller("memory") {
        warnings.push("Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.".to_owned());
        (host.memory, host.memory_swap) = (0, -1);
    }
    if host.memory_reservation > 0 && !machine.controller("memory") {
        warnings.push("Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.".to_owned());
        host.memory_reservation = 0;
    }
    if host.memory > 0 && host.memory_swap == 0 {
        // Docker's default: as much swap as memory.
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if (host.nano_cpus > 0 || host.cpu_quota > 0 || host.cpu_shares > 0 || host.cpu_period > 0)
        && !machine.controller("cpu")
    {
        warnings.push("Your kernel does not support CPU limits or the cgroup is not mounted. Limitation discarded.".to_owned());
        (
            host.nano_cpus,
            host.cpu_quota,
            host.cpu_shares,
            host.cpu_period,
        ) = (0, 0, 0, 0);
    }
    if host.pids_limit.is_some_and(|limit| limit > 0) && !machine.controller("pids") {
        warnings.push("Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.".to_owned());
        host.pids_limit = None;
    }
    if !(machine.controller("cpuset") || host.cpuset_cpus.is_empty() && host.cpuset_mems.is_empty())
    {
        warnings.push(
            "Your kernel does not support cpuset or the cgroup is not mounted. CPUset discarded."
                .to_owned(),
        );
        host.cpuset_cpus.clear();
        host.cpuset_mems.clear();
    }
    if host.oom_kill_disable == Some(true) {
        warnings.push(
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned(),
        );
        host.oom_kill_disable = None;
    }
    Ok(())
}

fn known_security_option(option: &str) -> bool {
    let name = option.split(['=', ':']).next().unwrap_or_default();
    matches!(
        name,
        "no-new-privileges" | "seccomp" | "apparmor" | "label" | "systempaths" | "writable-cgroups"
    )
}

fn fill_in(host: &mut HostConfig) {
    let or = |field: &mut String, value: &str| {
        if field.is_empty() {
            value.clone_into(field);
        }
    };
    or(&mut host.ipc_mode, "private");
    or(
        &mut host.cgroupns_mode,
        if host.privileged { "host" } else { "private" },
    );
    or(&mut host.runtime, "runc");
    or(&mut host.restart_policy.name, "no");
    or(&mut host.log_config.driver, "json-file");
    if host.shm_size == 0 && host.ipc_mode == "private" {
        host.shm_size = SHM_BYTES;
    }
    if !host.privileged {
        host.masked_paths
            .get_or_insert_with(|| MASKED.map(str::to_owned).into());
        host.readonly_paths
            .get_or_insert_with(|| READ_ONLY.map(str::to_owned).into());
    }
}
