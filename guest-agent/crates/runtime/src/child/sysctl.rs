//! Kernel settings of the container's own namespaces.
//!
//! Written through a procfs that only this process has, so neither a mount nor a symlink of the container decides what is written
//! (CVE-2025-52881). A setting that belongs to no namespace of the container is refused: it would be the host's.

use std::{fs::File, io::Write, path::PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{Failure, procfs};

/// Settings of an IPC namespace, besides all of `fs.mqueue`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// A name of a setting, dots and slashes told apart: `net.ipv4.conf.eth0/1.mtu` and `net/ipv4/conf/eth0.1/mtu` are the same.
fn parts(name: &str) -> Vec<String> {
    let slashes_first = match (name.find('.'), name.find('/')) {
        (Some(dot), Some(slash)) => slash < dot,
        (dot, _) => dot.is_none(),
    };
    let (between, inside) = if slashes_first {
        ('/', '.')
    } else {
        ('.', '/')
    };
    name.split(between)
        .map(|part| part.replace(inside, "."))
        .collect()
}

/// Refuses what is not the container's to set, in the words that clients of Docker know.
pub(crate) fn check(spec: &Spec) -> Result<(), String> {
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    let has = |kind| {
        let mut all = linux.namespaces().iter().flatten();
        all.any(|one| one.typ() == kind)
    };
    for name in linux.sysctl().iter().flatten().map(|(name, _)| name) {
        let parts = parts(name);
        if parts
            .iter()
            .any(|part| matches!(part.as_str(), "" | "." | ".."))
        {
            return Err(format!("invalid sysctl {name:?}"));
        }
        let dotted = parts.join(".");
        let of_mqueue = parts.starts_with(&["fs".to_owned(), "mqueue".to_owned()]);
        if IPC.contains(&dotted.as_str()) || of_mqueue {
            if !has(LinuxNamespaceType::Ipc) {
                return Err(format!(
                    "sysctl {dotted:?} is not allowed in the hosts ipc namespace"
                ));
            }
        } else if parts[0] == "net" {
            if !has(LinuxNamespaceType::Network) {
                return Err(format!(
                    "sysctl {dotted:?} not allowed in host network namespace"
                ));
            }
        } else if dotted == "kernel.hostname" && has(LinuxNamespaceType::Uts) {
            return Err(format!(
                "sysctl {dotted:?} is not allowed as it conflicts with the OCI \"hostname\" field"
            ));
        } else if dotted != "kernel.domainname" || !has(LinuxNamespaceType::Uts) {
            return Err(format!(
                "sysctl {dotted:?} is not in a separate kernel namespace"
            ));
        }
    }
    Ok(())
}

/// Writes the spec's settings.
pub(super) fn set(spec: &Spec) -> Result<(), Failure> {
    let settings = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.sysctl().as_ref())
        .filter(|settings| !settings.is_empty());
    let Some(settings) = settings else {
        return Ok(());
    };
    let procfs = procfs::private().map_err(|error| Failure::of("mount a procfs", error))?;
    for (name, value) in settings {
        let path: PathBuf = std::iter::once("sys".to_owned())
            .chain(parts(name))
            .collect();
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        openat2(&procfs, &path, flags, Mode::empty(), resolve)
            .map_err(std::io::Error::from)
            .and_then(|file| File::from(file).write_all(value.as_bytes()))
            .map_err(|error| Failure::of(format!("set sysctl {name}"), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_says_which_it_is() {
        let eth = ["net", "ipv4", "conf", "eth0.1", "mtu"];
        assert_eq!(parts("net.ipv4.conf.eth0/1.mtu"), eth);
        assert_eq!(parts("net/ipv4/conf/eth0.1/mtu"), eth);
        assert_eq!(parts("kernel.sem"), ["kernel", "sem"]);
    }
}
