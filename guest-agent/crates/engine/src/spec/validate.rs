//! Checks at create, in dockerd's order, with its texts; then the defaults that inspect shows.
//!
//! Docker: runconfig (decoding), daemon/container.go (settings), daemon/daemon_unix.go (resources, defaults).

pub(crate) mod logging;
mod network;
mod resources;

use std::net::IpAddr;

use docker_api::{ContainerConfig, HealthConfig, HostConfig, Mount, RestartPolicy};
use errdefs::Result;

use super::{
    Machine, capabilities, invalid,
    mount_point::{check_mount, check_tmpfs_target},
    paths::clean,
    security::{self, SecurityOptions},
};

pub use super::signal::parse_signal;
pub(crate) use network::LINKS_WITH_HOST;
pub use resources::validate_resources;

/// Size of /dev/shm when nothing is said.
const DEFAULT_SHM_BYTES: i64 = 64 << 20;

/// Shortest time in a health check.
const MINIMUM_NANOSECONDS: i64 = 1_000_000;

/// What `Runtime` may be; there is one runtime.
const RUNTIMES: [&str; 2] = ["runc", "io.containerd.runc.v2"];

/// Checks the user's settings, before they are merged with the image's and before the host name is filled in; fills in defaults as inspect shows
/// them, drops what the machine cannot do, and says so in the warnings it returns.
///
/// # Errors
/// `InvalidParameter`, with dockerd's text.
pub fn validate(
    config: &mut ContainerConfig,
    host: &mut HostConfig,
    machine: &dyn Machine,
) -> Result<Vec<String>> {
    network::check_modes(config, host)?;
    check_platform(host)?;
    for mount in host.mounts.iter().flatten() {
        check_options_fit(mount)?;
    }
    // Any number below one means no limit.
    host.pids_limit = host.pids_limit.filter(|&limit| limit > 0);
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".to_owned();
    }
    check_config(config)?;
    check_host(host, machine)?;
    let mut warnings = validate_resources(host, machine, false)?;
    warnings.extend(check_settings(host)?);
    fill_defaults(host, machine);
    SecurityOptions::parse(host)?;
    logging::check(&mut host.log_config)?;
    if host.storage_opt.take().is_some_and(|all| !all.is_empty()) {
        warnings.push(
            "Options of the storage driver are not supported. Storage options discarded."
                .to_owned(),
        );
    }
    Ok(warnings)
}

/// Checks limits and the restart policy for a container that exists; the warnings say what the machine cannot do.
///
/// # Errors
/// `InvalidParameter`, with dockerd's text.
pub fn validate_update(host: &mut HostConfig, machine: &dyn Machine) -> Result<Vec<String>> {
    check_restart(&host.restart_policy)?;
    validate_resources(host, machine, true)
}

/// What only other platforms or kernels have.
fn check_platform(host: &HostConfig) -> Result<()> {
    if !matches!(host.isolation.to_lowercase().as_str(), "" | "default") {
        return Err(invalid(format!(
            "invalid isolation ({}): linux only supports 'default'",
            host.isolation
        )));
    }
    if host.io_maximum_bandwidth != 0 {
        return Err(invalid(
            "invalid option: QoS maximum bandwidth configuration is not supported on linux",
        ));
    }
    if host.io_maximum_iops != 0 {
        return Err(invalid(
            "invalid option: QoS maximum IOPs configuration is not supported on linux",
        ));
    }
    if host.cpu_realtime_period != 0 || host.cpu_realtime_runtime != 0 {
        return Err(invalid("kernel does not support CPU real-time scheduler"));
    }
    if host.cpu_shares < 0 {
        return Err(invalid(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            host.cpu_shares
        )));
    }
    Ok(())
}

/// Each kind of mount has its own options.
fn check_options_fit(mount: &Mount) -> Result<()> {
    let options = [
        (mount.volume_options.is_some(), "volume", "VolumeOptions"),
        (mount.bind_options.is_some(), "bind", "BindOptions"),
        (mount.tmpfs_options.is_some(), "tmpfs", "TmpfsOptions"),
    ];
    match options
        .iter()
        .find(|(there, kind, _)| *there && mount.kind != *kind)
    {
        Some((_, _, name)) => Err(invalid(format!(
            "{name} must not be specified on mount type {:?}",
            mount.kind
        ))),
        None => Ok(()),
    }
}

fn check_config(config: &mut ContainerConfig) -> Result<()> {
    if !config.working_dir.is_empty() {
        if !config.working_dir.starts_with('/') {
            return Err(invalid(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                config.working_dir
            )));
        }
        config.working_dir = clean(&config.working_dir);
    }
    if !config.stop_signal.is_empty() {
        parse_signal(&config.stop_signal)?;
    }
    for line in config.env.iter().flatten() {
        if line.is_empty() || line.starts_with('=') {
            return Err(invalid(format!("invalid environment variable: {line}")));
        }
    }
    config.healthcheck.as_ref().map_or(Ok(()), check_health)
}

fn check_health(health: &HealthConfig) -> Result<()> {
    let short = |nanoseconds: i64| nanoseconds != 0 && nanoseconds < MINIMUM_NANOSECONDS;
    let too_short = |name: &str| {
        Err(invalid(format!(
            "{name} in Healthcheck cannot be less than 1ms"
        )))
    };
    if short(health.interval) {
        return too_short("Interval");
    }
    if short(health.timeout) {
        return too_short("Timeout");
    }
    if health.retries < 0 {
        return Err(invalid("Retries in Healthcheck cannot be negative"));
    }
    if short(health.start_period) {
        return too_short("StartPeriod");
    }
    if short(health.start_interval) {
        return too_short("StartInterval");
    }
    Ok(())
}

fn check_host(host: &HostConfig, machine: &dyn Machine) -> Result<()> {
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err(invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    for mount in host.mounts.iter().flatten() {
        check_mount(mount)?;
    }
    for line in host.extra_hosts.iter().flatten() {
        check_extra_host(line)?;
    }
    network::check_ports(host)?;
    check_restart(&host.restart_policy)?;
    capabilities::check(host, machine)?;
    if host
        .annotations
        .iter()
        .flatten()
        .any(|(key, _)| key.is_empty())
    {
        return Err(invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ));
    }
    Ok(())
}

/// `name:address`; the address may be the gateway's.
fn check_extra_host(line: &str) -> Result<()> {
    let Some((_, address)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) else {
        return Err(invalid(format!("bad format for add-host: {line:?}")));
    };
    if address != "host-gateway" && address.trim().parse::<IpAddr>().is_err() {
        return Err(invalid(format!(
            "invalid IP address in add-host: {address:?}"
        )));
    }
    Ok(())
}

fn check_restart(policy: &RestartPolicy) -> Result<()> {
    let wrong = |text: &str| Err(invalid(format!("invalid restart policy: {text}")));
    let negative = policy.maximum_retry_count < 0;
    match policy.name.as_str() {
        "always" | "unless-stopped" | "no" if negative => {
            wrong("maximum retry count can only be used with 'on-failure' and cannot be negative")
        }
        "always" | "unless-stopped" | "no" if policy.maximum_retry_count != 0 => {
            wrong("maximum retry count can only be used with 'on-failure'")
        }
        "on-failure" if negative => wrong("maximum retry count cannot be negative"),
        "always" | "unless-stopped" | "no" | "on-failure" | "" => Ok(()),
        other => wrong(&format!(
            "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

fn check_settings(host: &mut HostConfig) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let of_container = |mode: &str| mode.starts_with("container:");
    if !matches!(
        host.ipc_mode.as_str(),
        "" | "none" | "private" | "host" | "shareable"
    ) && !of_container(&host.ipc_mode)
    {
        return Err(invalid(format!("invalid IPC mode: {}", host.ipc_mode)));
    }
    if !matches!(host.pid_mode.as_str(), "" | "host")
        && (!of_container(&host.pid_mode) || host.pid_mode == "container:")
    {
        return Err(invalid(format!("invalid PID mode: {}", host.pid_mode)));
    }
    if host.shm_size < 0 {
        return Err(invalid("SHM size can not be less than 0"));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return Err(invalid(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if host.network_mode == "host" && host.port_bindings.iter().any(|all| !all.is_empty()) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    if host.runtime.is_empty() {
        host.runtime = RUNTIMES[0].to_owned();
    }
    if !RUNTIMES.contains(&host.runtime.as_str()) {
        return Err(invalid(format!(
            "unknown or invalid runtime name: {}",
            host.runtime
        )));
    }
    for target in host.tmpfs.iter().flatten().map(|(target, _)| target) {
        check_tmpfs_target(target)?;
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return Err(invalid(format!(
            "invalid cgroup namespace mode: {}",
            host.cgroupns_mode
        )));
    }
    Ok(warnings)
}

/// What inspect shows where the user said nothing.
fn fill_defaults(host: &mut HostConfig, machine: &dyn Machine) {
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if host.shm_size == 0 {
        host.shm_size = DEFAULT_SHM_BYTES;
    }
    for mode in [&mut host.ipc_mode, &mut host.cgroupns_mode] {
        if mode.is_empty() {
            *mode = "private".to_owned();
        }
    }
    let unlabelled = host.privileged || host.ipc_mode == "host" || host.pid_mode == "host";
    let options = host.security_opt.iter().flatten();
    if unlabelled
        && !options
            .clone()
            .any(|one| one.split('=').next() == Some("label"))
    {
        host.security_opt
            .get_or_insert_default()
            .push("label=disable".to_owned());
    }
    host.oom_kill_disable.get_or_insert(false);
    host.masked_paths = security::masked_paths(host, machine);
    host.readonly_paths = security::readonly_paths(host);
}

#[cfg(test)]
mod tests;
