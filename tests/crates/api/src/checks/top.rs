//! The processes of a container, as `docker top` shows them.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{checks, files, raw};
use crate::Bed;

checks![
    the_usual_formats_have_their_columns,
    a_command_is_shown_with_single_spaces,
    wrong_options_are_refused_in_the_words_of_ps,
    what_does_not_run_has_no_processes,
];

fn top(bed: &Bed, name: &str, options: &str) -> anyhow::Result<Value> {
    let path = format!(
        "/containers/{name}/top?ps_args={}",
        options.replace(' ', "%20")
    );
    let (status, body) = raw::get(bed, &path)?;
    ensure!(status == 200, "{status} {body}");
    Ok(serde_json::from_str(&body)?)
}

fn the_usual_formats_have_their_columns(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &["--user", "33"],
        &["sh", "-c", "sleep 600 & exec sleep 500"],
    )?;
    let name = &container.name;
    // The shell becomes the program after its child was made: `docker exec` comes after that.
    files::exec(
        bed,
        name,
        "until grep -q sleep /proc/1/comm; do sleep 0.05; done",
    )?;
    for (options, titles) in [
        ("", "UID PID PPID C STIME TTY TIME CMD"),
        ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
        (
            "aux",
            "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
        ),
        (
            "-el",
            "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD",
        ),
        ("axj", "PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND"),
        ("-eo user,pid,ppid,stat,ni,cmd", "USER PID PPID STAT NI CMD"),
        ("-eo pid,comm --sort=-pid", "PID COMMAND"),
    ] {
        let shown = top(bed, name, options)?;
        let want: Vec<&str> = titles.split(' ').collect();
        ensure!(shown["Titles"] == json!(want), "{options}: {shown}");
        let rows = shown["Processes"].as_array().context("a list")?;
        ensure!(rows.len() == 2, "{options}: {shown}");
        ensure!(
            rows.iter()
                .all(|row| row.as_array().is_some_and(|row| row.len() == want.len())),
            "{shown}"
        );
    }
    let shown = top(bed, name, "-eo uid,pid,ppid,stat,tty,cmd")?;
    let (first, second) = (&shown["Processes"][0], &shown["Processes"][1]);
    ensure!(
        first[0] == "33" && first[3] == "Ss" && first[4] == "?" && first[5] == "sleep 500",
        "{shown}"
    );
    ensure!(
        second[2] == first[1] && second[3] == "S" && second[5] == "sleep 600",
        "{shown}"
    );
    let table = bed.docker.ok(&["top", name, "-o", "pid,cmd"])?;
    ensure!(
        table.lines().count() == 3 && table.ends_with("sleep 600"),
        "{table}"
    );
    Ok(())
}

fn a_command_is_shown_with_single_spaces(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sh", "-c", "sleep  600;   true"])?;
    let shown = top(bed, &container.name, "-ef")?;
    let rows = shown["Processes"].as_array().context("a list")?;
    ensure!(rows[0][7] == "sh -c sleep 600; true", "{shown}");
    Ok(())
}

fn wrong_options_are_refused_in_the_words_of_ps(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    for (options, want) in [
        (
            "-o%20pid,foo",
            "ps: error: unknown user-defined format specifier \"foo\"",
        ),
        ("-o%20comm", "Couldn't find PID field in ps output"),
        (
            "-eo%20user=PID,pid",
            "specifying \"user=PID,pid\" is not allowed",
        ),
        ("z", "ps: error: unsupported option (BSD syntax)"),
        ("--foo", "ps: error: unknown gnu long option"),
    ] {
        let (status, body) = raw::get(
            bed,
            &format!("/containers/{}/top?ps_args={options}", container.name),
        )?;
        ensure!(
            status == 500 && serde_json::from_str::<Value>(&body)? == json!({"message": want}),
            "{options}: {status} {body}"
        );
    }
    Ok(())
}

fn what_does_not_run_has_no_processes(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.named("idle");
    let id = bed
        .docker
        .ok(&["create", "--name", &container.name, "busybox", "true"])?;
    let output = bed.docker.fails(&["top", &container.name])?;
    ensure!(
        output
            .stderr
            .contains(&format!("container {id} is not running")),
        "{output:?}"
    );
    let output = bed.docker.fails(&["top", "no-such"])?;
    ensure!(
        output.stderr.contains("No such container: no-such"),
        "{output:?}"
    );
    Ok(())
}
