//! Puts the spec together.

use docker_api::ContainerConfig;
use errdefs::Result;
use oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

use super::{
    NamespaceOf, SpecInput, devices, identity, mount_point::clean, mounts, process, resources,
    seccomp, system,
};

/// Entrypoint and its arguments.
pub fn arguments(config: &ContainerConfig) -> Vec<String> {
    config
        .entrypoint
        .iter()
        .chain(&config.cmd)
        .flatten()
        .cloned()
        .collect()
}

/// The spec of a container.
///
/// # Errors
/// In Docker's words: what only shows at the start, as a user that is not there.
pub fn build(input: &SpecInput<'_>) -> Result<Spec> {
    let (config, host) = (input.config, input.host);
    let identity = identity::resolve(
        &config.user,
        host.group_add.as_deref().unwrap_or_default(),
        input.passwd,
        input.group,
    )?;
    let capabilities = process::capabilities_of(host, input.machine)?;
    let mut args = arguments(config);
    if input.init.is_some() {
        args.splice(0..0, [mounts::INIT_TARGET.to_owned(), "--".to_owned()]);
    }
    let seccomp = seccomp_of(input, &capabilities)?;
    let [rows, columns] = host
        .console_size
        .map(|cells| u16::try_from(cells).unwrap_or(u16::MAX));
    let process = process::Plan {
        host,
        env: process::environment(config, config.tty, &identity.home),
        identity,
        capabilities,
        args,
        cwd: clean(&config.working_dir),
        tty: config.tty,
        console_size: (rows > 0 && columns > 0).then_some((rows, columns)),
    };
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "process": process.value()?,
        "root": {"path": "rootfs", "readonly": host.readonly_rootfs},
        "mounts": mounts::all(input),
        "linux": linux(input, seccomp)?,
    });
    if input.uts != NamespaceOf::Host {
        spec["hostname"] = config.hostname.clone().into();
    }
    serde_json::from_value(spec)
        .map_err(|error| system(format!("make the runtime's spec: {error}")))
}

fn linux(input: &SpecInput<'_>, seccomp: Option<Value>) -> Result<Value> {
    let host = input.host;
    let devices = devices::of_container(host, input.machine)?;
    let mut limits = resources::of_container(host);
    limits.insert("devices".to_owned(), devices.rules.into());
    let (masked, read_only) = if host.privileged {
        (Vec::new(), Vec::new())
    } else {
        (
            host.masked_paths.clone().unwrap_or_default(),
            host.readonly_paths.clone().unwrap_or_default(),
        )
    };
    let mut linux = json!({
        "cgroupsPath": input.cgroup,
        "namespaces": namespaces(input),
        "resources": limits,
        "devices": devices.nodes,
        "maskedPaths": masked,
        "readonlyPaths": read_only,
        "sysctl": sysctls(input)?,
    });
    if let Some(seccomp) = seccomp {
        linux["seccomp"] = seccomp;
    }
    Ok(linux)
}

fn namespaces(input: &SpecInput<'_>) -> Vec<Value> {
    let mut namespaces = vec![json!({"type": "mount"})];
    let all = [
        ("network", &input.network),
        ("uts", &input.uts),
        ("pid", &input.pid),
        ("ipc", &input.ipc),
        ("cgroup", &input.cgroup_namespace),
    ];
    for (kind, from) in all {
        match from {
            NamespaceOf::Host => {}
            NamespaceOf::New => namespaces.push(json!({"type": kind})),
            NamespaceOf::Path(path) => namespaces.push(json!({"type": kind, "path": path})),
        }
    }
    namespaces
}

/// The user's, and what makes ping and low ports work for every user of a network of its own.
fn sysctls(input: &SpecInput<'_>) -> Result<Map<String, Value>> {
    let mut sysctls = Map::new();
    let own_network = input.network != NamespaceOf::Host;
    if own_network {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".into());
        sysctls.insert(
            "net.ipv4.ping_group_range".to_owned(),
            "0 2147483647".into(),
        );
    }
    if !input.config.domainname.is_empty() && input.uts != NamespaceOf::Host {
        sysctls.insert(
            "kernel.domainname".to_owned(),
            input.config.domainname.clone().into(),
        );
    }
    for (name, value) in input.host.sysctls.iter().flatten() {
        if name.starts_with("net.") && !own_network {
            return Err(system(format!(
                "sysctl \"{name}\" not allowed in host network namespace"
            )));
        }
        let of_ipc = name.starts_with("fs.mqueue.")
            || [
                "kernel.msgmax",
                "kernel.msgmnb",
                "kernel.msgmni",
                "kernel.sem",
                "kernel.shmall",
                "kernel.shmmax",
                "kernel.shmmni",
                "kernel.shm_rmid_forced",
            ]
            .contains(&name.as_str());
        if of_ipc && input.ipc == NamespaceOf::Host {
            return Err(system(format!(
                "sysctl \"{name}\" not allowed in host ipc namespace"
            )));
        }
        if !name.starts_with("net.") && !of_ipc && name != "kernel.domainname" {
            return Err(system(format!(
                "sysctl \"{name}\" is not in a separate kernel namespace"
            )));
        }
        sysctls.insert(name.clone(), value.clone().into());
    }
    Ok(sysctls)
}

fn seccomp_of(input: &SpecInput<'_>, capabilities: &[String]) -> Result<Option<Value>> {
    if input.host.privileged {
        return Ok(None);
    }
    let options = input.host.security_opt.iter().flatten();
    let profile = options
        .filter_map(|option| {
            option
                .strip_prefix("seccomp")
                .and_then(|rest| rest.strip_prefix(['=', ':']))
        })
        .next_back();
    match profile {
        Some("unconfined") => Ok(None),
        None | Some("builtin" | "") => Ok(Some(seccomp::default_profile(capabilities))),
        Some(text) => seccomp::custom_profile(text, capabilities).map(Some),
    }
}
