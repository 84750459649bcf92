//! A container's health: what its probes say of it.
//!
//! ```text
//!                    ┌──────────── success ───────────┐
//!   start ─► starting ── success ─► healthy ◄── success ── unhealthy
//!                └─ retries failures in a row ─────────────────▲
//! ```
//! Failures within the start period do not count while it is starting. Without a monitor (paused, ended) it is unhealthy, as Docker has it.

mod monitor;
mod output;
mod probe;

use std::time::Duration;

use docker_api::{ContainerConfig, HealthConfig, inspect};
use serde::{Deserialize, Serialize};

pub(super) use self::monitor::Monitor;
use crate::{ports::world::Timestamp, time::rfc3339};

/// Probes that are remembered.
const MAX_LOG: usize = 5;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: i64 = 3;
/// How the shell form is run when the container names no shell.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// What is thought of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// No probe has succeeded yet.
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// Too many failed, or nobody probes.
    #[default]
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// As `docker ps` shows it.
    pub(super) fn in_status(self) -> &'static str {
        match self {
            Self::Starting => "health: starting",
            other => other.word(),
        }
    }
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// When it was begun.
    pub start: Timestamp,
    /// When it had ended.
    pub end: Timestamp,
    /// 0: healthy; -1: it could not be run, or took too long.
    pub exit_code: i32,
    /// What it wrote, bounded.
    pub output: String,
}

/// What is known of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is thought of it.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: i64,
    /// The last probes, oldest first.
    pub log: Vec<ProbeResult>,
}

impl Health {
    /// Its container has started; earlier probes are still shown.
    fn begin(&mut self) {
        self.status = HealthStatus::Starting;
        self.failing_streak = 0;
    }

    /// Takes a probe's result; gives the new status when it changed. `age`: of the container when the probe began.
    fn take(&mut self, result: ProbeResult, check: &Check, age: Duration) -> Option<HealthStatus> {
        let before = self.status;
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if before != HealthStatus::Starting || age >= check.start_period {
            self.failing_streak += 1;
            if self.failing_streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.log.len() >= MAX_LOG {
            self.log.drain(..=self.log.len() - MAX_LOG);
        }
        self.log.push(result);
        (self.status != before).then_some(self.status)
    }

    /// As it is shown.
    pub(super) fn shown(&self) -> inspect::Health {
        inspect::Health {
            status: self.status.word().to_owned(),
            failing_streak: self.failing_streak,
            log: self
                .log
                .iter()
                .map(|result| inspect::HealthcheckResult {
                    start: rfc3339(result.start),
                    end: rfc3339(result.end),
                    exit_code: result.exit_code,
                    output: result.output.clone(),
                })
                .collect(),
        }
    }
}

/// How health is checked, with defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    /// Program and arguments; empty: no program was named.
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: i64,
}

impl Check {
    /// None: nothing is checked.
    fn of(config: &ContainerConfig) -> Option<Self> {
        let health = config.healthcheck.as_ref()?;
        let (kind, rest) = health.test.as_deref()?.split_first()?;
        let command = match kind.as_str() {
            "CMD" => rest.to_vec(),
            "CMD-SHELL" => {
                let shell = config.shell.as_deref().filter(|shell| !shell.is_empty());
                let shell =
                    shell.map_or_else(|| DEFAULT_SHELL.map(str::to_owned).to_vec(), <[_]>::to_vec);
                [shell, rest.to_vec()].concat()
            }
            _ => return None,
        };
        let HealthConfig {
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
            ..
        } = *health;
        let or = |nanoseconds: i64, default: Duration| match u64::try_from(nanoseconds) {
            Ok(0) | Err(_) => default,
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
        };
        Some(Self {
            command,
            interval: or(interval, DEFAULT_INTERVAL),
            timeout: or(timeout, DEFAULT_TIMEOUT),
            start_period: or(start_period, Duration::ZERO),
            start_interval: or(start_interval, DEFAULT_START_INTERVAL),
            retries: if retries > 0 {
                retries
            } else {
                DEFAULT_RETRIES
            },
        })
    }

    /// How long the next probe waits. `age`: of the container now.
    fn pause(&self, status: HealthStatus, age: Duration) -> Duration {
        if age < self.start_period && status == HealthStatus::Starting {
            self.start_interval
        } else {
            self.interval
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(test: &[&str]) -> ContainerConfig {
        ContainerConfig {
            healthcheck: Some(HealthConfig {
                test: Some(test.iter().map(|&text| text.to_owned()).collect()),
                ..HealthConfig::default()
            }),
            ..ContainerConfig::default()
        }
    }

    fn result(exit_code: i32) -> ProbeResult {
        ProbeResult {
            start: Timestamp(1),
            end: Timestamp(2),
            exit_code,
            output: exit_code.to_string(),
        }
    }

    #[test]
    fn a_check_has_a_command_and_dockers_defaults() {
        let check = Check::of(&config(&["CMD-SHELL", "true"])).unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "true"]);
        assert_eq!(
            (check.interval, check.timeout, check.retries),
            (DEFAULT_INTERVAL, DEFAULT_TIMEOUT, 3)
        );
        assert_eq!(
            Check::of(&config(&["CMD", "a", "b"])).unwrap().command,
            ["a", "b"]
        );
        let mut own_shell = config(&["CMD-SHELL", "true"]);
        own_shell.shell = Some(vec!["ash".to_owned()]);
        assert_eq!(Check::of(&own_shell).unwrap().command, ["ash", "true"]);
        for none in [&["NONE"][..], &[], &["SURPRISE", "x"]] {
            assert_eq!(Check::of(&config(none)), None, "{none:?}");
        }
        assert_eq!(Check::of(&ContainerConfig::default()), None);
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let check = Check::of(&config(&["CMD", "x"])).unwrap();
        let mut health = Health::default();
        health.begin();
        let mut take = |code| health.take(result(code), &check, Duration::ZERO);
        assert_eq!((take(1), take(1)), (None, None));
        assert_eq!(take(-1), Some(HealthStatus::Unhealthy));
        assert_eq!(take(1), None);
        assert_eq!(take(0), Some(HealthStatus::Healthy));
        assert_eq!((take(1), take(1)), (None, None));
        assert_eq!(health.failing_streak, 2);
        let codes: Vec<i32> = health.log.iter().map(|result| result.exit_code).collect();
        assert_eq!(codes, [-1, 1, 0, 1, 1]);
    }

    #[test]
    fn failures_do_not_count_while_it_starts() {
        let mut config = config(&["CMD", "x"]);
        let own = config.healthcheck.as_mut().unwrap();
        (own.start_period, own.retries) = (10, 1);
        let check = Check::of(&config).unwrap();
        let mut health = Health::default();
        health.begin();
        assert_eq!(
            health.take(result(1), &check, Duration::from_nanos(9)),
            None
        );
        assert_eq!(health.failing_streak, 0);
        assert_eq!(
            health.take(result(1), &check, Duration::from_nanos(10)),
            Some(HealthStatus::Unhealthy)
        );
        assert_eq!(
            check.pause(HealthStatus::Starting, Duration::ZERO),
            DEFAULT_START_INTERVAL
        );
        assert_eq!(
            check.pause(HealthStatus::Healthy, Duration::ZERO),
            DEFAULT_INTERVAL
        );
        assert_eq!(
            check.pause(HealthStatus::Starting, Duration::from_nanos(10)),
            DEFAULT_INTERVAL
        );
    }
}
