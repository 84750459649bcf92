//! The process of a container, and of an exec.

use docker_api::{ContainerConfig, HostConfig};
use errdefs::Result;
use oci_spec::runtime::Process;
use serde_json::{Value, json};

use super::{
    ExecWish, Machine, capabilities,
    identity::{self, Identity},
    mount_point::clean,
    system,
};

/// `PATH` when the image has none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the process may do by its settings.
pub(super) fn capabilities_of(host: &HostConfig, machine: &dyn Machine) -> Result<Vec<String>> {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    capabilities::of_container(
        &list(&host.cap_add),
        &list(&host.cap_drop),
        host.privileged,
        machine.capabilities(),
    )
}

/// The process as the runtime wants it.
pub(super) struct Plan<'a> {
    pub(super) host: &'a HostConfig,
    pub(super) identity: Identity,
    pub(super) capabilities: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    pub(super) tty: bool,
    pub(super) console_size: Option<(u16, u16)>,
}

impl Plan<'_> {
    pub(super) fn value(self) -> Result<Value> {
        let Identity {
            uid, gid, groups, ..
        } = &self.identity;
        // Effective ones are root's; another user gets them by its program only.
        let held: &[String] = if *uid == 0 { &self.capabilities } else { &[] };
        let mut process = json!({
            "terminal": self.tty,
            "user": {"uid": uid, "gid": gid, "additionalGids": groups},
            "args": self.args,
            "env": self.env,
            "cwd": self.cwd,
            "capabilities": {"bounding": self.capabilities, "effective": held, "permitted": held},
            "noNewPrivileges": has_option(self.host, "no-new-privileges"),
            "oomScoreAdj": self.host.oom_score_adj,
            "rlimits": rlimits(self.host)?,
        });
        if let Some((rows, columns)) = self.console_size.filter(|_| self.tty) {
            process["consoleSize"] = json!({"height": rows, "width": columns});
        }
        Ok(process)
    }
}

/// A security option by name, alone or `name=true`.
pub(super) fn has_option(host: &HostConfig, name: &str) -> bool {
    host.security_opt.iter().flatten().any(|option| {
        option
            .strip_prefix(name)
            .is_some_and(|rest| matches!(rest, "" | "=true" | ":true"))
    })
}

fn rlimits(host: &HostConfig) -> Result<Vec<Value>> {
    const NAMES: [&str; 16] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
        "as",
    ];
    let each = host.ulimits.iter().flatten().map(|limit| {
        let name = limit.name.to_ascii_uppercase();
        if !NAMES.contains(&limit.name.to_ascii_lowercase().as_str()) {
            return Err(system(format!("wrong rlimit value: RLIMIT_{name}")));
        }
        // -1 is no limit: all bits set.
        let bits = |value: i64| u64::from_ne_bytes(value.to_ne_bytes());
        Ok(json!({"type": format!("RLIMIT_{name}"), "hard": bits(limit.hard), "soft": bits(limit.soft)}))
    });
    each.collect()
}

/// Docker's variables with the user's over them.
pub(super) fn environment(config: &ContainerConfig, tty: bool, home: &str) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", config.hostname)];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    override_with(&mut env, config.env.as_deref().unwrap_or_default());
    add_home(&mut env, home);
    env
}

fn override_with(env: &mut Vec<String>, own: &[String]) {
    for entry in own {
        let name = entry.split('=').next().unwrap_or_default();
        let place = env
            .iter()
            .position(|other| other.split('=').next() == Some(name));
        match (place, entry.contains('=')) {
            (Some(place), true) => env[place].clone_from(entry),
            (Some(place), false) => drop(env.remove(place)),
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
}

fn add_home(env: &mut Vec<String>, home: &str) {
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
}

/// An exec's process: the container's with what was asked for in place of its own.
///
/// # Errors
/// In Docker's words: no such user.
pub fn exec_process(
    config: &ContainerConfig,
    host: &HostConfig,
    wish: &ExecWish<'_>,
    passwd: Option<&[u8]>,
    group: Option<&[u8]>,
    machine: &dyn Machine,
) -> Result<Process> {
    let user = if wish.user.is_empty() {
        &config.user
    } else {
        wish.user
    };
    let identity = identity::resolve(
        user,
        host.group_add.as_deref().unwrap_or_default(),
        passwd,
        group,
    )?;
    let capabilities = if wish.privileged {
        capabilities::all(machine.capabilities())
    } else {
        capabilities_of(host, machine)?
    };
    let mut env = environment(config, wish.tty, &identity.home);
    override_with(&mut env, wish.env);
    let cwd = if wish.working_dir.is_empty() {
        &config.working_dir
    } else {
        wish.working_dir
    };
    let plan = Plan {
        host,
        identity,
        capabilities,
        args: wish.args.to_vec(),
        env,
        cwd: clean(cwd),
        tty: wish.tty,
        console_size: wish.console_size,
    };
    serde_json::from_value(plan.value()?)
        .map_err(|error| system(format!("make the process: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_variables_replace_and_remove() {
        let config = ContainerConfig {
            hostname: "h".into(),
            env: Some(vec![
                "A=1".into(),
                "PATH=/x".into(),
                "TERM".into(),
                "B".into(),
            ]),
            ..ContainerConfig::default()
        };
        assert_eq!(
            environment(&config, true, "/root"),
            ["PATH=/x", "HOSTNAME=h", "A=1", "HOME=/root"]
        );
    }

    #[test]
    fn an_unknown_limit_is_named() {
        let limit = docker_api::Ulimit {
            name: "foo".into(),
            hard: 1,
            soft: 1,
        };
        let host = HostConfig {
            ulimits: Some(vec![limit]),
            ..HostConfig::default()
        };
        assert_eq!(
            rlimits(&host).unwrap_err().message(),
            "wrong rlimit value: RLIMIT_FOO"
        );
    }
}
