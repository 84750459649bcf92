//! A sample, made of what the kernel's files say. Pure. Linux: Documentation/admin-guide/cgroup-v2.rst.

use std::collections::BTreeMap;

use docker_api::stats::{
    BlkioStatEntry, BlkioStats, ContainerStats, CpuStats, CpuUsage, MemoryStats, NetworkStats,
    PidsStats, ThrottlingData,
};

use crate::ports::observe::SampleFiles;

/// Lines of `memory.stat` that Docker shows.
const MEMORY_KINDS: [&str; 31] = [
    "active_anon",
    "active_file",
    "anon",
    "anon_thp",
    "file",
    "file_dirty",
    "file_mapped",
    "file_writeback",
    "inactive_anon",
    "inactive_file",
    "kernel_stack",
    "pgactivate",
    "pgdeactivate",
    "pgfault",
    "pglazyfree",
    "pglazyfreed",
    "pgmajfault",
    "pgrefill",
    "pgscan",
    "pgsteal",
    "shmem",
    "slab",
    "slab_reclaimable",
    "slab_unreclaimable",
    "sock",
    "thp_collapse_alloc",
    "thp_fault_alloc",
    "unevictable",
    "workingset_activate",
    "workingset_nodereclaim",
    "workingset_refault",
];
/// Links that Docker makes; a container may have made others.
const LINK_PREFIX: &str = "eth";
/// A tick of `/proc/stat`.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;
/// Times of `/proc/stat` that count: user, nice, system, idle, iowait, irq, softirq.
const TIMES: usize = 7;

/// Everything but names and times.
pub(super) fn sample(files: &SampleFiles) -> ContainerStats {
    ContainerStats {
        pids_stats: PidsStats {
            current: number(files.pids_current.as_deref()),
            limit: number(files.pids_max.as_deref()),
        },
        blkio_stats: BlkioStats {
            io_service_bytes_recursive: io(files.io_stat.as_deref().unwrap_or_default()),
            ..BlkioStats::default()
        },
        cpu_stats: cpu(
            files.cpu_stat.as_deref().unwrap_or_default(),
            &files.machine_stat,
        ),
        memory_stats: memory(files),
        networks: networks(files.network.as_deref().unwrap_or_default()),
        ..ContainerStats::default()
    }
}

/// A file with one number; `max` is the largest, no file is 0.
fn number(text: Option<&str>) -> u64 {
    match text.map_or("", str::trim) {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

/// The number behind a name, one a line.
fn value(text: &str, name: &str) -> u64 {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    number(found)
}

fn cpu(own: &str, machine: &str) -> CpuStats {
    let nanoseconds = |name| value(own, name).saturating_mul(1000);
    let (system_cpu_usage, online_cpus) = machine_cpu(machine);
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: nanoseconds("usage_usec"),
            usage_in_kernelmode: nanoseconds("system_usec"),
            usage_in_usermode: nanoseconds("user_usec"),
        },
        system_cpu_usage,
        online_cpus,
        throttling_data: ThrottlingData {
            periods: value(own, "nr_periods"),
            throttled_periods: value(own, "nr_throttled"),
            throttled_time: nanoseconds("throttled_usec"),
        },
    }
}

/// Nanoseconds that the machine's processors have had, and their number.
fn machine_cpu(stat: &str) -> (u64, u32) {
    let (mut usage, mut cpus) = (0, 0);
    for line in stat.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            break;
        };
        if rest.starts_with(' ') {
            let times = rest.split_ascii_whitespace().take(TIMES);
            let ticks = times.fold(0u64, |sum, text| {
                sum.saturating_add(text.parse().unwrap_or(0))
            });
            usage = ticks.saturating_mul(NANOSECONDS_PER_TICK);
        } else {
            cpus += 1;
        }
    }
    (usage, cpus)
}

fn memory(files: &SampleFiles) -> MemoryStats {
    let by_kind = files.memory_stat.as_deref().unwrap_or_default();
    let limit = number(files.memory_max.as_deref());
    MemoryStats {
        usage: number(files.memory_current.as_deref()),
        stats: MEMORY_KINDS
            .iter()
            .map(|kind| (*kind, value(by_kind, kind)))
            .collect(),
        failcnt: value(files.memory_events.as_deref().unwrap_or_default(), "oom"),
        limit: if files.machine_memory > 0 {
            limit.min(files.machine_memory)
        } else {
            limit
        },
    }
}

/// `8:0 rbytes=1 wbytes=2 …`; none: no device was used.
fn io(text: &str) -> Option<Vec<BlkioStatEntry>> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let device = fields.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) =
            device.map(|(major, minor)| (major.parse(), minor.parse()))
        else {
            continue;
        };
        let counts: BTreeMap<&str, u64> = fields
            .filter_map(|field| field.split_once('='))
            .map(|(name, count)| (name, number(Some(count))))
            .collect();
        for (op, name) in [("read", "rbytes"), ("write", "wbytes")] {
            entries.push(BlkioStatEntry {
                major,
                minor,
                op: op.to_owned(),
                value: counts.get(name).copied().unwrap_or(0),
            });
        }
    }
    (!entries.is_empty()).then_some(entries)
}

/// `/proc/PID/net/dev`: two lines of titles, then `link: bytes packets errs drop …`, eight received and eight sent.
fn networks(text: &str) -> BTreeMap<String, NetworkStats> {
    let mut networks = BTreeMap::new();
    for line in text.lines() {
        let Some((link, counts)) = line.split_once(':') else {
            continue;
        };
        let link = link.trim();
        if !link.starts_with(LINK_PREFIX) {
            continue;
        }
        let counts: Vec<u64> = counts
            .split_ascii_whitespace()
            .map(|text| number(Some(text)))
            .collect();
        if let [
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            _,
            _,
            _,
            _,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
            ..,
        ] = counts[..]
        {
            networks.insert(
                link.to_owned(),
                NetworkStats {
                    rx_bytes,
                    rx_packets,
                    rx_errors,
                    rx_dropped,
                    tx_bytes,
                    tx_packets,
                    tx_errors,
                    tx_dropped,
                },
            );
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// Files as a machine with all controllers has them.
    fn recorded() -> SampleFiles {
        SampleFiles {
            cpu_stat: text(
                "usage_usec 1150491\nuser_usec 1130000\nsystem_usec 20491\nnr_periods 9\nnr_throttled 3\nthrottled_usec 1234\nnr_bursts 0\n",
            ),
            memory_current: text("499712\n"),
            memory_max: text("max\n"),
            memory_stat: text(
                "anon 61440\nfile 8192\nkernel 1\nanon_thp 0\ninactive_anon 57344\npgfault 1063\nworkingset_refault_anon 7\n",
            ),
            memory_events: text("low 0\nhigh 0\nmax 5\noom 2\noom_kill 1\n"),
            pids_current: text("3\n"),
            pids_max: text("max\n"),
            io_stat: text("254:0 rbytes=8192 wbytes=4096 rios=2 wios=1 dbytes=0 dios=0\n7:0 \n"),
            network: text(
                "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       5       1    0    0    0     0          0         0        5       1    0    0    0     0       0          0\n  eth0:     266       3    1    2    0     0          0         0       84       2    3    4    0     0       0          0\n",
            ),
            machine_stat: "cpu  100 1 200 3000 4 0 5 9 9 9\ncpu0 1 1 1\ncpu1 1 1 1\nintr 5\n"
                .to_owned(),
            machine_memory: 1 << 30,
        }
    }

    #[test]
    fn recorded_files_become_dockers_numbers() {
        let stats = sample(&recorded());
        assert_eq!(stats.cpu_stats.cpu_usage.total_usage, 1_150_491_000);
        assert_eq!(stats.cpu_stats.cpu_usage.usage_in_kernelmode, 20_491_000);
        assert_eq!(stats.cpu_stats.throttling_data.throttled_time, 1_234_000);
        assert_eq!(
            (
                stats.cpu_stats.system_cpu_usage,
                stats.cpu_stats.online_cpus
            ),
            (33_100_000_000, 2)
        );
        assert_eq!(
            (
                stats.memory_stats.usage,
                stats.memory_stats.limit,
                stats.memory_stats.failcnt
            ),
            (499_712, 1 << 30, 2)
        );
        assert_eq!(
            (
                stats.memory_stats.stats["anon"],
                stats.memory_stats.stats["workingset_refault"]
            ),
            (61_440, 0)
        );
        assert_eq!(
            (stats.pids_stats.current, stats.pids_stats.limit),
            (3, u64::MAX)
        );
        let shown = serde_json::to_value(&stats.blkio_stats.io_service_bytes_recursive).unwrap();
        assert_eq!(
            shown[0],
            serde_json::json!({"major": 254, "minor": 0, "op": "read", "value": 8192})
        );
        assert_eq!(
            shown[1],
            serde_json::json!({"major": 254, "minor": 0, "op": "write", "value": 4096})
        );
        let link = &stats.networks["eth0"];
        assert_eq!(
            (
                link.rx_bytes,
                link.rx_dropped,
                link.tx_bytes,
                link.tx_dropped
            ),
            (266, 2, 84, 4)
        );
        assert_eq!(stats.networks.len(), 1);
    }

    #[test]
    fn a_limit_of_its_own_is_shown() {
        let files = SampleFiles {
            memory_max: text("104857600\n"),
            pids_max: text("50\n"),
            ..recorded()
        };
        let stats = sample(&files);
        assert_eq!(
            (stats.memory_stats.limit, stats.pids_stats.limit),
            (104_857_600, 50)
        );
    }

    #[test]
    fn controllers_that_are_missing_count_nothing() {
        let files = SampleFiles {
            cpu_stat: recorded().cpu_stat,
            machine_stat: recorded().machine_stat,
            ..SampleFiles::default()
        };
        let shown = serde_json::to_value(sample(&files)).unwrap();
        assert_eq!(shown["pids_stats"], serde_json::json!({}));
        assert_eq!(
            shown["blkio_stats"]["io_service_bytes_recursive"],
            serde_json::Value::Null
        );
        assert_eq!(shown["memory_stats"]["stats"]["anon"], 0);
        assert!(shown["memory_stats"].get("usage").is_none() && shown.get("networks").is_none());
    }

    #[test]
    fn nonsense_is_nothing() {
        let nonsense = || text("a\n:\n1:x y=z\neth0: 1 2\ncpu\nusage_usec -1\nusage_usec\n");
        let files = SampleFiles {
            cpu_stat: nonsense(),
            memory_stat: nonsense(),
            io_stat: nonsense(),
            network: nonsense(),
            pids_current: nonsense(),
            machine_stat: "cpu x\ncpu".to_owned(),
            ..SampleFiles::default()
        };
        let stats = sample(&files);
        assert_eq!(
            (
                stats.networks.len(),
                stats.blkio_stats.io_service_bytes_recursive
            ),
            (0, None)
        );
        assert_eq!(stats.cpu_stats.cpu_usage.total_usage, 0);
    }
}
