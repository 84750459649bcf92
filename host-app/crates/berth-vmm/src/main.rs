//! The machine process: started by berthd, one a machine.

use std::path::PathBuf;

use clap::Parser;

/// Runs one machine. Started by berthd; by hand only to find out why a machine does not start.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// File with the machine's spec.
    spec: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("BERTH_LOG")
                .unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    machine::run(&arguments.spec)
}
