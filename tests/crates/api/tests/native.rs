//! The native lane: every check on Debian's dockerd first, then on ours, each in namespaces of its own.
//!
//! Needs root. `BERTH_TEST_ONLY=ours` or `reference` picks one engine.
#![allow(clippy::print_stdout, reason = "a test runner prints")]

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, ensure};
use checks::{
    Bed, Network,
    coverage::{self, Seen},
};
use harness::{Engine, Kind, Login, Registry};
use libtest_mimic::{Arguments, Failed, Trial};

/// What our engine may have had at the most when all is done, streams of a gigabyte among it.
const MOST_KIB: u64 = 256 << 10;

/// Bytes through a stream: for the reference enough for every buffer on the way to fill many times, for ours more than it may keep.
fn stream_bytes(kind: Kind) -> usize {
    match kind {
        Kind::Reference => 64 << 20,
        Kind::Ours => 1 << 30,
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if let Some(reason) = harness::native_lane_missing() {
        println!("skipped: the native lane {reason}");
        return ExitCode::SUCCESS;
    }
    let only = std::env::var("BERTH_TEST_ONLY").unwrap_or_default();
    let mut code = ExitCode::SUCCESS;
    for (kind, name) in [(Kind::Reference, "reference"), (Kind::Ours, "ours")] {
        if !only.is_empty() && only != name {
            continue;
        }
        if kind == Kind::Reference && harness::tools::reference().is_none() {
            println!("skipped: no reference engine; `cargo xtask setup` unpacks it");
            continue;
        }
        println!("== {name}");
        match run(&arguments, kind, name) {
            Ok(true) => {}
            Ok(false) => code = ExitCode::FAILURE,
            Err(error) => {
                println!("{name}: {error:#}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn run(arguments: &Arguments, kind: Kind, name: &str) -> anyhow::Result<bool> {
    if arguments.list {
        libtest_mimic::run(arguments, trials(kind, name, None)).exit_if_failed();
        return Ok(true);
    }
    // Ours says what it answers, for the record of what the checks exercise.
    let settings = tempfile::tempdir()?;
    let file = settings.path().join("daemon.json");
    std::fs::write(&file, r#"{"log-level": "debug"}"#)?;
    let file = file.to_str().context("a plain path")?;
    let engine = match kind {
        Kind::Ours => Engine::start_with(kind, &["--config", file])?,
        Kind::Reference => Engine::start(kind)?,
    };
    let sandbox = engine.sandbox();
    let bed = Bed::new(
        kind,
        engine.docker()?,
        Registry::start(Some(sandbox), Login::Anonymous)?,
        Registry::start(Some(sandbox), Login::Basic)?,
        sandbox.folder(),
        Network::Of(sandbox.pid()),
        stream_bytes(kind),
    )?;
    // What came before is the harness, not the checks.
    let before = engine.log().len();
    let conclusion = libtest_mimic::run(arguments, trials(kind, name, Some(Arc::new(bed))));
    let log = engine.log();
    let seen = Seen::of_log(log.get(before..).unwrap_or_default());
    if conclusion.has_failed() {
        println!("--- log of the engine\n{}", engine.log_tail());
    }
    if kind == Kind::Ours {
        let most = most_memory(engine.pid()?)?;
        println!("the engine had {most} KiB at the most");
        ensure!(
            most < MOST_KIB,
            "the engine had {most} KiB: more than {MOST_KIB}"
        );
        if arguments.filter.is_none() && arguments.skip.is_empty() {
            return Ok(keeps_its_tests(&seen)? && !conclusion.has_failed());
        }
    }
    Ok(!conclusion.has_failed())
}

/// Whether everything that was exercised before still is; then writes down what is now, if asked to.
fn keeps_its_tests(seen: &Seen) -> anyhow::Result<bool> {
    let operations = coverage::operations();
    let record = coverage::file("coverage/seen.tsv");
    let before = Seen::parse(&std::fs::read_to_string(&record)?);
    let lost = coverage::lost(&operations, &before, seen);
    if !lost.is_empty() {
        println!("no check exercises any more:\n  {}", lost.join("\n  "));
        println!("where that is meant, take it out of {}", record.display());
        return Ok(false);
    }
    let gained = coverage::lost(&operations, seen, &before);
    if coverage::records() {
        std::fs::write(&record, seen.record(&operations))?;
        let table = coverage::markdown(&operations, seen);
        std::fs::write(coverage::file("COVERAGE.md"), table)?;
    } else if !gained.is_empty() {
        println!("exercised and not on record (BERTH_COVERAGE=record):");
        println!("  {}", gained.join("\n  "));
    }
    Ok(true)
}

/// The largest resident set a process has had, in KiB. Linux: Documentation/filesystems/proc.rst.
fn most_memory(pid: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(value.context("no VmHWM")?.parse()?)
}

fn trials(kind: Kind, engine: &str, bed: Option<Arc<Bed>>) -> Vec<Trial> {
    checks::all()
        .into_iter()
        .filter(|check| check.is_for(kind))
        .map(|check| {
            let bed = bed.clone();
            let name = check.name.trim_start_matches("checks::checks::");
            Trial::test(format!("{engine}::{name}"), move || match &bed {
                Some(bed) => (check.run)(bed).map_err(|error| Failed::from(format!("{error:#}"))),
                None => Ok(()),
            })
        })
        .collect()
}
