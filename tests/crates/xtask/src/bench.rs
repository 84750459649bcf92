//! `cargo xtask bench engine`: our engine as it is shipped beside Debian's dockerd, in one run.

use anyhow::Result;
use clap::Args;

use crate::{
    image,
    progress::step,
    test::{cargo, cargo_with},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What is measured and how: `engine [--full] [--rounds N] [--only GROUP] [--json FILE]`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds what is measured and measures it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let agent = step("build the agent", image::build_agent)?;
    let package = ["--quiet", "--locked", "--package", "test-bench"];
    cargo(&[&["build"], &package[..]].concat())?;
    let mut run = [&["run"], &package[..], &["--"]].concat();
    run.extend(arguments.arguments.iter().map(String::as_str));
    cargo_with(&run, &[("BERTH_AGENT", &agent.to_string_lossy())])
}
