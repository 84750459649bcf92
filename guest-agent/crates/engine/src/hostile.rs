//! The readers of what clients and images write, for fuzzing. None may panic, and what they make is bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use docker_api::{ContainerConfig, ContainerCreateRequest, HostConfig, LogConfig};
use errdefs::Result;
use oci::{Digest, Platform, Reference};

use crate::{
    Defaults,
    containers::{
        list::{self, Filters},
        merge, name, prune,
        record::ContainerRecord,
    },
    id::ContainerId,
    images, logging,
    ports::world::Timestamp,
    spec::{
        self, HostDevice, Machine, MountPoint, NamespaceOf, SpecInput,
        identity::{Files, additional_groups, home, resolve},
    },
    time,
};

/// Most bytes that are made of one that came in: escapes, defaults and capabilities have their price, repetition has none.
const MOST_FOR_ONE: usize = 64;
/// What is made whatever comes in: the default seccomp profile, mounts, devices.
const MOST_FOR_NOTHING: usize = 256 << 10;

/// The first line is a user, up to an empty line follows passwd, then group.
pub fn users(bytes: &[u8]) {
    let (user, rest) = split_at(bytes, b"\n");
    let (passwd, group) = split_at(rest, b"\n\n");
    let user = String::from_utf8_lossy(user);
    let files = Files {
        passwd: Some(passwd),
        group: Some(group),
    };
    if let Ok(found) = resolve(&user, files) {
        assert!(found.groups.len() <= group.len());
        assert!(i32::try_from(found.uid).is_ok() && i32::try_from(found.gid).is_ok());
        let _ = home(found.uid, files.passwd);
    }
    // Who may be started is who files can be given to, and the other way round, but for what has no end of its own.
    let _ = spec::owner(&user, files.passwd, files.group);
    let _ = spec::check_user(&user, files.passwd, files.group);
    let wanted: Vec<String> = user.split([':', ',']).map(str::to_owned).collect();
    if let Ok(groups) = additional_groups(&wanted, files.group) {
        let once: BTreeSet<_> = groups.iter().collect();
        assert_eq!(once.len(), groups.len(), "a group is there twice");
    }
}

fn split_at<'a>(bytes: &'a [u8], by: &[u8]) -> (&'a [u8], &'a [u8]) {
    let place = bytes.windows(by.len()).position(|window| window == by);
    match place {
        Some(place) => (&bytes[..place], &bytes[place + by.len()..]),
        None => (bytes, &[]),
    }
}

/// Filters as they were read from JSON: what each list, each prune and the events make of them.
pub fn filters(filters: &Filters) {
    const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);
    let _ = list::check(filters);
    let _ = list::check_plugin_filters(filters);
    let _ = list::Ports::new(filters);
    let _ = prune::until(filters, NOW);
    let _ = prune::earliest(filters, NOW);
    for names in filters.keys() {
        let names = list::Names::new(list::values(filters, names));
        let _ = names.match_any("some_name", &["/other/alias".to_owned()]);
    }
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    for name in ["label", "label!"] {
        let _ = list::labels_fit(filters, name, Some(&labels));
    }
}

/// Texts that clients write, one a line, each to every reader.
pub fn words(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        one_word(line);
    }
}

fn one_word(line: &str) {
    if let Ok(reference) = line.parse::<Reference>() {
        let again = reference.to_string().parse::<Reference>();
        assert_eq!(
            again.as_ref(),
            Ok(&reference),
            "written otherwise than read"
        );
        assert!(reference.familiar().len() <= reference.to_string().len());
    }
    let _ = images::reference(line);
    if let Ok(digest) = line.parse::<Digest>() {
        assert_eq!(digest.as_str(), line);
    }
    if let Ok(platform) = Platform::parse(line) {
        assert_eq!(platform.normalized(), platform);
    }
    if let Some(at) = time::parse_rfc3339(line.as_bytes()) {
        let again = time::parse_rfc3339(time::rfc3339(at).as_bytes());
        assert_eq!(again, Some(at), "{line}");
    }
    let _ = prune::moment(line, Timestamp(i64::MIN));
    let _ = prune::moment(line, Timestamp(i64::MAX));
    let _ = spec::parse_signal(line);
    let _ = spec::volumes_from(line);
    let _ = crate::parse_memory(line);
    let _ = list::whole_number(line);
    let _ = name::check(line);
    let _ = line.parse::<ContainerId>();
    mounts(line);
    log_options(line);
}

/// `-v`, `--tmpfs` and an image's volume.
fn mounts(line: &str) {
    let (target, options) = line.split_once(':').unwrap_or((line, ""));
    let one = Some(vec![line.to_owned()]);
    let bind = HostConfig {
        binds: one,
        ..HostConfig::default()
    };
    let tmpfs = HostConfig {
        tmpfs: Some([(target.to_owned(), options.to_owned())].into()),
        ..HostConfig::default()
    };
    let config = ContainerConfig {
        volumes: Some([(line.to_owned(), docker_api::Empty {})].into()),
        ..ContainerConfig::default()
    };
    let (no_config, no_host) = (ContainerConfig::default(), HostConfig::default());
    for (config, host) in [
        (&no_config, &bind),
        (&no_config, &tmpfs),
        (&config, &no_host),
    ] {
        let Ok(mut points) = spec::mount_points(config, host, Vec::new()) else {
            continue;
        };
        points.iter().for_each(check_point);
        let _ = spec::keep_root_free(&mut points, "/var/lib/docker");
    }
}

/// A target is a place below the root and not the root itself.
fn check_point(point: &MountPoint) {
    let target = &point.destination;
    assert!(
        target.starts_with('/') && target != "/" && !target.split('/').any(|part| part == ".."),
        "mounted at {target:?}"
    );
}

/// `name=value` with every driver, and what it makes of it.
fn log_options(line: &str) {
    let Some((name, value)) = line.split_once('=') else {
        return;
    };
    for driver in crate::LOG_DRIVERS {
        let mut log = LogConfig {
            driver: driver.to_owned(),
            config: [(name.to_owned(), value.to_owned())].into(),
        };
        if logging::merge_and_check(&mut log, &LogConfig::default()).is_err() {
            continue;
        }
        let mut record = record();
        record.host.log_config = log;
        let _ = logging::target(&record, "host", Path::new("/folder"));
    }
}

fn record() -> ContainerRecord {
    ContainerRecord::new(ContainerId::from_random([7; 32]), "some_name", Timestamp(1))
}

/// Instructions of a Dockerfile, as `docker commit` and `docker import` take them.
pub fn changes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut config = ContainerConfig::default();
    let _ = images::instructions::apply(&mut config, &[text]);
}

/// The body of a request that makes a container: through all checks, to the spec that the runtime gets.
pub fn create(bytes: &[u8]) {
    let Ok(request) = serde_json::from_slice::<ContainerCreateRequest>(bytes) else {
        return;
    };
    if let Ok(length) = checked(request) {
        let most = MOST_FOR_NOTHING + MOST_FOR_ONE * bytes.len();
        assert!(length <= most, "{length} bytes for {}", bytes.len());
    }
}

/// The length of the record and of the spec.
fn checked(request: ContainerCreateRequest) -> Result<usize> {
    let mut record = record();
    (record.config, record.host) = (request.config.unwrap_or_default(), request.host_config);
    let (config, host) = (&mut record.config, &mut record.host);
    Defaults::default().at_create(host);
    logging::merge_and_check(&mut host.log_config, &LogConfig::default())?;
    spec::validate(config, host, &Plain)?;
    merge::settle_command(config)?;
    merge::fill_in(config);
    let mut mounts = spec::mount_points(config, host, Vec::new())?;
    mounts.iter().for_each(check_point);
    spec::keep_root_free(&mut mounts, "/var/lib/docker")?;
    record.mounts = mounts;
    let kept = serde_json::to_vec(&record).expect("a record is kept as JSON");
    let again: ContainerRecord = serde_json::from_slice(&kept).expect("and read again");
    assert_eq!(again, record);
    logging::target(&record, "host", Path::new("/folder"))?;
    spec::limits(&record.host, &Plain)?;
    let built = spec::build(&SpecInput {
        id: &record.id,
        config: &record.config,
        host: &record.host,
        mounts: &record.mounts,
        network_files: &[(PathBuf::from("/files/hosts"), "/etc/hosts")],
        network: NamespaceOf::New,
        pid: NamespaceOf::New,
        ipc: NamespaceOf::New,
        uts: NamespaceOf::New,
        cgroup_namespace: NamespaceOf::New,
        shm: None,
        passwd: Some(b"root:x:0:0:root:/root:/bin/sh\n"),
        group: Some(b"root:x:0:\n"),
        init: None,
        cgroup: &record.cgroup("docker"),
        machine: &Plain,
    })?;
    let spec = serde_json::to_vec(&built).expect("a spec is written as JSON");
    Ok(kept.len() + spec.len())
}

/// A machine with two CPUs, 2 GiB and one disk.
struct Plain;

impl Machine for Plain {
    fn cpus(&self) -> u32 {
        2
    }
    fn memory_bytes(&self) -> u64 {
        2 << 30
    }
    fn controller(&self, _name: &str) -> bool {
        true
    }
    fn last_capability(&self) -> u32 {
        40
    }
    fn devices(&self, path: &Path) -> io::Result<Vec<HostDevice>> {
        let mut all = self.all_devices()?;
        all.retain(|device| device.path == path);
        if all.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(all)
    }
    fn all_devices(&self) -> io::Result<Vec<HostDevice>> {
        Ok(vec![HostDevice {
            path: "/dev/sda".into(),
            kind: 'b',
            major: 8,
            minor: 0,
            mode: 0o660,
            uid: 0,
            gid: 6,
        }])
    }
}
