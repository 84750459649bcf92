//! Facts about this machine.

use std::{
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use engine::spec::{HostDevice, Machine};

/// Folders of /dev whose nodes belong to the container itself.
const OWN: [&str; 6] = [
    "/dev/pts",
    "/dev/shm",
    "/dev/fd",
    "/dev/mqueue",
    "/dev/.lxc",
    "/dev/console",
];
/// Depth of folders below a device's path.
const MAX_DEPTH: u32 = 16;

/// The machine the engine runs on.
#[derive(Debug)]
pub(super) struct ThisMachine {
    controllers: Vec<String>,
    capabilities: u64,
    last_capability: u32,
    /// The standard library reads three files to find out.
    cpus: u32,
    /// Asked for each CPU at each start.
    thermal_counters: Vec<bool>,
}

impl ThisMachine {
    pub(super) fn new(cgroup_root: PathBuf) -> Self {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let controllers = read(&cgroup_root.join("cgroup.controllers"));
        let last = read("/proc/sys/kernel/cap_last_cap".as_ref());
        let status = read("/proc/self/status".as_ref());
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let swap = swap_is_counted(&cgroup_root).then(|| "swap".to_owned());
        Self {
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            thermal_counters: (0..cpus).map(has_thermal_counters).collect(),
            controllers: controllers
                .split_ascii_whitespace()
                .map(str::to_owned)
                .chain(swap)
                .collect(),
            last_capability: last.trim().parse().unwrap_or(0),
            capabilities: effective
                .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
                .unwrap_or(0),
        }
    }
}

/// Whether the kernel limits swap of a group: only a group below the root has the file that says so.
fn swap_is_counted(root: &Path) -> bool {
    let group = root.join(format!("berth-probe-{}", std::process::id()));
    if std::fs::create_dir(&group).is_err() {
        return false;
    }
    let counted = group.join("memory.swap.max").exists();
    if let Err(error) = std::fs::remove_dir(&group) {
        tracing::warn!(group = %group.display(), %error, "remove a cgroup");
    }
    counted
}

impl Machine for ThisMachine {
    fn cpus(&self) -> u32 {
        self.cpus
    }

    fn memory_bytes(&self) -> u64 {
        let info = rustix::system::sysinfo();
        info.totalram.saturating_mul(u64::from(info.mem_unit))
    }

    fn controller(&self, name: &str) -> bool {
        self.controllers.iter().any(|controller| controller == name)
    }

    fn last_capability(&self) -> u32 {
        self.last_capability
    }

    fn held_capabilities(&self) -> u64 {
        self.capabilities
    }

    fn devices(&self, path: &Path) -> io::Result<Vec<HostDevice>> {
        let mut devices = Vec::new();
        if std::fs::metadata(path)?.is_dir() {
            collect(path, MAX_DEPTH, &mut devices)?;
        } else {
            collect(&std::fs::canonicalize(path)?, MAX_DEPTH, &mut devices)?;
        }
        if devices.is_empty() {
            return Err(io::Error::other("not a device node"));
        }
        Ok(devices)
    }

    fn all_devices(&self) -> io::Result<Vec<HostDevice>> {
        let mut devices = Vec::new();
        collect("/dev".as_ref(), MAX_DEPTH, &mut devices)?;
        Ok(devices)
    }

    fn has_thermal_counters(&self, cpu: u32) -> bool {
        let cpu = usize::try_from(cpu).unwrap_or(usize::MAX);
        self.thermal_counters.get(cpu).copied().unwrap_or(true)
    }
}

fn has_thermal_counters(cpu: usize) -> bool {
    Path::new(&format!(
        "/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"
    ))
    .exists()
}

fn collect(path: &Path, depth: u32, devices: &mut Vec<HostDevice>) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        if depth == 0 || OWN.iter().any(|own| path == Path::new(own)) {
            return Ok(());
        }
        for entry in std::fs::read_dir(path)? {
            collect(&entry?.path(), depth - 1, devices)?;
        }
        return Ok(());
    }
    let kind = if kind.is_char_device() {
        'c'
    } else if kind.is_block_device() {
        'b'
    } else {
        return Ok(());
    };
    if OWN.iter().any(|own| path == Path::new(own)) {
        return Ok(());
    }
    devices.push(HostDevice {
        path: path.to_owned(),
        kind,
        major: i64::from(rustix::fs::major(metadata.rdev())),
        minor: i64::from(rustix::fs::minor(metadata.rdev())),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    });
    Ok(())
}
