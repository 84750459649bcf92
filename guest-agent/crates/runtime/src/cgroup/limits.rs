//! A spec's resources as files of a group and what is written to them.
//!
//! Decides only; nothing is touched here. `memory.oom.group` is nobody's: the kernel kills one process for memory, not the container.
//!
//! Spec: OCI runtime, config-linux, control groups. Linux: Documentation/admin-guide/cgroup-v2.rst.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources, LinuxThrottleDevice,
};

/// Something to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Files and values, in the order of preference: the first that is there is written.
    pub(super) choices: Vec<(String, Value)>,
    /// When none is there, nothing is lost.
    pub(super) optional: bool,
}

/// Lines, each for one write: the kernel takes one device at a time.
pub(super) type Value = Vec<String>;

impl Setting {
    fn new(file: impl Into<String>, line: impl ToString) -> Self {
        Self::of_lines(file, vec![line.to_string()])
    }

    fn of_lines(file: impl Into<String>, lines: Value) -> Self {
        Self {
            choices: vec![(file.into(), lines)],
            optional: false,
        }
    }

    fn or(mut self, file: &str, lines: Value) -> Self {
        self.choices.push((file.to_owned(), lines));
        self
    }

    fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// All that a spec asks; in words when it makes no sense.
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>, String> {
    let mut all = Vec::new();
    if let Some(memory) = resources.memory() {
        all.extend(of_memory(memory)?);
    }
    if let Some(cpu) = resources.cpu() {
        all.extend(of_cpu(cpu));
    }
    let processes = resources.pids().as_ref().map(|pids| pids.limit());
    all.extend(
        processes
            .filter(|&limit| limit != 0)
            .map(|limit| Setting::new("pids.max", unlimited(limit))),
    );
    if let Some(io) = resources.block_io() {
        all.extend(of_io(io));
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        all.extend(of_huge_pages(limit)?);
    }
    // Last: who writes them means them.
    if let Some(unified) = resources.unified() {
        let mut files: Vec<_> = unified.iter().collect();
        files.sort();
        for (file, value) in files {
            if file.contains('/') || matches!(file.as_str(), "" | "." | "..") {
                return Err(format!(
                    "unified resource {file:?} must be a file name (no slashes)"
                ));
            }
            let lines = value.lines().map(str::to_owned).collect();
            all.push(Setting::of_lines(file.as_str(), lines));
        }
    }
    Ok(all)
}

fn unlimited(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

fn of_memory(memory: &LinuxMemory) -> Result<Vec<Setting>, String> {
    let given = |value: Option<i64>| value.filter(|&value| value != 0);
    let limit = given(memory.limit());
    let mut all = Vec::new();
    all.extend(limit.map(|limit| Setting::new("memory.max", unlimited(limit))));
    if let Some(swap) = given(memory.swap()) {
        // The spec counts memory and swap together, the kernel swap alone.
        let alone = match limit {
            _ if swap < 0 => swap,
            None | Some(..0) => {
                return Err("unable to set swap limit without memory limit".to_owned());
            }
            Some(limit) if swap < limit => {
                return Err("memory+swap limit should be >= memory limit".to_owned());
            }
            Some(limit) => swap - limit,
        };
        all.push(Setting::new("memory.swap.max", unlimited(alone)));
    }
    let reservation = given(memory.reservation());
    all.extend(reservation.map(|value| Setting::new("memory.low", unlimited(value))));
    Ok(all)
}

fn of_cpu(cpu: &LinuxCpu) -> Vec<Setting> {
    let mut all = Vec::new();
    let shares = cpu.shares().filter(|&shares| shares != 0);
    all.extend(shares.map(|shares| Setting::new("cpu.weight", weight_of_shares(shares))));
    all.extend(cpu.idle().map(|idle| Setting::new("cpu.idle", idle)));
    let period = cpu.period().filter(|&period| period != 0);
    let quota = cpu.quota().filter(|&quota| quota != 0);
    if period.is_some() || quota.is_some() {
        let quota = quota.map_or_else(|| "max".to_owned(), unlimited);
        let value = format!("{quota} {}", period.unwrap_or(100_000));
        all.push(Setting::new("cpu.max", value));
    }
    let burst = cpu.burst();
    all.extend(burst.map(|burst| Setting::new("cpu.max.burst", burst)));
    for (file, set) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        let set = set.as_deref().filter(|set| !set.is_empty());
        all.extend(set.map(|set| Setting::new(file, set)));
    }
    all
}

/// cgroup v1 shares (2..=262144) as v2 weight (1..=10000), linear between the ends.
fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

/// A spec's weight of I/O (10..=1000) as v2 weight (1..=10000), linear between the ends.
fn weight_of_io(weight: u16) -> u32 {
    let weight = u32::from(weight.clamp(10, 1000));
    1 + (weight - 10) * 9999 / 990
}

fn of_io(io: &LinuxBlockIo) -> Vec<Setting> {
    let mut all = Vec::new();
    // The scheduler BFQ has weights of its own, in the spec's range.
    let (mut of_bfq, mut of_all) = (Vec::new(), Vec::new());
    if let Some(weight) = io.weight().filter(|&weight| weight != 0) {
        of_bfq.push(weight.to_string());
        of_all.push(weight_of_io(weight).to_string());
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|&weight| weight != 0) {
            let device = format!("{}:{}", device.major(), device.minor());
            of_bfq.push(format!("{device} {weight}"));
            of_all.push(format!("{device} {}", weight_of_io(weight)));
        }
    }
    if !of_bfq.is_empty() {
        all.push(Setting::of_lines("io.bfq.weight", of_bfq).or("io.weight", of_all));
    }
    let rates = [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ];
    let line = |name: &str, device: &LinuxThrottleDevice| {
        let rate = match device.rate() {
            0 => "max".to_owned(),
            rate => rate.to_string(),
        };
        format!("{}:{} {name}={rate}", device.major(), device.minor())
    };
    let lines: Value = rates
        .iter()
        .flat_map(|(name, devices)| {
            let devices = devices.iter().flatten();
            devices.map(|device| line(name, device))
        })
        .collect();
    if !lines.is_empty() {
        all.push(Setting::of_lines("io.max", lines));
    }
    all
}

fn of_huge_pages(limit: &LinuxHugepageLimit) -> Result<[Setting; 2], String> {
    let size = limit.page_size();
    let number = ["KB", "MB", "GB"]
        .iter()
        .find_map(|unit| size.strip_suffix(unit))
        .filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    if number.is_none() {
        return Err(format!("invalid hugepage size {size:?}"));
    }
    let value = unlimited(limit.limit());
    Ok([
        Setting::new(format!("hugetlb.{size}.max"), &value),
        // What is reserved and not used yet; newer kernels count that too.
        Setting::new(format!("hugetlb.{size}.rsvd.max"), &value).optional(),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(resources: serde_json::Value, want: &[(&str, &str)]) {
        let resources = serde_json::from_value(resources).expect("resources");
        let got: Vec<_> = settings(&resources)
            .expect("sensible")
            .into_iter()
            .flat_map(|setting| setting.choices)
            .map(|(file, lines)| (file, lines.join("\n")))
            .collect();
        let want: Vec<_> = want
            .iter()
            .map(|&(file, value)| (file.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(got, want);
    }

    fn refused(resources: serde_json::Value) -> String {
        let resources = serde_json::from_value(resources).expect("resources");
        settings(&resources).expect_err("nonsense")
    }

    #[test]
    fn memory_cpu_and_processes() {
        check(
            json!({"memory": {"limit": 100, "swap": 150, "reservation": 50}, "pids": {"limit": -1}}),
            &[
                ("memory.max", "100"),
                ("memory.swap.max", "50"),
                ("memory.low", "50"),
                ("pids.max", "max"),
            ],
        );
        check(
            json!({"memory": {"limit": 100, "swap": -1}}),
            &[("memory.max", "100"), ("memory.swap.max", "max")],
        );
        check(
            json!({"cpu": {"quota": 50_000, "shares": 1024, "burst": 100, "idle": 1, "cpus": "0-1", "mems": ""}}),
            &[
                ("cpu.weight", "39"),
                ("cpu.idle", "1"),
                ("cpu.max", "50000 100000"),
                ("cpu.max.burst", "100"),
                ("cpuset.cpus", "0-1"),
            ],
        );
    }

    #[test]
    fn swap_without_sense_is_refused() {
        for memory in [json!({"swap": 5}), json!({"swap": 5, "limit": -1})] {
            let text = "unable to set swap limit without memory limit";
            assert_eq!(refused(json!({"memory": memory})), text);
        }
        let text = "memory+swap limit should be >= memory limit";
        assert_eq!(refused(json!({"memory": {"swap": 5, "limit": 6}})), text);
    }

    #[test]
    fn input_and_output() {
        check(
            json!({"blockIO": {
                "weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}, {"major": 8, "minor": 16, "rate": 0}],
                "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 2048}],
                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 3}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 4}],
            }}),
            &[
                ("io.bfq.weight", "500\n8:0 10"),
                ("io.weight", "4950\n8:0 1"),
                (
                    "io.max",
                    "8:0 rbps=1024\n8:16 rbps=max\n8:0 wbps=2048\n8:0 riops=3\n8:0 wiops=4",
                ),
            ],
        );
        assert_eq!((weight_of_io(10), weight_of_io(1000)), (1, 10_000));
    }

    #[test]
    fn huge_pages() {
        check(
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}, {"pageSize": "1GB", "limit": -1}]}),
            &[
                ("hugetlb.2MB.max", "4096"),
                ("hugetlb.2MB.rsvd.max", "4096"),
                ("hugetlb.1GB.max", "max"),
                ("hugetlb.1GB.rsvd.max", "max"),
            ],
        );
        for bad in ["", "MB", "2", "../2MB", "2mb"] {
            let text = refused(json!({"hugepageLimits": [{"pageSize": bad, "limit": 1}]}));
            assert_eq!(text, format!("invalid hugepage size {bad:?}"));
        }
    }

    #[test]
    fn unified_files_come_last_and_are_names() {
        check(
            json!({"memory": {"limit": 100}, "unified": {"memory.high": "90", "io.max": "8:0 rbps=1\n8:16 wbps=2"}}),
            &[
                ("memory.max", "100"),
                ("io.max", "8:0 rbps=1\n8:16 wbps=2"),
                ("memory.high", "90"),
            ],
        );
        for bad in ["", "..", "../../escape", "/etc/passwd"] {
            let text = refused(json!({"unified": {bad: "1"}}));
            let want = format!("unified resource {bad:?} must be a file name (no slashes)");
            assert_eq!(text, want);
        }
    }
}
