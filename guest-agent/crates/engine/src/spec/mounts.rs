//! The mounts of a spec, in Docker's order: the defaults, then files of /etc and the user's mounts by depth.

use std::path::Path;

use errdefs::Result;
use serde_json::{Value, json};

use super::{MountKind, MountPoint, NamespaceOf, SpecInput, invalid};

/// Size of /dev/shm when nobody said another.
pub(super) const SHM_BYTES: i64 = 64 << 20;
/// Where docker-init is in containers with `--init`.
pub(super) const INIT_TARGET: &str = "/sbin/docker-init";
/// Flags that exclude each other: the later of a pair wins.
const PAIRS: [(&str, &str); 10] = [
    ("ro", "rw"),
    ("suid", "nosuid"),
    ("dev", "nodev"),
    ("exec", "noexec"),
    ("sync", "async"),
    ("mand", "nomand"),
    ("atime", "noatime"),
    ("diratime", "nodiratime"),
    ("relatime", "norelatime"),
    ("strictatime", "nostrictatime"),
];
const VALUES: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];
const PROPAGATIONS: [&str; 8] = [
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
];

/// Docker's flags for a tmpfs with the user's over them.
///
/// # Errors
/// `invalid tmpfs option "foo"`.
pub(super) fn tmpfs_options<'a>(own: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev", "rprivate"]
        .map(str::to_owned)
        .into();
    for option in own {
        let name = option.split('=').next().unwrap_or_default();
        let pair = PAIRS.iter().find(|(a, b)| option == *a || option == *b);
        let opposite = pair.map(|(a, b)| if option == *a { *b } else { *a });
        let known = pair.is_some()
            || PROPAGATIONS.contains(&option)
            || option.contains('=') && VALUES.contains(&name);
        if !known {
            return Err(invalid(format!("invalid tmpfs option \"{option}\"")));
        }
        options.retain(|other| {
            let same_value = option.contains('=') && other.split('=').next() == Some(name);
            let same_propagation =
                PROPAGATIONS.contains(&option) && PROPAGATIONS.contains(&other.as_str());
            other != option && Some(other.as_str()) != opposite && !same_value && !same_propagation
        });
        options.push(option.to_owned());
    }
    Ok(options)
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": kind, "source": source, "options": options})
}

fn defaults(input: &SpecInput<'_>) -> Vec<Value> {
    let privileged = input.host.privileged;
    let sys: &[&str] = if privileged {
        &["nosuid", "noexec", "nodev", "rw"]
    } else {
        &["nosuid", "noexec", "nodev", "ro"]
    };
    let cgroup: &[&str] = if privileged {
        &["nosuid", "noexec", "nodev", "rw"]
    } else {
        &["ro", "nosuid", "noexec", "nodev"]
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
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
        mount("/sys", "sysfs", "sysfs", sys),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", cgroup),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
    ];
    if let Some(shm) = input.shm {
        mounts.push(mount(
            "/dev/shm",
            "bind",
            &shm.to_string_lossy(),
            &["rbind", "rprivate"],
        ));
    } else if input.ipc == NamespaceOf::Host {
        mounts.push(mount(
            "/dev/shm",
            "bind",
            "/dev/shm",
            &["rbind", "rprivate"],
        ));
    } else if input.host.ipc_mode != "none" {
        let bytes = if input.host.shm_size > 0 {
            input.host.shm_size
        } else {
            SHM_BYTES
        };
        let size = format!("size={bytes}");
        mounts.push(mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &size],
        ));
    }
    mounts
}

/// Every mount.
pub(super) fn all(input: &SpecInput<'_>) -> Vec<Value> {
    let at = |target: &str| input.mounts.iter().any(|point| point.destination == target);
    let own_dev = at("/dev");
    let mut mounts = defaults(input);
    mounts.retain(|value| {
        let target = value["destination"].as_str().unwrap_or_default();
        !(at(target) || own_dev && target.starts_with("/dev/"))
    });
    if let Some(init) = input.init {
        mounts.push(mount(
            INIT_TARGET,
            "bind",
            &init.to_string_lossy(),
            &["bind", "ro"],
        ));
    }
    let mut own: Vec<Value> = input.mounts.iter().map(user_mount).collect();
    for (place, target) in input.network_files.iter().filter(|(_, target)| !at(target)) {
        let options: &[&str] = if input.host.readonly_rootfs {
            &["rbind", "rro", "rprivate"]
        } else {
            &["rbind", "rprivate"]
        };
        own.push(mount(target, "bind", &place.to_string_lossy(), options));
    }
    own.sort_by_key(|value| depth(value["destination"].as_str().unwrap_or_default()));
    mounts.extend(own);
    mounts
}

fn depth(target: &str) -> usize {
    Path::new(target).components().count()
}

fn user_mount(point: &MountPoint) -> Value {
    if point.kind == MountKind::Tmpfs {
        let options: Vec<&str> = point.tmpfs_options.iter().map(String::as_str).collect();
        return mount(&point.destination, "tmpfs", "tmpfs", &options);
    }
    let mut options = vec![if point.recursive { "rbind" } else { "bind" }];
    if !point.read_write {
        options.push(if point.recursive && !point.read_only_non_recursive {
            "rro"
        } else {
            "ro"
        });
    }
    if !point.propagation.is_empty() {
        options.push(&point.propagation);
    }
    mount(&point.destination, "bind", &point.source, &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_opposite_options_wins() {
        let options = |text: &str| tmpfs_options(text.split(','));
        assert_eq!(
            options("exec,size=1m,size=2m").unwrap(),
            ["nosuid", "nodev", "rprivate", "exec", "size=2m"]
        );
        assert_eq!(
            options("foo").unwrap_err().message(),
            "invalid tmpfs option \"foo\""
        );
    }
}
