//! The stream of events: what is told, with which attributes, and how it is filtered.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

use anyhow::{Context, ensure};
use harness::Kind;
use serde_json::json;

use super::{checks, execs, raw};
use crate::Bed;

checks![
    a_session_is_told_line_by_line,
    who_leaves_by_keys_is_told,
    filters_pick_events,
    times_are_read_and_wrong_ones_refused,
];

/// What the session below tells. `X` is an id, `NAME` the container.
const SESSION: &str = "\
local volume create VOLUME [driver=local]
local container create THIS [image=busybox name=NAME team=a]
local volume mount VOLUME [container=THIS destination=/v driver=local propagation= read/write=true]
local network connect X [container=THIS name=bridge type=bridge]
local container start THIS [image=busybox name=NAME team=a]
local container exec_create: echo two words THIS [execID=X image=busybox name=NAME team=a]
local container exec_start: echo two words THIS [execID=X image=busybox name=NAME team=a]
local container exec_die THIS [execID=X exitCode=0 image=busybox name=NAME team=a]
local container pause THIS [image=busybox name=NAME team=a]
local container unpause THIS [image=busybox name=NAME team=a]
local container kill THIS [image=busybox name=NAME signal=15 team=a]
local network disconnect X [container=THIS name=bridge type=bridge]
local volume unmount VOLUME [container=THIS driver=local]
local container die THIS [execDuration=0 exitCode=3 image=busybox name=NAME team=a]
local volume mount VOLUME [container=THIS destination=/v driver=local propagation= read/write=true]
local network connect X [container=THIS name=bridge type=bridge]
local container start THIS [image=busybox name=NAME team=a]
local container kill THIS [image=busybox name=NAME signal=15 team=a]
local network disconnect X [container=THIS name=bridge type=bridge]
local volume unmount VOLUME [container=THIS driver=local]
local container stop THIS [image=busybox name=NAME team=a]
local container die THIS [execDuration=0 exitCode=3 image=busybox name=NAME team=a]
local volume mount VOLUME [container=THIS destination=/v driver=local propagation= read/write=true]
local network connect X [container=THIS name=bridge type=bridge]
local container start THIS [image=busybox name=NAME team=a]
local container restart THIS [image=busybox name=NAME team=a]
local container rename THIS [image=busybox name=OTHER oldName=/NAME team=a]
local container rename THIS [image=busybox name=NAME oldName=/OTHER team=a]
local container kill THIS [image=busybox name=NAME signal=15 team=a]
local network disconnect X [container=THIS name=bridge type=bridge]
local volume unmount VOLUME [container=THIS driver=local]
local container stop THIS [image=busybox name=NAME team=a]
local container die THIS [execDuration=0 exitCode=3 image=busybox name=NAME team=a]
local container destroy THIS [image=busybox name=NAME team=a]
local volume destroy VOLUME [driver=local]
local container create RUN [image=busybox name=NAME]
local container attach RUN [image=busybox name=NAME]
local network connect X [container=RUN name=host type=host]
local container start RUN [image=busybox name=NAME]
local network disconnect X [container=RUN name=host type=host]
local container die RUN [execDuration=0 exitCode=0 image=busybox name=NAME]
local container destroy RUN [image=busybox name=NAME]
local container create RUN [image=busybox name=NAME]
local container attach RUN [image=busybox name=NAME]
local network connect X [container=RUN name=none type=null]
local container start RUN [image=busybox name=NAME]
local network disconnect X [container=RUN name=none type=null]
local container die RUN [execDuration=0 exitCode=0 image=busybox name=NAME]
local container destroy RUN [image=busybox name=NAME]
local image tag sha256:X [name=TAG]
local image untag sha256:X [name=TAG]
local image untag sha256:X [name=TAG]";

/// Now, as the engine's clock has it.
fn now(bed: &Bed) -> anyhow::Result<String> {
    bed.docker.ok(&["info", "--format", "{{.SystemTime}}"])
}

/// What was told since a moment, one line each: type, action, actor, attributes.
fn told(bed: &Bed, since: &str, options: &[&str]) -> anyhow::Result<Vec<serde_json::Value>> {
    let until = now(bed)?;
    let mut arguments = vec![
        "events", "--since", since, "--until", &until, "--format", "json",
    ];
    arguments.extend_from_slice(options);
    let text = bed.docker.ok(&arguments)?;
    text.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// An event as a line, with names for what is different in each run.
fn line(event: &serde_json::Value, names: &BTreeMap<String, &str>) -> String {
    let attributes: Vec<String> = event["Actor"]["Attributes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("?")))
        .collect();
    let mut line = format!(
        "{} {} {} {} [{}]",
        event["scope"].as_str().unwrap_or("?"),
        event["Type"].as_str().unwrap_or("?"),
        event["Action"].as_str().unwrap_or("?"),
        event["Actor"]["ID"].as_str().unwrap_or("?"),
        attributes.join(" ")
    );
    for (long, short) in names {
        line = line.replace(long, short);
    }
    // How long it ran is chance.
    without_ids(&line).replace("execDuration=1", "execDuration=0")
}

/// `X` in place of 64 hexadecimal digits.
fn without_ids(line: &str) -> String {
    let (mut out, mut digits) = (String::new(), String::new());
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() {
            digits.push(c);
            continue;
        }
        out.push_str(if digits.len() == 64 { "X" } else { &digits });
        digits.clear();
        out.push(c);
    }
    out.pop();
    out
}

fn a_session_is_told_line_by_line(bed: &Bed) -> anyhow::Result<()> {
    let docker = &bed.docker;
    let since = now(bed)?;
    let (container, volume) = (bed.named("told"), bed.name("volume"));
    let mount = format!("{volume}:/v");
    let name = container.name.as_str();
    let id = docker.ok(&[
        "create",
        "--name",
        name,
        "--label",
        "team=a",
        "-v",
        &mount,
        "busybox",
        "sh",
        "-c",
        "trap 'exit 3' TERM; while :; do sleep 0.1; done",
    ])?;
    docker.ok(&["start", name])?;
    docker.ok(&["exec", name, "echo", "two words"])?;
    docker.ok(&["pause", name])?;
    docker.ok(&["unpause", name])?;
    docker.ok(&["kill", "-s", "TERM", name])?;
    docker.ok(&["wait", name])?;
    docker.ok(&["start", name])?;
    docker.ok(&["restart", name])?;
    let other = bed.name("renamed");
    docker.ok(&["rename", name, &other])?;
    docker.ok(&["rename", &other, name])?;
    docker.ok(&["stop", name])?;
    docker.ok(&["rm", name])?;
    docker.ok(&["volume", "rm", &volume])?;
    for network in ["host", "none"] {
        docker.ok(&[
            "run",
            "--rm",
            "--network",
            network,
            "--name",
            name,
            "busybox",
            "true",
        ])?;
    }
    let tag = format!("{}:1", bed.name("image"));
    docker.ok(&["tag", "busybox", &tag])?;
    let archive = bed.folder()?.join("saved.tar");
    let archive = archive.to_str().context("a plain path")?;
    docker.ok(&["save", "-o", archive, &tag])?;
    docker.ok(&["rmi", &tag])?;
    docker.ok(&["load", "-i", archive])?;
    docker.ok(&["rmi", &tag])?;
    let told = told(bed, &since, &[])?;
    let mut names = BTreeMap::from([
        (id, "THIS"),
        (other, "OTHER"),
        (name.to_owned(), "NAME"),
        (volume, "VOLUME"),
        (tag, "TAG"),
    ]);
    for event in &told {
        if event["Actor"]["Attributes"]["name"] == name && event["Type"] == "container" {
            let id = event["Actor"]["ID"].as_str().context("an id")?;
            names.entry(id.to_owned()).or_insert("RUN");
        }
    }
    // Other checks run at the same time.
    let mut lines: Vec<String> = told
        .iter()
        .map(|event| line(event, &names))
        .filter(|line| names.values().any(|name| line.contains(name)))
        .collect();
    for action in ["save", "load"] {
        let wanted = format!("local image {action} sha256:X [name=sha256:X]");
        ensure!(
            told.iter().any(|event| line(event, &names) == wanted),
            "{wanted}"
        );
    }
    // Which of the two is told first is chance.
    for index in 1..lines.len() {
        if lines[index].contains("container stop") && lines[index - 1].contains("container die") {
            lines.swap(index - 1, index);
        }
    }
    let expected: Vec<&str> = SESSION.lines().collect();
    for (index, expected) in expected.iter().enumerate() {
        ensure!(
            lines.get(index).is_some_and(|line| line == expected),
            "line {index} is not {expected}:\n{}",
            lines.join("\n")
        );
    }
    ensure!(lines.len() == expected.len(), "{}", lines.join("\n"));
    Ok(())
}

fn actions(events: &[serde_json::Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["Action"].as_str())
        .collect()
}

fn who_leaves_by_keys_is_told(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&["-i", "-t"], &["cat"])?;
    let name = &container.name;
    let since = now(bed)?;
    let leave = |path: &str, body: &str| -> anyhow::Result<()> {
        let mut stream = raw::take_over(bed, path, body)?;
        stream.write_all(b"\x10\x11")?;
        // The engine lets go of who left.
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    };
    leave(
        &format!("/containers/{name}/attach?stream=1&stdin=1&stdout=1"),
        "",
    )?;
    let config = json!({"Cmd": ["cat"], "Tty": true, "AttachStdin": true, "AttachStdout": true});
    let id = execs::create(bed, name, &config)?;
    leave(&format!("/exec/{id}/start"), r#"{"Tty":true}"#)?;
    let events = told(bed, &since, &["--filter", &format!("container={name}")])?;
    let names = BTreeMap::from([(name.clone(), "NAME")]);
    let lines: Vec<String> = events.iter().map(|event| line(event, &names)).collect();
    let expected = [
        "local container attach X [image=busybox name=NAME]",
        "local container detach X [image=busybox name=NAME]",
        "local container exec_create: cat  X [execID=X image=busybox name=NAME]",
        "local container exec_start: cat  X [execID=X image=busybox name=NAME]",
        // Docker's documented event; dockerd 28.5 takes the keys for an error and does not tell it.
        "local container exec_detach X [execID=X image=busybox name=NAME]",
    ];
    let told = expected.len() - usize::from(bed.kind == Kind::Reference);
    ensure!(lines == expected[..told], "{lines:#?}");
    Ok(())
}

fn filters_pick_events(bed: &Bed) -> anyhow::Result<()> {
    let since = now(bed)?;
    let label = bed.name("label");
    let labelled = format!("team={label}");
    let container = bed.start(&["--label", &labelled], &["sleep", "600"])?;
    bed.docker.ok(&["exec", &container.name, "true"])?;
    bed.docker.ok(&["rm", "-f", &container.name])?;
    let picked = |filters: &[&str]| {
        let mut options = Vec::new();
        for filter in filters {
            options.extend(["--filter", filter]);
        }
        let events = told(bed, &since, &options)?;
        let actions: Vec<String> = actions(&events)
            .into_iter()
            .map(|action| action.split(':').next().unwrap_or_default().to_owned())
            .collect();
        anyhow::Ok(actions.join(" "))
    };
    let by_name = format!("container={}", container.name);
    let by_id = format!("container={}", &container.id[..20]);
    let all = "create start exec_create exec_start exec_die kill die destroy";
    ensure!(picked(&[&by_name])? == all, "{}", picked(&[&by_name])?);
    ensure!(picked(&[&by_id])? == all, "{}", picked(&[&by_id])?);
    let by_label = format!("label={labelled}");
    ensure!(picked(&[&by_label])? == all, "{}", picked(&[&by_label])?);
    ensure!(picked(&[&by_label, "label=none"])?.is_empty());
    ensure!(picked(&[&by_name, "event=start", "event=die"])? == "start die");
    ensure!(picked(&[&by_name, "event=exec_start"])? == "exec_start");
    ensure!(picked(&[&by_name, "event=exec"])?.is_empty());
    ensure!(picked(&[&by_name, "type=network"])?.is_empty());
    ensure!(picked(&[&by_name, "scope=swarm"])?.is_empty());
    ensure!(picked(&[&by_name, "image=busybox"])? == all);
    ensure!(picked(&[&by_name, "image=busy"])?.is_empty());
    ensure!(picked(&[&by_name, "nonsense=x"])? == all);
    ensure!(picked(&["type=network", "network=bridge"])?.contains("connect disconnect"));
    ensure!(picked(&["volume=nothing"])?.is_empty());
    Ok(())
}

fn times_are_read_and_wrong_ones_refused(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["true"])?;
    bed.docker.ok(&["wait", &container.name])?;
    let filter = format!("container={}", container.name);
    for since in [
        "5m",
        "1h30m",
        "2006-01-02",
        "2006-01-02T15:04:05",
        "2006-01-02T15:04:05.000000001Z",
        "1136073600",
        "1136073600.5",
    ] {
        let until = now(bed)?;
        let text = bed.docker.ok(&[
            "events", "--since", since, "--until", &until, "--filter", &filter,
        ])?;
        ensure!(
            text.lines().any(|line| line.contains(" container die ")),
            "{since}: {text}"
        );
    }
    let until = now(bed)?;
    let text = bed
        .docker
        .ok(&["events", "--until", &until, "--filter", &filter])?;
    ensure!(
        text.lines().any(|line| line.contains(" container die ")),
        "{text}"
    );
    let said = bed
        .docker
        .fails(&["events", "--since", "1136073601", "--until", "1136073600"])?
        .stderr;
    ensure!(
        said.trim()
            == "Error response from daemon: `since` time (1136073601.000000000) cannot be after `until` time (1136073600.000000000)"
            || said.trim()
                == "Error response from daemon: `since` time (1136073601) cannot be after `until` time (1136073600)",
        "{said}"
    );
    Ok(())
}
