//! Changes a container's limits and restart policy, running or not. Docker API: POST /containers/{id}/update.

use std::sync::Arc;

use docker_api::{HostConfig, container::ContainerUpdateResponse};
use errdefs::{Error, ErrorKind, Result};

use super::{container::Container, state::Phase};
use crate::{Engine, spec};

impl Engine {
    /// Takes over what was named: limits and the restart policy only. Durable when it returns, and in force when it runs.
    ///
    /// # Errors
    /// In Docker's words: `InvalidParameter` for a value, `Conflict` for what does not fit what is set.
    pub async fn update_container(
        self: &Arc<Self>,
        reference: &str,
        asked: HostConfig,
    ) -> Result<ContainerUpdateResponse> {
        let mut asked = updatable(asked);
        let warnings = spec::validate_update(&mut asked, &*self.ports.machine)?;
        let container = self.containers.find(reference)?;
        let engine = Arc::clone(self);
        self.to_the_end(async move {
            let text = format!("Cannot update container {}", container.id);
            engine
                .update(&container, &asked)
                .await
                .map_err(|error| error.context(text))
        })
        .await?;
        Ok(ContainerUpdateResponse {
            warnings: (!warnings.is_empty()).then_some(warnings),
        })
    }

    async fn update(&self, container: &Arc<Container>, asked: &HostConfig) -> Result<()> {
        let _run = container.run.lock().await;
        let life = container.life();
        if life.removing || life.removed || life.state.phase == Phase::Dead {
            return Err(Error::new(
                ErrorKind::System,
                "container is marked for removal and cannot be \"update\"",
            ));
        }
        let before = container.record();
        let mut record = (*before).clone();
        take_over(&mut record.host, asked)?;
        self.ports.store.put(&record).await?;
        let limits = spec::limits(&record.host, &*self.ports.machine)?;
        container.set_record(record);
        if let Some(shim) = container.shim().filter(|_| life.state.is_running())
            && let Err(error) = shim.limit(limits).await
        {
            self.ports.store.put(&before).await?;
            container.set_record((*before).clone());
            return Err(error);
        }
        self.tell_container(container, "update", &[]);
        Ok(())
    }
}

/// What of a body counts: the rest is not looked at.
fn updatable(asked: HostConfig) -> HostConfig {
    HostConfig {
        restart_policy: asked.restart_policy,
        cpu_shares: asked.cpu_shares,
        memory: asked.memory,
        nano_cpus: asked.nano_cpus,
        blkio_weight: asked.blkio_weight,
        cpu_period: asked.cpu_period,
        cpu_quota: asked.cpu_quota,
        cpu_realtime_period: asked.cpu_realtime_period,
        cpu_realtime_runtime: asked.cpu_realtime_runtime,
        cpuset_cpus: asked.cpuset_cpus,
        cpuset_mems: asked.cpuset_mems,
        memory_reservation: asked.memory_reservation,
        memory_swap: asked.memory_swap,
        memory_swappiness: asked.memory_swappiness,
        oom_kill_disable: asked.oom_kill_disable,
        // No limit has one form.
        pids_limit: asked.pids_limit.map(|limit| limit.max(0)),
        ..HostConfig::default()
    }
}

/// Writes what was named over what is set.
fn take_over(own: &mut HostConfig, asked: &HostConfig) -> Result<()> {
    let conflict = |text: &str| Err(Error::new(ErrorKind::Conflict, text));
    if asked.nano_cpus > 0 && own.cpu_period > 0 {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        );
    }
    if asked.nano_cpus > 0 && own.cpu_quota > 0 {
        return conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        );
    }
    if asked.cpu_period > 0 && own.nano_cpus > 0 {
        return conflict(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        );
    }
    if asked.cpu_quota > 0 && own.nano_cpus > 0 {
        return conflict(
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        );
    }
    if asked.memory != 0 && asked.memory > own.memory_swap && asked.memory_swap == 0 {
        return conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    let policy = &asked.restart_policy;
    if own.auto_remove && !matches!(policy.name.as_str(), "" | "no") {
        return conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        );
    }
    if asked.blkio_weight != 0 {
        own.blkio_weight = asked.blkio_weight;
    }
    for (own, asked) in [
        (&mut own.cpu_shares, asked.cpu_shares),
        (&mut own.nano_cpus, asked.nano_cpus),
        (&mut own.cpu_period, asked.cpu_period),
        (&mut own.cpu_quota, asked.cpu_quota),
        (&mut own.cpu_realtime_period, asked.cpu_realtime_period),
        (&mut own.cpu_realtime_runtime, asked.cpu_realtime_runtime),
        (&mut own.memory, asked.memory),
        (&mut own.memory_swap, asked.memory_swap),
        (&mut own.memory_reservation, asked.memory_reservation),
    ] {
        if asked != 0 {
            *own = asked;
        }
    }
    for (own, asked) in [
        (&mut own.cpuset_cpus, &asked.cpuset_cpus),
        (&mut own.cpuset_mems, &asked.cpuset_mems),
    ] {
        if !asked.is_empty() {
            own.clone_from(asked);
        }
    }
    own.pids_limit = asked.pids_limit.or(own.pids_limit);
    if !policy.name.is_empty() {
        own.restart_policy.clone_from(policy);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use docker_api::RestartPolicy;

    fn host(change: impl FnOnce(&mut HostConfig)) -> HostConfig {
        let mut host = HostConfig::default();
        change(&mut host);
        host
    }

    fn refused(own: impl FnOnce(&mut HostConfig), asked: impl FnOnce(&mut HostConfig), want: &str) {
        let mut own = host(own);
        let before = own.clone();
        let error = take_over(&mut own, &host(asked)).unwrap_err();
        assert!(error.message().starts_with(want), "{}", error.message());
        assert_eq!(own, before);
    }

    #[test]
    fn what_is_named_is_taken_over_and_the_rest_stays() {
        let mut own = host(|own| {
            (own.memory, own.memory_swap) = (10, 20);
            own.cpuset_cpus = "0".to_owned();
            own.pids_limit = Some(7);
        });
        let asked = host(|asked| {
            asked.memory = 15;
            asked.cpu_shares = 512;
            asked.restart_policy.name = "always".to_owned();
        });
        take_over(&mut own, &asked).unwrap();
        assert_eq!((own.memory, own.memory_swap, own.cpu_shares), (15, 20, 512));
        assert_eq!((own.cpuset_cpus.as_str(), own.pids_limit), ("0", Some(7)));
        assert_eq!(own.restart_policy.name, "always");
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        refused(
            |own| own.nano_cpus = 1,
            |asked| asked.cpu_quota = 1,
            "Conflicting options: CPU Quota",
        );
        refused(
            |own| own.nano_cpus = 1,
            |asked| asked.cpu_period = 1,
            "Conflicting options: CPU Period",
        );
        refused(
            |own| own.cpu_quota = 1,
            |asked| asked.nano_cpus = 1,
            "Conflicting options: Nano CPUs",
        );
        refused(
            |own| own.cpu_period = 1,
            |asked| asked.nano_cpus = 1,
            "Conflicting options: Nano CPUs",
        );
        refused(
            |_| {},
            |asked| asked.memory = 5,
            "Memory limit should be smaller",
        );
        refused(
            |own| own.auto_remove = true,
            |asked| asked.restart_policy.name = "always".to_owned(),
            "Restart policy cannot be updated because AutoRemove",
        );
    }

    #[test]
    fn only_limits_and_the_policy_count() {
        let asked = updatable(host(|asked| {
            asked.privileged = true;
            asked.auto_remove = true;
            asked.pids_limit = Some(-5);
            asked.restart_policy = RestartPolicy {
                name: "no".to_owned(),
                maximum_retry_count: 0,
            };
        }));
        assert!(!asked.privileged && !asked.auto_remove);
        assert_eq!(asked.pids_limit, Some(0));
    }
}
