use std::path::PathBuf;

use docker_api::{ContainerConfig, HostConfig};

use super::*;
use crate::spec::{mount_points, tests::Case};

/// `target type source options` of every mount, in order.
fn lines(case: &Case) -> Vec<String> {
    let all = mounts(&case.input()).unwrap();
    all.iter()
        .map(|one| {
            format!(
                "{} {} {} {}",
                one.destination().display(),
                one.typ().as_deref().unwrap(),
                one.source().as_ref().unwrap().display(),
                one.options().as_ref().unwrap().join(",")
            )
        })
        .collect()
}

fn with(host: HostConfig) -> Case {
    let mut case = Case::new();
    case.mounts = mount_points(&ContainerConfig::default(), &host, Vec::new()).unwrap();
    case.host.tmpfs = host.tmpfs;
    case
}

fn binds(list: &[&str]) -> Case {
    with(HostConfig {
        binds: Some(list.iter().map(|&one| one.to_owned()).collect()),
        ..HostConfig::default()
    })
}

fn tmpfs(options: &str) -> Case {
    with(HostConfig {
        tmpfs: Some([("/t".to_owned(), options.to_owned())].into()),
        ..HostConfig::default()
    })
}

fn line<'a>(lines: &'a [String], target: &str) -> Option<&'a str> {
    let start = format!("{target} ");
    lines
        .iter()
        .find(|line| line.starts_with(&start))
        .map(String::as_str)
}

#[test]
fn a_plain_container_has_dockers_mounts() {
    assert_eq!(
        lines(&Case::new()),
        [
            "/proc proc proc nosuid,noexec,nodev",
            "/dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k",
            "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/sys sysfs sysfs nosuid,noexec,nodev,ro",
            "/sys/fs/cgroup cgroup cgroup ro,nosuid,noexec,nodev",
            "/dev/mqueue mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864",
            "/etc/resolv.conf bind /files/etc/resolv.conf rbind,rprivate",
            "/etc/hostname bind /files/etc/hostname rbind,rprivate",
            "/etc/hosts bind /files/etc/hosts rbind,rprivate",
        ]
    );
}

#[test]
fn init_comes_before_the_users_and_those_go_by_depth() {
    let mut case = binds(&["/a:/x/y/z:ro", "/b:/x", "data:/q/r"]);
    case.init = Some("/usr/bin/docker-init".into());
    case.mounts[2].source = "/volumes/data".to_owned();
    let all = lines(&case);
    assert_eq!(
        all[7..],
        [
            "/sbin/docker-init bind /usr/bin/docker-init bind,ro",
            "/x bind /b rbind,rprivate",
            "/q/r bind /volumes/data rbind",
            "/etc/resolv.conf bind /files/etc/resolv.conf rbind,rprivate",
            "/etc/hostname bind /files/etc/hostname rbind,rprivate",
            "/etc/hosts bind /files/etc/hosts rbind,rprivate",
            "/x/y/z bind /a rbind,rro,rprivate",
        ]
    );
    case.pid = NamespaceOf::Host;
    assert_eq!(line(&lines(&case), INIT), None);
}

#[test]
fn a_users_mount_stands_in_for_the_one_at_its_target() {
    let all = lines(&binds(&["/a:/etc/hosts", "/b:/sys", "/c:/dev/shm"]));
    assert_eq!(line(&all, "/sys"), Some("/sys bind /b rbind,rprivate"));
    assert_eq!(
        line(&all, "/dev/shm"),
        Some("/dev/shm bind /c rbind,rprivate")
    );
    assert_eq!(
        line(&all, "/etc/hosts"),
        Some("/etc/hosts bind /a rbind,rprivate")
    );
    assert_eq!(all.len(), 10);
    let all = lines(&binds(&["/dev:/dev"]));
    assert_eq!(all.iter().filter(|one| one.starts_with("/dev")).count(), 1);
}

#[test]
fn of_the_same_depth_shm_and_tmpfs_come_first() {
    let mut case = with(HostConfig {
        binds: Some(vec!["/a:/b/c".to_owned()]),
        tmpfs: Some([("/t/u".to_owned(), String::new())].into()),
        ..HostConfig::default()
    });
    case.shm = Some("/shm".into());
    let all = lines(&case);
    let targets: Vec<_> = all[6..]
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        targets,
        [
            "/dev/shm",
            "/t/u",
            "/b/c",
            "/etc/resolv.conf",
            "/etc/hostname",
            "/etc/hosts"
        ]
    );
}

#[test]
fn network_files_are_read_only_in_a_read_only_root() {
    let mut case = Case::new();
    case.host.readonly_rootfs = true;
    assert_eq!(
        line(&lines(&case), "/etc/hosts"),
        Some("/etc/hosts bind /files/etc/hosts rbind,rro,rprivate")
    );
}

#[test]
fn shm_is_what_the_ipc_mode_says() {
    let shm = |change: fn(&mut Case)| {
        let mut case = Case::new();
        change(&mut case);
        line(&lines(&case), "/dev/shm").map(str::to_owned)
    };
    assert_eq!(shm(|case| case.host.ipc_mode = "none".to_owned()), None);
    assert_eq!(
        shm(|case| case.ipc = NamespaceOf::Host).as_deref(),
        Some("/dev/shm bind /dev/shm rbind,rprivate")
    );
    assert_eq!(
        shm(|case| case.shm = Some(PathBuf::from("/c/shm"))).as_deref(),
        Some("/dev/shm bind /c/shm rbind,rprivate")
    );
}

#[test]
fn binds_are_recursive_and_read_only_as_asked() {
    let mut case = binds(&["/a:/x:ro"]);
    case.mounts[0].read_only_recursive = ReadOnlyRecursive::Disabled;
    case.mounts[0].recursive = false;
    assert_eq!(
        line(&lines(&case), "/x"),
        Some("/x bind /a bind,ro,rprivate")
    );
    case.mounts[0].wish = Some(docker_api::Mount {
        bind_options: Some(docker_api::BindOptions {
            read_only_non_recursive: true,
            ..docker_api::BindOptions::default()
        }),
        ..docker_api::Mount::default()
    });
    assert_eq!(
        mounts(&case.input()).unwrap_err().message(),
        "mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive"
    );
}

#[test]
fn of_opposite_tmpfs_options_the_later_wins() {
    let check = |options: &str, want: &str| {
        let all = lines(&tmpfs(options));
        assert_eq!(
            line(&all, "/t"),
            Some(format!("/t tmpfs tmpfs {want}").as_str())
        );
    };
    check("", "noexec,nosuid,nodev,rprivate");
    check("exec,size=1m", "nosuid,nodev,rprivate,exec,size=1m");
    check(
        "size=1m,defaults,size=2m,rw,shared",
        "noexec,nosuid,nodev,size=2m,rw,shared",
    );
}

#[test]
fn an_unknown_tmpfs_option_is_refused_at_start() {
    for option in ["foo", "foo=1"] {
        let error = mounts(&tmpfs(option).input()).unwrap_err();
        assert_eq!(error.message(), "invalid tmpfs option \"foo\"");
        assert_eq!(errdefs::Classify::kind(&error), errdefs::ErrorKind::System);
    }
}

#[test]
fn cgroups_are_writable_on_demand() {
    let mut case = Case::new();
    case.host.security_opt = Some(vec!["writable-cgroups=true".to_owned()]);
    let all = lines(&case);
    assert_eq!(
        line(&all, CGROUP),
        Some("/sys/fs/cgroup cgroup cgroup nosuid,noexec,nodev")
    );
    assert!(line(&all, "/sys").unwrap().ends_with(",ro"));
}

#[test]
fn the_root_follows_the_widest_propagation() {
    assert_eq!(root_propagation(&binds(&["/a:/x"]).mounts), None);
    let slave = binds(&["/a:/x:rslave"]).mounts;
    assert_eq!(root_propagation(&slave), Some("rslave"));
    let both = binds(&["/a:/x:rslave", "/b:/y:shared"]).mounts;
    assert_eq!(root_propagation(&both), Some("shared"));
}
