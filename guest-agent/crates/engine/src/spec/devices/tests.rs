use super::*;
use crate::spec::tests::TestMachine;

fn mapping(on_host: &str, inside: &str, access: &str) -> DeviceMapping {
    DeviceMapping {
        path_on_host: on_host.to_owned(),
        path_in_container: inside.to_owned(),
        cgroup_permissions: access.to_owned(),
    }
}

fn with(mappings: &[DeviceMapping], rules: &[&str]) -> HostConfig {
    HostConfig {
        devices: Some(mappings.to_vec()),
        device_cgroup_rules: Some(rules.iter().map(|&one| one.to_owned()).collect()),
        ..HostConfig::default()
    }
}

fn lines(host: &HostConfig) -> (Vec<String>, Vec<String>) {
    let (nodes, rules) = devices(host, &TestMachine::default()).unwrap();
    let nodes = nodes.iter().map(|one| {
        let (path, kind) = (one.path().display(), one.typ());
        format!("{path} {} {}:{}", kind.as_str(), one.major(), one.minor())
    });
    let rules = rules.iter().map(|one| {
        let sign = if one.allow() { '+' } else { '-' };
        let number = |value: Option<i64>| value.map_or("*".to_owned(), |value| value.to_string());
        format!(
            "{sign}{} {}:{} {}",
            one.typ().as_ref().map_or("a", |kind| kind.as_str()),
            number(one.major()),
            number(one.minor()),
            one.access().as_deref().unwrap()
        )
    });
    (nodes.collect(), rules.collect())
}

#[test]
fn a_plain_container_has_no_nodes_and_dockers_rules() {
    let (nodes, rules) = lines(&HostConfig::default());
    assert!(nodes.is_empty());
    assert_eq!(
        rules,
        [
            "-a *:* rwm",
            "+c 1:5 rwm",
            "+c 1:3 rwm",
            "+c 1:9 rwm",
            "+c 1:8 rwm",
            "+c 5:0 rwm",
            "+c 5:1 rwm",
            "-c 10:229 rwm"
        ]
    );
}

#[test]
fn devices_are_mapped_one_by_one_or_by_folder() {
    let host = with(
        &[
            mapping("/dev/sda", "/dev/xvda", "r"),
            mapping("/dev/snd", "/dev/sound", "rwm"),
        ],
        &["c 1:* rw", "a *:* m", "b 7:0 rwm"],
    );
    let (nodes, rules) = lines(&host);
    assert_eq!(
        nodes,
        [
            "/dev/xvda b 8:0",
            "/dev/sound/pcm c 116:2",
            "/dev/sound/by/x c 116:3"
        ]
    );
    assert_eq!(
        rules[8..],
        [
            "+b 8:0 r",
            "+c 116:2 rwm",
            "+c 116:3 rwm",
            "+c 1:* rw",
            "+a *:* m",
            "+b 7:0 rwm"
        ]
    );
}

#[test]
fn a_privileged_container_has_every_device_and_may_use_it() {
    let mut host = with(
        &[
            mapping("/dev/sda", "/dev/sda", "r"),
            mapping("/dev/sda", "/dev/other", "r"),
        ],
        &[],
    );
    host.privileged = true;
    let (nodes, rules) = lines(&host);
    assert_eq!(nodes.len(), 4);
    assert_eq!(nodes[3], "/dev/other b 8:0");
    assert_eq!((rules.len(), rules[8].as_str()), (9, "+a *:* rwm"));
}

#[test]
fn what_is_no_device_is_told_with_dockers_text() {
    let check = |host: HostConfig, want: &str| {
        let error = devices(&host, &TestMachine::default()).unwrap_err();
        assert_eq!(error.message(), want);
    };
    check(
        with(&[mapping("/dev/nosuch", "/dev/x", "rwm")], &[]),
        "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory",
    );
    check(
        with(&[mapping("/etc", "/dev/x", "rwm")], &[]),
        "error gathering device information while adding custom device \"/etc\": not a device node",
    );
    for rule in [
        "x 1:1 r",
        "c 1:1",
        "c 1:1 x",
        "c 1:1 rwmr",
        "c 1 r",
        "c a:1 r",
        "c 1:1:1 r",
        "c  1:1 r",
        "",
    ] {
        check(
            with(&[], &[rule]),
            &format!("invalid device cgroup rule format: '{rule}'"),
        );
    }
    check(
        with(&[], &["c 99999999999999999999:1 r"]),
        "invalid major value in device cgroup rule format: 'c 99999999999999999999:1 r'",
    );
    let gpu = DeviceRequest {
        capabilities: Some(vec![vec!["gpu".to_owned(), "x".to_owned()]]),
        ..DeviceRequest::default()
    };
    check(
        HostConfig {
            device_requests: Some(vec![gpu]),
            ..HostConfig::default()
        },
        "could not select device driver \"\" with capabilities: [[gpu x]]",
    );
}
