//! Capabilities: Docker's default set, and what is added and dropped. Linux: include/uapi/linux/capability.h.

use errdefs::Result;

use super::invalid;

/// By number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Every capability of a set of bits, as `CAP_…`.
pub(super) fn all(bits: u64) -> Vec<String> {
    let own = NAMES
        .iter()
        .enumerate()
        .filter(|(number, _)| bits >> number & 1 == 1);
    own.map(|(_, name)| full(name)).collect()
}

fn full(name: &str) -> String {
    format!("CAP_{name}")
}

/// Checks a list and gives it in full names; `ALL` stays.
///
/// # Errors
/// `invalid CapAdd: unknown capability: "CAP_FOO"`.
pub(super) fn normalize(list: &[String], setting: &str) -> Result<Vec<String>> {
    let each = list.iter().map(|name| {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            Ok("ALL".to_owned())
        } else if NAMES.contains(&bare) {
            Ok(full(bare))
        } else {
            Err(invalid(format!(
                "invalid {setting}: unknown capability: \"{}\"",
                full(bare)
            )))
        }
    });
    each.collect()
}

/// What a container has.
///
/// # Errors
/// As [`normalize`].
pub(super) fn of_container(
    add: &[String],
    drop: &[String],
    privileged: bool,
    own: u64,
) -> Result<Vec<String>> {
    let (add, drop) = (normalize(add, "CapAdd")?, normalize(drop, "CapDrop")?);
    let has_all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let all = all(own);
    if privileged {
        return Ok(all);
    }
    let base = if has_all(&add) {
        all.clone()
    } else if has_all(&drop) {
        Vec::new()
    } else {
        DEFAULT.iter().map(|name| full(name)).collect()
    };
    let mut set: Vec<String> = base
        .into_iter()
        .filter(|name| !drop.contains(name))
        .collect();
    for name in add {
        if name != "ALL" && !set.contains(&name) && all.contains(&name) {
            set.push(name);
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> Vec<String> {
        let own = |list: &[&str]| {
            list.iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        of_container(&own(add), &own(drop), false, (1 << 41) - 1).unwrap()
    }

    #[test]
    fn sets_are_dockers() {
        assert_eq!(set(&[], &[]).len(), 14);
        assert!(set(&[], &["ALL"]).is_empty());
        assert_eq!(set(&["net_admin"], &["all"]), ["CAP_NET_ADMIN"]);
        assert_eq!(set(&["ALL"], &["CAP_CHOWN"]).len(), 40);
        assert_eq!(set(&["SYS_ADMIN"], &["KILL"]).len(), 14);
        assert_eq!(
            of_container(&[], &[], true, (1 << 38) - 1).unwrap().len(),
            38
        );
        let error = of_container(&["foo".into()], &[], false, !0).unwrap_err();
        assert_eq!(
            error.message(),
            "invalid CapAdd: unknown capability: \"CAP_FOO\""
        );
    }
}
