//! Device nodes in the container and who may use which.

use std::{io, path::Path};

use docker_api::{DeviceMapping, DeviceRequest, HostConfig};
use errdefs::Result;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::{HostDevice, Machine, system};

/// Character devices that are allowed, or not, whatever else is said: zero, null, urandom, random, tty, console, and not fuse.
/// Docker: oci/defaults.go.
const DEFAULT: [(bool, i64, i64); 7] = [
    (true, 1, 5),
    (true, 1, 3),
    (true, 1, 9),
    (true, 1, 8),
    (true, 5, 0),
    (true, 5, 1),
    (false, 10, 229),
];

const ALL: &str = "rwm";

/// The permission bits of a mode, without the kind of file. Linux: include/uapi/linux/stat.h.
const PERMISSIONS: u32 = 0o7777;

/// Nodes and rules. Later rules win.
///
/// # Errors
/// `System`: `error gathering device information while adding custom device "/dev/x": no such file or directory` and the like.
pub(super) fn devices(
    host: &HostConfig,
    machine: &dyn Machine,
) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>)> {
    if let Some(request) = host.device_requests.iter().flatten().next() {
        return Err(no_driver(request));
    }
    let mut nodes = Vec::new();
    let mut rules = vec![rule(false, None, None, None, ALL)];
    rules.extend(DEFAULT.map(|(allow, major, minor)| {
        rule(
            allow,
            Some(LinuxDeviceType::C),
            Some(major),
            Some(minor),
            ALL,
        )
    }));
    let mappings = host.devices.as_deref().unwrap_or_default();
    if host.privileged {
        let all = machine.all_devices().map_err(|error| {
            system(format!(
                "error gathering device information: {}",
                describe(&error)
            ))
        })?;
        nodes.extend(all.iter().map(|device| node(device, device.path.clone())));
        for mapping in mappings
            .iter()
            .filter(|one| one.path_on_host != in_container(one))
        {
            nodes.extend(mapped(mapping, machine)?);
        }
        rules.push(rule(true, None, None, None, ALL));
        return Ok((nodes, rules));
    }
    for mapping in mappings {
        let found = mapped(mapping, machine)?;
        let access = match mapping.cgroup_permissions.as_str() {
            "" => ALL,
            named => named,
        };
        rules.extend(found.iter().map(|one| {
            rule(
                true,
                Some(one.typ()),
                Some(one.major()),
                Some(one.minor()),
                access,
            )
        }));
        nodes.extend(found);
    }
    for text in host.device_cgroup_rules.iter().flatten() {
        rules.push(parse_rule(text)?);
    }
    Ok((nodes, rules))
}

fn no_driver(request: &DeviceRequest) -> errdefs::Error {
    let sets: Vec<String> = request
        .capabilities
        .iter()
        .flatten()
        .map(|set| format!("[{}]", set.join(" ")))
        .collect();
    system(format!(
        "could not select device driver {:?} with capabilities: [{}]",
        request.driver,
        sets.join(" ")
    ))
}

fn in_container(mapping: &DeviceMapping) -> &str {
    match mapping.path_in_container.as_str() {
        "" => &mapping.path_on_host,
        named => named,
    }
}

/// The nodes of a mapping: one, or all below a folder.
fn mapped(mapping: &DeviceMapping, machine: &dyn Machine) -> Result<Vec<LinuxDevice>> {
    let path = Path::new(&mapping.path_on_host);
    let failed = |why: &str| {
        system(format!(
            "error gathering device information while adding custom device {:?}: {why}",
            mapping.path_on_host
        ))
    };
    let found = machine
        .devices(path)
        .map_err(|error| failed(&describe(&error)))?;
    if found.is_empty() {
        return Err(failed("not a device node"));
    }
    let target = Path::new(in_container(mapping));
    Ok(found
        .iter()
        .map(|device| match device.path.strip_prefix(path) {
            Ok(rest) if !rest.as_os_str().is_empty() => node(device, target.join(rest)),
            _ => node(device, target.to_owned()),
        })
        .collect())
}

/// Major and minor number of a device.
///
/// # Errors
/// `System`: `stat /dev/x: no such file or directory`.
pub(super) fn numbers(path: &str, machine: &dyn Machine) -> Result<(i64, i64)> {
    let failed = |why: &str| system(format!("stat {path}: {why}"));
    let found = machine
        .devices(Path::new(path))
        .map_err(|error| failed(&describe(&error)))?;
    match found.first() {
        Some(device) => Ok((device.major, device.minor)),
        None => Err(failed("not a device node")),
    }
}

/// An error as Go's programs write it.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn node(device: &HostDevice, path: std::path::PathBuf) -> LinuxDevice {
    let mut node = LinuxDevice::default();
    node.set_path(path)
        .set_typ(match device.kind {
            'b' => LinuxDeviceType::B,
            _ => LinuxDeviceType::C,
        })
        .set_major(device.major)
        .set_minor(device.minor)
        .set_file_mode(Some(device.mode & PERMISSIONS))
        .set_uid(Some(device.uid))
        .set_gid(Some(device.gid));
    node
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(kind)
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

/// `c 1:3 rwm`; `*` for any number.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let wrong = || system(format!("invalid device cgroup rule format: '{text}'"));
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = words.as_slice() else {
        return Err(wrong());
    };
    let kind = match *kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |word: &str, what: &str| match word {
        "*" => Ok(None),
        digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| {
                system(format!(
                    "invalid {what} value in device cgroup rule format: '{text}'"
                ))
            })
        }
        _ => Err(wrong()),
    };
    let good_access =
        (1..=3).contains(&access.len()) && access.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'));
    // The format comes before the size of the numbers.
    if !good_access || minor.contains(':') {
        return Err(wrong());
    }
    let (major, minor) = (number(major, "major"), number(minor, "minor"));
    Ok(rule(true, Some(kind), major?, minor?, access))
}

#[cfg(test)]
mod tests;
