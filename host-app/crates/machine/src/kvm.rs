//! Whether KVM works here: a test boot of the machine's own kernel, since a `/dev/kvm` that is there may still hang it.
//!
//! The kernel gets no root, so that it panics within a second where KVM works, and QEMU ends. The outcome is kept beside the data disk for as
//! long as the host's kernel and QEMU stay the same.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use machine_api::MachineSpec;
use tokio::{process::Command, time::timeout};

use crate::qemu;

/// The device.
const DEVICE: &str = "/dev/kvm";

/// How long the test boot may take; where KVM works it takes a second.
const BOOT_WITHIN: Duration = Duration::from_secs(8);

/// What the kernel says when it has come as far as it can without a root.
const LAST_WORDS: &str = "Kernel panic - not syncing: VFS: Unable to mount root fs";

/// Whether this user may use it at all.
pub(crate) fn may_be_used() -> bool {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .is_ok()
}

/// Whether it works: known from an earlier test boot, or tried now.
pub(crate) async fn works(spec: &MachineSpec) -> bool {
    let (cache, key) = (cache(spec), key(spec));
    if let Some(known) = remembered(&cache, &key) {
        return known;
    }
    let works = test_boot(&spec.kernel).await;
    if !works {
        tracing::warn!("{DEVICE} is there, but a test boot failed: the machine is emulated");
    }
    let line = format!("{key} {}\n", if works { "works" } else { "fails" });
    if let Err(error) = std::fs::write(&cache, line) {
        tracing::warn!(%error, "the outcome of KVM's test boot is not kept");
    }
    works
}

fn cache(spec: &MachineSpec) -> PathBuf {
    spec.data_disk.with_file_name("kvm-test-boot")
}

/// What the outcome depends on.
fn key(spec: &MachineSpec) -> String {
    let host = rustix::system::uname();
    let stamp = |path: &Path| {
        let modified = std::fs::metadata(path)
            .and_then(|file| file.modified())
            .ok();
        let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_secs())
    };
    let release = host.release().to_string_lossy();
    format!(
        "{release} {} {}",
        stamp(&qemu::installed().unwrap_or_default()),
        stamp(&spec.kernel)
    )
}

fn remembered(cache: &Path, key: &str) -> Option<bool> {
    let text = std::fs::read_to_string(cache).ok()?;
    match text.trim_end().strip_prefix(key)?.trim_start() {
        "works" => Some(true),
        "fails" => Some(false),
        _ => None,
    }
}

async fn test_boot(kernel: &Path) -> bool {
    let mut command = Command::new(qemu::PROGRAM);
    command
        .args(["-machine", "q35", "-accel", "kvm", "-cpu", "host"])
        .args(["-m", "256", "-smp", "1", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio", "-kernel"])
        .arg(kernel)
        .args(["-append", "console=ttyS0 panic=-1 quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    qemu::die_with_parent(&mut command);
    let Ok(child) = command.spawn() else {
        return false;
    };
    match timeout(BOOT_WITHIN, child.wait_with_output()).await {
        Ok(Ok(output)) => {
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains(LAST_WORDS)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_holds_for_its_key_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("kvm");
        assert_eq!(remembered(&cache, "6.1 1 2"), None);
        std::fs::write(&cache, "6.1 1 2 fails\n").expect("written");
        assert_eq!(remembered(&cache, "6.1 1 2"), Some(false));
        assert_eq!(remembered(&cache, "6.2 1 2"), None);
        std::fs::write(&cache, "6.1 1 2 works\n").expect("written");
        assert_eq!(remembered(&cache, "6.1 1 2"), Some(true));
        std::fs::write(&cache, "6.1 1 2 wor").expect("written");
        assert_eq!(remembered(&cache, "6.1 1 2"), None);
    }
}
