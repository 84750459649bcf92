//! The checks, by what a user does.

mod answers;
mod clients;
mod commits;
mod errors;
mod events;
mod execs;
mod files;
mod filters;
mod health;
mod images;
mod isolation;
mod lifecycle;
mod links;
mod logs;
mod moby;
mod network;
mod raw;
mod remote_logs;
mod run;
mod stats;
mod streams;
mod system;
mod top;
mod update;
mod usage;
mod versions;
mod volumes;
mod websocket;

use crate::Bed;

/// One check.
#[derive(Clone, Copy)]
pub struct Check {
    /// `resource::what_is_seen`.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&Bed) -> anyhow::Result<()>,
}

/// Checks of what Docker does not promise and we do: not run on the reference.
const OURS_ONLY: &[&str] = &[
    "streams::a_client_that_never_reads_harms_nobody",
    "usage::later_versions_show_sums",
    "versions::later_versions_leave_out_what_was_taken_away",
];

/// Checks that look at the engine's own files, serve something on its loopback, or need root beside the CLI: not run through a machine.
const BESIDE_THE_ENGINE: &[&str] = &[
    "::remote_logs::",
    "::logs::json_file_is_rotated_compressed_and_read_back",
    "::logs::json_file_carries_labels_variables_and_a_tag",
    "::files::owners_are_kept_only_when_asked_for",
    "::moby::the_machines_network_comes_with_its_hosts",
    "::moby::read_only_binds_hold_below_unless_told_otherwise",
];

impl Check {
    /// Whether it can be run by an ordinary user outside of the machine that the engine is in.
    pub fn is_for_outside(&self) -> bool {
        !BESIDE_THE_ENGINE
            .iter()
            .any(|name| self.name.contains(name))
    }

    /// Whether an engine should pass it.
    pub fn is_for(&self, kind: harness::Kind) -> bool {
        kind == harness::Kind::Ours || !OURS_ONLY.iter().any(|name| self.name.ends_with(name))
    }
}

/// Lists functions as checks of a module.
macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        pub(super) fn list() -> Vec<crate::Check> {
            vec![$(crate::Check {
                name: concat!(module_path!(), "::", stringify!($name)),
                run: $name,
            }),+]
        }
    };
}
use checks;

/// All of them.
pub fn all() -> Vec<Check> {
    [
        run::list(),
        lifecycle::list(),
        links::list(),
        streams::list(),
        events::list(),
        logs::list(),
        remote_logs::list(),
        isolation::list(),
        images::list(),
        volumes::list(),
        files::list(),
        commits::list(),
        network::list(),
        answers::list(),
        execs::list(),
        system::list(),
        errors::list(),
        health::list(),
        stats::list(),
        filters::list(),
        top::list(),
        update::list(),
        usage::list(),
        versions::list(),
        websocket::list(),
        clients::list(),
        moby::list(),
    ]
    .concat()
}

/// The value under a path of keys and indices (`a/0/b`) of `docker inspect`'s JSON.
fn inspect(bed: &Bed, name: &str, path: &str) -> anyhow::Result<serde_json::Value> {
    let text = bed.docker.ok(&["inspect", name])?;
    let all: serde_json::Value = serde_json::from_str(&text)?;
    all.pointer(&format!("/0/{path}"))
        .cloned()
        .ok_or_else(|| anyhow::anyhow!("no {path} in {text}"))
}

/// Reads a container's events from its creation on until one fits; gives their actions.
fn events_until(
    bed: &Bed,
    container: &str,
    last: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<String>> {
    use std::{
        io::{BufRead, BufReader},
        process::Stdio,
    };
    let filter = format!("container={container}");
    let mut command = bed.docker.command(&[
        "events",
        "--since",
        "10m",
        "--filter",
        &filter,
        "--format",
        "{{.Action}}",
    ]);
    let mut listener = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let Some(output) = listener.stdout.take() else {
        anyhow::bail!("a pipe was asked for");
    };
    let mut actions = Vec::new();
    for line in BufReader::new(output).lines() {
        actions.push(line?);
        if actions.last().is_some_and(|action| last(action)) {
            break;
        }
    }
    let _ = (listener.kill(), listener.wait());
    Ok(actions)
}
