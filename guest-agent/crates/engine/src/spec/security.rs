//! `SecurityOpt`, and the paths that are hidden or read-only.

use docker_api::HostConfig;
use errdefs::Result;

use super::{Machine, invalid};

/// Read-only for every container. Docker: oci/defaults.go.
const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Hidden from every container; the thermal counters of each CPU come on top. Docker: oci/defaults.go.
const MASKED_PATHS: [&str; 12] = [
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

/// Which system calls are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeccompWish<'a> {
    /// Not said: Docker's profile, unless the container is privileged.
    Unset,
    /// Docker's profile, asked for by name.
    Builtin,
    /// All.
    Unconfined,
    /// The user's own profile, as JSON.
    Profile(&'a str),
}

/// What `SecurityOpt` asks for. Labels of SELinux and profiles of AppArmor are read and have no effect: the machine has neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SecurityOptions<'a> {
    pub(super) no_new_privileges: bool,
    pub(super) writable_cgroups: Option<bool>,
    pub(super) seccomp: SeccompWish<'a>,
}

impl<'a> SecurityOptions<'a> {
    /// # Errors
    /// `InvalidParameter`: `invalid --security-opt 2: "x=y"`.
    pub(super) fn parse(host: &'a HostConfig) -> Result<Self> {
        let mut all = Self {
            no_new_privileges: false,
            writable_cgroups: None,
            seccomp: SeccompWish::Unset,
        };
        for option in host.security_opt.iter().flatten() {
            all.take(option)?;
        }
        Ok(all)
    }

    fn take(&mut self, option: &'a str) -> Result<()> {
        match option {
            "no-new-privileges" => self.no_new_privileges = true,
            "writable-cgroups" => self.writable_cgroups = Some(true),
            "disable" => {}
            _ => {
                // A colon between name and value is the old spelling.
                let Some((name, value)) = option.split_once('=').or_else(|| option.split_once(':'))
                else {
                    return Err(invalid(format!("invalid --security-opt 1: {option:?}")));
                };
                let wrong = || invalid(format!("invalid --security-opt 2: {option:?}"));
                match name {
                    "label" | "apparmor" => {}
                    "seccomp" => {
                        self.seccomp = match value {
                            "" => SeccompWish::Unset,
                            "builtin" => SeccompWish::Builtin,
                            "unconfined" => SeccompWish::Unconfined,
                            profile => SeccompWish::Profile(profile),
                        };
                    }
                    "no-new-privileges" => {
                        self.no_new_privileges = parse_bool(value).ok_or_else(wrong)?;
                    }
                    "writable-cgroups" => {
                        self.writable_cgroups = Some(parse_bool(value).ok_or_else(wrong)?);
                    }
                    _ => return Err(wrong()),
                }
            }
        }
        Ok(())
    }
}

/// Go: strconv.ParseBool.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Whether the container may change its cgroup: as asked, or when it is privileged. Wrong options were refused before.
pub(super) fn writable_cgroup(host: &HostConfig) -> bool {
    SecurityOptions::parse(host)
        .ok()
        .and_then(|options| options.writable_cgroups)
        .unwrap_or(host.privileged)
}

/// The hidden paths: the user's, or Docker's unless the container is privileged.
pub(super) fn masked_paths(host: &HostConfig, machine: &dyn Machine) -> Option<Vec<String>> {
    host.masked_paths.clone().or_else(|| {
        let counters = (0..machine.cpus())
            .filter(|&cpu| machine.has_thermal_counters(cpu))
            .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"));
        let paths = MASKED_PATHS.into_iter().map(str::to_owned).chain(counters);
        (!host.privileged).then(|| paths.collect())
    })
}

/// The read-only paths: the user's, or Docker's unless the container is privileged.
pub(super) fn readonly_paths(host: &HostConfig) -> Option<Vec<String>> {
    host.readonly_paths.clone().or_else(|| {
        (!host.privileged).then(|| READONLY_PATHS.into_iter().map(str::to_owned).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(options: &[&str]) -> HostConfig {
        HostConfig {
            security_opt: Some(options.iter().map(|&one| one.to_owned()).collect()),
            ..HostConfig::default()
        }
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        let host = host(&[
            "no-new-privileges:true",
            "seccomp=unconfined",
            "label=disable",
        ]);
        let options = SecurityOptions::parse(&host).unwrap();
        assert!(options.no_new_privileges);
        assert_eq!(options.seccomp, SeccompWish::Unconfined);
    }

    #[test]
    fn wrong_options_have_dockers_texts() {
        let check = |option: &str, want: &str| {
            let host = host(&[option]);
            let error = SecurityOptions::parse(&host).unwrap_err();
            assert_eq!(error.message(), want);
        };
        check("nonsense", "invalid --security-opt 1: \"nonsense\"");
        check("foo=bar", "invalid --security-opt 2: \"foo=bar\"");
        check(
            "no-new-privileges=maybe",
            "invalid --security-opt 2: \"no-new-privileges=maybe\"",
        );
    }
}
