//! `cargo xtask up`: from a clone to a running container.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    hello::{self, Docker},
    image, paths,
    progress::{say, step},
    setup,
    test::build_host_programs,
};

/// Sets up, builds, starts, and runs a container that uses a folder and a port of the host.
pub(crate) fn run() -> Result<()> {
    setup::run()?;
    step("build the host programs", build_host_programs)?;
    image::run(&image::Arguments::default())?;
    let berth = paths::target().join("debug/berth");
    let status = Command::new(&berth)
        .arg("start")
        .env("BERTH_IMAGE", paths::image())
        .status()
        .with_context(|| format!("start {}", berth.display()))?;
    ensure!(status.success(), "the machine did not start");
    let docker = Docker {
        program: docker_cli(),
        host: docker_socket(&berth)?,
    };
    let version = docker.ok(&[
        "version",
        "--format",
        "{{.Server.Platform.Name}} {{.Server.Version}} on Linux {{.Server.KernelVersion}}",
    ])?;
    say(&format!("the machine's engine: {version}"));
    step("run a container", || hello::show(&docker))?;
    say("next:");
    say(&format!("  export DOCKER_HOST={}", docker.host));
    say(&format!(
        "  {} run --rm -it {} sh",
        hello::shown(&docker.program),
        hello::NAME
    ));
    Ok(())
}

fn docker_socket(berth: &std::path::Path) -> Result<String> {
    let output = Command::new(berth)
        .args(["status", "--json"])
        .output()
        .context("ask for the status")?;
    let status: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read the status")?;
    match status["docker_socket"].as_str() {
        Some(socket) => Ok(socket.to_owned()),
        None => bail!("the machine has no docker socket: {status}"),
    }
}

/// The user's own docker CLI, or the one that was unpacked.
fn docker_cli() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path)
        .map(|folder| folder.join("docker"))
        .find(|file| file.is_file());
    own.unwrap_or_else(|| paths::reference().join("bin/docker"))
}
