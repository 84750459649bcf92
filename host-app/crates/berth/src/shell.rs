//! `berth shell`: a process in the machine, with this terminal.

use std::{
    io::{IsTerminal, Read, Write},
    os::unix::net::UnixStream,
    process::ExitCode,
};

use agent_api::ShellFrame;
use anyhow::{Context, bail};
use control_api::{ControlRequest, frame};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::client;

/// Input sent in one frame.
const CHUNK_BYTES: usize = 16 << 10;

/// Runs a command, or a shell; the exit code is its.
pub(crate) fn run(machine: String, arguments: Vec<String>) -> anyhow::Result<ExitCode> {
    let stdin = std::io::stdin();
    let terminal = (stdin.is_terminal() && std::io::stdout().is_terminal())
        .then(|| tcgetwinsize(&stdin).map(|size| (size.ws_row, size.ws_col)))
        .transpose()
        .context("read the terminal's size")?;
    let mut daemon = client::connect()?;
    let request = ControlRequest::Shell {
        machine,
        arguments,
        terminal,
    };
    client::ask_on(&mut daemon, &request, |_| Ok(()))?;
    let _raw = terminal.map(|_| Raw::enter()).transpose()?;
    let input = daemon.try_clone().context("copy the connection")?;
    // Ends with the process: standard input cannot be interrupted otherwise.
    std::thread::spawn(move || send_input(input));
    receive_output(&mut daemon)
}

fn send_input(mut daemon: UnixStream) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut stdin = std::io::stdin().lock();
    loop {
        let frame = match stdin.read(&mut chunk) {
            Ok(0) | Err(_) => ShellFrame::End,
            Ok(read) => ShellFrame::Data(chunk[..read].to_vec()),
        };
        let last = frame == ShellFrame::End;
        if frame::write_to(&mut daemon, &frame).is_err() || last {
            return;
        }
    }
}

fn receive_output(daemon: &mut UnixStream) -> anyhow::Result<ExitCode> {
    loop {
        match frame::read_from::<ShellFrame>(daemon).context("read the shell's output")? {
            Some(ShellFrame::Data(bytes)) => {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()?;
            }
            Some(ShellFrame::Error(bytes)) => std::io::stderr().lock().write_all(&bytes)?,
            Some(ShellFrame::Exit(code)) => {
                return Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from));
            }
            Some(ShellFrame::End | ShellFrame::Resize(..)) => {}
            None => bail!("the machine ended the shell"),
        }
    }
}

/// The terminal in raw mode; as it was again when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).context("read the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).context("set the terminal's mode")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
