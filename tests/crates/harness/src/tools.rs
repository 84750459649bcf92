//! Where the programs are that tests run.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// The workspace's root folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../..")
        .canonicalize()
        .expect("the workspace is there")
}

/// The build folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Folder of the reference engine and clients (`bin`, `cli-plugins`): `BERTH_REFERENCE`, or what `cargo xtask setup` unpacked.
pub fn reference() -> Option<PathBuf> {
    let folder = env::var_os("BERTH_REFERENCE")
        .map_or_else(|| target().join("tools/reference"), PathBuf::from);
    folder.join("bin/docker").exists().then_some(folder)
}

/// The docker CLI: the reference's, so that every test runs with the same one.
///
/// # Errors
/// When it was not unpacked.
pub fn docker() -> anyhow::Result<PathBuf> {
    match reference() {
        Some(folder) => Ok(folder.join("bin/docker")),
        None => bail!("no docker CLI: run `cargo xtask setup`, or set BERTH_REFERENCE"),
    }
}

/// Our guest binary: `BERTH_AGENT`, or what was built last.
///
/// # Errors
/// When it was not built.
pub fn agent() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("BERTH_AGENT") {
        return Ok(PathBuf::from(path));
    }
    let places = [
        "image/berth-agent",
        "release/berth-agent",
        "debug/berth-agent",
    ]
    .map(|p| target().join(p));
    let found = places.iter().find(|path| path.exists());
    found
        .cloned()
        .context("berth-agent is not built: run `cargo xtask image`, or set BERTH_AGENT")
}
