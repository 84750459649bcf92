//! Input, output, terminals and logs.

use std::{
    io::{Read, Write},
    process::Stdio,
};

use anyhow::{Context, ensure};
use serde_json::json;

use super::{checks, execs, files, raw};
use crate::Bed;

checks![
    the_end_of_input_reaches_the_program,
    input_that_nobody_reads_does_not_hang,
    many_bytes_come_through_cat_unchanged,
    logs_are_byte_exact,
    logs_tail_and_streams,
    logs_follow_until_the_end,
    a_client_that_never_reads_harms_nobody,
    a_terminal_is_given,
    attach_joins_a_running_container,
    who_waited_for_the_end_finds_all_output_with_an_attached_client,
    who_is_told_that_it_is_attached_is,
];

/// Bytes with line ends in them, the same for the same length.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn the_end_of_input_reaches_the_program(bed: &Bed) -> anyhow::Result<()> {
    let output = bed
        .docker
        .run_with(&["run", "--rm", "-i", "busybox", "cat"], b"x\n")?;
    ensure!(output.code == 0 && output.stdout == b"x\n", "{output:?}");
    // Output that comes after the end of input arrives too.
    let output = bed.docker.run_with(
        &[
            "run",
            "--rm",
            "-i",
            "busybox",
            "sh",
            "-c",
            "cat; sleep 0.2; echo after",
        ],
        b"x\n",
    )?;
    ensure!(output.stdout == b"x\nafter\n", "{output:?}");
    Ok(())
}

fn input_that_nobody_reads_does_not_hang(bed: &Bed) -> anyhow::Result<()> {
    let output = bed
        .docker
        .run_with(&["run", "--rm", "-i", "busybox", "true"], &noise(1 << 20))?;
    ensure!(output.code == 0, "{output:?}");
    Ok(())
}

fn many_bytes_come_through_cat_unchanged(bed: &Bed) -> anyhow::Result<()> {
    let input = noise(bed.stream_bytes);
    let output = bed.docker.run_with(
        &[
            "run",
            "--rm",
            "-i",
            "--log-driver",
            "none",
            "busybox",
            "cat",
        ],
        &input,
    )?;
    ensure!(output.code == 0, "exit {}: {}", output.code, output.stderr);
    ensure!(
        output.stdout == input,
        "{} of {} bytes came back",
        output.stdout.len(),
        input.len()
    );
    Ok(())
}

fn logs_are_byte_exact(bed: &Bed) -> anyhow::Result<()> {
    let lines = bed.stream_bytes / 100;
    let script = format!(
        "seq -f '%098.0f' 1 {lines} 2>/dev/null || awk 'BEGIN{{for(i=1;i<={lines};i++) printf \"%099d\\n\", i}}'"
    );
    let container = bed.named("logs");
    let name = container.name.as_str();
    let direct = bed
        .docker
        .run(&["run", "--name", name, "busybox", "sh", "-c", &script])?;
    ensure!(direct.code == 0, "{}", direct.stderr);
    ensure!(
        direct.stdout.len() >= lines * 99,
        "{} bytes",
        direct.stdout.len()
    );
    let kept = bed.docker.run(&["logs", name])?;
    ensure!(
        kept.stdout == direct.stdout,
        "{} of {} bytes kept",
        kept.stdout.len(),
        direct.stdout.len()
    );
    Ok(())
}

fn logs_tail_and_streams(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &[],
        &[
            "sh",
            "-c",
            "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done; printf unfinished",
        ],
    )?;
    bed.docker.ok(&["wait", &container.name])?;
    let output = bed.docker.run(&["logs", &container.name])?;
    ensure!(
        output.stdout == b"o1\no2\no3\no4\no5\nunfinished",
        "{output:?}"
    );
    ensure!(output.stderr == "e1\ne2\ne3\ne4\ne5\n", "{output:?}");
    let output = bed.docker.run(&["logs", "--tail", "1", &container.name])?;
    ensure!(
        output.stdout == b"unfinished" && output.stderr.is_empty(),
        "{output:?}"
    );
    let output = bed
        .docker
        .run(&["logs", "-t", "--tail", "1", &container.name])?;
    let text = output.text();
    let stamp = text.split(' ').next().unwrap_or_default();
    ensure!(
        stamp.len() == "2024-01-01T00:00:00.000000000Z".len() && stamp.ends_with('Z'),
        "{text}"
    );
    Ok(())
}

fn logs_follow_until_the_end(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &[],
        &[
            "sh",
            "-c",
            "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done",
        ],
    )?;
    let text = bed.docker.ok(&["logs", "-f", &container.name])?;
    ensure!(text == "1\n2\n3\n4\n5", "{text}");
    Ok(())
}

fn a_client_that_never_reads_harms_nobody(bed: &Bed) -> anyhow::Result<()> {
    let script = "i=0; while [ $i -lt 200000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo last; sleep 600";
    let container = bed.start(&[], &["sh", "-c", script])?;
    let mut deaf = bed
        .docker
        .command(&["attach", "--no-stdin", &container.name]);
    let mut deaf = deaf
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("attach")?;
    // Its output pipe is never read; the log goes on all the same.
    let mut follow = bed.docker.command(&["logs", "-f", &container.name]);
    let mut follow = follow
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("follow")?;
    let mut reader = std::io::BufReader::new(follow.stdout.take().context("a pipe")?);
    let mut seen = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    while !seen.ends_with(b"last\n") {
        let read = reader.read(&mut chunk)?;
        ensure!(read > 0, "the log ended before its last line");
        seen.extend_from_slice(&chunk[..read]);
    }
    let alive = bed.docker.ok(&["exec", &container.name, "echo", "alive"])?;
    let _ = (deaf.kill(), deaf.wait(), follow.kill(), follow.wait());
    ensure!(alive == "alive", "{alive}");
    ensure!(seen.len() == 200_000 * 41 + 5, "{}", seen.len());
    Ok(())
}

fn a_terminal_is_given(bed: &Bed) -> anyhow::Result<()> {
    let text = bed.busybox(
        &["-t"],
        &[
            "sh",
            "-c",
            "tty; [ -t 0 ] && [ -t 1 ] && echo yes; stty size",
        ],
    )?;
    ensure!(text.starts_with("/dev/pts/0\r\nyes"), "{text:?}");
    let container = bed.start(&[], &["sleep", "600"])?;
    let text = bed.docker.ok(&["exec", "-t", &container.name, "tty"])?;
    ensure!(text.starts_with("/dev/pts/"), "{text:?}");
    Ok(())
}

fn attach_joins_a_running_container(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(
        &["-i"],
        &[
            "sh",
            "-c",
            "while read -r line; do echo \"got $line\"; done",
        ],
    )?;
    let mut attached = bed.docker.command(&["attach", &container.name]);
    let mut attached = attached
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("attach")?;
    let mut input = attached.stdin.take().context("a pipe")?;
    input.write_all(b"one\n")?;
    let mut output = attached.stdout.take().context("a pipe")?;
    let mut got = [0; 8];
    output.read_exact(&mut got)?;
    ensure!(&got == b"got one\n", "{got:?}");
    // Input stays open for the next client: the container does not end with this one.
    let _ = (attached.kill(), attached.wait());
    ensure!(bed.docker.ok(&["exec", &container.name, "echo", "alive"])? == "alive");
    Ok(())
}

fn who_waited_for_the_end_finds_all_output_with_an_attached_client(
    bed: &Bed,
) -> anyhow::Result<()> {
    for _ in 0..20 {
        let container = bed.named("output");
        let name = &container.name;
        bed.docker.ok(&[
            "create",
            "--name",
            name,
            "busybox",
            "sh",
            "-c",
            "head -c 5000 /dev/zero",
        ])?;
        let path = format!("/containers/{name}");
        let mut attached = raw::take_over(
            bed,
            &format!("{path}/attach?stream=1&stdout=1&stderr=1"),
            "",
        )?;
        let (status, _) = raw::request(bed, "POST", &format!("{path}/start"), "")?;
        ensure!(status == 204, "{status}");
        let (status, body) = raw::request(bed, "POST", &format!("{path}/wait"), "")?;
        ensure!(
            status == 200 && body.contains(r#""StatusCode":0"#),
            "{body}"
        );
        // What is there now, without waiting for more.
        attached.set_nonblocking(true)?;
        let mut output = Vec::new();
        if let Err(error) = attached.read_to_end(&mut output) {
            ensure!(error.kind() == std::io::ErrorKind::WouldBlock, "{error}");
        }
        let bytes = output.iter().filter(|byte| **byte == 0).count();
        ensure!(bytes >= 5000, "{bytes} of 5000 bytes");
    }
    Ok(())
}

fn who_is_told_that_it_is_attached_is(bed: &Bed) -> anyhow::Result<()> {
    let container = bed.start(&[], &["sh", "-c", "mkfifo /f; exec 3<>/f; exec cat <&3"])?;
    let name = &container.name;
    files::exec(bed, name, "until [ -p /f ]; do usleep 1000; done")?;
    for round in 0..20 {
        let text = format!("line-{round:02}");
        let script = format!("echo {text} >/f");
        let id = execs::create(bed, name, &json!({"Cmd": ["sh", "-c", script]}))?;
        let path = format!("/containers/{name}/attach?stream=1&stdout=1");
        let mut attached = raw::take_over(bed, &path, "")?;
        let (status, body) = raw::request(
            bed,
            "POST",
            &format!("/exec/{id}/start"),
            r#"{"Detach":true}"#,
        )?;
        ensure!(status == 200, "{body}");
        let mut got = [0; 16];
        attached.read_exact(&mut got)?;
        ensure!(got[8..] == *format!("{text}\n").as_bytes(), "{got:?}");
    }
    Ok(())
}
