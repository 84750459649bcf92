//! Network settings that exclude each other, and ports. Docker: runconfig, daemon/container.go.

use docker_api::{ContainerConfig, HostConfig};
use errdefs::Result;

use super::super::invalid;

/// Links are for networks of containers' own.
pub(crate) const LINKS_WITH_HOST: &str = "conflicting options: host type networking can't be used with links. This would result in undefined behavior";

/// Checks the network mode against what else is asked for, and names the default one.
pub(super) fn check_modes(config: &ContainerConfig, host: &mut HostConfig) -> Result<()> {
    if matches!(host.network_mode.as_str(), "" | "default") {
        host.network_mode = "bridge".to_owned();
    }
    if let Some(container) = container_of(&host.network_mode) {
        check_shared(container, config, host)?;
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return Err(invalid("conflicting options: hostname and the UTS mode"));
    }
    if host.network_mode == "host" && has(host.links.as_ref()) {
        return Err(invalid(LINKS_WITH_HOST));
    }
    Ok(())
}

fn container_of(mode: &str) -> Option<&str> {
    match mode {
        "container" => Some(""),
        _ => mode.strip_prefix("container:"),
    }
}

fn has<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// The network of another container comes with its names and ports.
fn check_shared(container: &str, config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    if container.is_empty() {
        return Err(invalid(
            "invalid network mode: invalid container format container:<name|id>",
        ));
    }
    let conflicts = [
        (!config.hostname.is_empty(), "hostname and the network mode"),
        (
            has(host.links.as_ref()),
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (has(host.dns.as_ref()), "dns and the network mode"),
        (
            has(host.extra_hosts.as_ref()),
            "custom host-to-IP mapping and the network mode",
        ),
        (
            host.port_bindings.iter().any(|all| !all.is_empty()) || host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (
            config.exposed_ports.iter().any(|all| !all.is_empty()),
            "port exposing and the container type network mode",
        ),
    ];
    match conflicts.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(invalid(format!("conflicting options: {what}"))),
        None => Ok(()),
    }
}

/// Checks the numbers in published ports.
pub(super) fn check_ports(host: &HostConfig) -> Result<()> {
    let wrong = |port: &str| invalid(format!("invalid port specification: {port:?}"));
    for (port, ends) in host.port_bindings.iter().flatten() {
        let number = port.split('/').next().unwrap_or_default();
        if !number.is_empty() && number.parse::<u16>().is_err() {
            return Err(wrong(number));
        }
        for end in ends.iter().flatten() {
            if !is_range(end.host_port.split('/').next().unwrap_or_default()) {
                return Err(wrong(&end.host_port));
            }
        }
    }
    Ok(())
}

/// Nothing, one port, or the first and the last.
fn is_range(text: &str) -> bool {
    let mut ports = text.split('-').map(str::parse::<u16>);
    match (text, ports.next(), ports.next()) {
        ("", ..) | (_, Some(Ok(_)), None) => true,
        (_, Some(Ok(first)), Some(Ok(last))) => first <= last,
        _ => false,
    }
}
