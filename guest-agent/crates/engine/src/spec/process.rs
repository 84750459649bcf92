//! The program: arguments, environment, user, limits. The container's own and those of an exec.

use std::collections::BTreeMap;

use docker_api::{ContainerConfig, HostConfig};
use errdefs::{Error, ErrorKind, Result};
use oci_spec::runtime::{
    BoxBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, User,
};

use super::{
    NamespaceOf, SpecInput, arguments, built, capabilities,
    identity::{self, Files},
    mounts::INIT,
    security::SecurityOptions,
    system,
};

/// Where programs are looked for unless the image says otherwise. Docker: oci/defaults.go.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an exec asks for: Docker's ExecConfig, resolved.
#[derive(Debug, Clone)]
pub struct ExecWish<'a> {
    /// Program and arguments.
    pub args: &'a [String],
    /// Variables on top of the container's.
    pub env: &'a [String],
    /// `user[:group]`; empty: the container's.
    pub user: &'a str,
    /// Folder; empty: the container's.
    pub working_dir: &'a str,
    /// Give it a terminal.
    pub tty: bool,
    /// Rows and columns of the terminal.
    pub console_size: Option<(u16, u16)>,
    /// With all capabilities.
    pub privileged: bool,
}

/// The container's first process.
pub(super) fn container_process(
    input: &SpecInput<'_>,
    security: &SecurityOptions<'_>,
    capabilities: &[&str],
) -> Result<Process> {
    let (config, host) = (input.config, input.host);
    let files = Files {
        passwd: input.passwd,
        group: input.group,
    };
    let mut args = arguments(config);
    if input.init.is_some() && input.pid == NamespaceOf::New {
        args.splice(0..0, [INIT, "--"].map(str::to_owned));
    }
    let user = user(&config.user, host, files)?;
    let mut env = environment(config, config.tty, &[]);
    add_home(&mut env, &user, files)?;
    let [rows, columns] = host.console_size;
    let size = (config.tty && (rows, columns) != (0, 0)).then_some((rows, columns));

    let mut process = Process::default();
    process
        .set_args(Some(args))
        .set_env(Some(env))
        .set_user(user)
        .set_capabilities(Some(capabilities::sets(capabilities)?))
        .set_rlimits(limits(host)?)
        .set_no_new_privileges(security.no_new_privileges.then_some(true))
        .set_oom_score_adj(i32::try_from(host.oom_score_adj).ok());
    place(&mut process, &config.working_dir, config.tty, size)?;
    Ok(process)
}

/// The process of an exec: the container's, with what the exec says in its place.
///
/// `input` is the running container's; what is not about its process is not looked at.
///
/// # Errors
/// `System`, as for the container: `unable to find user x: no matching entries in passwd file`.
pub fn exec_process(input: &SpecInput<'_>, wish: &ExecWish<'_>) -> Result<Process> {
    let (config, host) = (input.config, input.host);
    let files = Files {
        passwd: input.passwd,
        group: input.group,
    };
    let security = SecurityOptions::parse(host)?;
    let held = capabilities::of_container(host, input.machine)?;
    let mut process = container_process(input, &security, &held)?;
    // The container's own user is looked up again, as dockerd does: its groups may be others by now.
    let wanted = match wish.user {
        "" => &config.user,
        named => named,
    };
    if !wanted.is_empty() {
        process.set_user(user(wanted, host, files)?);
    }
    let mut env = environment(config, wish.tty, wish.env);
    add_home(&mut env, process.user(), files)?;
    process
        .set_args(Some(wish.args.to_vec()))
        .set_env(Some(env));
    if wish.privileged {
        process.set_capabilities(Some(capabilities::sets(&capabilities::all(input.machine))?));
    }
    let folder = match wish.working_dir {
        "" => &config.working_dir,
        named => named,
    };
    let size = wish
        .console_size
        .filter(|_| wish.tty)
        .map(|(rows, columns)| (rows.into(), columns.into()));
    place(&mut process, folder, wish.tty, size)?;
    Ok(process)
}

/// Looks a user up in vain or not.
///
/// # Errors
/// `InvalidParameter`: `unable to find user x: no matching entries in passwd file` and the like.
pub fn check_user(user: &str, passwd: Option<&[u8]>, group: Option<&[u8]>) -> Result<()> {
    identity::resolve(user, Files { passwd, group })
        .map(|_| ())
        .map_err(|error| Error::new(ErrorKind::InvalidParameter, error.message().to_owned()))
}

/// Folder and terminal.
fn place(
    process: &mut Process,
    folder: &str,
    terminal: bool,
    size: Option<(u32, u32)>,
) -> Result<()> {
    let folder = if folder.is_empty() { "/" } else { folder };
    let size =
        size.map(|(rows, columns)| BoxBuilder::default().height(rows).width(columns).build());
    process
        .set_cwd(folder.into())
        .set_terminal(Some(terminal))
        .set_console_size(size.map(built).transpose()?);
    Ok(())
}

fn user(wanted: &str, host: &HostConfig, files: Files<'_>) -> Result<User> {
    let found = identity::resolve(wanted, files)?;
    let wanted = host.group_add.as_deref().unwrap_or_default();
    let mut groups = vec![found.gid];
    groups.extend(found.groups);
    groups.extend(identity::additional_groups(wanted, files.group)?);
    let mut user = User::default();
    user.set_uid(found.uid)
        .set_gid(found.gid)
        .set_additional_gids(Some(groups));
    Ok(user)
}

/// Docker's variables, the container's, and those of an exec; a bare name takes one away.
fn environment(config: &ContainerConfig, terminal: bool, more: &[String]) -> Vec<String> {
    let mut env = vec![
        format!("PATH={DEFAULT_PATH}"),
        format!("HOSTNAME={}", config.hostname),
    ];
    if terminal {
        env.push("TERM=xterm".to_owned());
    }
    merge(&mut env, config.env.as_deref().unwrap_or_default());
    merge(&mut env, more);
    env
}

/// Variables that were there before keep their place; new ones are appended as they come, even twice.
fn merge(env: &mut Vec<String>, more: &[String]) {
    let before: BTreeMap<String, usize> = env
        .iter()
        .enumerate()
        .map(|(place, line)| (name(line).to_owned(), place))
        .collect();
    for line in more {
        match (line.contains('='), before.get(name(line))) {
            (true, Some(&place)) => env[place].clone_from(line),
            (true, None) => env.push(line.clone()),
            (false, Some(&place)) => env[place].clear(),
            (false, None) => {}
        }
    }
    env.retain(|line| !line.is_empty());
}

fn name(line: &str) -> &str {
    line.split_once('=').map_or(line, |(name, _)| name)
}

/// The home of the process's user, unless the variables name one.
fn add_home(env: &mut Vec<String>, user: &User, files: Files<'_>) -> Result<()> {
    let line = |home: &str| format!("HOME={home}");
    match env.iter_mut().rev().find(|line| name(line) == "HOME") {
        Some(set) if *set != "HOME=" => {}
        Some(empty) => *empty = line(&identity::home(user.uid(), files.passwd)?),
        None => env.push(line(&identity::home(user.uid(), files.passwd)?)),
    }
    Ok(())
}

/// Limits; -1 is none.
///
/// # Errors
/// `System`: `wrong rlimit value: RLIMIT_X`.
fn limits(host: &HostConfig) -> Result<Option<Vec<PosixRlimit>>> {
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let mut all = Vec::new();
    for limit in host.ulimits.iter().flatten() {
        let name = format!("RLIMIT_{}", limit.name.to_uppercase());
        let kind: PosixRlimitType = serde_json::from_value(name.as_str().into())
            .map_err(|_| system(format!("wrong rlimit value: {name}")))?;
        all.push(built(
            PosixRlimitBuilder::default()
                .typ(kind)
                .soft(number(limit.soft))
                .hard(number(limit.hard))
                .build(),
        )?);
    }
    Ok((!all.is_empty()).then_some(all))
}

#[cfg(test)]
mod tests;
