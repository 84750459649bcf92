//! What is measured, in order: memory of a fresh engine first, that of a used one last.

mod cli;
mod cycles;
mod listing;
mod logs;
mod memory;

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{
    Options,
    pair::{Both, Pair, Side},
    report::Row,
};

/// The image that containers are made of.
const IMAGE: &str = "busybox:latest";

type Measure = fn(&Pair, &Options) -> anyhow::Result<Vec<Row>>;

/// Groups of rows that are measured together, with a word for each.
const GROUPS: [(&str, Measure); 6] = [
    ("cli", cli::rows),
    ("api", cycles::rows),
    ("logs", logs::rows),
    ("list", listing::rows),
    ("running", memory::running),
    ("used", memory::used),
];

/// Measures all, or what `--only` names.
///
/// # Errors
/// The first measurement that cannot be made.
pub(crate) fn all(pair: &Pair, options: &Options) -> anyhow::Result<Vec<Row>> {
    let wanted =
        |word: &str| options.only.is_empty() || options.only.iter().any(|only| only == word);
    let mut rows = Vec::new();
    if wanted("idle") {
        rows.append(&mut memory::idle(pair)?);
    }
    load_image(pair)?;
    for (word, measure) in GROUPS {
        if wanted(word) {
            eprintln!("  {word} ...");
            rows.append(&mut measure(pair, options).with_context(|| format!("measure {word}"))?);
        }
    }
    Ok(rows)
}

fn load_image(pair: &Pair) -> anyhow::Result<Both<()>> {
    let image = harness::busybox()?;
    pair.each(|side| {
        let archive = side.engine.sandbox().folder().join("busybox.tar");
        image.write_archive(&format!("library/{IMAGE}"), &archive)?;
        side.docker
            .ok(&["load", "-i", archive.to_str().context("a plain path")?])?;
        Ok(())
    })
}

/// Starts a container that stays; its id.
fn start_staying(side: &Side) -> anyhow::Result<String> {
    side.docker.ok(&["run", "-d", IMAGE, "sleep", "100000"])
}

fn remove(side: &Side, container: &str) -> anyhow::Result<()> {
    side.docker.ok(&["rm", "-f", container]).map(drop)
}

fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(milliseconds(begun.elapsed()))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
