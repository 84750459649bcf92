//! Execs by the API: created, started once, resized, and refused.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{checks, raw};
use crate::Bed;

checks![
    what_cannot_be_executed_is_refused,
    an_exec_runs_once_and_a_second_start_says_so,
    a_program_that_is_not_there_is_told_in_the_streams_place,
    a_terminal_of_an_exec_is_resized,
    execs_of_a_container_that_ended_are_gone,
];

/// Makes an exec; its id.
pub(super) fn create(bed: &Bed, container: &str, body: &Value) -> anyhow::Result<String> {
    let path = format!("/containers/{container}/exec");
    let (status, answer) = raw::request(bed, "POST", &path, &body.to_string())?;
    ensure!(status == 201, "{status} {answer}");
    let made: Value = serde_json::from_str(&answer)?;
    Ok(made["Id"].as_str().context("no id")?.to_owned())
}

fn exec(bed: &Bed, id: &str, what: &str, body: &str) -> anyhow::Result<(u16, String)> {
    raw::request(bed, "POST", &format!("/exec/{id}/{what}"), body)
}

/// A refusal with its message.
fn refused(answer: (u16, String), status: u16, message: &str) -> anyhow::Result<()> {
    let (got, body) = answer;
    let said: Value = serde_json::from_str(&body).with_context(|| format!("{got} {body:?}"))?;
    ensure!(
        got == status && said == json!({"message": message}),
        "{got} {body}, not {status} {message}"
    );
    Ok(())
}

/// A text as it comes from a stream without a terminal.
fn framed(text: &str) -> String {
    let length = u8::try_from(text.len()).unwrap_or_default();
    format!("\u{1}\0\0\0\0\0\0{}{text}", char::from(length))
}

fn what_cannot_be_executed_is_refused(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let stopped = bed.named("stopped");
    let stopped_id = bed
        .docker
        .ok(&["create", "--name", &stopped.name, "busybox", "true"])?;
    let paused = bed.start(&[], &["sleep", "600"])?;
    bed.docker.ok(&["pause", &paused.name])?;
    let (paused, stopped, container) = (&paused.name, &stopped.name, &container.name);
    let of_paused = format!("Container {paused} is paused, unpause the container before exec");
    let of_stopped = format!("container {stopped_id} is not running");
    let (plain, nothing) = (r#"{"Cmd":["true"]}"#, "No exec command specified");
    let keys = r#"{"Cmd":["true"],"DetachKeys":"bogus"}"#;
    for (name, body, status, want) in [
        ("no-such", plain, 404, "No such container: no-such"),
        ("no-such", "{}", 400, nothing),
        (stopped, plain, 409, &of_stopped),
        (paused, plain, 409, &of_paused),
        (container, r#"{"Cmd":[]}"#, 400, nothing),
        (container, "", 400, nothing),
        (container, "{", 400, "invalid JSON: unexpected EOF"),
        (container, keys, 500, "Invalid escape keys (bogus) provided"),
    ] {
        let answer = raw::request(bed, "POST", &format!("/containers/{name}/exec"), body)?;
        refused(answer, status, want).with_context(|| format!("{name} {body}"))?;
    }
    let unknown = "No such exec instance: no-such";
    refused(exec(bed, "no-such", "start", "{}")?, 404, unknown)?;
    refused(exec(bed, "no-such", "resize?h=1&w=1", "")?, 404, unknown)?;
    refused(raw::get(bed, "/exec/no-such/json")?, 404, unknown)
}

fn an_exec_runs_once_and_a_second_start_says_so(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let name = &container.name;
    let id = create(
        bed,
        name,
        &json!({"Cmd": ["echo", "hi"], "AttachStdout": true}),
    )?;
    ensure!(exec(bed, &id, "start", "{}")? == (200, framed("hi\n")));
    let again = format!("exec command {id} has already run");
    // Whoever wants the streams has them by then, and reads it there.
    let (status, body) = exec(bed, &id, "start", "{}")?;
    ensure!(
        status == 200 && body == framed(&format!("{again}\r\n")),
        "{status} {body:?}"
    );
    refused(exec(bed, &id, "start", r#"{"Detach":true}"#)?, 409, &again)?;

    let id = create(bed, name, &json!({"Cmd": ["sleep", "600"]}))?;
    ensure!(exec(bed, &id, "start", r#"{"Detach":true}"#)? == (200, String::new()));
    let again = format!("exec command {id} is already running");
    refused(exec(bed, &id, "start", r#"{"Detach":true}"#)?, 409, &again)?;
    let (status, body) = exec(bed, &id, "start", "{}")?;
    ensure!(
        status == 200 && body == framed(&format!("{again}\r\n")),
        "{status} {body:?}"
    );
    let (status, body) = raw::get(bed, &format!("/exec/{id}/json"))?;
    let shown: Value = serde_json::from_str(&body)?;
    ensure!(status == 200 && shown["Running"] == true, "{status} {body}");
    // Streams that nobody attached.
    let id = create(bed, name, &json!({"Cmd": ["echo", "x"]}))?;
    ensure!(exec(bed, &id, "start", "")? == (200, String::new()));
    Ok(())
}

fn a_program_that_is_not_there_is_told_in_the_streams_place(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let missing = json!({"Cmd": ["/no/such"], "AttachStdout": true});
    let want = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/no/such\": stat /no/such: no such file or directory";
    let id = create(bed, &container.name, &missing)?;
    refused(exec(bed, &id, "start", r#"{"Detach":true}"#)?, 400, want)?;
    let id = create(bed, &container.name, &missing)?;
    let (status, body) = exec(bed, &id, "start", "{}")?;
    ensure!(
        status == 200 && body.ends_with(&format!("{want}\r\n")),
        "{status} {body:?}"
    );
    let (_, body) = raw::get(bed, &format!("/exec/{id}/json"))?;
    let shown: Value = serde_json::from_str(&body)?;
    ensure!(
        shown["ExitCode"] == 127 && shown["Running"] == false,
        "{body}"
    );
    Ok(())
}

fn a_terminal_of_an_exec_is_resized(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let name = &container.name;
    let script = "until [ \"$(stty size)\" = '33 44' ]; do sleep 0.05; done; echo resized >/out";
    let id = create(
        bed,
        name,
        &json!({"Cmd": ["sh", "-c", script], "Tty": true, "AttachStdout": true}),
    )?;
    let start = r#"{"Detach":true,"Tty":true,"ConsoleSize":[11,22]}"#;
    ensure!(exec(bed, &id, "start", start)? == (200, String::new()));
    for (query, want) in [
        ("h=x&w=1", "invalid resize height \"x\": invalid syntax"),
        (
            "h=-1&w=1",
            "invalid resize height \"-1\": value out of range",
        ),
        ("h=1", "invalid resize width \"\": invalid syntax"),
    ] {
        refused(exec(bed, &id, &format!("resize?{query}"), "")?, 400, want)?;
    }
    ensure!(exec(bed, &id, "resize?h=33&w=44", "")?.0 == 200);
    let waits = "until [ \"$(cat /out 2>/dev/null)\" = resized ]; do sleep 0.05; done";
    bed.docker.ok(&["exec", name, "sh", "-c", waits])?;
    // Without a terminal it is no error, afterwards it is one.
    let sleeps = create(bed, name, &json!({"Cmd": ["sleep", "600"]}))?;
    exec(bed, &sleeps, "start", r#"{"Detach":true}"#)?;
    ensure!(exec(bed, &sleeps, "resize?h=1&w=1", "")?.0 == 200);
    let done = create(bed, name, &json!({"Cmd": ["true"], "AttachStdout": true}))?;
    exec(bed, &done, "start", "{}")?;
    refused(
        exec(bed, &done, "resize?h=1&w=1", "")?,
        500,
        "cannot resize a stopped container",
    )
}

fn execs_of_a_container_that_ended_are_gone(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sleep", "600"])?;
    let name = &container.name;
    let id = create(bed, name, &json!({"Cmd": ["true"]}))?;
    bed.docker.ok(&["pause", name])?;
    let paused = format!(
        "Container {} is paused, unpause the container before exec",
        container.id
    );
    refused(exec(bed, &id, "start", "{}")?, 409, &paused)?;
    bed.docker.ok(&["unpause", name])?;
    bed.docker.ok(&["kill", name])?;
    bed.docker.ok(&["wait", name])?;
    let gone = format!("No such exec instance: {id}");
    for body in ["{}", r#"{"Detach":true}"#] {
        refused(exec(bed, &id, "start", body)?, 404, &gone)?;
    }
    refused(raw::get(bed, &format!("/exec/{id}/json"))?, 404, &gone)
}
