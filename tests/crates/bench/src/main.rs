//! Our engine beside Debian's dockerd, measured in one run.
//!
//! ```text
//!   Pair ── ours       each in namespaces of its own
//!     └──── theirs
//!   rows ─► samples, one engine after the other, again and again ─► medians ─► ratio ─► bar ─► table, JSON
//! ```
//! Only the ratio means something: the machine is shared and noisy, and its noise meets both engines since they take turns.
//! Times of the docker CLI are net of the CLI's own time, which is that of `docker version` on the same engine in the same round.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod client;
mod pair;
mod report;
mod rows;
mod samples;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{pair::Pair, report::Report};

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures engines side by side")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Our engine beside Debian's dockerd
    Engine(Options),
}

/// How much is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The amounts of the bars: 1 GB of logs and 1,000 stopped containers, not 100 MB and 200
    #[arg(long)]
    full: bool,
    /// Samples of each engine in a row that is measured one by one
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only rows whose name contains this; may be given several times
    #[arg(long)]
    only: Vec<String>,
    /// Write all samples there, too
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let What::Engine(options) = Arguments::parse().what;
    if let Some(reason) = harness::native_lane_missing() {
        println!("skipped: the benchmark {reason}");
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(report) => {
            print!("{report}");
            if report.all_within() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<Report> {
    let pair = Pair::start()?;
    let report = Report {
        rows: rows::all(&pair, options)?,
    };
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()?)?;
    }
    Ok(report)
}
