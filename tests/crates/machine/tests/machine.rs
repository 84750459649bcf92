//! One machine's life, as its user sees it. Needs QEMU and the image (`cargo xtask image`); skipped loudly without them.

use std::{
    io::{Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use harness::{Docker, tools};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// An ordinary user: nothing of Berth may need root.
const NOBODY: u32 = 65534;

/// A home of its own, whose machine and daemon end with it.
struct Berth {
    home: tempfile::TempDir,
}

impl Berth {
    fn new(settings: &str) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("berth-home.").tempdir()?;
        std::fs::write(home.path().join("settings.toml"), settings)?;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY))?;
        }
        Ok(Self { home })
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
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

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments)
            .output()
            .with_context(|| format!("berth {arguments:?}"))
    }

    fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "berth {arguments:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.ok(&["status", "--json"])?)?)
    }

    fn docker(&self) -> Result<Docker> {
        Docker::new(format!("unix://{}", self.socket().display()), self.path())
    }

    fn socket(&self) -> PathBuf {
        self.path().join("run/docker.sock")
    }

    /// Processes that were started for this home.
    fn processes(&self, name: &str) -> Vec<Pid> {
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
fn missing() -> Option<String> {
    let here = [program(), image().join("vmlinuz"), image().join("initrd")];
    if let Some(path) = here.iter().find(|path| !path.exists()) {
        return Some(format!("{} is not built", path.display()));
    }
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
    qemu.is_err()
        .then(|| "qemu-system-x86_64 is not installed".to_owned())
}

macro_rules! need_machine {
    () => {
        if let Some(reason) = missing() {
            eprintln!("skipped: {reason}");
            return Ok(());
        }
    };
}

const SMALL: &str = "cpus = 2\nmemory_mib = 768\nbackend = \"qemu-tcg\"\n";

#[test]
fn a_machine_starts_serves_survives_its_daemon_and_stops() -> Result<()> {
    need_machine!();
    let berth = Berth::new(SMALL)?;
    berth.ok(&["start"])?;
    let status = berth.status()?;
    ensure!(
        status["state"] == "running" && status["backend"] == "qemu (tcg)",
        "{status}"
    );
    println!("timeline: {}", status["timeline"]);

    // The unchanged docker CLI outside, the engine inside.
    let version = berth.docker()?.ok(&[
        "version",
        "--format",
        "{{.Server.Os}} {{.Server.KernelVersion}}",
    ])?;
    ensure!(version.starts_with("linux 6.12"), "{version}");
    ensure!(berth.ok(&["shell", "echo", "inside"])? == "inside\n");
    ensure!(berth.run(&["shell", "sh", "-c", "exit 7"])?.status.code() == Some(7));
    ensure!(berth.ok(&["logs"])?.contains("EngineReady"));

    half_close_is_kept(&berth.socket())?;
    many_bytes_come_back_unchanged(&berth)?;

    // Starting again changes nothing.
    let pid = status["pid"].clone();
    berth.ok(&["start"])?;
    ensure!(berth.status()?["pid"] == pid);

    // The daemon is killed; the machine goes on and is found again.
    let daemons = berth.processes("berthd");
    ensure!(daemons.len() == 1, "{daemons:?}");
    kill_process(daemons[0], Signal::KILL)?;
    ensure!(berth.processes("berth-vmm").len() == 1);
    berth.ok(&["start"])?;
    ensure!(
        berth.status()?["pid"] == pid,
        "the machine was not found again"
    );
    berth.docker()?.ok(&["version"])?;

    // Data outlives an orderly stop and a power cut.
    berth.ok(&[
        "shell",
        "sh",
        "-c",
        "echo kept >/var/lib/berth/kept && sync",
    ])?;
    berth.ok(&["stop"])?;
    ensure!(berth.status()?["state"] == "stopped");
    ensure!(
        berth.processes("qemu-system-x86").is_empty() && berth.processes("berth-vmm").is_empty()
    );
    let refused = berth.docker()?.fails(&["version"])?;
    ensure!(refused.stderr.contains("is not running"), "{refused:?}");
    berth.ok(&["start"])?;
    ensure!(berth.ok(&["shell", "cat", "/var/lib/berth/kept"])? == "kept\n");

    // The machine process is killed: QEMU goes with it, the status names it, the next start works.
    kill_process(berth.processes("berth-vmm")[0], Signal::KILL)?;
    berth_vmm_is_missed(&berth)?;
    berth.ok(&["start"])?;
    ensure!(berth.ok(&["shell", "cat", "/var/lib/berth/kept"])? == "kept\n");
    Ok(())
}

/// The engine still answers a client that has shut down its writing side.
fn half_close_is_kept(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("OK"),
        "{answer}"
    );
    Ok(())
}

/// A few MiB through vsock in both directions.
fn many_bytes_come_back_unchanged(berth: &Berth) -> Result<()> {
    let sent: Vec<u8> = (0..4_u32 << 20)
        .map(|n| (n % 251).to_le_bytes()[0])
        .collect();
    let mut child = berth
        .command(&["shell", "cat"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let copy = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&copy));
    let mut back = Vec::new();
    child
        .stdout
        .take()
        .context("a pipe")?
        .read_to_end(&mut back)?;
    ensure!(child.wait()?.success());
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    ensure!(
        back == sent,
        "{} of {} bytes came back",
        back.len(),
        sent.len()
    );
    Ok(())
}

fn berth_vmm_is_missed(berth: &Berth) -> Result<()> {
    // berthd hears the end of the connection; the state may take a moment to be told.
    for _ in 0..200 {
        let status = berth.status()?;
        if status["state"] == "failed" {
            ensure!(
                status["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.contains("power cut")),
                "{status}"
            );
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    anyhow::bail!("the death of berth-vmm was not noticed")
}

#[test]
fn a_broken_settings_file_is_named_with_its_key() -> Result<()> {
    need_machine!();
    let berth = Berth::new("cpu = 2\n")?;
    let output = berth.run(&["start"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && said.contains("settings.toml") && said.contains("cpu"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_disk_without_its_identity_is_kept_and_named() -> Result<()> {
    need_machine!();
    let berth = Berth::new(SMALL)?;
    let folder = berth.path().join("machines/default");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("data.raw"), "precious")?;
    if rustix::process::geteuid().is_root() {
        for path in [
            berth.path().join("machines"),
            folder.clone(),
            folder.join("data.raw"),
        ] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))?;
        }
    }
    let output = berth.run(&["start"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && said.contains("left as it is"),
        "{said}"
    );
    ensure!(std::fs::read(folder.join("data.raw"))? == b"precious");
    Ok(())
}

#[test]
fn unknown_words_are_refused_with_a_usage() -> Result<()> {
    need_machine!();
    let berth = Berth::new(SMALL)?;
    let output = berth.run(&["strat"])?;
    ensure!(output.status.code() == Some(2));
    let output = berth.run(&["start", "--machine", "No Name"])?;
    ensure!(String::from_utf8_lossy(&output.stderr).contains("invalid machine name"));
    Ok(())
}

#[test]
fn without_qemu_the_way_out_is_named() -> Result<()> {
    need_machine!();
    let berth = Berth::new(SMALL)?;
    let output = berth.command(&["start"]).env("PATH", "/nowhere").output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        !output.status.success() && said.contains("is not installed: install"),
        "{said}"
    );
    ensure!(berth.status()?["state"] == "failed");
    Ok(())
}

#[test]
fn a_slow_reader_gets_all_that_was_sent() -> Result<()> {
    need_machine!();
    let berth = Berth::new(SMALL)?;
    berth.ok(&["start"])?;
    let mut child = berth
        .command(&["shell", "head", "-c", "600000", "/dev/zero"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    // Longer than Linux waits between closing a vsock stream and resetting it (8 s): the time itself is what is tested.
    std::thread::sleep(std::time::Duration::from_secs(14));
    let mut got = Vec::new();
    child
        .stdout
        .take()
        .context("a pipe")?
        .read_to_end(&mut got)?;
    ensure!(child.wait()?.success());
    ensure!(
        got.len() == 600_000,
        "{} of 600000 bytes arrived",
        got.len()
    );
    Ok(())
}

#[test]
fn a_guest_that_ends_by_itself_has_failed_and_is_told_from_a_stop() -> Result<()> {
    need_machine!();
    let berth = Berth::new(SMALL)?;
    berth.ok(&["start"])?;
    // The kernel's own emergency: it panics, and QEMU ends with status 0.
    let _ = berth.run(&["shell", "sh", "-c", "echo c >/proc/sysrq-trigger"])?;
    for _ in 0..500 {
        let status = berth.status()?;
        if status["state"] == "failed" {
            let reason = status["reason"].as_str().unwrap_or_default();
            ensure!(reason.contains("ended by itself"), "{status}");
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    anyhow::bail!("the panic was not noticed: {}", berth.status()?)
}

#[test]
fn a_request_to_a_dying_daemon_is_asked_of_the_next() -> Result<()> {
    need_machine!();
    let berth = Berth::new(SMALL)?;
    berth.status()?;
    let daemons = berth.processes("berthd");
    ensure!(daemons.len() == 1, "{daemons:?}");
    // Held still, it takes connections and does not answer, as one that is dying does for a moment.
    kill_process(daemons[0], Signal::STOP)?;
    let mut command = berth.command(&["status", "--json"]);
    let asking = command.stdout(std::process::Stdio::piped()).spawn()?;
    wait_until_it_reads(asking.id())?;
    kill_process(daemons[0], Signal::KILL)?;
    let output = asking.wait_with_output()?;
    ensure!(output.status.success(), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(status["state"] == "stopped", "{status}");
    Ok(())
}

/// Waits until a client has asked: it sleeps in the kernel then, holding a connected socket beside its standard streams.
fn wait_until_it_reads(pid: u32) -> Result<()> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::time::Instant::now() < end {
        let sockets = std::fs::read_dir(format!("/proc/{pid}/fd"))?
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        if sockets > 0 && stat.contains(") S ") {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    anyhow::bail!("the client did not ask")
}
