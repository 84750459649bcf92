//! The container's group in the unified hierarchy: made, limited, frozen, killed, removed.
//!
//! Spec: OCI runtime, config-linux, control groups. Linux: Documentation/admin-guide/cgroup-v2.rst.

mod limits;

use std::{
    fs,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};

use self::limits::Setting;

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
    ///
    /// # Errors
    /// A limit makes no sense, or the kernel refuses it.
    pub fn limit(&self, resources: &LinuxResources) -> io::Result<Vec<String>> {
        let settings = limits::settings(resources)
            .map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
        let mut warnings = Vec::new();
        for setting in settings {
            if !self.write_first(&setting)? && !setting.optional {
                warnings.extend(setting.choices.last().map(|(file, _)| self.warning(file)));
            }
        }
        Ok(warnings)
    }

    /// Writes the first file that is there; false: none is.
    fn write_first(&self, setting: &Setting) -> io::Result<bool> {
        for (file, lines) in &setting.choices {
            // Not made: in a hierarchy that says "permission denied", whatever is missing.
            let opened = fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(self.folder.join(file));
            let mut opened = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result.map_err(|error| named(file, &error))?,
            };
            for line in lines {
                // One write each, whole.
                let written = opened.write_all(format!("{line}\n").as_bytes());
                written.map_err(|error| named(&format!("{file} = {line}"), &error))?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Why a limit is not enforced, for people.
    fn warning(&self, file: &str) -> String {
        let controller = file.split('.').next().unwrap_or_default();
        let there = fs::read_to_string(self.folder.join("cgroup.controllers"))
            .is_ok_and(|all| all.split_whitespace().any(|one| one == controller));
        if there {
            format!(
                "this system's {controller} controller has no {file}: the limit is not enforced"
            )
        } else {
            format!(
                "this system has no {controller} controller for cgroups: the limit {file} is not enforced"
            )
        }
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

/// An error with what was written.
fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A folder with the files of a group, each as it is before.
    fn group(files: &[&str]) -> (tempfile::TempDir, Cgroup) {
        let root = tempfile::tempdir().expect("a folder");
        let group = Cgroup::new(root.path(), Path::new("group")).expect("downward");
        fs::create_dir(group.folder()).expect("made");
        for file in files {
            fs::write(group.folder().join(file), "as before\n").expect("written");
        }
        (root, group)
    }

    fn limit(group: &Cgroup, resources: serde_json::Value) -> io::Result<Vec<String>> {
        group.limit(&serde_json::from_value(resources).expect("resources"))
    }

    fn read(group: &Cgroup, file: &str) -> String {
        fs::read_to_string(group.folder().join(file)).expect("there")
    }

    #[test]
    fn limits_are_written_and_nothing_else() {
        let files = [
            "memory.max",
            "memory.oom.group",
            "io.max",
            "io.weight",
            "hugetlb.2MB.max",
            "memory.high",
        ];
        let (_root, group) = group(&files);
        let resources = json!({
            "memory": {"limit": 100, "disableOOMKiller": true},
            "blockIO": {"weight": 1000, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}, {"major": 8, "minor": 16, "rate": 2}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
            "unified": {"memory.high": "90"},
        });
        assert_eq!(limit(&group, resources).expect("set"), Vec::<String>::new());
        for (file, want) in [
            ("memory.max", "100\n"),
            ("memory.oom.group", "as before\n"),
            ("io.max", "8:0 rbps=1\n8:16 rbps=2\n"),
            ("io.weight", "10000\n"),
            ("hugetlb.2MB.max", "4096\n"),
            ("memory.high", "90\n"),
        ] {
            assert_eq!(read(&group, file), want, "{file}");
        }
        let count = fs::read_dir(group.folder()).expect("there").count();
        assert_eq!(count, files.len(), "a file was made");
    }

    #[test]
    fn the_schedulers_own_weight_is_preferred() {
        let (_root, group) = group(&["io.weight", "io.bfq.weight"]);
        let resources = json!({"blockIO": {"weight": 300}});
        assert!(limit(&group, resources).expect("set").is_empty());
        assert_eq!(read(&group, "io.bfq.weight"), "300\n");
        assert_eq!(read(&group, "io.weight"), "as before\n");
    }

    #[test]
    fn a_missing_controller_is_a_warning() {
        let (_root, group) = group(&[]);
        fs::write(group.folder().join("cgroup.controllers"), "memory pids\n").expect("written");
        let resources = json!({
            "memory": {"limit": 100, "swap": 150},
            "blockIO": {"weight": 300},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
            "unified": {"misc.max": "1"},
        });
        assert_eq!(
            limit(&group, resources).expect("only warnings"),
            [
                "this system's memory controller has no memory.max: the limit is not enforced",
                "this system's memory controller has no memory.swap.max: the limit is not enforced",
                "this system has no io controller for cgroups: the limit io.weight is not enforced",
                "this system has no hugetlb controller for cgroups: the limit hugetlb.2MB.max is not enforced",
                "this system has no misc controller for cgroups: the limit misc.max is not enforced",
            ]
        );
    }

    #[test]
    fn what_the_kernel_refuses_is_named() {
        let (_root, group) = group(&[]);
        // A write to it fails, as one of a value that the kernel does not take.
        std::os::unix::fs::symlink("/dev/full", group.folder().join("memory.max")).expect("linked");
        let error = limit(&group, json!({"memory": {"limit": 100}})).expect_err("refused");
        let text = error.to_string();
        assert!(text.starts_with("memory.max = 100: "), "{text}");
        let error = limit(&group, json!({"memory": {"swap": 100}})).expect_err("nonsense");
        assert_eq!(
            error.to_string(),
            "unable to set swap limit without memory limit"
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
