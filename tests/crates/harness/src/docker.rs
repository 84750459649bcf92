//! The docker CLI.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::tools;

/// Bound of one command of the CLI.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);

/// The docker CLI with an engine to talk to.
#[derive(Debug, Clone)]
pub struct Docker {
    program: PathBuf,
    host: String,
    config: PathBuf,
    within: Duration,
    user: Option<u32>,
}

/// What a command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; 128 + signal.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
}

impl Output {
    /// Standard output as text without trailing white space.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

impl Docker {
    /// A CLI for the engine at `host`, with its settings in a folder below `scratch`.
    ///
    /// # Errors
    /// When there is no docker CLI.
    pub fn new(host: String, scratch: &Path) -> anyhow::Result<Self> {
        let config = scratch.join("docker-config");
        std::fs::create_dir_all(&config).context("make the CLI's folder")?;
        if let Some(reference) = tools::reference() {
            let plugins = config.join("cli-plugins");
            if !plugins.exists() {
                std::os::unix::fs::symlink(reference.join("cli-plugins"), plugins)?;
            }
        }
        Ok(Self {
            program: tools::docker()?,
            host,
            config,
            within: COMMAND_WITHIN,
            user: None,
        })
    }

    /// The same CLI with another bound for each command, for slow machines.
    #[must_use]
    pub fn within(mut self, bound: Duration) -> Self {
        self.within = bound;
        self
    }

    /// The same CLI run by an ordinary user, to whom its settings are given.
    ///
    /// # Errors
    /// When this is not root.
    pub fn as_user(mut self, user: u32) -> anyhow::Result<Self> {
        std::os::unix::fs::chown(&self.config, Some(user), Some(user))
            .context("give the CLI's folder away")?;
        self.user = Some(user);
        Ok(self)
    }

    /// Loads the image `busybox`, by an archive that is made in a folder.
    ///
    /// # Errors
    /// When it cannot be made or loaded.
    pub fn load_busybox(&self, folder: &Path) -> anyhow::Result<()> {
        let archive = folder.join("busybox.tar");
        crate::busybox()?.write_archive("library/busybox:latest", &archive)?;
        self.ok(&["load", "-i", &archive.to_string_lossy()])
            .map(drop)
    }

    /// A command of the CLI, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", &self.config);
        command.env_remove("DOCKER_CONTEXT");
        if let Some(user) = self.user {
            command.uid(user).gid(user).current_dir("/");
        }
        command
    }

    /// Where the engine is.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Runs it to its end with nothing on standard input.
    ///
    /// # Errors
    /// When it cannot be run or takes too long.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.run_with(arguments, b"")
    }

    /// Runs it to its end with bytes on standard input.
    ///
    /// # Errors
    /// When it cannot be run or takes too long.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> anyhow::Result<Output> {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("start docker")?;
        let mut stdin = child.stdin.take().context("a pipe was asked for")?;
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output =
            wait_bounded(child, self.within).with_context(|| format!("docker {arguments:?}"))?;
        // A program that does not read its input is no failure.
        let _ = writer.join();
        Ok(output)
    }

    /// Runs it and gives its output when it succeeded.
    ///
    /// # Errors
    /// When it failed, with what it said.
    pub fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.run(arguments)?;
        if output.code != 0 {
            bail!(
                "docker {arguments:?} ended with {}: {} {}",
                output.code,
                output.text(),
                output.stderr
            );
        }
        Ok(output.text())
    }

    /// Runs it and gives what it said when it failed.
    ///
    /// # Errors
    /// When it succeeded.
    pub fn fails(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let output = self.run(arguments)?;
        if output.code == 0 {
            bail!(
                "docker {arguments:?} was expected to fail and said: {}",
                output.text()
            );
        }
        Ok(output)
    }
}

/// Collects a child's output until it ends; it is killed at the bound.
fn wait_bounded(mut child: Child, bound: Duration) -> anyhow::Result<Output> {
    use std::{io::Read, os::unix::process::ExitStatusExt, sync::mpsc};
    let mut stdout = child.stdout.take().context("a pipe was asked for")?;
    let mut stderr = child.stderr.take().context("a pipe was asked for")?;
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes);
        bytes
    });
    let (sender, done) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.read_to_end(&mut bytes);
        let _ = sender.send(());
        bytes
    });
    let end = Instant::now() + bound;
    let in_time = done
        .recv_timeout(end.saturating_duration_since(Instant::now()))
        .is_ok();
    if !in_time {
        let _ = child.kill();
    }
    let status = child.wait().context("wait for docker")?;
    let stdout = reader.join().unwrap_or_default();
    let stderr = String::from_utf8_lossy(&errors.join().unwrap_or_default()).into_owned();
    if !in_time {
        bail!(
            "took longer than {bound:?}; so far: {} {stderr}",
            String::from_utf8_lossy(&stdout)
        );
    }
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Output {
        code,
        stdout,
        stderr,
    })
}
