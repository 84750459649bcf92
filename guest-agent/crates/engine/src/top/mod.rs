//! The processes of a container, as `ps` shows them. Docker API: GET /containers/{id}/top.
//!
//! dockerd runs the host's `ps` and takes its output apart again, at white space. A machine of ours has no `ps`: the same lines are made
//! here, from /proc, and taken apart in the same way, so that what does not fit a column ends up where it does in Docker.

mod arguments;
mod columns;
mod process;
mod view;

use docker_api::inspect::ContainerTop;
use errdefs::{Error, ErrorKind, Result};

use self::{
    arguments::{Arguments, Chosen},
    process::Process,
    view::View,
};
use crate::{
    Engine,
    containers::{signals::not_running, state::Phase},
    ports::observe::ProcessTable,
};

/// What is shown when nothing is asked for.
const DEFAULT: &str = "-ef";

impl Engine {
    /// Lists its processes; `ps_args` are options of `ps`.
    ///
    /// # Errors
    /// `Conflict` when it does not run; `System` with the words of `ps`, as in Docker.
    pub async fn top_container(&self, reference: &str, ps_args: &str) -> Result<ContainerTop> {
        let ps_args = if ps_args.is_empty() { DEFAULT } else { ps_args };
        check_titles(ps_args)?;
        let container = self.containers.find(reference)?;
        let phase = container.state().phase;
        if phase == Phase::Restarting {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "Container {} is restarting, wait until the container is running",
                    container.id
                ),
            ));
        }
        let shim = container
            .shim()
            .filter(|_| matches!(phase, Phase::Running | Phase::Paused))
            .ok_or_else(|| not_running(&container))?;
        let arguments = arguments::parse(ps_args).map_err(|text| system(format!("ps: {text}")))?;
        let mut pids = shim.pids().await?;
        pids.sort_unstable();
        let table = self.ports.observer.processes(&pids).await?;
        let shown = show(&arguments, &table)?;
        self.tell_container(&container, "top", &[]);
        Ok(shown)
    }
}

/// Another column must not be called as the one the processes are known by.
fn check_titles(ps_args: &str) -> Result<()> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\u{c}' | '\r');
    let mut rest = ps_args;
    while let Some(start) = rest.find(is_space) {
        let word = rest[start..].trim_start_matches(is_space);
        let end = word.find(is_space).unwrap_or(word.len());
        // The last `=` of the word, or the one it ends with.
        let found = word[..end]
            .match_indices('=')
            .filter_map(|(place, _)| {
                let title = word[place + 1..].trim_start_matches(is_space);
                let title = &title[..title.find(is_space).unwrap_or(title.len())];
                title.starts_with("PID").then_some((&word[..place], title))
            })
            .next_back();
        if let Some((name, title)) = found.filter(|(name, _)| *name != "pid") {
            return Err(system(format!(
                "specifying \"{name}={title}\" is not allowed"
            )));
        }
        rest = &word[end..];
    }
    Ok(())
}

fn show(arguments: &Arguments, table: &ProcessTable) -> Result<ContainerTop> {
    let view = View::new(table);
    let mut processes: Vec<Process> = table
        .processes
        .iter()
        .filter_map(Process::parse)
        .filter(|process| is_chosen(&arguments.chosen, process, &view))
        .collect();
    for (column, falling) in arguments.order.iter().rev() {
        processes.sort_by_cached_key(|process| column.rank(process, &view));
        if *falling {
            processes.reverse();
        }
    }
    let last = arguments.columns.len().saturating_sub(1);
    let lines = processes.iter().map(|process| {
        let texts = arguments.columns.iter().enumerate();
        texts
            .map(|(place, column)| column.text(process, &view, place == last))
            .collect::<Vec<_>>()
            .join(" ")
    });
    let header: Vec<&str> = arguments
        .columns
        .iter()
        .map(|column| column.title.as_str())
        .collect();
    let has_header = !arguments.no_headers && header.iter().any(|title| !title.is_empty());
    let lines = has_header
        .then(|| header.join(" "))
        .into_iter()
        .chain(lines);
    take_apart(lines, &processes)
}

/// What Docker makes of the lines.
fn take_apart(
    mut lines: impl Iterator<Item = String>,
    processes: &[Process],
) -> Result<ContainerTop> {
    let fields = |line: &str| {
        line.split_ascii_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let titles = fields(&lines.next().unwrap_or_default());
    let place = titles
        .iter()
        .position(|title| title == "PID")
        .ok_or_else(|| system("Couldn't find PID field in ps output"))?;
    let mut shown: Option<Vec<Vec<String>>> = None;
    for line in lines {
        let mut fields = fields(&line);
        let pid = fields.get(place).map_or("", String::as_str);
        let pid: u32 = pid.parse().map_err(|_| {
            system(format!(
                "Unexpected pid '{pid}': strconv.Atoi: parsing \"{pid}\": invalid syntax"
            ))
        })?;
        if !processes.iter().any(|process| process.pid == pid) {
            continue;
        }
        let overhang = fields.split_off((titles.len() - 1).min(fields.len()));
        fields.push(overhang.join(" "));
        shown.get_or_insert_default().push(fields);
    }
    Ok(ContainerTop {
        processes: shown,
        titles,
    })
}

fn is_chosen(chosen: &Chosen, process: &Process, view: &View) -> bool {
    if *chosen == Chosen::default() {
        return true;
    }
    let has = |list: &[String], wanted: &str| list.iter().any(|item| item == wanted);
    let user = process.users[1];
    has(&chosen.pids, &process.pid.to_string())
        || has(&chosen.parents, &process.parent.to_string())
        || has(&chosen.users, &user.to_string())
        || view
            .user_name(user)
            .is_some_and(|name| has(&chosen.users, name))
        || has(&chosen.names, &process.name)
}

fn system(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::System, text)
}

#[cfg(test)]
mod tests;
