//! The whole product: berth, a VM, the docker CLI outside. The stories are in `tests/`.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use harness::{Docker, tools};
use rustix::process::Pid;
use serde_json::Value;

/// An ordinary user: nothing of Berth may need root.
pub const NOBODY: u32 = 65534;

/// A home of its own, whose machine and daemon end with it.
#[derive(Debug)]
pub struct Berth {
    home: tempfile::TempDir,
}

impl Berth {
    /// A home with these settings (TOML), owned by [`NOBODY`] when this is root.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn new(settings: &str) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("berth-home.").tempdir()?;
        std::fs::write(home.path().join("settings.toml"), settings)?;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY))?;
        }
        Ok(Self { home })
    }

    /// A started machine with the CLI outside and the image `busybox`; none, and said so, where there can be no machine.
    ///
    /// # Errors
    /// When it does not start.
    pub fn started_or_skipped(
        settings: &str,
        within: std::time::Duration,
    ) -> Result<Option<(Self, Docker)>> {
        if let Some(reason) = missing() {
            eprintln!("skipped: {reason}");
            return Ok(None);
        }
        let berth = Self::new(settings)?;
        berth.ok(&["start"])?;
        let docker = berth.docker()?.within(within);
        docker.load_busybox(berth.path())?;
        Ok(Some((berth, docker)))
    }

    /// `BERTH_HOME`.
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// `berth` with arguments, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.in_its_home(Command::new(program()), arguments)
    }

    /// The same with no more address space than so many bytes, for it and all it starts.
    pub fn command_with_address_space(&self, bytes: u64, arguments: &[&str]) -> Command {
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--as={bytes}")).arg(program());
        self.in_its_home(limited, arguments)
    }

    fn in_its_home(&self, mut command: Command, arguments: &[&str]) -> Command {
        command
            .args(arguments)
            .env("BERTH_HOME", self.path())
            .env("HOME", self.path())
            .env("BERTH_IMAGE", image())
            .env_remove("DOCKER_CONFIG")
            .current_dir("/");
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments)
            .output()
            .with_context(|| format!("berth {arguments:?}"))
    }

    /// Its standard output when it succeeded.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "berth {arguments:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `berth status --json`.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.ok(&["status", "--json"])?)?)
    }

    /// The docker CLI outside, run by the same ordinary user.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn docker(&self) -> Result<Docker> {
        let docker = Docker::new(format!("unix://{}", self.socket().display()), self.path())?;
        if rustix::process::geteuid().is_root() {
            return docker.as_user(NOBODY);
        }
        Ok(docker)
    }

    /// The Docker socket.
    pub fn socket(&self) -> PathBuf {
        self.path().join("run/docker.sock")
    }

    /// Processes that were started for this home.
    pub fn processes(&self, name: &str) -> Vec<Pid> {
        let wanted = format!("BERTH_HOME={}", self.path().display());
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let comm = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let ours = environment
                .split(|&byte| byte == 0)
                .any(|line| line == wanted.as_bytes());
            (ours && comm.trim() == name).then(|| Pid::from_raw(pid))?
        })
        .collect()
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        let _ = self.run(&["stop", "--force"]);
        let _ = self.run(&["quit"]);
    }
}

fn program() -> PathBuf {
    tools::target().join("debug/berth")
}

fn image() -> PathBuf {
    std::env::var_os("BERTH_IMAGE").map_or_else(|| tools::target().join("image"), PathBuf::from)
}

/// Why there can be no machine here, if so.
pub fn missing() -> Option<String> {
    let here = [program(), image().join("vmlinuz"), image().join("initrd")];
    if let Some(path) = here.iter().find(|path| !path.exists()) {
        return Some(format!("{} is not built", path.display()));
    }
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
    qemu.is_err()
        .then(|| "qemu-system-x86_64 is not installed".to_owned())
}
