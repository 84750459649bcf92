//! Limits, as the runtime writes them into the cgroup.

use docker_api::HostConfig;
use serde_json::{Map, Value, json};

/// One scheduling period when only CPUs were given, µs.
const PERIOD: i64 = 100_000;

/// The `resources` object without devices.
pub(super) fn of_container(host: &HostConfig) -> Map<String, Value> {
    let mut resources = Map::new();
    let mut set = |name: &str, values: &[(&str, Option<Value>)]| {
        let given: Map<String, Value> = values
            .iter()
            .filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)))
            .collect();
        if !given.is_empty() {
            resources.insert(name.to_owned(), Value::Object(given));
        }
    };
    let positive = |number: i64| (number > 0).then(|| json!(number));
    let nonzero = |number: i64| (number != 0).then(|| json!(number));
    set(
        "memory",
        &[
            ("limit", positive(host.memory)),
            ("reservation", positive(host.memory_reservation)),
            ("swap", nonzero(host.memory_swap)),
            (
                "swappiness",
                host.memory_swappiness
                    .filter(|value| *value >= 0)
                    .map(|value| json!(value)),
            ),
            (
                "disableOOMKiller",
                host.oom_kill_disable
                    .filter(|disable| *disable)
                    .map(|value| json!(value)),
            ),
        ],
    );
    let (mut quota, mut period) = (host.cpu_quota, host.cpu_period);
    if host.nano_cpus > 0 {
        (quota, period) = (host.nano_cpus / (1_000_000_000 / PERIOD), PERIOD);
    }
    let text = |text: &str| (!text.is_empty()).then(|| json!(text));
    set(
        "cpu",
        &[
            ("shares", positive(host.cpu_shares)),
            ("quota", nonzero(quota)),
            ("period", positive(period)),
            ("cpus", text(&host.cpuset_cpus)),
            ("mems", text(&host.cpuset_mems)),
        ],
    );
    set(
        "pids",
        &[(
            "limit",
            host.pids_limit
                .filter(|limit| *limit > 0)
                .map(|limit| json!(limit)),
        )],
    );
    set(
        "blockIO",
        &[(
            "weight",
            (host.blkio_weight > 0).then(|| json!(host.blkio_weight)),
        )],
    );
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_what_the_kernel_wants() {
        let host = HostConfig {
            memory: 64 << 20,
            memory_swap: -1,
            nano_cpus: 1_500_000_000,
            pids_limit: Some(50),
            ..HostConfig::default()
        };
        assert_eq!(
            Value::Object(of_container(&host)),
            json!({"memory": {"limit": 67_108_864, "swap": -1}, "cpu": {"quota": 150_000, "period": 100_000}, "pids": {"limit": 50}})
        );
        assert!(
            of_container(&HostConfig {
                pids_limit: Some(-1),
                ..HostConfig::default()
            })
            .is_empty()
        );
    }
}
