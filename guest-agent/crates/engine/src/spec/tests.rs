//! The whole spec, and what the other files' tests share.

use std::{collections::BTreeMap, io, path::PathBuf};

use super::*;

/// A machine with two CPUs, 2 GiB and one disk.
pub(super) struct TestMachine {
    pub(super) last_capability: u32,
    pub(super) missing: Vec<&'static str>,
    pub(super) devices: BTreeMap<&'static str, Vec<HostDevice>>,
}

impl Default for TestMachine {
    fn default() -> Self {
        let disk = device("/dev/sda", 'b', 8, 0);
        Self {
            last_capability: 40,
            missing: Vec::new(),
            devices: [
                ("/dev/sda", vec![disk]),
                (
                    "/dev/snd",
                    vec![
                        device("/dev/snd/pcm", 'c', 116, 2),
                        device("/dev/snd/by/x", 'c', 116, 3),
                    ],
                ),
                ("/etc", vec![]),
            ]
            .into(),
        }
    }
}

pub(super) fn device(path: &str, kind: char, major: i64, minor: i64) -> HostDevice {
    HostDevice {
        path: path.into(),
        kind,
        major,
        minor,
        mode: 0o660,
        uid: 0,
        gid: 6,
    }
}

impl Machine for TestMachine {
    fn cpus(&self) -> u32 {
        2
    }
    fn memory_bytes(&self) -> u64 {
        2 << 30
    }
    fn controller(&self, name: &str) -> bool {
        !self.missing.contains(&name)
    }
    fn last_capability(&self) -> u32 {
        self.last_capability
    }
    fn devices(&self, path: &Path) -> io::Result<Vec<HostDevice>> {
        let found = path.to_str().and_then(|path| self.devices.get(path));
        found
            .cloned()
            .ok_or_else(|| io::Error::from_raw_os_error(2))
    }
    fn all_devices(&self) -> io::Result<Vec<HostDevice>> {
        Ok(self.devices.values().flatten().cloned().collect())
    }
}

/// What a test changes before it builds a spec.
pub(super) struct Case {
    pub(super) id: ContainerId,
    pub(super) config: ContainerConfig,
    pub(super) host: HostConfig,
    pub(super) mounts: Vec<MountPoint>,
    pub(super) files: Vec<(PathBuf, &'static str)>,
    pub(super) network: NamespaceOf,
    pub(super) pid: NamespaceOf,
    pub(super) ipc: NamespaceOf,
    pub(super) uts: NamespaceOf,
    pub(super) shm: Option<PathBuf>,
    pub(super) init: Option<PathBuf>,
    pub(super) passwd: &'static [u8],
    pub(super) group: &'static [u8],
    pub(super) cgroup: PathBuf,
    pub(super) machine: TestMachine,
}

impl Case {
    pub(super) fn new() -> Self {
        let id = ContainerId::from_random([7; 32]);
        Self {
            config: ContainerConfig {
                hostname: id.short().to_owned(),
                cmd: Some(vec!["sh".to_owned()]),
                ..ContainerConfig::default()
            },
            host: HostConfig {
                shm_size: 64 << 20,
                ..HostConfig::default()
            },
            mounts: Vec::new(),
            files: ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"]
                .map(|path| (PathBuf::from(format!("/files{path}")), path))
                .to_vec(),
            network: NamespaceOf::New,
            pid: NamespaceOf::New,
            ipc: NamespaceOf::New,
            uts: NamespaceOf::New,
            shm: None,
            init: None,
            passwd: b"root:x:0:0:root:/root:/bin/sh\nfoo:x:1000:1001::/home/foo:/bin/sh\n",
            group: b"root:x:0:\nfoo:x:1001:\naudio:x:29:foo\n",
            cgroup: format!("/docker/{id}").into(),
            machine: TestMachine::default(),
            id,
        }
    }

    pub(super) fn input(&self) -> SpecInput<'_> {
        SpecInput {
            id: &self.id,
            config: &self.config,
            host: &self.host,
            mounts: &self.mounts,
            network_files: &self.files,
            network: self.network.clone(),
            pid: self.pid.clone(),
            ipc: self.ipc.clone(),
            uts: self.uts.clone(),
            cgroup_namespace: NamespaceOf::New,
            shm: self.shm.as_deref(),
            passwd: Some(self.passwd),
            group: Some(self.group),
            init: self.init.as_deref(),
            cgroup: &self.cgroup,
            machine: &self.machine,
        }
    }

    pub(super) fn spec(&self) -> Spec {
        build(&self.input()).unwrap()
    }
}

#[test]
fn a_plain_container_has_what_dockerd_gives_it() {
    let spec = Case::new().spec();
    let linux = spec.linux().as_ref().unwrap();
    assert_eq!(spec.hostname().as_deref(), Some("070707070707"));
    assert_eq!(linux.namespaces().as_ref().unwrap().len(), 6);
    assert_eq!(linux.masked_paths().as_ref().unwrap().len(), 14);
    assert_eq!(linux.readonly_paths().as_ref().unwrap().len(), 5);
    assert_eq!(linux.sysctl().as_ref().unwrap().len(), 2);
    assert!(linux.seccomp().is_some() && linux.rootfs_propagation().is_none());
    assert!(linux.uid_mappings().is_none() && spec.hooks().is_none());
    let cgroup = linux.cgroups_path().as_ref().unwrap();
    assert_eq!(cgroup, &Case::new().cgroup);
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.no_new_privileges(), None);
    assert_eq!(process.oom_score_adj(), Some(0));
    assert!(process.rlimits().is_none() && process.apparmor_profile().is_none());
}

#[test]
fn a_privileged_container_is_not_held_back() {
    let mut case = Case::new();
    case.host.privileged = true;
    let spec = case.spec();
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_none());
    assert!(linux.masked_paths().is_none() && linux.readonly_paths().is_none());
    assert_eq!(linux.devices().as_ref().unwrap().len(), 3);
    let process = spec.process().as_ref().unwrap();
    let sets = process.capabilities().as_ref().unwrap();
    assert_eq!(sets.effective().as_ref().unwrap().len(), 41);
    for mount in spec.mounts().as_ref().unwrap() {
        let words = mount.options().as_ref().unwrap();
        assert!(!words.contains(&"ro".to_owned()), "{mount:?}");
    }
}

#[test]
fn the_users_lists_of_paths_stand_even_when_privileged() {
    let mut case = Case::new();
    case.host.privileged = true;
    case.host.masked_paths = Some(vec!["/x".to_owned()]);
    case.host.readonly_paths = Some(vec![]);
    let spec = case.spec();
    let linux = spec.linux().as_ref().unwrap();
    assert_eq!(
        linux.masked_paths().as_deref(),
        Some(&["/x".to_owned()][..])
    );
    assert_eq!(linux.readonly_paths().as_deref(), Some(&[][..]));
}

#[test]
fn namespaces_are_made_joined_or_left() {
    let mut case = Case::new();
    case.network = NamespaceOf::Path("/proc/7/ns/net".into());
    case.host.network_mode = "container:other".to_owned();
    case.uts = NamespaceOf::Host;
    let spec = case.spec();
    let namespaces = spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
    assert_eq!(namespaces.len(), 5);
    assert_eq!(
        namespaces[1].path().as_deref(),
        Some(Path::new("/proc/7/ns/net"))
    );
    assert!(spec.hostname().is_none());
    assert!(
        spec.linux()
            .as_ref()
            .unwrap()
            .sysctl()
            .as_ref()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn arguments_are_entrypoint_and_command() {
    let mut config = ContainerConfig::default();
    assert!(arguments(&config).is_empty());
    config.cmd = Some(vec!["b".to_owned()]);
    config.entrypoint = Some(vec!["a".to_owned()]);
    assert_eq!(arguments(&config), ["a", "b"]);
}
