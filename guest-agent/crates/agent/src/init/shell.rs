//! A process in the guest for `berth shell`, with a terminal or with pipes.

use std::{
    fs::File,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    time::Duration,
};

use agent_api::{ShellFrame, frame};
use anyhow::{Context, Result};
use rustix::{
    process::{Pid, Signal, kill_process_group},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::pipe},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    children::{Children, ExitCode},
    sys,
};

/// Output bytes in one frame. JSON numbers take up to four bytes each.
const PIECE_BYTES: usize = 8 << 10;

/// Frames that wait for a slow host before the process is held up.
const FRAMES: usize = 16;

/// How long output of grandchildren is still passed on after the process ended.
const REST_TIME: Duration = Duration::from_secs(1);

/// A running shell.
#[derive(Debug)]
pub(super) struct Shell {
    pid: Option<Pid>,
    exit: oneshot::Receiver<ExitCode>,
    terminal: Option<OwnedFd>,
    input: pipe::Sender,
    output: pipe::Receiver,
    error: Option<pipe::Receiver>,
}

impl Shell {
    /// Starts the program, or a login shell.
    pub(super) fn start(
        children: &Children,
        arguments: &[String],
        terminal: Option<(u16, u16)>,
    ) -> Result<Self> {
        let mut command = match arguments {
            [] => {
                let mut login = Command::new("/bin/sh");
                login.arg("-l");
                login
            }
            [program, rest @ ..] => {
                let mut command = Command::new(program);
                command.args(rest);
                command
            }
        };
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("DOCKER_HOST", "unix:///run/docker.sock")
            .current_dir("/");
        sys::own_session(&mut command, terminal.is_some());
        match terminal {
            Some(size) => Self::with_terminal(children, &mut command, size),
            None => Self::with_pipes(children, &mut command),
        }
    }

    fn with_terminal(
        children: &Children,
        command: &mut Command,
        (rows, columns): (u16, u16),
    ) -> Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .context("open a terminal")?;
        grantpt(&ours).context("open a terminal")?;
        unlockpt(&ours).context("open a terminal")?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let theirs = ioctl_tiocgptpeer(&ours, flags).context("open a terminal")?;
        tcsetwinsize(&ours, size(rows, columns)).context("size the terminal")?;
        rustix::io::ioctl_fionbio(&ours, true).context("make the terminal non-blocking")?;
        command
            .env("TERM", "xterm-256color")
            .stdin(theirs.try_clone().context("share the terminal")?)
            .stdout(theirs.try_clone().context("share the terminal")?)
            .stderr(theirs);
        let started = children
            .spawn(command)
            .with_context(|| format!("start {:?}", command.get_program()))?;
        // The command still holds the far end; it must go for us to see the end.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (child, exit) = started.split();
        let reads = File::from(ours.try_clone().context("share the terminal")?);
        let writes = File::from(ours.try_clone().context("share the terminal")?);
        Ok(Self {
            pid: Pid::from_raw(child.id().cast_signed()),
            exit,
            terminal: Some(ours),
            input: pipe::Sender::from_file_unchecked(writes).context("watch the terminal")?,
            output: pipe::Receiver::from_file_unchecked(reads).context("watch the terminal")?,
            error: None,
        })
    }

    fn with_pipes(children: &Children, command: &mut Command) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = children
            .spawn(command)
            .with_context(|| format!("start {:?}", command.get_program()))?;
        let (mut child, exit) = started.split();
        let (Some(input), Some(output), Some(error)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            anyhow::bail!("a started process has no pipes");
        };
        Ok(Self {
            pid: Pid::from_raw(child.id().cast_signed()),
            exit,
            terminal: None,
            input: pipe::Sender::from_owned_fd(input.into()).context("watch the input")?,
            output: pipe::Receiver::from_owned_fd(output.into()).context("watch the output")?,
            error: Some(pipe::Receiver::from_owned_fd(error.into()).context("watch the errors")?),
        })
    }

    /// Passes frames both ways until the process has ended and its output is out, or the host leaves.
    pub(super) async fn serve(self, host: &mut UnixStream) -> Result<()> {
        let Self {
            pid,
            exit,
            terminal,
            input,
            output,
            error,
        } = self;
        let (mut from_host, mut to_host) = host.split();
        let (frames_out, mut framed) = mpsc::channel(FRAMES);
        let errors_out = frames_out.clone();
        let running = async move {
            let out = pass_on(output, frames_out.clone(), ShellFrame::Data);
            let err = async {
                if let Some(error) = error {
                    pass_on(error, errors_out, ShellFrame::Error).await;
                }
            };
            let mut outputs = std::pin::pin!(async { tokio::join!(out, err) });
            let mut exit = exit;
            let code = tokio::select! {
                code = &mut exit => {
                    let _grandchildren_hold_it = timeout(REST_TIME, &mut outputs).await;
                    code
                }
                _ = &mut outputs => exit.await,
            };
            let _host_left = frames_out.send(ShellFrame::Exit(code.unwrap_or(-1))).await;
        };
        let sending = async {
            while let Some(frame) = framed.recv().await {
                frame::send(&mut to_host, &frame).await?;
                if matches!(frame, ShellFrame::Exit(_)) {
                    break;
                }
            }
            to_host.shutdown().await
        };
        let hearing = hear(&mut from_host, input, terminal);
        let end = tokio::select! {
            (_, sent) = async { tokio::join!(running, sending) } => sent,
            heard = hearing => heard,
        };
        if let Some(pid) = pid {
            let _ended_already = kill_process_group(pid, Signal::HUP);
        }
        end.context("talk to the host")
    }
}

/// Takes what the host sends; returns only when the host is gone.
async fn hear(
    from_host: &mut (impl tokio::io::AsyncRead + Unpin),
    input: pipe::Sender,
    terminal: Option<OwnedFd>,
) -> std::io::Result<()> {
    let mut input = Some(input);
    while let Some(frame) = frame::receive(from_host).await? {
        match frame {
            ShellFrame::Data(bytes) => {
                if let Some(open) = &mut input {
                    // A process that does not read any more may still have something to say.
                    if open.write_all(&bytes).await.is_err() {
                        input = None;
                    }
                }
            }
            ShellFrame::End => input = None,
            ShellFrame::Resize(rows, columns) => {
                if let Some(terminal) = &terminal {
                    tcsetwinsize(terminal, size(rows, columns))?;
                }
            }
            ShellFrame::Error(_) | ShellFrame::Exit(_) => {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "the host sent a frame that only the guest sends",
                ));
            }
        }
    }
    Ok(())
}

async fn pass_on(
    mut output: pipe::Receiver,
    frames: mpsc::Sender<ShellFrame>,
    frame: fn(Vec<u8>) -> ShellFrame,
) {
    let mut piece = vec![0; PIECE_BYTES];
    // A terminal whose far end is closed says EIO: the end as well.
    while let Ok(length @ 1..) = output.read(&mut piece).await {
        if frames.send(frame(piece[..length].to_vec())).await.is_err() {
            return;
        }
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
