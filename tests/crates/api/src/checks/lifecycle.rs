//! A container's life: create, start, stop, kill, wait, remove, list, inspect, exec.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use super::{checks, inspect};
use crate::Bed;

checks![
    a_stopped_container_keeps_its_files_and_starts_again,
    stop_sends_the_signal_and_kills_after_the_timeout,
    kill_by_name_and_number,
    wait_gives_the_exit_code,
    a_running_container_is_removed_only_by_force,
    states_are_listed_and_inspected,
    exec_runs_inside_with_its_own_exit_code,
    exec_takes_input_and_a_user,
    ids_resolve_by_prefix,
    create_then_start_attached,
    events_tell_the_life,
];

fn a_stopped_container_keeps_its_files_and_starts_again(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("keep");
    let name = &container.name;
    let script = "if [ -e /kept ]; then cat /kept; else echo first >/kept; fi";
    bed.docker
        .ok(&["run", "--name", name, "busybox", "sh", "-c", script])?;
    let text = bed.docker.ok(&["start", "-a", name])?;
    ensure!(text == "first", "{text}");
    Ok(())
}

fn stop_sends_the_signal_and_kills_after_the_timeout(bed: &Bed) -> anyhow::Result<()> {
    let polite = bed.start(
        &[],
        &[
            "sh",
            "-c",
            "trap 'exit 5' TERM; while :; do sleep 0.05; done",
        ],
    )?;
    bed.docker.ok(&["stop", &polite.name])?;
    ensure!(inspect(bed, &polite.name, "State/ExitCode")? == 5);
    let deaf = bed.start(
        &[],
        &["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"],
    )?;
    let since = Instant::now();
    bed.docker.ok(&["stop", "-t", "1", &deaf.name])?;
    ensure!(
        since.elapsed() >= Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    ensure!(inspect(bed, &deaf.name, "State/ExitCode")? == 137);
    Ok(())
}

fn kill_by_name_and_number(bed: &Bed) -> anyhow::Result<()> {
    for (signal, code) in [("KILL", 137), ("SIGUSR1", 138), ("15", 143)] {
        // The default action of a signal reaches PID 1 only from outside, and only if it is not caught: --init passes it on.
        let container = bed.start(&["--init"], &["sleep", "600"])?;
        bed.docker.ok(&["kill", "-s", signal, &container.name])?;
        let got = bed.docker.ok(&["wait", &container.name])?;
        ensure!(got == code.to_string(), "{signal}: {got}");
    }
    let container = bed.start(&[], &["sleep", "600"])?;
    let output = bed
        .docker
        .fails(&["kill", "-s", "BOGUS", &container.name])?;
    ensure!(
        output.stderr.contains("invalid signal: BOGUS"),
        "{output:?}"
    );
    Ok(())
}

fn wait_gives_the_exit_code(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sh", "-c", "sleep 0.3; exit 42"])?;
    ensure!(bed.docker.ok(&["wait", &container.name])? == "42");
    // Asked again, it is known at once.
    ensure!(bed.docker.ok(&["wait", &container.name])? == "42");
    Ok(())
}

fn a_running_container_is_removed_only_by_force(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let output = bed.docker.fails(&["rm", &container.name])?;
    let want = format!(
        "cannot remove container \"{}\": container is running: stop the container before removing or force remove",
        container.name
    );
    ensure!(output.stderr.contains(&want), "{output:?}");
    bed.docker.ok(&["rm", "-f", &container.name])?;
    let output = bed
        .docker
        .fails(&["inspect", "--type", "container", &container.name])?;
    ensure!(
        output
            .stderr
            .contains(&format!("No such container: {}", container.name)),
        "{output:?}"
    );
    Ok(())
}

fn states_are_listed_and_inspected(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("state");
    let name = container.name.as_str();
    let filter = format!("name=^/{name}$");
    let line = |all: bool| {
        let mut arguments = vec![
            "ps",
            "--format",
            "{{.State}} {{.Image}} {{.Command}}",
            "--filter",
            &filter,
        ];
        if all {
            arguments.insert(1, "-a");
        }
        bed.docker.ok(&arguments)
    };
    bed.docker
        .ok(&["create", "--name", name, "busybox", "sleep", "600"])?;
    ensure!(
        line(true)? == "created busybox \"sleep 600\"",
        "{}",
        line(true)?
    );
    ensure!(line(false)?.is_empty());
    bed.docker.ok(&["start", name])?;
    ensure!(line(false)?.starts_with("running "));
    ensure!(inspect(bed, name, "State/Running")? == true);
    ensure!(
        inspect(bed, name, "State/Pid")?
            .as_u64()
            .is_some_and(|pid| pid > 0)
    );
    bed.docker.ok(&["kill", name])?;
    ensure!(line(true)?.starts_with("exited "));
    ensure!(inspect(bed, name, "State/Status")? == "exited");
    ensure!(inspect(bed, name, "State/ExitCode")? == 137);
    Ok(())
}

fn exec_runs_inside_with_its_own_exit_code(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&["-e", "A=1"], &["sleep", "600"])?;
    let text = bed.docker.ok(&[
        "exec",
        "-e",
        "B=2",
        "-w",
        "/tmp",
        &container.name,
        "sh",
        "-c",
        "echo $A$B $PWD; ps -o pid,comm | grep -c sleep",
    ])?;
    ensure!(text == "12 /tmp\n1", "{text}");
    let output = bed
        .docker
        .run(&["exec", &container.name, "sh", "-c", "exit 7"])?;
    ensure!(output.code == 7, "{output:?}");
    let output = bed
        .docker
        .run(&["exec", &container.name, "no-such-program"])?;
    ensure!(output.code == 127, "{output:?}");
    bed.docker.ok(&["kill", &container.name])?;
    let output = bed.docker.fails(&["exec", &container.name, "true"])?;
    ensure!(output.stderr.contains("is not running"), "{output:?}");
    Ok(())
}

fn exec_takes_input_and_a_user(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let output = bed.docker.run_with(
        &[
            "exec",
            "-i",
            "-u",
            "www",
            &container.name,
            "sh",
            "-c",
            "id -u; cat",
        ],
        b"typed\n",
    )?;
    ensure!(output.stdout == b"33\ntyped\n", "{output:?}");
    Ok(())
}

fn ids_resolve_by_prefix(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let id = inspect(bed, &container.id[..12], "Id")?;
    ensure!(id == container.id.as_str(), "{id}");
    Ok(())
}

fn create_then_start_attached(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("attached");
    let name = &container.name;
    bed.docker
        .ok(&["create", "-i", "--name", name, "busybox", "cat"])?;
    let output = bed
        .docker
        .run_with(&["start", "-a", "-i", name], b"hello\n")?;
    ensure!(
        output.stdout == b"hello\n" && output.code == 0,
        "{output:?}"
    );
    Ok(())
}

fn events_tell_the_life(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("events");
    let name = container.name.as_str();
    let filter = format!("container={name}");
    // From a little before, so that it does not matter which of the two is first.
    let mut listener = bed.docker.command(&[
        "events",
        "--since",
        "1m",
        "--filter",
        &filter,
        "--format",
        "{{.Action}}",
    ]);
    let mut listener = listener
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(listener.stdout.take().context("a pipe was asked for")?).lines();
    bed.docker
        .ok(&["run", "--rm", "--name", name, "busybox", "true"])?;
    let mut actions = Vec::new();
    for line in lines {
        actions.push(line?);
        if actions.last().is_some_and(|action| action == "destroy") {
            break;
        }
    }
    let _ = (listener.kill(), listener.wait());
    ensure!(
        actions == ["create", "attach", "start", "die", "destroy"],
        "{actions:?}"
    );
    Ok(())
}
