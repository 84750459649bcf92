//! The guest's one binary, with several faces chosen by its name or first argument.
//!
//! | face | what it is |
//! |---|---|
//! | `engine` | the Docker-compatible engine |
//! | `spawner` | the process that containers' shims are forked from |
//! | `docker-init` | process 1 of containers with `--init` |
//! | `init` (or PID 1) | the machine's first process: mounts, network, data disk, vsock, runs `engine` |
//!
//! Each face is a module with one `main`; this file only picks.

mod container_init;
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
        (Some("init"), _) | (_, Some("init")) => init::main(),
        (Some("docker-init"), _) => container_init::main(std::env::args_os().skip(1)),
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
    eprintln!("usage: berth-agent engine|init|spawner|docker-init");
    ExitCode::from(2)
}
