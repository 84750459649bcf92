use docker_api::Empty;

use super::*;

fn points(host: &HostConfig) -> Result<Vec<MountPoint>> {
    mount_points(&ContainerConfig::default(), host, Vec::new())
}

fn binds(list: &[&str]) -> HostConfig {
    HostConfig {
        binds: Some(list.iter().map(|&one| one.to_owned()).collect()),
        ..HostConfig::default()
    }
}

fn bind(text: &str) -> MountPoint {
    points(&binds(&[text])).unwrap().remove(0)
}

fn mounts(list: &[Mount]) -> HostConfig {
    HostConfig {
        mounts: Some(list.to_vec()),
        ..HostConfig::default()
    }
}

fn mount(kind: &str, source: &str, target: &str) -> Mount {
    Mount {
        kind: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        ..Mount::default()
    }
}

fn refused(host: &HostConfig, want: &str) {
    let error = points(host).unwrap_err();
    assert_eq!(error.message(), want);
    assert_eq!(
        errdefs::Classify::kind(&error),
        errdefs::ErrorKind::InvalidParameter
    );
}

#[test]
fn a_path_is_a_bind_and_a_name_is_a_volume() {
    let point = bind("/a/../b:/c/");
    assert_eq!(
        (
            point.kind,
            point.source.as_str(),
            point.destination.as_str()
        ),
        (MountKind::Bind, "/b", "/c")
    );
    assert_eq!(
        (point.mode.as_str(), point.propagation.as_str()),
        ("", "rprivate")
    );
    assert!(point.read_write && point.create_source && point.recursive && !point.copy_up);
    let point = bind("data:/c");
    assert_eq!(
        (point.kind, point.name.as_str(), point.mode.as_str()),
        (MountKind::Volume, "data", "z")
    );
    assert!(point.copy_up && point.propagation.is_empty() && point.source.is_empty());
    let point = bind("/c");
    assert_eq!((point.kind, point.name.as_str()), (MountKind::Volume, ""));
}

#[test]
fn modes_are_read_and_kept() {
    let point = bind("/b:/c:ro,rslave,Z,cached");
    assert_eq!(point.mode, "ro,rslave,Z,cached");
    assert_eq!(
        (point.read_write, point.propagation.as_str()),
        (false, "rslave")
    );
    let point = bind("data:/c:rw,nocopy");
    assert_eq!((point.copy_up, point.mode.as_str()), (false, "rw,nocopy"));
}

#[test]
fn wrong_binds_have_dockers_texts() {
    let check = |text: &str, want: &str| refused(&binds(&[text]), want);
    for text in ["", ":/x", "/x:rw", "/a:/b:ro:x"] {
        check(text, &format!("invalid volume specification: '{text}'"));
    }
    check("/a:/b:x", "invalid mode: x");
    check("/a:/b:ro,rw", "invalid mode: ro,rw");
    check(
        "/etc:/",
        "invalid volume specification: '/etc:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
    );
    check(
        "/etc:x",
        "invalid volume specification: '/etc:x': invalid mount config for type \"bind\": invalid mount path: 'x' mount path must be absolute",
    );
    check(
        "/etc:/x:nocopy",
        "invalid volume specification: '/etc:/x:nocopy': invalid mount config for type \"bind\": field VolumeOptions must not be specified",
    );
    check(
        "a1:/x:rslave",
        "invalid volume specification: 'a1:/x:rslave': invalid mount config for type \"volume\": field BindOptions must not be specified",
    );
    check(
        "a/b:/x",
        "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
    );
    check(
        "a:/x",
        "create a: volume name is too short, names should be at least two alphanumeric characters",
    );
}

#[test]
fn mounts_in_long_form_are_checked() {
    let check = |mount: Mount, want: &str| {
        let kind = mount.kind.clone();
        refused(
            &mounts(&[mount]),
            &format!("invalid mount config for type \"{kind}\": {want}"),
        );
    };
    check(mount("bind", "/a", ""), "field Target must not be empty");
    check(mount("bind", "", "/a"), "field Source must not be empty");
    check(
        mount("bind", "a", "/a"),
        "invalid mount path: 'a' mount path must be absolute",
    );
    check(mount("image", "a", "/a"), "mount type unknown");
    check(
        mount("tmpfs", "a", "/a"),
        "field Source must not be specified",
    );
    let mut wish = mount("bind", "/a", "/a");
    wish.bind_options = Some(BindOptions {
        propagation: "x".to_owned(),
        ..BindOptions::default()
    });
    check(wish, "invalid propagation mode: x");
    let mut wish = mount("volume", "", "/a");
    wish.read_only = true;
    check(
        wish,
        "must not set ReadOnly mode when using anonymous volumes",
    );
    let subpath = |source: &str, subpath: &str| Mount {
        volume_options: Some(VolumeOptions {
            subpath: subpath.to_owned(),
            ..VolumeOptions::default()
        }),
        ..mount("volume", source, "/a")
    };
    check(
        subpath("", "x"),
        "must not set Subpath when using anonymous volumes",
    );
    check(
        subpath("data", "../x"),
        "subpath must be a relative path within the volume",
    );
    let tmpfs = |options: &[&[&str]]| Mount {
        tmpfs_options: Some(TmpfsOptions {
            options: Some(
                options
                    .iter()
                    .map(|one| one.iter().map(|&word| word.to_owned()).collect())
                    .collect(),
            ),
            ..TmpfsOptions::default()
        }),
        ..mount("tmpfs", "", "/a")
    };
    check(tmpfs(&[&["suid"]]), "invalid option: suid");
    check(tmpfs(&[&[]]), "invalid option array length");
    check(tmpfs(&[&["exec", "1", "2"]]), "invalid option array length");
}

#[test]
fn the_long_form_says_more() {
    let mut wish = mount("bind", "/a", "/b");
    wish.read_only = true;
    wish.bind_options = Some(BindOptions {
        non_recursive: true,
        read_only_force_recursive: true,
        ..BindOptions::default()
    });
    let mut volume = mount("volume", "data", "/c");
    volume.volume_options = Some(VolumeOptions {
        no_copy: true,
        subpath: "d/e".to_owned(),
        ..VolumeOptions::default()
    });
    let mut tmpfs = mount("tmpfs", "", "/d");
    tmpfs.tmpfs_options = Some(TmpfsOptions {
        size_bytes: 3 << 20,
        mode: 0o700,
        options: Some(vec![vec!["exec".to_owned()]]),
    });
    let all = points(&mounts(&[wish.clone(), volume, tmpfs])).unwrap();
    assert!(!all[0].recursive && !all[0].read_write && !all[0].create_source);
    assert_eq!(all[0].read_only_recursive, ReadOnlyRecursive::Forced);
    assert_eq!(all[0].wish.as_ref(), Some(&wish));
    assert_eq!((all[1].copy_up, all[1].subpath.as_str()), (false, "d/e"));
    assert_eq!(
        all[2].tmpfs_options,
        [
            "noexec", "nosuid", "nodev", "rprivate", "mode=700", "size=3m", "exec"
        ]
    );
}

#[test]
fn a_target_has_one_mount() {
    refused(&binds(&["/a:/x", "/b:/x/"]), "Duplicate mount point: /x");
    let mut host = binds(&["/a:/x"]);
    host.mounts = Some(vec![mount("volume", "data", "/x")]);
    refused(&host, "Duplicate mount point: /x");
    let mut host = binds(&["/a:/x"]);
    host.tmpfs = Some([("/x".to_owned(), String::new())].into());
    refused(&host, "Duplicate mount point: /x");
}

#[test]
fn what_comes_later_stands_in_for_what_is_inherited_and_images_volumes_come_last() {
    let inherited = vec![bind("/old:/x"), bind("/keep:/y")];
    let mut host = binds(&["/new:/x"]);
    host.tmpfs = Some([("/t".to_owned(), "size=1m".to_owned())].into());
    host.volume_driver = "local".to_owned();
    let config = ContainerConfig {
        volumes: Some(
            ["/t", "v", "/y/"]
                .map(|target| (target.to_owned(), Empty {}))
                .into(),
        ),
        ..ContainerConfig::default()
    };
    let all = mount_points(&config, &host, inherited).unwrap();
    let seen: Vec<_> = all
        .iter()
        .map(|one| (one.destination.as_str(), one.source.as_str(), one.kind))
        .collect();
    assert_eq!(
        seen,
        [
            ("/x", "/new", MountKind::Bind),
            ("/y", "/keep", MountKind::Bind),
            ("/t", "", MountKind::Tmpfs),
            ("/v", "", MountKind::Volume)
        ]
    );
    assert_eq!(all[3].mode, "");
    assert!(all[2].wish.is_none());
}

#[test]
fn volumes_of_others_come_with_a_mode() {
    assert_eq!(volumes_from("a").unwrap(), ("a", true));
    assert_eq!(volumes_from("a:ro").unwrap(), ("a", false));
    for (text, want) in [
        ("", "volumes-from specification cannot be an empty string"),
        ("a:x", "invalid mode: x"),
        ("a:rslave", "invalid mode: rslave"),
        ("a:nocopy", "invalid mode: nocopy"),
    ] {
        assert_eq!(volumes_from(text).unwrap_err().message(), want);
    }
}
