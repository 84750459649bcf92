//! The container's group in the unified hierarchy: made, limited, frozen, killed, removed.
//!
//! Spec: OCI runtime, config-linux, control groups. Linux: Documentation/admin-guide/cgroup-v2.rst.

use std::{
    fs,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};

/// A group, by its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// The group of a container: `path` below the hierarchy's mount, leading slashes ignored.
    ///
    /// # Errors
    /// When the path leads upward.
    pub fn new(root: &Path, path: &Path) -> io::Result<Self> {
        let relative: PathBuf = path
            .components()
            .filter(|part| *part != std::path::Component::RootDir)
            .collect();
        let plain = relative
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain || relative.as_os_str().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the cgroup's path must lead downward",
            ));
        }
        Ok(Self {
            folder: root.join(relative),
        })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes it, its parents with every controller handed down that there is.
    pub(crate) fn make(&self, root: &Path) -> io::Result<()> {
        let parents: Vec<&Path> = self
            .folder
            .ancestors()
            .skip(1)
            .take_while(|parent| parent.starts_with(root))
            .collect();
        for parent in parents.into_iter().rev() {
            fs::create_dir_all(parent)?;
            hand_down(parent);
        }
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    /// The folder, to clone into.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.folder, flags, Mode::empty())?)
    }

    /// Sets limits. What the hierarchy has no controller for is named in the result, as a warning.
    pub(crate) fn limit(&self, resources: &LinuxResources) -> io::Result<Vec<String>> {
        let mut warnings = Vec::new();
        for (file, value) in limits(resources) {
            match fs::write(self.folder.join(file), &value) {
                Ok(()) => {}
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        || error.kind() == io::ErrorKind::PermissionDenied =>
                {
                    warnings.push(format!(
                        "this system has no cgroup control {file}: the limit is not enforced"
                    ));
                }
                Err(error) => {
                    return Err(io::Error::new(
                        error.kind(),
                        format!("{file} = {value}: {error}"),
                    ));
                }
            }
        }
        Ok(warnings)
    }

    /// Freezes or thaws every process in it.
    ///
    /// # Errors
    /// When the group is gone.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        fs::write(
            self.folder.join("cgroup.freeze"),
            if frozen { "1" } else { "0" },
        )
    }

    /// Kills every process in it.
    ///
    /// # Errors
    /// When the group is gone.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.kill"), "1")
    }

    /// Processes in it, in the caller's pid namespace.
    ///
    /// # Errors
    /// When the group is gone.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let text = fs::read_to_string(self.folder.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// How many of its processes the kernel killed for memory; 0 without the memory controller.
    pub fn memory_kills(&self) -> u64 {
        let mut text = String::new();
        let file = fs::File::open(self.folder.join("memory.events"));
        if file
            .and_then(|mut file| file.read_to_string(&mut text))
            .is_err()
        {
            return 0;
        }
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
            .unwrap_or(0)
    }

    /// Removes it and the groups that the container made below. Its processes must be gone.
    ///
    /// # Errors
    /// When something still runs in it.
    pub fn remove(&self) -> io::Result<()> {
        if let Ok(entries) = fs::read_dir(&self.folder) {
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    Self {
                        folder: entry.path(),
                    }
                    .remove()?;
                }
            }
        }
        match fs::remove_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// Enables for children what the parent has. One at a time: a controller that cannot be enabled does not keep the others.
fn hand_down(folder: &Path) {
    let Ok(controllers) = fs::read_to_string(folder.join("cgroup.controllers")) else {
        return;
    };
    for controller in controllers.split_whitespace() {
        // Missing ones show as warnings when a limit needs them.
        let _ = fs::write(
            folder.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}

/// Files and values that a spec's resources come to.
fn limits(resources: &LinuxResources) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    let unlimited = |value: i64| {
        if value < 0 {
            "max".to_owned()
        } else {
            value.to_string()
        }
    };
    if let Some(memory) = resources.memory() {
        let limit = memory.limit().filter(|&limit| limit != 0);
        if let Some(limit) = limit {
            all.push(("memory.max", unlimited(limit)));
        }
        if let Some(swap) = memory.swap().filter(|&swap| swap != 0) {
            // The spec counts memory and swap together, the kernel swap alone.
            let alone = if swap < 0 {
                swap
            } else {
                (swap - limit.unwrap_or(0)).max(0)
            };
            all.push(("memory.swap.max", unlimited(alone)));
        }
        if let Some(reservation) = memory.reservation().filter(|&value| value != 0) {
            all.push(("memory.low", unlimited(reservation)));
        }
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|&shares| shares != 0) {
            all.push(("cpu.weight", weight(shares).to_string()));
        }
        let period = cpu.period().filter(|&period| period != 0);
        let quota = cpu.quota().filter(|&quota| quota != 0);
        if period.is_some() || quota.is_some() {
            let quota = quota.map_or_else(|| "max".to_owned(), unlimited);
            all.push(("cpu.max", format!("{quota} {}", period.unwrap_or(100_000))));
        }
        let sets = [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())];
        all.extend(
            sets.into_iter()
                .filter_map(|(file, set)| Some((file, set.clone().filter(|set| !set.is_empty())?))),
        );
    }
    if let Some(limit) = resources
        .pids()
        .as_ref()
        .map(|pids| pids.limit())
        .filter(|&limit| limit != 0)
    {
        all.push(("pids.max", unlimited(limit)));
    }
    all
}

/// cgroup v1 shares (2..=262144) as v2 weight (1..=10000), linear between the ends.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResourcesBuilder};

    use super::*;

    #[test]
    fn resources_become_files() {
        let memory = LinuxMemoryBuilder::default()
            .limit(100_i64)
            .swap(150_i64)
            .build()
            .expect("valid");
        let cpu = LinuxCpuBuilder::default()
            .quota(50_000_i64)
            .shares(1024_u64)
            .build()
            .expect("valid");
        let resources = LinuxResourcesBuilder::default()
            .memory(memory)
            .cpu(cpu)
            .build()
            .expect("valid");
        let want = [
            ("memory.max", "100"),
            ("memory.swap.max", "50"),
            ("cpu.weight", "39"),
            ("cpu.max", "50000 100000"),
        ];
        assert_eq!(
            limits(&resources),
            want.map(|(file, value)| (file, value.to_owned()))
        );
    }

    #[test]
    fn a_path_that_leads_upward_is_refused() {
        for bad in ["", "/", "..", "a/../../b"] {
            assert!(
                Cgroup::new(Path::new("/sys/fs/cgroup"), Path::new(bad)).is_err(),
                "{bad}"
            );
        }
        let good = Cgroup::new(Path::new("/c"), Path::new("/docker/x")).expect("downward");
        assert_eq!(good.folder(), Path::new("/c/docker/x"));
    }
}
