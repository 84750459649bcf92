//! Memory (PSS) of all processes of an engine; containers' own processes are in pid namespaces of their own and not among them.

use std::{fs, path::Path};

use anyhow::Context;

use super::{remove, start_staying};
use crate::{
    Options,
    pair::{Both, Pair, Side},
    report::{Bars, Row, Unit},
    samples::Samples,
};

/// Containers that run while their shims are weighed.
const RUNNING: u32 = 10;

/// A process and what it weighs.
struct Process {
    name: String,
    pss_mb: f64,
}

/// A fresh engine's.
pub(super) fn idle(pair: &Pair) -> anyhow::Result<Vec<Row>> {
    let bars = Bars {
        ratio: Some(0.3),
        absolute: Some(20.0),
    };
    row("memory idle", bars, pair.each(total)?)
}

/// After all that was measured.
pub(super) fn used(pair: &Pair, _: &Options) -> anyhow::Result<Vec<Row>> {
    let bars = Bars {
        ratio: None,
        absolute: Some(40.0),
    };
    row("memory after the benchmark", bars, pair.each(total)?)
}

/// The shim's of a container that runs.
pub(super) fn running(pair: &Pair, _: &Options) -> anyhow::Result<Vec<Row>> {
    let found = pair.each(|side| {
        let (count_before, before) = shims(side)?;
        let containers = (0..RUNNING)
            .map(|_| start_staying(side))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (count, after) = shims(side)?;
        containers
            .iter()
            .try_for_each(|container| remove(side, container))?;
        anyhow::ensure!(
            count == count_before + RUNNING as usize,
            "{count} shims, {count_before} before, of {RUNNING} containers"
        );
        Ok((after - before) / f64::from(RUNNING))
    })?;
    let bars = Bars {
        ratio: Some(0.25),
        absolute: Some(1.2),
    };
    row("memory of a running container's shim", bars, found)
}

/// How many there are, and what they weigh together.
fn shims(side: &Side) -> anyhow::Result<(usize, f64)> {
    let all = processes(side)?;
    let shims = all.iter().filter(|process| process.name.contains("shim"));
    Ok((shims.clone().count(), shims.map(|shim| shim.pss_mb).sum()))
}

fn row(name: &str, bars: Bars, found: Both<f64>) -> anyhow::Result<Vec<Row>> {
    let samples = Both {
        ours: Samples::one(found.ours),
        theirs: Samples::one(found.theirs),
    };
    Ok(vec![Row::new(name, Unit::Megabytes, samples, bars)])
}

fn total(side: &Side) -> anyhow::Result<f64> {
    let found = processes(side)?;
    for process in &found {
        eprintln!("  {:>7.2} MB {}", process.pss_mb, process.name);
    }
    Ok(found.iter().map(|process| process.pss_mb).sum())
}

/// All of the sandbox but its own PID 1.
fn processes(side: &Side) -> anyhow::Result<Vec<Process>> {
    let init = side.engine.sandbox().pid();
    let namespace = fs::read_link(format!("/proc/{init}/ns/pid")).context("the sandbox")?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let path = entry.path();
        let number = entry.file_name().to_string_lossy().parse::<u32>();
        let is_inside = fs::read_link(path.join("ns/pid")).is_ok_and(|of| of == namespace);
        // A process that has just ended has no memory.
        if let (Ok(number), true, Some(process)) = (number, is_inside, weigh(&path))
            && number != init
        {
            found.push(process);
        }
    }
    Ok(found)
}

fn weigh(process: &Path) -> Option<Process> {
    let rollup = fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let kilobytes: f64 = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(Process {
        name: fs::read_to_string(process.join("comm"))
            .ok()?
            .trim_end()
            .to_owned(),
        pss_mb: kilobytes / 1000.0 * 1.024,
    })
}
