//! Capabilities: names, Docker's default set, and what `CapAdd` and `CapDrop` make of it. Linux: include/uapi/linux/capability.h.

use docker_api::HostConfig;
use errdefs::Result;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use super::{Machine, invalid, system};

/// All names; the index is the kernel's number.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise. Docker: oci/caps/defaults.go.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const ALL: &str = "ALL";

/// Everything this kernel knows and the engine itself has.
pub(super) fn all(machine: &dyn Machine) -> Vec<&'static str> {
    let last = usize::try_from(machine.last_capability()).unwrap_or(usize::MAX);
    let known = NAMES.iter().enumerate().take(last.saturating_add(1));
    known
        .filter(|(number, _)| machine.held_capabilities() >> number & 1 == 1)
        .map(|(_, name)| *name)
        .collect()
}

/// What a container has.
///
/// # Errors
/// As [`check`].
pub(super) fn of_container(host: &HostConfig, machine: &dyn Machine) -> Result<Vec<&'static str>> {
    let adds = named(host.cap_add.as_deref().unwrap_or_default(), machine)?;
    let drops = named(host.cap_drop.as_deref().unwrap_or_default(), machine)?;
    let kept = |set: &[&'static str]| -> Vec<&'static str> {
        set.iter()
            .copied()
            .filter(|name| !drops.contains(name))
            .collect()
    };
    Ok(if host.privileged {
        all(machine)
    } else if adds.contains(&ALL) {
        kept(&all(machine))
    } else if drops.contains(&ALL) {
        adds
    } else {
        let mut set = kept(&DEFAULT);
        set.extend(
            adds.into_iter()
                .filter(|name| !DEFAULT.contains(name) || drops.contains(name)),
        );
        set
    })
}

/// Checks the names in `CapAdd` and `CapDrop`.
///
/// # Errors
/// `InvalidParameter`: `invalid CapAdd: unknown capability: "CAP_X"`.
pub(super) fn check(host: &HostConfig, machine: &dyn Machine) -> Result<()> {
    for (list, what) in [(&host.cap_add, "CapAdd"), (&host.cap_drop, "CapDrop")] {
        named(list.as_deref().unwrap_or_default(), machine)
            .map_err(|error| error.context(format!("invalid {what}")))?;
    }
    Ok(())
}

/// Names in any spelling (`sys_admin`, `CAP_SYS_ADMIN`, `all`) as the kernel's.
fn named(list: &[String], machine: &dyn Machine) -> Result<Vec<&'static str>> {
    let mut names = Vec::new();
    for text in list {
        let upper = text.to_uppercase();
        if upper == ALL {
            names.push(ALL);
            continue;
        }
        let full = if upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        };
        let Some(name) = NAMES.into_iter().find(|name| *name == full) else {
            return Err(invalid(format!("unknown capability: {full:?}")));
        };
        if !all(machine).contains(&name) {
            return Err(invalid(format!(
                "capability not supported by your kernel or not available in the current environment: {full:?}"
            )));
        }
        names.push(name);
    }
    Ok(names)
}

/// The spec's sets: bounding, effective and permitted are the same, the others are empty.
pub(super) fn sets(names: &[&str]) -> Result<LinuxCapabilities> {
    let mut set = Capabilities::new();
    for name in names {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        let one: Capability = short
            .parse()
            .map_err(|_| system(format!("unknown capability: {name:?}")))?;
        set.insert(one);
    }
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set))
        .set_inheritable(None)
        .set_ambient(None);
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::TestMachine, *};

    fn set(add: &[&str], drop: &[&str], privileged: bool) -> Vec<&'static str> {
        let own = |list: &[&str]| Some(list.iter().map(|&name| name.to_owned()).collect());
        let host = HostConfig {
            cap_add: own(add),
            cap_drop: own(drop),
            privileged,
            ..HostConfig::default()
        };
        of_container(&host, &TestMachine::default()).unwrap()
    }

    #[test]
    fn the_default_set_is_dockers() {
        assert_eq!(set(&[], &[], false), DEFAULT);
        assert_eq!(set(&[], &[], true).len(), 41);
    }

    #[test]
    fn names_are_added_and_dropped_in_any_spelling() {
        let changed = set(&["net_admin", "CAP_SYS_TIME"], &["mknod"], false);
        assert!(changed.contains(&"CAP_NET_ADMIN") && changed.contains(&"CAP_SYS_TIME"));
        assert!(!changed.contains(&"CAP_MKNOD"));
        assert_eq!(changed.len(), 15);
    }

    #[test]
    fn all_is_all_but_what_is_dropped_and_none_but_what_is_added() {
        assert_eq!(set(&["ALL"], &["sys_admin"], false).len(), 40);
        assert_eq!(set(&["chown"], &["all"], false), ["CAP_CHOWN"]);
        assert!(set(&[], &["ALL"], false).is_empty());
    }

    #[test]
    fn unknown_names_are_refused_with_dockers_text() {
        let host = HostConfig {
            cap_add: Some(vec!["foo".to_owned()]),
            ..HostConfig::default()
        };
        let error = check(&host, &TestMachine::default()).unwrap_err();
        assert_eq!(
            error.message(),
            "invalid CapAdd: unknown capability: \"CAP_FOO\""
        );
        let host = HostConfig {
            cap_drop: Some(vec!["bpf".to_owned()]),
            ..HostConfig::default()
        };
        let old = TestMachine {
            last_capability: 36,
            ..TestMachine::default()
        };
        assert_eq!(
            check(&host, &old).unwrap_err().message(),
            "invalid CapDrop: capability not supported by your kernel or not available in the current environment: \"CAP_BPF\""
        );
    }

    #[test]
    fn every_name_is_one_of_the_specs() {
        assert_eq!(sets(&NAMES).unwrap().bounding().as_ref().unwrap().len(), 41);
    }
}
