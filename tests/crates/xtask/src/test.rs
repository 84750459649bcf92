//! `cargo xtask test`: the lanes of the tests, each ending in its runner's line of counts.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{image, lint, paths, progress::say, setup};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// One lane instead of all
    #[arg(long, value_enum)]
    lane: Option<Lane>,
}

/// Tests that need the same things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lane {
    /// Formatting, lints, and every test that needs nothing but the sources
    Unit,
    /// Engines in namespaces of their own; needs root
    Native,
    /// The whole product with a machine under QEMU
    Qemu,
}

/// Sets up, then runs the lanes one after the other; all run even when one fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run()?;
    let lanes = match arguments.lane {
        Some(lane) => vec![lane],
        None => vec![Lane::Unit, Lane::Native, Lane::Qemu],
    };
    let mut failed = Vec::new();
    for lane in lanes {
        say(&format!("== lane {lane:?}"));
        if let Err(error) = run_lane(lane) {
            say(&format!("lane {lane:?}: {error:#}"));
            failed.push(format!("{lane:?}"));
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("lanes that failed: {}", failed.join(", "))
    }
}

fn run_lane(lane: Lane) -> Result<()> {
    match lane {
        Lane::Unit => {
            lint::run()?;
            cargo(&[
                "nextest",
                "run",
                "--workspace",
                "--locked",
                "--exclude",
                "test-api",
                "--exclude",
                "test-machine",
            ])
        }
        Lane::Native => {
            for (package, test) in [
                ("runtime", "bundle"),
                ("shim", "shim"),
                ("network", "sandbox"),
            ] {
                cargo(&[
                    "test",
                    "--quiet",
                    "--locked",
                    "--package",
                    package,
                    "--test",
                    test,
                ])?;
            }
            // As it is shipped: containers with `--init` run it without any of the machine's libraries.
            let agent = image::build_agent()?;
            cargo_with(
                &["test", "--quiet", "--locked", "--package", "test-api"],
                &[("BERTH_AGENT", &agent.to_string_lossy())],
            )
        }
        Lane::Qemu => {
            image::run(&image::Arguments::default())?;
            build_host_programs()?;
            cargo(&["test", "--quiet", "--locked", "--package", "test-machine"])
        }
    }
}

/// Builds the programs of the host's side, for their tests and for `up`.
pub(crate) fn build_host_programs() -> Result<()> {
    cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--package",
        "berth",
        "--package",
        "berthd",
        "--package",
        "berth-vmm",
    ])
}

/// Runs cargo with its output shown.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(arguments, &[])
}

/// The same with further environment.
pub(crate) fn cargo_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .envs(environment.iter().copied())
        .env("BERTH_IMAGE", paths::image())
        .current_dir(paths::workspace())
        .status()
        .context("start cargo")?;
    if status.success() {
        Ok(())
    } else {
        bail!("cargo {} failed", arguments.join(" "))
    }
}
