//! The project's own commands: `cargo xtask setup | up | image | test | lint | bench`.
//!
//! One file a command; each says what it runs before it runs it. Nothing here knows how the product works inside: it builds, starts and asks.

mod bench;
mod hello;
mod image;
mod interrupt;
mod lint;
mod paths;
mod progress;
mod setup;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Sets up, builds, starts and tests Berth"
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what building and testing need
    Setup,
    /// Set up, build, boot the machine and show how to reach it
    Up,
    /// Build the machine's image into target/image
    Image(image::Arguments),
    /// Set up and run the tests
    Test(test::Arguments),
    /// Formatting and lints
    Lint,
    /// Measure our engine beside Debian's dockerd
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let task = Arguments::parse().command;
    let done = if interrupt::is_supervised() {
        perform(task).map(|()| ExitCode::SUCCESS)
    } else {
        interrupt::supervise()
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Setup => setup::run(),
        Task::Up => up::run(),
        Task::Image(arguments) => image::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Lint => lint::run(),
        Task::Bench(arguments) => bench::run(&arguments),
    }
}
