//! What the engine's own settings say for containers that say nothing themselves.

use docker_api::{HostConfig, LogConfig, Ulimit};

use crate::containers::record::ContainerRecord;

/// Defaults for containers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// Log driver and its options.
    pub log_config: LogConfig,
    /// Bytes of /dev/shm; 0: Docker's.
    pub shm_size: i64,
    /// `private` or `shareable`; empty: `private`.
    pub ipc_mode: String,
    /// `private` or `host`; empty: `private`.
    pub cgroupns_mode: String,
    /// Limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// Process 1 is docker-init.
    pub init: bool,
    /// Programs gain no privileges.
    pub no_new_privileges: bool,
    /// `unconfined`, or a profile as JSON; empty: the built-in one.
    pub seccomp_profile: String,
    /// Name servers.
    pub dns: Vec<String>,
    /// Domains to search.
    pub dns_search: Vec<String>,
    /// Options of the resolver.
    pub dns_options: Vec<String>,
}

impl Defaults {
    /// Fills in what is kept with a container: a later change of the engine's settings does not reach it.
    pub(crate) fn at_create(&self, host: &mut HostConfig) {
        if host.shm_size == 0 {
            host.shm_size = self.shm_size;
        }
        for (mode, default) in [
            (&mut host.ipc_mode, &self.ipc_mode),
            (&mut host.cgroupns_mode, &self.cgroupns_mode),
        ] {
            if mode.is_empty() {
                default.clone_into(mode);
            }
        }
    }

    /// The container with what is only looked up when it starts.
    pub(crate) fn at_start(&self, record: &ContainerRecord) -> ContainerRecord {
        let mut record = record.clone();
        let host = &mut record.host;
        let own = host.ulimits.get_or_insert_default();
        let missing: Vec<Ulimit> = self
            .ulimits
            .iter()
            .filter(|limit| own.iter().all(|one| one.name != limit.name))
            .cloned()
            .collect();
        own.extend(missing);
        host.init = host.init.or(Some(self.init));
        for (own, default) in [
            (&mut host.dns, &self.dns),
            (&mut host.dns_search, &self.dns_search),
            (&mut host.dns_options, &self.dns_options),
        ] {
            if own.as_ref().is_none_or(Vec::is_empty) && !default.is_empty() {
                *own = Some(default.clone());
            }
        }
        let options = host.security_opt.get_or_insert_default();
        let says = |options: &[String], name: &str| {
            options
                .iter()
                .any(|option| option.split(['=', ':']).next() == Some(name))
        };
        if self.no_new_privileges && !says(options, "no-new-privileges") {
            options.push("no-new-privileges".to_owned());
        }
        if !self.seccomp_profile.is_empty() && !host.privileged && !says(options, "seccomp") {
            options.push(format!("seccomp={}", self.seccomp_profile));
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::record::tests::record;

    fn limit(name: &str, soft: i64) -> Ulimit {
        Ulimit {
            name: name.to_owned(),
            hard: soft,
            soft,
        }
    }

    #[test]
    fn a_containers_own_settings_win() {
        let defaults = Defaults {
            shm_size: 5,
            ulimits: vec![limit("nofile", 1), limit("core", 2)],
            no_new_privileges: true,
            seccomp_profile: "unconfined".to_owned(),
            dns: vec!["192.0.2.1".to_owned()],
            ..Defaults::default()
        };
        let mut record = record("a");
        defaults.at_create(&mut record.host);
        assert_eq!(record.host.shm_size, 5);
        record.host.ulimits = Some(vec![limit("nofile", 9)]);
        record.host.security_opt = Some(vec!["no-new-privileges=false".to_owned()]);
        let host = defaults.at_start(&record).host;
        assert_eq!(
            host.ulimits,
            Some(vec![limit("nofile", 9), limit("core", 2)])
        );
        assert_eq!(
            host.security_opt,
            Some(vec![
                "no-new-privileges=false".to_owned(),
                "seccomp=unconfined".to_owned()
            ])
        );
        assert_eq!(host.dns, Some(vec!["192.0.2.1".to_owned()]));
        assert_eq!(host.init, Some(false));
    }
}
