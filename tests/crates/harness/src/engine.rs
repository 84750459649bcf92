//! The engine under test, and the one it is compared with.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{Docker, Sandbox, sandbox, tools};

/// How long an engine may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long what an engine takes away behind may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// What of the world our engine may leave, in text: groups, mounts, sandboxes, published ports, containers' folders and layers, processes.
const LEFT: &str = r#"
find /sys/fs/cgroup -mindepth 2 -type d | grep -E '[0-9a-f]{64}' | sed 's/[0-9a-f]\{64\}/ID/' | sort
echo mounts $(grep -c -e overlay -e "$1/root" /proc/self/mountinfo)
echo sandboxes $(ls /run/berth/network/sandboxes | wc -l)
echo ports $(nft list map inet berth publish4 | grep -c ' : .* \. ')
echo links $(ip -o link | grep -c veth)
echo folders $(ls "$1/root/containers" | wc -l)
echo layers $(ls "$1/root/images/containers" | wc -l)
echo trash $(ls "$1/root/images/trash" | wc -l)
echo shims $(cat /proc/[0-9]*/comm 2>/dev/null | grep -c -e berth-shim -e berth-log)
for p in /proc/[0-9]*; do tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -o -e 'sleep 6[0-9]*' -e 'while true'; done | sort
"#;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `berth-agent engine`.
    Ours,
    /// Debian's dockerd, with the containerd image store.
    Reference,
}

/// A running engine in a sandbox.
#[derive(Debug)]
pub struct Engine {
    kind: Kind,
    process: Option<Child>,
    sandbox: Sandbox,
    arguments: Vec<String>,
}

impl Engine {
    /// Starts one in a sandbox of its own and waits until it answers.
    ///
    /// # Errors
    /// When a program is missing or the engine does not answer.
    pub fn start(kind: Kind) -> anyhow::Result<Self> {
        Self::start_with(kind, &[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_with(kind: Kind, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_prepared(kind, arguments, |_| Ok(()))
    }

    /// The same with something done to the sandbox before.
    ///
    /// # Errors
    /// As [`Engine::start`], or what is done fails.
    pub fn start_prepared(
        kind: Kind,
        arguments: &[&str],
        prepare: impl FnOnce(&Sandbox) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let sandbox = Sandbox::new(kind == Kind::Ours)?;
        prepare(&sandbox)?;
        let arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        let mut engine = Self {
            kind,
            process: None,
            sandbox,
            arguments,
        };
        engine.run()?;
        Ok(engine)
    }

    /// Starts the process again after [`Engine::kill`] or [`Engine::terminate`].
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn run(&mut self) -> anyhow::Result<()> {
        let folder = self.sandbox.folder();
        let mut command = self.program()?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))?;
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = command.spawn().context("start the engine")?;
        self.process = Some(process);
        self.wait_ready()
    }

    fn program(&self) -> anyhow::Result<Command> {
        let folder = self.sandbox.folder();
        let listen = format!("unix://{}", self.socket().display());
        match self.kind {
            Kind::Ours => {
                let mut command = self.sandbox.command(tools::agent()?);
                command.arg("engine").arg("--root").arg(folder.join("root"));
                command.args(["--exec-root", "/run/berth", "--listen", &listen]);
                Ok(command)
            }
            Kind::Reference => {
                let reference =
                    tools::reference().context("the reference engine is not unpacked")?;
                let path = std::env::var("PATH").unwrap_or_default();
                let mut command = self.sandbox.command("env");
                command.arg(format!("PATH={}:{path}", reference.join("bin").display()));
                command
                    .arg("dockerd")
                    .arg("--data-root")
                    .arg(folder.join("root"));
                command.args(["--exec-root", "/run/dx", "--pidfile", "/run/dockerd.pid"]);
                command.args(["--feature", "containerd-snapshotter", "-H", &listen]);
                Ok(command)
            }
        }
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + READY_WITHIN;
        // A path that is bound but not yet served, or not yet bound, has no event to wait for from outside: the pause is the poll's.
        while Instant::now() < end {
            if ping(&self.socket()).is_ok() {
                return Ok(());
            }
            if let Some(status) = self
                .process
                .as_mut()
                .map(Child::try_wait)
                .transpose()?
                .flatten()
            {
                bail!("the engine ended ({status}): {}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!(
            "the engine did not answer within {READY_WITHIN:?}: {}",
            self.log_tail()
        )
    }

    /// Ours with a docker CLI and the image `busybox`, for a test of its own; none, and said so, where it cannot run.
    ///
    /// # Errors
    /// As [`Engine::start`], or when the image cannot be loaded.
    pub fn ours_or_skipped() -> anyhow::Result<Option<(Self, Docker)>> {
        if let Some(reason) = crate::native_lane_missing() {
            eprintln!("skipped: the native lane {reason}");
            return Ok(None);
        }
        if tools::reference().is_none() {
            eprintln!("skipped: no docker CLI; `cargo xtask setup` unpacks it");
            return Ok(None);
        }
        let engine = Self::start(Kind::Ours)?;
        let docker = engine.docker()?;
        docker.load_busybox(engine.sandbox().folder())?;
        Ok(Some((engine, docker)))
    }

    /// Which engine.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The folder of everything that survives.
    pub fn root(sandbox: &Sandbox) -> PathBuf {
        sandbox.folder().join("root")
    }

    /// Its Docker socket.
    pub fn socket(&self) -> PathBuf {
        self.sandbox.folder().join("docker.sock")
    }

    /// Where it runs.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// A docker CLI that talks to it.
    ///
    /// # Errors
    /// When there is no docker CLI.
    pub fn docker(&self) -> anyhow::Result<Docker> {
        Docker::new(
            format!("unix://{}", self.socket().display()),
            self.sandbox.folder(),
        )
    }

    /// Process id of the engine itself, seen from outside.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let process = self.process.as_ref().context("the engine does not run")?;
        sandbox::only_child(process.id())
    }

    /// What our engine has in the world, in text that is equal when nothing is left over.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn left(&self) -> anyhow::Result<String> {
        let mut look = self.sandbox.command("sh");
        look.args(["-c", LEFT, "left"]).arg(self.sandbox.folder());
        let output = look.output().context("look at what is left")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until all that [`Engine::left`] shows is what it was before.
    ///
    /// # Errors
    /// When something is left over.
    pub fn settles(&self, before: &str) -> anyhow::Result<()> {
        let end = Instant::now() + SETTLED_WITHIN;
        loop {
            let after = self.left()?;
            if after == before {
                return Ok(());
            }
            // It is taken away behind, which nothing tells.
            if Instant::now() > end {
                bail!("left over: {after}\nbefore: {before}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// `kill -9` of the engine; containers are left to it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.end(rustix::process::Signal::KILL)
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.end(rustix::process::Signal::TERM)
    }

    fn end(&mut self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        let pid = rustix::process::Pid::from_raw(pid).context("a process id is not 0")?;
        rustix::process::kill_process(pid, signal).context("signal the engine")?;
        if let Some(mut process) = self.process.take() {
            process.wait().context("wait for the engine")?;
        }
        Ok(())
    }

    /// Its whole log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.sandbox.folder().join("log")).unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let Ok(file) = File::open(self.sandbox.folder().join("log")) else {
            return String::new();
        };
        let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the engine\n{}", self.log_tail());
        }
        let _ = self.end(rustix::process::Signal::TERM);
    }
}

fn ping(socket: &Path) -> anyhow::Result<()> {
    use std::io::{Read, Write};
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    if &answer == b"HTTP/1.1 200" {
        Ok(())
    } else {
        bail!("not ready")
    }
}
