//! Mounts of the spec: Docker's own, less those that a user mount stands in for, then docker-init, then the user's by depth.

use std::collections::BTreeSet;

use errdefs::Result;
use oci_spec::runtime::{Mount, MountBuilder};

use super::{
    MountKind, MountPoint, NamespaceOf, ReadOnlyRecursive, SpecInput, built, paths::depth, system,
};

/// Where docker-init is in the container.
pub(super) const INIT: &str = "/sbin/docker-init";

const SHM: &str = "/dev/shm";
const CGROUP: &str = "/sys/fs/cgroup";

/// Target, type, source, options. Docker: oci/defaults.go.
const DEFAULT: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    (
        "/dev",
        "tmpfs",
        "tmpfs",
        &["nosuid", "strictatime", "mode=755", "size=65536k"],
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &[
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ],
    ),
    (
        "/sys",
        "sysfs",
        "sysfs",
        &["nosuid", "noexec", "nodev", "ro"],
    ),
    (
        CGROUP,
        "cgroup",
        "cgroup",
        &["ro", "nosuid", "noexec", "nodev"],
    ),
    (
        "/dev/mqueue",
        "mqueue",
        "mqueue",
        &["nosuid", "noexec", "nodev"],
    ),
    (
        SHM,
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777"],
    ),
];

/// All mounts, in the order they are made.
///
/// # Errors
/// `System`: `invalid tmpfs option "x"`, or bind options that contradict each other.
pub(super) fn mounts(input: &SpecInput<'_>) -> Result<Vec<Mount>> {
    let user = user_mounts(input)?;
    let taken: BTreeSet<&str> = user.iter().map(|(target, _)| target.as_str()).collect();
    let mut all = default_mounts(input, &taken)?;
    if let (Some(program), NamespaceOf::New) = (input.init, &input.pid) {
        let words = ["bind", "ro"].map(str::to_owned).to_vec();
        all.push(mount(INIT, "bind", &program.to_string_lossy(), words)?);
    }
    all.extend(user.into_iter().map(|(_, mount)| mount));
    Ok(all)
}

fn default_mounts(input: &SpecInput<'_>, taken: &BTreeSet<&str>) -> Result<Vec<Mount>> {
    let writable_cgroup = super::security::writable_cgroup(input.host);
    let mut all = Vec::new();
    for (target, kind, source, words) in DEFAULT {
        let below_users_dev = taken.contains("/dev") && target.starts_with("/dev/");
        let no_shm = target == SHM && input.host.ipc_mode == "none";
        if taken.contains(target) || below_users_dev || no_shm {
            continue;
        }
        let writable =
            target == "/sys" && input.host.privileged || target == CGROUP && writable_cgroup;
        let mut options: Vec<String> = words
            .iter()
            .filter(|word| !(writable && **word == "ro"))
            .map(|&word| word.to_owned())
            .collect();
        if target == SHM {
            options.push(format!("size={}", input.host.shm_size));
        }
        all.push(mount(target, kind, source, options)?);
    }
    Ok(all)
}

/// Targets and mounts of the user, with the shared /dev/shm and the network's files, sorted by depth. Of the same depth, as dockerd has them:
/// /dev/shm, tmpfs, binds and volumes, the network's files.
fn user_mounts(input: &SpecInput<'_>) -> Result<Vec<(String, Mount)>> {
    let has = |target: &str| input.mounts.iter().any(|one| one.destination == target);
    let mut all = Vec::new();
    if let Some(source) = shm_source(input).filter(|_| !has(SHM)) {
        let words = ["rbind", "rprivate"].map(str::to_owned).to_vec();
        all.push((SHM.to_owned(), mount(SHM, "bind", &source, words)?));
    }
    let (tmpfs, others): (Vec<_>, Vec<_>) = input
        .mounts
        .iter()
        .partition(|one| one.kind == MountKind::Tmpfs);
    for point in tmpfs.into_iter().chain(others) {
        all.push((point.destination.clone(), user_mount(point)?));
    }
    for (file, target) in input
        .network_files
        .iter()
        .filter(|(_, target)| !has(target))
    {
        let mut words = vec!["rbind".to_owned()];
        if input.host.readonly_rootfs {
            words.push("rro".to_owned());
        }
        words.push("rprivate".to_owned());
        all.push((
            (*target).to_owned(),
            mount(target, "bind", &file.to_string_lossy(), words)?,
        ));
    }
    all.sort_by_key(|(target, _)| depth(target));
    Ok(all)
}

fn user_mount(point: &MountPoint) -> Result<Mount> {
    match point.kind {
        MountKind::Bind | MountKind::Volume => bind(point),
        MountKind::Tmpfs => {
            let words = merge_tmpfs(&point.tmpfs_options)?;
            mount(&point.destination, "tmpfs", "tmpfs", words)
        }
    }
}

fn shm_source(input: &SpecInput<'_>) -> Option<String> {
    match input.shm {
        _ if input.host.ipc_mode == "none" => None,
        Some(folder) => Some(folder.to_string_lossy().into_owned()),
        None => (input.ipc == NamespaceOf::Host).then(|| SHM.to_owned()),
    }
}

/// An option of our own, told to our own runtime: what is mounted is at this path inside the source, and links lead no further than that.
const INSIDE: &str = "x-berth.inside=";

fn bind(point: &MountPoint) -> Result<Mount> {
    check_read_only(point)?;
    let mut words = vec![if point.recursive { "rbind" } else { "bind" }.to_owned()];
    if !point.read_write {
        words.push(
            match point.read_only_recursive {
                ReadOnlyRecursive::Disabled => "ro",
                ReadOnlyRecursive::Enabled | ReadOnlyRecursive::Forced => "rro",
            }
            .to_owned(),
        );
    }
    if !point.propagation.is_empty() {
        words.push(point.propagation.clone());
    }
    if !point.subpath.is_empty() {
        words.push(format!("{INSIDE}{}", point.subpath));
    }
    mount(&point.destination, "bind", &point.source, words)
}

/// Wishes about read-only binds that cannot all come true.
fn check_read_only(point: &MountPoint) -> Result<()> {
    let Some(wish) = &point.wish else {
        return Ok(());
    };
    let Some(options) = &wish.bind_options else {
        return Ok(());
    };
    let conflict = match (
        wish.read_only,
        options.read_only_non_recursive,
        options.read_only_force_recursive,
    ) {
        (false, true, _) => "!ReadOnly && BindOptions.ReadOnlyNonRecursive",
        (false, false, true) => "!ReadOnly && BindOptions.ReadOnlyForceRecursive",
        (true, true, true) => "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive",
        _ => return Ok(()),
    };
    Err(system(format!("mount options conflict: {conflict}")))
}

/// What a mount's options are about: of two with the same, the later one counts. None: not a flag. Linux: mount(8).
fn subject(word: &str) -> Option<&'static str> {
    Some(match word {
        "ro" | "rw" => "ro",
        "suid" | "nosuid" => "suid",
        "dev" | "nodev" => "dev",
        "exec" | "noexec" => "exec",
        "sync" | "async" => "sync",
        "dirsync" => "dirsync",
        "remount" => "remount",
        "mand" | "nomand" => "mand",
        "atime" | "noatime" => "atime",
        "diratime" | "nodiratime" => "diratime",
        "relatime" | "norelatime" => "relatime",
        "strictatime" | "nostrictatime" => "strictatime",
        "bind" | "rbind" | "unbindable" | "runbindable" | "private" | "rprivate" | "shared"
        | "rshared" | "slave" | "rslave" => "propagation",
        _ => return None,
    })
}

/// Resolves opposites: the later one wins and keeps its place.
fn merge_tmpfs(options: &[String]) -> Result<Vec<String>> {
    const DATA: [&str; 8] = [
        "",
        "size",
        "mode",
        "uid",
        "gid",
        "nr_inodes",
        "nr_blocks",
        "mpol",
    ];
    let mut seen = BTreeSet::new();
    let mut merged = Vec::new();
    for word in options.iter().rev().filter(|word| *word != "defaults") {
        let about = match subject(word) {
            Some(subject) => subject,
            None => match word.split_once('=') {
                Some((key, _)) if DATA.contains(&key) => key,
                split => {
                    let name = split.map_or(word.as_str(), |(key, _)| key);
                    return Err(system(format!("invalid tmpfs option {name:?}")));
                }
            },
        };
        if seen.insert(about) {
            merged.push(word.clone());
        }
    }
    merged.reverse();
    Ok(merged)
}

/// What the root's own propagation must be for the user's mounts to have theirs.
pub(super) fn root_propagation(points: &[MountPoint]) -> Option<&'static str> {
    let any = |words: [&str; 2]| {
        points
            .iter()
            .any(|one| words.contains(&one.propagation.as_str()))
    };
    if any(["shared", "rshared"]) {
        Some("shared")
    } else if any(["slave", "rslave"]) {
        Some("rslave")
    } else {
        None
    }
}

fn mount(target: &str, kind: &str, source: &str, options: Vec<String>) -> Result<Mount> {
    built(
        MountBuilder::default()
            .destination(target)
            .typ(kind)
            .source(source)
            .options(options)
            .build(),
    )
}

#[cfg(test)]
mod tests;
