//! One machine's life, as its user sees it. Needs QEMU and the image (`cargo xtask image`); skipped loudly without them.

use std::{
    io::{BufRead, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use test_machine::{Berth, NOBODY, missing};

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
    an_interrupted_shell_leaves_no_process(&berth)?;

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

/// Ctrl-C on a shell ends what it ran in the machine.
fn an_interrupted_shell_leaves_no_process(berth: &Berth) -> Result<()> {
    let mut shell = berth
        .command(&["shell", "sh", "-c", "echo $$; exec sleep 86400"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut number = String::new();
    std::io::BufReader::new(shell.stdout.take().context("a pipe")?).read_line(&mut number)?;
    let pid = rustix::process::Pid::from_raw(shell.id().cast_signed()).context("a pid")?;
    kill_process(pid, Signal::INT)?;
    shell.wait()?;
    // Not its child: its end has no event.
    let gone = format!(
        "for n in $(seq 100); do [ -d /proc/{} ] || exit 0; sleep 0.1; done; exit 1",
        number.trim().parse::<u32>()?
    );
    let looked = berth.run(&["shell", "sh", "-c", &gone])?;
    ensure!(looked.status.success(), "it goes on: {looked:?}");
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
fn without_memory_the_way_out_is_named() -> Result<()> {
    need_machine!();
    let berth = Berth::new("cpus = 2\nmemory_mib = 2048\nbackend = \"qemu-tcg\"\n")?;
    let output = berth
        .command_with_address_space(1_500_000_000, &["start"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && said.contains("set memory_mib lower in settings.toml"),
        "{said}"
    );
    ensure!(berth.processes("qemu-system-x86").is_empty());
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
fn a_start_that_is_interrupted_leaves_no_process() -> Result<()> {
    need_machine!();
    let berth = Berth::new(SMALL)?;
    let mut starting = berth
        .command(&["start"])
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    // A line is said for each phase: with this one QEMU runs.
    let mut said = std::io::BufReader::new(starting.stderr.take().context("a pipe")?);
    let mut line = String::new();
    while !line.contains("kernel") {
        line.clear();
        ensure!(said.read_line(&mut line)? > 0, "the start ended early");
    }
    ensure!(!berth.processes("qemu-system-x86").is_empty());
    let pid = rustix::process::Pid::from_raw(starting.id().cast_signed()).context("a pid")?;
    kill_process(pid, Signal::INT)?;
    starting.wait()?;
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // The end of processes that are not ours has no event.
    while std::time::Instant::now() < end {
        // The daemon too: it was started for nothing else.
        let left = ["berthd", "berth-vmm", "qemu-system-x86"]
            .map(|name| berth.processes(name))
            .concat();
        if left.is_empty() {
            // The next one is none the worse.
            berth.ok(&["start"])?;
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    anyhow::bail!("the machine goes on: {}", berth.status()?)
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

/// A folder of the host's, as berth's user has it, with the program that asks for it from inside.
struct Shared {
    folder: tempfile::TempDir,
}

impl Shared {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("berth-share.").tempdir()?;
        for path in ["site/sub", "keys"] {
            std::fs::create_dir_all(folder.path().join(path))?;
        }
        for path in ["site/hello", "keys/id", "one"] {
            std::fs::write(folder.path().join(path), path)?;
        }
        let shared = Self { folder };
        if rustix::process::geteuid().is_root() {
            for path in [
                "",
                "site",
                "site/sub",
                "keys",
                "site/hello",
                "keys/id",
                "one",
            ] {
                std::os::unix::fs::chown(shared.path(path), Some(NOBODY), Some(NOBODY))?;
            }
        }
        Ok(shared)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Puts the asking program into the guest.
    fn bring_program(&self, berth: &Berth) -> Result<()> {
        let program = self.folder.path().join("ask_host");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/ask_host.rs");
        let built = Command::new("rustc")
            .args(["--edition", "2024", "-C", "target-feature=+crt-static"])
            .args(["-C", "strip=symbols", "-O", "-o"])
            .args([&program, &source])
            .output()
            .context("run rustc")?;
        ensure!(built.status.success(), "{built:?}");
        let mut child = berth
            .command(&["shell", "sh", "-c", "cat >/tmp/ask && chmod 755 /tmp/ask"])
            .stdin(std::process::Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .context("a pipe")?
            .write_all(&std::fs::read(program)?)?;
        ensure!(child.wait()?.success());
        Ok(())
    }

    /// Asks for a grant from inside the guest.
    fn ask(&self, berth: &Berth, path: &Path, read_only: bool, create: bool) -> Result<Value> {
        let call = serde_json::json!({ "path": path, "read_only": read_only, "create": create });
        let request = serde_json::json!({ "id": 7, "request": { "grant": call } }).to_string();
        let reply: Value = serde_json::from_str(&berth.ok(&["shell", "/tmp/ask", &request])?)?;
        ensure!(reply["id"] == 7, "{reply}");
        Ok(reply["answer"].clone())
    }

    /// The path inside the machine of a grant that is given.
    fn grant(&self, berth: &Berth, path: &str, read_only: bool) -> Result<String> {
        let answer = self.ask(berth, &self.path(path), read_only, false)?;
        let granted = &answer["granted"];
        let (entry, rest) = (granted["entry"].as_str(), granted["rest"].as_str());
        let (entry, rest) = entry.zip(rest).with_context(|| answer.to_string())?;
        Ok(format!("/run/berth/shares/{entry}/{rest}"))
    }
}

#[test]
fn a_folder_of_the_host_is_read_and_written_in_the_machine() -> Result<()> {
    need_machine!();
    let shared = Shared::new()?;
    let root = shared.folder.path().display();
    let settings = format!("{SMALL}share_roots = [\"{root}\"]\nshare_denied = [\"{root}/keys\"]\n");
    let berth = Berth::new(&settings)?;
    berth.ok(&["start"])?;
    let sh = |script: &str| berth.ok(&["shell", "sh", "-c", script]);
    ensure!(sh("ls /run/berth/shares")?.is_empty(), "shared unasked");
    shared.bring_program(&berth)?;

    // Both ways, at once.
    let site = shared.grant(&berth, "site", false)?;
    ensure!(sh(&format!("cat {site}/hello"))? == "site/hello");
    sh(&format!(
        "cd {site} && echo guest >new && mkdir d && ln -s new d/link && mv new moved"
    ))?;
    ensure!(std::fs::read_to_string(shared.path("site/moved"))? == "guest\n");
    ensure!(std::fs::read_link(shared.path("site/d/link"))? == Path::new("new"));
    std::fs::write(shared.path("site/later"), "host")?;
    ensure!(sh(&format!("cat {site}/later"))? == "host");
    let megabytes = sh(&format!(
        "dd if=/dev/zero of={site}/big bs=1M count=8 2>/dev/null && wc -c <{site}/big"
    ))?;
    ensure!(megabytes.trim() == "8388608", "{megabytes}");
    ensure!(std::fs::metadata(shared.path("site/big"))?.len() == 8 << 20);

    // All the guest's users are one user of the host, who is root inside; each grant is a device of its own.
    sh(&format!(
        "cd {site} && touch by-root && chown 1234:1234 by-root"
    ))?;
    let owner =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(shared.path("site/by-root"))?);
    let expected = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(berth.path())?);
    ensure!(owner == expected, "made by {owner}");
    ensure!(sh(&format!("stat -c %u:%g {site}/by-root"))? == "0:0\n");

    // The same wish is the same grant; read-only is kept by the host.
    ensure!(shared.grant(&berth, "site", false)? == site);
    let read_only = shared.grant(&berth, "site", true)?;
    ensure!(read_only != site);
    ensure!(sh(&format!("cat {read_only}/moved"))? == "guest\n");
    let refused = berth.run(&["shell", "sh", "-c", &format!("echo x >{read_only}/y")])?;
    ensure!(
        !refused.status.success() && !shared.path("site/y").exists(),
        "{refused:?}"
    );
    let devices = sh(&format!("stat -c %d {site} {read_only}"))?;
    let devices: Vec<&str> = devices.lines().collect();
    ensure!(
        devices.len() == 2 && devices[0] != devices[1],
        "{devices:?}"
    );

    // One file alone; a denied folder not at all, however it is asked for.
    let one = shared.grant(&berth, "one", true)?;
    ensure!(sh(&format!("cat {one}"))? == "one");
    ensure!(sh(&format!("ls -A {}", one.trim_end_matches("/one")))? == "one\n");
    let whole = shared.grant(&berth, "", false)?;
    let listed = sh(&format!("ls -A {whole}"))?;
    ensure!(
        listed.contains("site") && !listed.contains("keys"),
        "{listed}"
    );
    ensure!(
        !berth
            .run(&["shell", "cat", &format!("{whole}/keys/id")])?
            .status
            .success()
    );
    for (path, word) in [
        (shared.path("keys"), "share_roots in settings.toml"),
        (PathBuf::from("/etc"), "share_roots in settings.toml"),
    ] {
        let answer = shared.ask(&berth, &path, true, true)?;
        let message = answer["forbidden"]["message"].as_str().unwrap_or_default();
        ensure!(message.contains(word), "{answer}");
    }

    // What is missing is said in Docker's words, or made as the user.
    let missing = shared.path("site/none");
    let answer = shared.ask(&berth, &missing, false, false)?;
    let words = format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}",
        missing.display()
    );
    ensure!(answer["missing"]["message"] == words.as_str(), "{answer}");
    shared.ask(&berth, &missing, false, true)?;
    ensure!(missing.is_dir());

    let status = berth.status()?;
    println!("shares: {status}");
    // Berth's own folder is not for its guests.
    let answer = shared.ask(&berth, berth.path(), true, false)?;
    ensure!(answer["forbidden"].is_object(), "{answer}");
    the_context_runs_a_container_with_folder_and_port(&berth, &shared)
}

/// What README promises: no variable set, the context alone leads to the machine.
fn the_context_runs_a_container_with_folder_and_port(berth: &Berth, shared: &Shared) -> Result<()> {
    berth.docker()?.load_busybox(berth.path())?;
    let docker = |arguments: &[&str]| -> Result<String> {
        let mut command = berth
            .docker()?
            .command(&[&["--context", "berth"], arguments].concat());
        command
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONFIG");
        let output = command.env("HOME", berth.path()).output()?;
        ensure!(output.status.success(), "docker {arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let mount = format!("{}:/w", shared.path("site").display());
    let serve = "cat /w/hello >/w/index.html && exec httpd -f -p 80 -h /w";
    let run = [
        "run",
        "-d",
        "--rm",
        "--init",
        "--name",
        "web",
        "-v",
        &mount,
        "-p",
        "127.0.0.1::80",
    ];
    docker(&[&run[..], &["busybox", "sh", "-c", serve]].concat())?;
    let served = "until wget -qO /dev/null http://127.0.0.1/; do sleep 0.1; done";
    docker(&["exec", "web", "timeout", "60", "sh", "-c", served])?;
    let mut stream = std::net::TcpStream::connect(docker(&["port", "web", "80"])?.trim())?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    ensure!(
        page.starts_with("HTTP/1.1 200") && page.ends_with("site/hello"),
        "{page}"
    );
    ensure!(std::fs::read_to_string(shared.path("site/index.html"))? == "site/hello");
    docker(&["stop", "web"])?;
    Ok(())
}
