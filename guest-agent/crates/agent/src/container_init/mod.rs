//! Process 1 of containers with `--init`: runs the program, hands signals on to it, reaps what is left behind, ends as it ends.

mod sys;

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitCode},
};

use self::sys::Signals;

/// Exit codes of a shell for a program that is not there, or cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// `docker-init -- PROGRAM ARGUMENTS…`.
pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.skip_while(|argument| argument == "--");
    let Some(program) = arguments.next() else {
        eprintln!("docker-init: no program to run");
        return ExitCode::from(NOT_FOUND);
    };
    // Every signal is taken from a queue instead of interrupting; the program gets them back as they were.
    let signals = match Signals::block() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("docker-init: block signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut command = Command::new(&program);
    command.args(arguments);
    signals.give_back(&mut command);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("docker-init: {}: {error}", program.display());
            let found = error.kind() != std::io::ErrorKind::NotFound;
            return ExitCode::from(if found { NOT_EXECUTABLE } else { NOT_FOUND });
        }
    };
    let Ok(pid) = i32::try_from(child.id()) else {
        return ExitCode::FAILURE;
    };
    loop {
        match signals.next() {
            Ok(sys::CHILD) => {
                if let Some(status) = sys::reap(pid) {
                    let code = status
                        .code()
                        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                    return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
                }
            }
            // It may have ended: then its status comes next.
            Ok(signal) => sys::send(pid, signal),
            Err(error) => {
                eprintln!("docker-init: wait for signals: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}
