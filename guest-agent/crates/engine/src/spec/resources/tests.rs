use docker_api::WeightDevice;

use super::*;
use crate::spec::tests::TestMachine;

fn built_from(change: impl FnOnce(&mut HostConfig)) -> Result<LinuxResources> {
    let mut host = HostConfig::default();
    change(&mut host);
    resources(&host, &TestMachine::default())
}

#[test]
fn nothing_asked_is_nothing_limited() {
    let all = built_from(|_| {}).unwrap();
    assert!(all.memory().is_none() && all.cpu().is_none() && all.pids().is_none());
}

#[test]
fn memory_is_limited_with_swap() {
    let all = built_from(|h| {
        (h.memory, h.memory_swap, h.memory_reservation) = (100, 200, 50);
        h.oom_kill_disable = Some(false);
    })
    .unwrap();
    let memory = all.memory().unwrap();
    assert_eq!(
        (memory.limit(), memory.swap(), memory.reservation()),
        (Some(100), Some(200), Some(50))
    );
    let unlimited = built_from(|h| (h.memory, h.memory_swap) = (100, -1)).unwrap();
    assert_eq!(unlimited.memory().unwrap().swap(), None);
}

#[test]
fn shares_of_cpus_are_a_quota() {
    let all = built_from(|h| h.nano_cpus = 1_500_000_000).unwrap();
    let cpu = all.cpu().clone().unwrap();
    assert_eq!((cpu.period(), cpu.quota()), (Some(100_000), Some(150_000)));
    let all = built_from(|h| {
        (h.cpu_period, h.cpu_quota, h.cpu_shares) = (50_000, -1, 512);
        h.cpuset_cpus = "0-1".to_owned();
    })
    .unwrap();
    let cpu = all.cpu().clone().unwrap();
    assert_eq!((cpu.period(), cpu.quota()), (Some(50_000), Some(-1)));
    assert_eq!(
        (cpu.shares(), cpu.cpus().as_deref()),
        (Some(512), Some("0-1"))
    );
    assert!(built_from(|h| h.nano_cpus = i64::MAX).is_ok());
}

#[test]
fn processes_are_limited_when_the_number_is_one() {
    let pids = |limit| {
        let all = built_from(|h| h.pids_limit = limit).unwrap();
        all.pids().map(|pids| pids.limit())
    };
    assert_eq!(
        (pids(None), pids(Some(0)), pids(Some(7))),
        (None, Some(-1), Some(7))
    );
}

#[test]
fn block_devices_are_found_by_their_path() {
    let all = built_from(|h| {
        h.blkio_weight = 300;
        h.blkio_weight_device = Some(vec![WeightDevice {
            path: "/dev/sda".to_owned(),
            weight: 200,
        }]);
        h.blkio_device_write_iops = Some(vec![ThrottleDevice {
            path: "/dev/sda".to_owned(),
            rate: 9,
        }]);
    })
    .unwrap();
    let io = all.block_io().clone().unwrap();
    assert_eq!(io.weight(), Some(300));
    let rate = io.throttle_write_iops_device().as_ref().unwrap()[0];
    assert_eq!((rate.major(), rate.minor(), rate.rate()), (8, 0, 9));
    let missing = built_from(|h| {
        h.blkio_device_read_bps = Some(vec![ThrottleDevice {
            path: "/dev/x".to_owned(),
            rate: 9,
        }]);
    });
    assert_eq!(
        missing.unwrap_err().message(),
        "stat /dev/x: no such file or directory"
    );
}
