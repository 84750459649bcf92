//! Who the program is and what it may: host name, limits, capabilities, user.

use oci_spec::runtime::{Capabilities, Process, Spec};

use super::Failure;
use crate::{seccomp::Filter, sys};

/// Highest capability this code knows. Linux: include/uapi/linux/capability.h, CAP_LAST_CAP.
const LAST_CAPABILITY: u32 = 40;

pub(super) fn set_host_name(spec: &Spec) -> Result<(), Failure> {
    if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        rustix::system::sethostname(name.as_bytes())
            .map_err(|error| Failure::of("sethostname", error))?;
    }
    if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        rustix::system::setdomainname(name.as_bytes())
            .map_err(|error| Failure::of("setdomainname", error))?;
    }
    Ok(())
}

pub(super) fn set_limits(process: &Process) -> Result<(), Failure> {
    for limit in process.rlimits().iter().flatten() {
        let name = limit.typ().to_string();
        let number = limit_number(&name).ok_or_else(|| Failure(format!("unknown limit {name}")))?;
        sys::set_limit(number, limit.soft(), limit.hard())
            .map_err(|error| Failure::of(format!("error setting rlimit type {number}"), error))?;
    }
    Ok(())
}

/// Linux: include/uapi/asm-generic/resource.h.
fn limit_number(name: &str) -> Option<u32> {
    const NAMES: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let name = name.to_uppercase();
    let name = name.strip_prefix("RLIMIT_").unwrap_or(&name);
    NAMES
        .iter()
        .position(|one| *one == name)
        .and_then(|index| u32::try_from(index).ok())
}

/// Gives the standard streams to the program's user, who may open `/dev/stdout` then. Only pipes and terminals: a file or a device that
/// somebody else owns stays theirs.
pub(super) fn own_streams(process: &Process) -> Result<(), Failure> {
    use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
    let user = process.user();
    for stream in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let failed = |error| Failure::of("give a standard stream to the user", error);
        let found = fstat(stream).map_err(failed)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let terminal = kind == FileType::CharacterDevice && rustix::termios::isatty(stream);
        if found.st_uid != user.uid() && (kind == FileType::Fifo || terminal) {
            fchown(stream, Some(Uid::from_raw(user.uid())), None::<Gid>).map_err(failed)?;
        }
    }
    Ok(())
}

/// Becomes the spec's user with the spec's capabilities, for good.
pub(super) fn drop_privileges(process: &Process, filter: Option<&Filter>) -> Result<(), Failure> {
    // Without no_new_privs a filter wants CAP_SYS_ADMIN, which is about to go.
    if !process.no_new_privileges().unwrap_or(false) {
        install(filter)?;
    }
    let failed = |what: &'static str| move |error: std::io::Error| Failure::of(what, error);
    let set = |pick: fn(&oci_spec::runtime::LinuxCapabilities) -> &Option<Capabilities>| {
        process
            .capabilities()
            .as_ref()
            .and_then(|all| pick(all).as_ref())
            .map_or(Ok(0), mask)
    };
    let bounding = set(oci_spec::runtime::LinuxCapabilities::bounding)?;
    let effective = set(oci_spec::runtime::LinuxCapabilities::effective)?;
    let permitted = set(oci_spec::runtime::LinuxCapabilities::permitted)?;
    let inheritable = set(oci_spec::runtime::LinuxCapabilities::inheritable)?;
    let ambient = set(oci_spec::runtime::LinuxCapabilities::ambient)?;
    for capability in (0..64).filter(|bit| bounding & (1 << bit) == 0) {
        match sys::drop_from_bounding_set(capability) {
            // Beyond what this kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            result => result.map_err(failed("drop a capability"))?,
        }
    }
    let user = process.user();
    sys::keep_capabilities(true).map_err(failed("keep capabilities"))?;
    if let Some(umask) = user.umask() {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask & 0o777));
    } else {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    }
    let groups = user.additional_gids().clone().unwrap_or_default();
    sys::set_user(user.uid(), user.gid(), &groups).map_err(failed("set user"))?;
    sys::keep_capabilities(false).map_err(failed("keep capabilities"))?;
    sys::set_capabilities(effective, permitted, inheritable).map_err(failed("set capabilities"))?;
    for capability in (0..=LAST_CAPABILITY).filter(|bit| ambient & (1 << bit) != 0) {
        sys::raise_ambient(capability).map_err(failed("raise an ambient capability"))?;
    }
    if process.no_new_privileges().unwrap_or(false) {
        rustix::thread::set_no_new_privs(true)
            .map_err(|error| Failure::of("set no_new_privs", error))?;
    }
    Ok(())
}

/// Filters the system calls of this process from now on.
pub(super) fn install(filter: Option<&Filter>) -> Result<(), Failure> {
    match filter {
        Some(filter) => sys::install_filter(filter)
            .map_err(|error| Failure::of("install the seccomp filter", error)),
        None => Ok(()),
    }
}

/// Bits of a set of capabilities.
fn mask(set: &Capabilities) -> Result<u64, Failure> {
    let mut bits = 0;
    for capability in set {
        let name = capability.to_string();
        bits |= 1 << number(&name).ok_or_else(|| Failure(format!("unknown capability {name}")))?;
    }
    Ok(bits)
}

/// Linux: include/uapi/linux/capability.h.
fn number(name: &str) -> Option<u32> {
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
    let name = name.to_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    NAMES
        .iter()
        .position(|one| *one == name)
        .and_then(|index| u32::try_from(index).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        assert_eq!(number("CAP_SYS_ADMIN"), Some(21));
        assert_eq!(number("checkpoint_restore"), Some(LAST_CAPABILITY));
        assert_eq!(number("CAP_NONE"), None);
        assert_eq!(limit_number("RLIMIT_NOFILE"), Some(7));
        assert_eq!(limit_number("RLIMIT_NONE"), None);
    }

    #[test]
    fn every_capability_of_the_specs_types_has_a_number() {
        use oci_spec::runtime::Capability;
        let all = [
            Capability::Chown,
            Capability::SysAdmin,
            Capability::Bpf,
            Capability::Setfcap,
            Capability::AuditWrite,
            Capability::NetBindService,
            Capability::CheckpointRestore,
        ];
        for capability in all {
            assert!(number(&capability.to_string()).is_some(), "{capability}");
        }
    }
}
