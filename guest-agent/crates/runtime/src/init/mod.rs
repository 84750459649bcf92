//! A container's first process when its user asks for one (`docker run --init`): starts the program, hands signals on, reaps orphans.
//!
//! ```text
//! docker-init -- PROGRAM ARGS   every signal is blocked, and waited for
//!   ├─ fork ─► own process group, in the terminal's foreground ─► exec PROGRAM
//!   └─ a signal: SIGCHLD ─► reap; the program was among them ─► end as it did
//!                another ─► the program
//! ```
//! As PID 1 of its namespace this process gets signals without a handler only because they are blocked, and it inherits every orphan. The
//! words and exit codes are tini's, which is what clients of Docker know.

mod sys;

use std::{
    ffi::OsString,
    io,
    process::{Child, Command, ExitCode},
};

use rustix::{
    io::Errno,
    process::{Pid, WaitOptions, WaitStatus, wait},
};

/// The program was not found.
const NOT_FOUND: u8 = 127;
/// It is there and cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// This process itself failed.
const FAILED: u8 = 1;

/// Runs the program of these arguments, which may begin with `--`, and ends as it ends: its exit code, or 128 and the signal's number.
///
/// For a process with one thread.
pub fn init(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    arguments.next_if(|first| first == "--");
    let Some(program) = arguments.next() else {
        tell("usage: docker-init -- PROGRAM [ARGUMENTS]");
        return ExitCode::from(FAILED);
    };
    let signals = match sys::block_signals() {
        Ok(signals) => signals,
        Err(error) => {
            tell(&format!("block signals: {}", word(&error)));
            return ExitCode::from(FAILED);
        }
    };
    let mut command = Command::new(&program);
    command.args(arguments);
    let child = match sys::spawn_in_foreground(&mut command) {
        Ok(child) => child,
        Err(error) => {
            let name = program.to_string_lossy();
            tell(&format!("exec {name} failed: {}", word(&error)));
            return ExitCode::from(code_of(&error));
        }
    };
    ExitCode::from(serve(&child, &signals))
}

/// Hands signals on and reaps until the program ends.
fn serve(child: &Child, signals: &sys::Signals) -> u8 {
    let Some(program) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return FAILED;
    };
    loop {
        match signals.next() {
            libc::SIGCHLD => {
                if let Some(code) = reap(program) {
                    return code;
                }
            }
            // It may have ended a moment ago; SIGCHLD says so next.
            signal => sys::send(program, signal),
        }
    }
}

/// Reaps all that have ended: one SIGCHLD may stand for several. The program's code when it is among them.
fn reap(program: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == program => code = Some(code_of_status(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            // None has ended, or there is none.
            Ok(None) | Err(_) => return code,
        }
    }
}

fn code_of_status(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(FAILED)
}

/// How this process ends when the program cannot be run.
fn code_of(error: &io::Error) -> u8 {
    match error.raw_os_error() {
        Some(libc::ENOENT) => NOT_FOUND,
        Some(libc::EACCES | libc::ENOEXEC) => NOT_EXECUTABLE,
        _ => FAILED,
    }
}

/// The system's word for an error, without its number.
fn word(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn tell(text: &str) {
    eprintln!("[FATAL tini ({})] {text}", std::process::id());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_has_the_shells_codes() {
        let code = |number| code_of(&io::Error::from_raw_os_error(number));
        assert_eq!(code(libc::ENOENT), 127);
        assert_eq!(code(libc::EACCES), 126);
        assert_eq!(code(libc::ENOEXEC), 126);
        assert_eq!(code(libc::ENOMEM), 1);
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(word(&missing), "No such file or directory");
    }
}
