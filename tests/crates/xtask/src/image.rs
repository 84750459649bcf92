//! `cargo xtask image`: the agent, static, and the machine's image around it.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use builder::{
    debian::{Apt, Architecture},
    image::{Ingredients, build},
    lock::{self, Lock},
};
use clap::Args;

use crate::{
    paths,
    progress::{quietly, say, step},
};

#[derive(Debug, Default, Args)]
pub(crate) struct Arguments {
    /// Move the lock file to the newest packages first
    #[arg(long)]
    update_lock: bool,
}

/// Builds it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let apt = apt();
    let lock_file = paths::workspace().join("vm-image/image.lock");
    if arguments.update_lock {
        step("move the lock file", || {
            lock::update(
                &lock_file,
                &apt,
                &[Architecture::Amd64, Architecture::Arm64],
            )
        })?;
    }
    let agent = step("build the agent", build_agent)?;
    let lock = Lock::load(&lock_file)?;
    step("build the image", || {
        build(
            &Ingredients {
                lock: &lock,
                apt: &apt,
                architecture: Architecture::native(),
                agent: &agent,
                work: &paths::target().join("image-work"),
            },
            &paths::image(),
        )
    })?;
    report()
}

/// apt with its state in the build folder.
pub(crate) fn apt() -> Apt {
    Apt::new(paths::target().join("image-work"), |line| {
        say(&format!("warning: {line}"))
    })
}

/// Builds the static agent and returns where it is.
pub(crate) fn build_agent() -> Result<PathBuf> {
    let triple = match Architecture::native() {
        Architecture::Amd64 => "x86_64-unknown-linux-gnu",
        Architecture::Arm64 => "aarch64-unknown-linux-gnu",
    };
    // A folder of its own: other flags would make cargo build everything else again. The target is named, or the flags would reach
    // procedural macros, which cannot be static.
    let folder = paths::target().join("agent");
    quietly(
        Command::new(env!("CARGO"))
            .args([
                "build",
                "--locked",
                "--profile",
                "release",
                "--package",
                "agent",
                "--target",
                triple,
            ])
            .arg("--target-dir")
            .arg(&folder)
            .env(
                "RUSTFLAGS",
                "-C target-feature=+crt-static -C relocation-model=static",
            )
            .current_dir(paths::workspace()),
    )
    .context("build berth-agent")?;
    Ok(folder.join(triple).join("release/berth-agent"))
}

fn report() -> Result<()> {
    for entry in std::fs::read_dir(paths::image()).context("look at the image")? {
        let entry = entry?;
        let bytes = entry.metadata()?.len();
        say(&format!(
            "  {:>9} KiB  {}",
            bytes / 1024,
            entry.path().display()
        ));
    }
    Ok(())
}
