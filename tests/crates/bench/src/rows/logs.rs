//! `docker logs` of a container that said much.

use std::{io::Read, process::Stdio};

use anyhow::{Context, ensure};

use super::{IMAGE, remove, timed};
use crate::{
    Options,
    pair::{Pair, Side},
    report::{Bars, Row, Unit},
};

/// A line, with its end.
const LINE: &str = "2024-01-01T00:00:00Z level=info msg=\"a line as services write them\" request=00000000 status=200\n";

pub(super) fn rows(pair: &Pair, options: &Options) -> anyhow::Result<Vec<Row>> {
    let (bytes, rounds) = if options.full {
        (1_000_000_000, 2)
    } else {
        (100_000_000, 4)
    };
    let mut containers = pair.each(|side| talk(side, bytes))?;
    let samples = pair.turns(&mut containers, rounds, |side, container| {
        timed(|| read(side, container, bytes))
    })?;
    remove(&pair.ours, &containers.ours)?;
    remove(&pair.theirs, &containers.theirs)?;
    Ok(vec![Row::new(
        format!("docker logs of {} MB", bytes / 1_000_000),
        Unit::Milliseconds,
        samples,
        Bars::ratio(0.5),
    )])
}

/// A container that has said so many bytes.
fn talk(side: &Side, bytes: u64) -> anyhow::Result<String> {
    let script = format!("yes '{}' | head -c {bytes}", LINE.trim_end());
    let container = side.docker.ok(&["run", "-d", IMAGE, "sh", "-c", &script])?;
    let docker = side
        .docker
        .clone()
        .within(std::time::Duration::from_secs(500));
    docker.ok(&["wait", &container])?;
    Ok(container)
}

fn read(side: &Side, container: &str, expected: u64) -> anyhow::Result<()> {
    let mut child = side
        .docker
        .command(&["logs", container])
        .stdout(Stdio::piped())
        .spawn()
        .context("start docker")?;
    let mut stdout = child.stdout.take().context("a pipe was asked for")?;
    let (mut buffer, mut found) = (vec![0; 256 << 10], 0);
    loop {
        match stdout.read(&mut buffer)? {
            0 => break,
            read => found += read as u64,
        }
    }
    ensure!(child.wait()?.success(), "docker logs failed");
    ensure!(found == expected, "{found} bytes of {expected}");
    Ok(())
}
