use std::collections::BTreeMap;

use docker_api::{LogConfig, PortBinding, TmpfsOptions, WeightDevice};

use super::*;
use crate::spec::tests::TestMachine;

fn run(config: ContainerConfig, host: HostConfig) -> Result<(HostConfig, Vec<String>)> {
    let (mut config, mut host) = (config, host);
    validate(&mut config, &mut host, &TestMachine::default()).map(|warnings| (host, warnings))
}

fn refused(change: impl FnOnce(&mut HostConfig), want: &str) {
    let mut host = HostConfig::default();
    change(&mut host);
    let error = run(ContainerConfig::default(), host).unwrap_err();
    assert_eq!(error.message(), want);
    assert_eq!(
        errdefs::Classify::kind(&error),
        errdefs::ErrorKind::InvalidParameter
    );
}

fn refused_config(change: impl FnOnce(&mut ContainerConfig), want: &str) {
    let mut config = ContainerConfig::default();
    change(&mut config);
    let error = run(config, HostConfig::default()).unwrap_err();
    assert_eq!(error.message(), want);
}

#[test]
fn defaults_are_what_inspect_shows() {
    let host = HostConfig {
        memory: 64 << 20,
        pids_limit: Some(-1),
        ..HostConfig::default()
    };
    let (host, warnings) = run(ContainerConfig::default(), host).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(host.shm_size, 64 << 20);
    assert_eq!(host.memory_swap, 128 << 20);
    assert_eq!(
        (host.ipc_mode.as_str(), host.cgroupns_mode.as_str()),
        ("private", "private")
    );
    assert_eq!(
        (host.network_mode.as_str(), host.runtime.as_str()),
        ("bridge", "runc")
    );
    assert_eq!(host.restart_policy.name, "no");
    assert_eq!(host.log_config.driver, "json-file");
    assert_eq!(
        (host.pids_limit, host.oom_kill_disable),
        (None, Some(false))
    );
    assert_eq!(host.masked_paths.unwrap().len(), 14);
    assert_eq!(host.readonly_paths.unwrap().len(), 5);
    assert_eq!(host.security_opt, None);
}

#[test]
fn a_privileged_container_has_no_label_and_no_lists() {
    let host = HostConfig {
        privileged: true,
        ..HostConfig::default()
    };
    let (host, _) = run(ContainerConfig::default(), host).unwrap();
    assert_eq!(host.security_opt, Some(vec!["label=disable".to_owned()]));
    assert_eq!((host.masked_paths, host.readonly_paths), (None, None));
}

#[test]
fn memory_has_dockers_bounds() {
    refused(|h| h.memory = 1, "Minimum memory limit allowed is 6MB");
    refused(
        |h| (h.memory, h.memory_swap) = (8 << 20, 7 << 20),
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    );
    refused(
        |h| h.memory_swap = 8 << 20,
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    );
    refused(
        |h| h.memory_reservation = 1,
        "Minimum memory reservation allowed is 6MB",
    );
    refused(
        |h| (h.memory, h.memory_reservation) = (8 << 20, 9 << 20),
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    );
}

#[test]
fn cpus_have_dockers_bounds() {
    let range = "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available";
    refused(|h| h.nano_cpus = 3_000_000_000, range);
    refused(|h| h.nano_cpus = -1, range);
    refused(
        |h| (h.nano_cpus, h.cpu_period) = (1, 1000),
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
    );
    refused(
        |h| (h.nano_cpus, h.cpu_quota) = (1, 1000),
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
    );
    refused(
        |h| h.cpu_period = 1,
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    );
    refused(
        |h| h.cpu_quota = 1,
        "CPU cfs quota can not be less than 1ms (i.e. 1000)",
    );
    refused(
        |h| h.cpu_shares = -1,
        "invalid CPU shares (-1): value must be a positive integer",
    );
    refused(
        |h| h.cpu_realtime_period = 1,
        "kernel does not support CPU real-time scheduler",
    );
    refused(
        |h| h.cpuset_cpus = "0-2".to_owned(),
        "Requested CPUs are not available - requested 0-2, available: 0-1",
    );
    refused(
        |h| h.cpuset_cpus = "0-a".to_owned(),
        "Invalid value 0-a for cpuset cpus: invalid format: 0-a",
    );
    refused(
        |h| h.cpuset_mems = "1-9223372036".to_owned(),
        "Invalid value 1-9223372036 for cpuset mems: invalid format: 1-9223372036",
    );
    refused(
        |h| h.cpuset_mems = "0-9999".to_owned(),
        "Invalid value 0-9999 for cpuset mems: value of out range, maximum is 8192",
    );
    refused(
        |h| h.cpuset_mems = "1".to_owned(),
        "Requested memory nodes are not available - requested 1, available: 0",
    );
}

#[test]
fn block_devices_have_dockers_bounds() {
    refused(
        |h| h.blkio_weight = 9,
        "Range of blkio weight is from 10 to 1000",
    );
    refused(
        |h| h.io_maximum_bandwidth = 1,
        "invalid option: QoS maximum bandwidth configuration is not supported on linux",
    );
    refused(
        |h| h.io_maximum_iops = 1,
        "invalid option: QoS maximum IOPs configuration is not supported on linux",
    );
}

#[test]
fn what_the_machine_cannot_do_is_dropped_with_a_warning() {
    let machine = TestMachine {
        missing: vec!["memory", "swap", "cpu", "cpuset", "pids", "io"],
        ..TestMachine::default()
    };
    let mut host = HostConfig {
        memory: 8 << 20,
        memory_reservation: 8 << 20,
        memory_swappiness: Some(10),
        oom_kill_disable: Some(true),
        pids_limit: Some(5),
        cpu_shares: 5,
        cpu_quota: 5000,
        cpu_percent: 5,
        cpuset_cpus: "0".to_owned(),
        blkio_weight: 50,
        blkio_weight_device: Some(vec![WeightDevice::default()]),
        blkio_device_read_bps: Some(vec![docker_api::ThrottleDevice::default()]),
        storage_opt: Some([("size".to_owned(), "1g".to_owned())].into()),
        ..HostConfig::default()
    };
    let mut config = ContainerConfig::default();
    let warnings = validate(&mut config, &mut host, &machine).unwrap();
    assert_eq!(warnings.len(), 13, "{warnings:#?}");
    assert_eq!(
        (host.memory, host.memory_swap, host.pids_limit),
        (0, -1, None)
    );
    assert_eq!((host.cpu_shares, host.cpu_quota), (0, 0));
    assert_eq!(host.blkio_device_read_bps, Some(vec![]));
    assert_eq!(
        warnings[0],
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded."
    );
}

#[test]
fn swap_that_is_not_counted_is_not_limited() {
    let machine = TestMachine {
        missing: vec!["swap"],
        ..TestMachine::default()
    };
    let mut host = HostConfig {
        memory: 8 << 20,
        ..HostConfig::default()
    };
    let warnings = validate_resources(&mut host, &machine, false).unwrap();
    assert_eq!(
        warnings,
        [
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
        ]
    );
    assert_eq!(host.memory_swap, -1);
}

#[test]
fn modes_are_checked() {
    refused(|h| h.ipc_mode = "x".to_owned(), "invalid IPC mode: x");
    refused(
        |h| h.pid_mode = "container:".to_owned(),
        "invalid PID mode: container:",
    );
    refused(|h| h.uts_mode = "x".to_owned(), "invalid UTS mode: x");
    refused(
        |h| h.cgroupns_mode = "x".to_owned(),
        "invalid cgroup namespace mode: x",
    );
    refused(
        |h| h.isolation = "hyperv".to_owned(),
        "invalid isolation (hyperv): linux only supports 'default'",
    );
    refused(
        |h| h.runtime = "x".to_owned(),
        "unknown or invalid runtime name: x",
    );
    refused(|h| h.shm_size = -1, "SHM size can not be less than 0");
    refused(
        |h| h.oom_score_adj = 1001,
        "Invalid value 1001, range for oom score adj is [-1000, 1000]",
    );
    refused(
        |h| h.annotations = Some([(String::new(), String::new())].into()),
        "invalid Annotations: the empty string is not permitted as an annotation key",
    );
}

#[test]
fn restart_policies_are_dockers() {
    let policy = |name: &str, count: i64, want: &str| {
        let policy = RestartPolicy {
            name: name.to_owned(),
            maximum_retry_count: count,
        };
        refused(|h| h.restart_policy = policy, want);
    };
    policy(
        "sometimes",
        0,
        "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    );
    policy(
        "always",
        3,
        "invalid restart policy: maximum retry count can only be used with 'on-failure'",
    );
    policy(
        "no",
        -3,
        "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative",
    );
    policy(
        "on-failure",
        -1,
        "invalid restart policy: maximum retry count cannot be negative",
    );
    refused(
        |h| (h.auto_remove, h.restart_policy.name) = (true, "always".to_owned()),
        "can't create 'AutoRemove' container with restart policy",
    );
}

#[test]
fn networks_of_other_containers_exclude_a_lot() {
    let shared = |change: fn(&mut HostConfig), want: &str| {
        refused(
            |h| {
                h.network_mode = "container:x".to_owned();
                change(h);
            },
            want,
        );
    };
    shared(
        |h| h.network_mode = "container:".to_owned(),
        "invalid network mode: invalid container format container:<name|id>",
    );
    shared(
        |h| h.dns = Some(vec![String::new()]),
        "conflicting options: dns and the network mode",
    );
    shared(
        |h| h.publish_all_ports = true,
        "conflicting options: port publishing and the container type network mode",
    );
    shared(
        |h| h.links = Some(vec![String::new()]),
        "conflicting options: container type network can't be used with links. This would result in undefined behavior",
    );
    let config = ContainerConfig {
        hostname: "x".to_owned(),
        ..ContainerConfig::default()
    };
    let host = HostConfig {
        uts_mode: "host".to_owned(),
        ..HostConfig::default()
    };
    assert_eq!(
        run(config, host).unwrap_err().message(),
        "conflicting options: hostname and the UTS mode"
    );
}

#[test]
fn ports_are_numbers_or_ranges() {
    let bound = |port: &str, host_port: &str| {
        let end = PortBinding {
            host_port: host_port.to_owned(),
            ..PortBinding::default()
        };
        HostConfig {
            port_bindings: Some([(port.to_owned(), Some(vec![end]))].into()),
            ..HostConfig::default()
        }
    };
    for (port, host_port) in [("80/tcp", ""), ("80", "8080"), ("80/udp", "8000-8010")] {
        assert!(run(ContainerConfig::default(), bound(port, host_port)).is_ok());
    }
    for (port, host_port, named) in [
        ("x/tcp", "", "x"),
        ("80/tcp", "70000", "70000"),
        ("80/tcp", "9-8", "9-8"),
    ] {
        let error = run(ContainerConfig::default(), bound(port, host_port)).unwrap_err();
        assert_eq!(
            error.message(),
            format!("invalid port specification: {named:?}")
        );
    }
    let mut host = bound("80/tcp", "80");
    host.network_mode = "host".to_owned();
    let (_, warnings) = run(ContainerConfig::default(), host).unwrap();
    assert_eq!(
        warnings,
        ["Published ports are discarded when using host network mode"]
    );
}

#[test]
fn extra_hosts_have_a_name_and_an_address() {
    let line = |text: &str, want: &str| {
        let text = text.to_owned();
        refused(|h| h.extra_hosts = Some(vec![text]), want);
    };
    line("x", "bad format for add-host: \"x\"");
    line(":1.2.3.4", "bad format for add-host: \":1.2.3.4\"");
    line("x:y", "invalid IP address in add-host: \"y\"");
    let host = HostConfig {
        extra_hosts: Some(
            ["a:1.2.3.4", "b:::1", "c:host-gateway"]
                .map(str::to_owned)
                .into(),
        ),
        ..HostConfig::default()
    };
    assert!(run(ContainerConfig::default(), host).is_ok());
}

#[test]
fn mounts_are_checked_before_they_are_used() {
    let mount = |kind: &str| Mount {
        kind: kind.to_owned(),
        source: "/x".to_owned(),
        target: "/y".to_owned(),
        ..Mount::default()
    };
    let mut wrong = mount("bind");
    wrong.tmpfs_options = Some(TmpfsOptions::default());
    refused(
        |h| h.mounts = Some(vec![wrong]),
        "TmpfsOptions must not be specified on mount type \"bind\"",
    );
    refused(
        |h| h.mounts = Some(vec![mount("x")]),
        "invalid mount config for type \"x\": mount type unknown",
    );
    refused(
        |h| h.tmpfs = Some([("x".to_owned(), String::new())].into()),
        "invalid mount path: 'x' mount path must be absolute",
    );
}

#[test]
fn log_drivers_are_checked() {
    let log = |driver: &str, options: &[(&str, &str)]| LogConfig {
        driver: driver.to_owned(),
        config: options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
    };
    refused(
        |h| h.log_config = log("x", &[]),
        "error looking up logging plugin x: plugin \"x\" not found",
    );
    refused(
        |h| h.log_config = log("", &[("x", "y")]),
        "unknown log opt 'x' for json-file log driver",
    );
    refused(
        |h| h.log_config = log("", &[("mode", "y")]),
        "logger: logging mode not supported: y",
    );
    refused(
        |h| h.log_config = log("", &[("max-buffer-size", "1m")]),
        "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
    );
    let host = HostConfig {
        log_config: log("local", &[("max-size", "1m")]),
        ..HostConfig::default()
    };
    let (host, warnings) = run(ContainerConfig::default(), host).unwrap();
    assert_eq!(host.log_config.driver, "local");
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn the_portable_part_is_checked() {
    refused_config(
        |c| c.working_dir = "x".to_owned(),
        "the working directory 'x' is invalid, it needs to be an absolute path",
    );
    refused_config(
        |c| c.stop_signal = "SIGNONE".to_owned(),
        "invalid signal: SIGNONE",
    );
    refused_config(
        |c| c.env = Some(vec!["=x".to_owned()]),
        "invalid environment variable: =x",
    );
    let health = |change: fn(&mut HealthConfig), want: &str| {
        refused_config(|c| change(c.healthcheck.get_or_insert_default()), want);
    };
    health(
        |h| h.interval = 1,
        "Interval in Healthcheck cannot be less than 1ms",
    );
    health(
        |h| h.timeout = -1,
        "Timeout in Healthcheck cannot be less than 1ms",
    );
    health(
        |h| h.retries = -1,
        "Retries in Healthcheck cannot be negative",
    );
    health(
        |h| h.start_period = 1,
        "StartPeriod in Healthcheck cannot be less than 1ms",
    );
    health(
        |h| h.start_interval = 1,
        "StartInterval in Healthcheck cannot be less than 1ms",
    );
    let mut config = ContainerConfig {
        working_dir: "/a/../b/".to_owned(),
        ..ContainerConfig::default()
    };
    let mut host = HostConfig::default();
    validate(&mut config, &mut host, &TestMachine::default()).unwrap();
    assert_eq!(config.working_dir, "/b");
}
