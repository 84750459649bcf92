//! The guest's one binary, with several faces chosen by its name or first argument.
//!
//! | face | what it is |
//! |---|---|
//! | `docker-init` | the first process of a container whose user asked for one; bound into it |
//! | `engine` | the Docker-compatible engine |
//! | `spawner` | the process that containers' shims are forked from |
//! | `init` (or PID 1 by this name) | the machine's first process: mounts, network, data disk, vsock, runs `engine` |
//!
//! Each face is a module with one `main`; this file only picks.

mod engine;
mod init;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments
        .next()
        .and_then(|path| {
            std::path::Path::new(&path)
                .file_name()
                .map(ToOwned::to_owned)
        })
        .unwrap_or_default();
    let face = arguments.next().unwrap_or_default();
    match (called.to_str(), face.to_str()) {
        // The name first: what follows is the container's program, whatever it is called.
        (Some("docker-init"), _) => runtime::init(std::env::args_os().skip(1)),
        (_, Some("docker-init")) => runtime::init(arguments),
        // In a machine this file is called `init` whatever it is run for.
        (Some("init"), _) if rustix::process::getpid().is_init() => init::main(),
        (_, Some("init")) => init::main(),
        (_, Some("spawner")) => match shim::spawner::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("berth-agent spawner: {error}");
                ExitCode::FAILURE
            }
        },
        (_, Some("engine")) => engine::main(arguments),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: berth-agent docker-init|engine|init|spawner");
    ExitCode::from(2)
}
