//! `cargo xtask lint`: formatting and lints, warnings refused.

use anyhow::Result;

use crate::test::cargo;

/// Runs both.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&[
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])
}
