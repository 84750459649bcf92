//! The command line: a client of berthd that holds no logic of its own.
#![allow(clippy::print_stdout, reason = "printing is what a command line does")]

mod client;
mod progress;
mod shell;
mod status;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use control_api::{ControlReply, ControlRequest, DEFAULT_MACHINE};

/// Containers on your desktop: a light Linux VM with a Docker-compatible engine.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a machine (made when it is new) and wait until its engine answers.
    Start(Machine),
    /// Stop a machine: containers by their stop signals, then the disk.
    Stop {
        #[command(flatten)]
        machine: Machine,
        /// Pull the plug: nothing acknowledged is lost, running programs are.
        #[arg(long)]
        force: bool,
    },
    /// Stop and start.
    Restart(Machine),
    /// How a machine stands.
    Status {
        #[command(flatten)]
        machine: Machine,
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// All machines.
    List {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// A shell, or a command, in the machine itself.
    Shell {
        #[command(flatten)]
        machine: Machine,
        /// Program and its arguments; none: a shell.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// What the machine's init and engine say.
    Logs {
        #[command(flatten)]
        machine: Machine,
        /// Stay for what comes.
        #[arg(short, long)]
        follow: bool,
    },
    /// End berthd; machines and containers go on.
    Quit,
}

#[derive(Debug, clap::Args)]
struct Machine {
    /// Name of the machine.
    #[arg(short, long, default_value = DEFAULT_MACHINE)]
    machine: String,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("berth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Start(Machine { machine }) => start(machine)?,
        Command::Stop {
            machine: Machine { machine },
            force,
        } => {
            operate(ControlRequest::Stop {
                machine: machine.clone(),
                force,
            })?;
            println!("machine {machine} is stopped");
        }
        Command::Restart(Machine { machine }) => {
            operate(ControlRequest::Stop {
                machine: machine.clone(),
                force: false,
            })?;
            start(machine)?;
        }
        Command::Status {
            machine: Machine { machine },
            json,
        } => {
            let all = client::statuses(&ControlRequest::Status { machine })?;
            for one in &all {
                if json {
                    println!("{}", serde_json::to_string_pretty(one)?);
                } else {
                    print!("{}", status::describe(one));
                }
            }
        }
        Command::List { json } => {
            let all = client::statuses(&ControlRequest::List)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&all)?);
            } else {
                print!("{}", status::table(&all));
            }
        }
        Command::Shell {
            machine: Machine { machine },
            command,
        } => {
            return shell::run(machine, command);
        }
        Command::Logs {
            machine: Machine { machine },
            follow,
        } => {
            client::ask(&ControlRequest::Logs { machine, follow }, |reply| {
                if let ControlReply::Text(text) = reply {
                    let mut out = std::io::stdout().lock();
                    out.write_all(text.as_bytes())?;
                    out.flush()?;
                }
                Ok(())
            })?;
        }
        Command::Quit => {
            if let Some(mut daemon) = client::connect_running()? {
                client::ask_on(&mut daemon, &ControlRequest::Quit, |_| Ok(()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start(machine: String) -> anyhow::Result<()> {
    operate(ControlRequest::Start {
        machine: machine.clone(),
    })?;
    let all = client::statuses(&ControlRequest::Status { machine })?;
    for one in &all {
        print!("{}", status::started(one));
    }
    Ok(())
}

/// Runs a long operation with its phases shown.
fn operate(request: ControlRequest) -> anyhow::Result<()> {
    let mut progress = progress::Progress::new(std::io::stderr().is_terminal());
    let result = client::ask(&request, |reply| {
        if let ControlReply::Progress { phase } = reply {
            progress.phase(&phase);
        }
        Ok(())
    });
    progress.end();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_shells_command_keeps_its_own_flags() {
        let parsed =
            Arguments::try_parse_from(["berth", "shell", "-m", "work", "ls", "-l", "--all"]);
        match parsed.expect("valid").command {
            Command::Shell { machine, command } => {
                assert_eq!(machine.machine, "work");
                assert_eq!(command, ["ls", "-l", "--all"]);
            }
            other => panic!("{other:?}"),
        }
    }
}
