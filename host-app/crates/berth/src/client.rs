//! Talking to berthd, which is started when it does not run.

use std::{
    env,
    io::{BufRead, BufReader, ErrorKind},
    os::unix::{net::UnixStream, process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use control_api::{ControlReply, ControlRequest, MachineStatus, frame};

fn home() -> anyhow::Result<PathBuf> {
    match control_api::home_folder(env::var_os("BERTH_HOME"), env::var_os("HOME")) {
        Some(home) => Ok(home),
        None => {
            bail!("neither BERTH_HOME nor HOME is set: set BERTH_HOME to a folder for Berth's data")
        }
    }
}

/// The berthd that runs, if one does.
pub(crate) fn connect_running() -> anyhow::Result<Option<UnixStream>> {
    let socket = home()?.join(control_api::CONTROL_SOCKET);
    match UnixStream::connect(&socket) {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("connect to {}", socket.display())),
    }
}

/// Connects, starting berthd when it does not run.
pub(crate) fn connect() -> anyhow::Result<UnixStream> {
    if let Some(stream) = connect_running()? {
        return Ok(stream);
    }
    start_daemon()?;
    match connect_running()? {
        Some(stream) => Ok(stream),
        None => bail!(
            "berthd ended as soon as it had started: see {}",
            log_file()?.display()
        ),
    }
}

fn log_file() -> anyhow::Result<PathBuf> {
    Ok(home()?.join(control_api::DAEMON_LOG))
}

/// Starts berthd in a session of its own and waits until it says that it takes connections.
fn start_daemon() -> anyhow::Result<()> {
    let program = env::current_exe()
        .context("find the running program")?
        .with_file_name("berthd");
    let home = home()?;
    std::fs::create_dir_all(&home).with_context(|| format!("make folder {}", home.display()))?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_file()?)
        .with_context(|| format!("open the log in {}", home.display()))?;
    let mut child = Command::new(&program)
        .env("BERTH_HOME", &home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Its own group: Ctrl-C here is not meant for it.
        .process_group(0)
        .current_dir("/")
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("wait for berthd")?;
    }
    if line.trim_end() == control_api::READY_LINE {
        return Ok(());
    }
    let status = child.wait().context("wait for berthd")?;
    let log = std::fs::read_to_string(log_file()?).unwrap_or_default();
    let last = log
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no reason given");
    bail!("berthd did not start ({status}): {last}")
}

/// Asks berthd; `hear` gets every reply before the last.
///
/// A daemon that was killed still takes connections while it dies, and never answers; the next one is asked then. So this is only for requests
/// that may be begun twice, which all are but the shell's: that one has [`ask_on`].
pub(crate) fn ask(
    request: &ControlRequest,
    mut hear: impl FnMut(ControlReply) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut daemon = connect()?;
    match first_reply(&mut daemon, request)? {
        Some(first) => hear_all(&mut daemon, first, hear),
        None => ask_on(&mut connect()?, request, &mut hear),
    }
}

/// Asks on a connection that is there.
pub(crate) fn ask_on(
    daemon: &mut UnixStream,
    request: &ControlRequest,
    hear: impl FnMut(ControlReply) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match first_reply(daemon, request)? {
        Some(first) => hear_all(daemon, first, hear),
        None => Err(ended()?),
    }
}

/// Sends the request and waits for the first word; `None`: berthd ended without one.
fn first_reply(
    daemon: &mut UnixStream,
    request: &ControlRequest,
) -> anyhow::Result<Option<ControlReply>> {
    let reply =
        frame::write_to(daemon, request).and_then(|()| frame::read_from::<ControlReply>(daemon));
    match reply {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ) =>
        {
            Ok(None)
        }
        reply => reply.context("ask berthd"),
    }
}

/// Hears the replies from the first to the last.
fn hear_all(
    daemon: &mut UnixStream,
    first: ControlReply,
    mut hear: impl FnMut(ControlReply) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut next = Some(first);
    loop {
        match next {
            Some(ControlReply::Done) => return Ok(()),
            Some(ControlReply::Failed { message, hint }) if hint.is_empty() => bail!("{message}"),
            Some(ControlReply::Failed { message, hint }) => bail!("{message}\n{hint}"),
            Some(reply) => hear(reply)?,
            None => return Err(ended()?),
        }
        next = frame::read_from(daemon).context("hear berthd")?;
    }
}

fn ended() -> anyhow::Result<anyhow::Error> {
    let log = log_file()?;
    Ok(anyhow::anyhow!(
        "berthd ended before it was done: ask again (its log is {})",
        log.display()
    ))
}

/// The machines that a request is answered with.
pub(crate) fn statuses(request: &ControlRequest) -> anyhow::Result<Vec<MachineStatus>> {
    let mut all = Vec::new();
    ask(request, |reply| {
        if let ControlReply::Status(status) = reply {
            all.push(status);
        }
        Ok(())
    })?;
    Ok(all)
}
