//! Namespaces for an engine under test: it may do what it likes to mounts, links, rules and processes.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// PID 1 of the sandbox: sets it up, says so, reaps orphans, and ends when its standard input does.
///
/// The unified hierarchy is global, so the sandbox gets a group of its own and a cgroup namespace that starts there. Only ours mounts it;
/// the reference works with the machine's own mounts.
const INIT: &str = r#"
set -e
ip link set lo up
mount -t tmpfs none /run
if [ "$1" = unified ]; then
    mkdir /run/unified
    mount -t cgroup2 none /run/unified
    mkdir "/run/unified/$2"
    echo $$ >"/run/unified/$2/cgroup.procs"
    umount /run/unified
    exec unshare --cgroup bash -c '
        set -e
        if mountpoint -q /sys/fs/cgroup; then umount -l -R /sys/fs/cgroup; fi
        mount -t cgroup2 none /sys/fs/cgroup
        mkdir /sys/fs/cgroup/init
        echo $$ >/sys/fs/cgroup/init/cgroup.procs
        echo ready; read -r _ || :'
fi
echo ready; read -r _ || :
"#;

/// A running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    init: Child,
    /// PID 1 as seen from outside.
    pid: u32,
    folder: TempDir,
    group: Option<String>,
}

impl Sandbox {
    /// Makes one. `unified`: with a cgroup2 mount of its own at /sys/fs/cgroup.
    ///
    /// # Errors
    /// When not root, or a program is missing.
    pub fn new(unified: bool) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("berth-test.")
            .tempdir()
            .context("make a folder")?;
        let name = folder
            .path()
            .file_name()
            .context("a named folder")?
            .to_string_lossy()
            .into_owned();
        let mode = if unified { "unified" } else { "plain" };
        let mut init = Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args([
                "--propagation",
                "private",
                "bash",
                "-c",
                INIT,
                "sandbox",
                mode,
                &name,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start unshare")?;
        let mut line = String::new();
        let stdout = init.stdout.take().context("a pipe was asked for")?;
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("wait for the sandbox")?;
        if line.trim_end() != "ready" {
            let _ = init.kill();
            let _ = init.wait();
            bail!("the sandbox did not start (needs root, util-linux, iproute2)");
        }
        let pid = only_child(init.id())?;
        Ok(Self {
            init,
            pid,
            folder,
            group: unified.then_some(name),
        })
    }

    /// A folder on disk that is the same inside and outside; goes with the sandbox.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command that runs inside. It is a child of `nsenter`; [`only_child`] finds the program itself.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--mount",
            "--net",
            "--pid",
            "--target",
            &self.pid.to_string(),
        ]);
        if self.group.is_some() {
            command.arg("--cgroup");
        }
        command.arg("--").arg(program);
        command
    }

    /// PID 1 of the sandbox, seen from outside.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its root as seen from outside.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.init.stdin.take() {
            let _ = stdin.write_all(b"\n");
        }
        let _ = self.init.wait();
        if let Some(group) = &self.group {
            let script = format!(
                "d=$(mktemp -d) && mount -t cgroup2 none $d && find $d/{group} -depth -type d -exec rmdir {{}} + ; umount $d; rmdir $d"
            );
            let _ = Command::new("unshare")
                .args(["--mount", "--propagation", "private", "bash", "-c", &script])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// The one child of a process.
///
/// # Errors
/// When it has none, or several.
pub(crate) fn only_child(pid: u32) -> anyhow::Result<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let mut children = text.split_whitespace();
    match (children.next(), children.next()) {
        (Some(child), None) => Ok(child.parse()?),
        _ => bail!("process {pid} has not exactly one child: {text:?}"),
    }
}

/// Moves the calling thread into the network of a process. For threads that end soon after.
///
/// # Errors
/// When the process is gone or we are not root.
pub fn enter_network(pid: u32) -> anyhow::Result<()> {
    let file = std::fs::File::open(format!("/proc/{pid}/ns/net")).context("open the network")?;
    let kind = rustix::thread::LinkNameSpaceType::Network;
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(kind))
        .context("join the network")
}
