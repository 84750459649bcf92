//! Devices: what every container has, what was asked for, and the rules of the device cgroup.

use docker_api::HostConfig;
use errdefs::Result;
use serde_json::{Value, json};

use super::{HostDevice, Machine, system};

/// Devices every container may use: kind, major, minor (none: all), access. The nodes themselves are made by the runtime.
const DEFAULT_RULES: [(char, Option<i64>, Option<i64>, &str); 10] = [
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"),
    ('c', Some(1), Some(5), "rwm"),
    ('c', Some(1), Some(7), "rwm"),
    ('c', Some(1), Some(8), "rwm"),
    ('c', Some(1), Some(9), "rwm"),
    ('c', Some(5), Some(0), "rwm"),
    ('c', Some(5), Some(2), "rwm"),
    ('c', Some(136), None, "rwm"),
];

/// Nodes and rules.
pub(super) struct Devices {
    pub(super) nodes: Vec<Value>,
    pub(super) rules: Vec<Value>,
}

/// What a container gets.
///
/// # Errors
/// In Docker's words: a device that is not there, a rule that cannot be read.
pub(super) fn of_container(host: &HostConfig, machine: &dyn Machine) -> Result<Devices> {
    if host.privileged {
        let all = machine
            .devices("/dev".as_ref())
            .map_err(|error| system(format!("error gathering device information: {error}")))?;
        return Ok(Devices {
            nodes: all
                .iter()
                .map(|device| node(device, &device.path.to_string_lossy()))
                .collect(),
            rules: vec![json!({"allow": true, "access": "rwm"})],
        });
    }
    let mut devices = Devices {
        nodes: Vec::new(),
        rules: vec![json!({"allow": false, "access": "rwm"})],
    };
    devices.rules.extend(
        DEFAULT_RULES
            .iter()
            .map(|(kind, major, minor, access)| rule(*kind, *major, *minor, access)),
    );
    for wish in host.devices.iter().flatten() {
        let found = machine
            .devices(wish.path_on_host.as_ref())
            .map_err(|error| {
                system(format!(
                    "error gathering device information while adding custom device \"{}\": {error}",
                    wish.path_on_host
                ))
            })?;
        let target = if wish.path_in_container.is_empty() {
            &wish.path_on_host
        } else {
            &wish.path_in_container
        };
        let access = if wish.cgroup_permissions.is_empty() {
            "rwm"
        } else {
            &wish.cgroup_permissions
        };
        for device in found {
            // A folder's devices keep their places in it.
            let below = device
                .path
                .strip_prefix(&wish.path_on_host)
                .ok()
                .filter(|below| !below.as_os_str().is_empty());
            let path = below.map_or_else(
                || target.clone(),
                |below| format!("{}/{}", target.trim_end_matches('/'), below.display()),
            );
            devices.nodes.push(node(&device, &path));
            devices.rules.push(rule(
                device.kind,
                Some(device.major),
                Some(device.minor),
                access,
            ));
        }
    }
    for text in host.device_cgroup_rules.iter().flatten() {
        devices.rules.push(parse_rule(text)?);
    }
    Ok(devices)
}

fn node(device: &HostDevice, path: &str) -> Value {
    json!({"path": path, "type": device.kind.to_string(), "major": device.major, "minor": device.minor,
        "fileMode": device.mode, "uid": device.uid, "gid": device.gid})
}

fn rule(kind: char, major: Option<i64>, minor: Option<i64>, access: &str) -> Value {
    let mut rule = json!({"allow": true, "type": kind.to_string(), "access": access});
    for (key, number) in [("major", major), ("minor", minor)] {
        if let Some(number) = number {
            rule[key] = number.into();
        }
    }
    rule
}

/// `c 1:3 rwm`, with `*` for any number.
fn parse_rule(text: &str) -> Result<Value> {
    let bad = || system(format!("invalid device cgroup rule format: '{text}'"));
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = parts[..] else {
        return Err(bad());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| bad())
        }
        _ => Err(bad()),
    };
    let known = matches!(kind, "a" | "b" | "c")
        && (1..=3).contains(&access.len())
        && access.chars().all(|c| "rwm".contains(c));
    if !known {
        return Err(bad());
    }
    Ok(rule(
        kind.chars().next().unwrap_or('a'),
        number(major)?,
        number(minor)?,
        access,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_or_refused() {
        assert_eq!(
            parse_rule("c 10:* rw").unwrap(),
            json!({"allow": true, "type": "c", "access": "rw", "major": 10})
        );
        for bad in [
            "x 1:1 r",
            "c 1 r",
            "c 1:1 q",
            "c 1:1 rrrr",
            "c -1:1 r",
            "",
            "c 1:1  r",
        ] {
            assert_eq!(
                parse_rule(bad).unwrap_err().message(),
                format!("invalid device cgroup rule format: '{bad}'")
            );
        }
    }
}
