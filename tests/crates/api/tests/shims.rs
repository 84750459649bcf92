//! What stands between the engine and its containers is killed: shims, the spawner, the process of a log driver. A container whose shim
//! is gone is ended and said so, nobody who waits for it hangs, nothing is left over, and the next start works.
//!
//! Needs root, else skipped and said so. `BERTH_SHIM_KILLS` is how often under load (20).
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::{
    hash::{BuildHasher, RandomState},
    net::UdpSocket,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{Docker, Engine};

/// How long something that follows from a kill may take.
const SOON: Duration = Duration::from_secs(20);
/// The longest between two kills.
const MOMENT_MS: u64 = 150;
/// How long that many kills may take, for each that is asked for.
const EACH_WITHIN: Duration = Duration::from_secs(2);
/// Clients at work.
const CLIENTS: u32 = 3;

/// A script in the engine's namespaces; what it said.
fn inside(engine: &Engine, script: &str, argument: &str) -> Result<String> {
    let mut command = engine.sandbox().command("sh");
    let output = command.args(["-c", script, "inside", argument]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `kill -9` of the shim of a container.
fn kill_shim(engine: &Engine, docker: &Docker, name: &str) -> Result<()> {
    let pid = docker.ok(&["inspect", "-f", "{{.State.Pid}}", name])?;
    let script = "p=$(sed -n 's/^PPid:\t//p' /proc/$1/status); grep -q berth-shim /proc/$p/comm && kill -9 $p && echo killed";
    ensure!(
        inside(engine, script, &pid)? == "killed",
        "{name} has no shim"
    );
    Ok(())
}

fn shown(docker: &Docker, name: &str) -> Result<String> {
    docker.ok(&[
        "inspect",
        "-f",
        "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}",
        name,
    ])
}

/// Waits for what inspect says to become something.
fn becomes(docker: &Docker, name: &str, wanted: &str) -> Result<()> {
    let end = Instant::now() + SOON;
    loop {
        let now = shown(docker, name)?;
        if now == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{name} is {now}, not {wanted}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that stays until something lets it go.
fn stays(docker: &Docker, arguments: &[&str]) -> Result<Child> {
    let mut command: Command = docker.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command.stderr(Stdio::null()).spawn()?)
}

/// How a client that is let go ends.
fn ends(what: &str, mut client: Child) -> Result<(Option<i32>, String)> {
    use std::io::Read;
    let end = Instant::now() + SOON;
    while client.try_wait()?.is_none() {
        if Instant::now() > end {
            let _ = (client.kill(), client.wait());
            anyhow::bail!("{what} hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut said = String::new();
    if let Some(mut output) = client.stdout.take() {
        output.read_to_string(&mut said)?;
    }
    Ok((client.wait()?.code(), said))
}

#[test]
fn a_container_whose_shim_is_killed_is_ended_and_said_so() -> Result<()> {
    let Some((engine, docker)) = Engine::ours_or_skipped()? else {
        return Ok(());
    };
    let before = engine.left()?;
    let since = docker.ok(&["info", "--format", "{{.SystemTime}}"])?;
    let sleeps = ["busybox", "sh", "-c", "echo up; exec sleep 600"];
    let run = |options: &[&str]| {
        let mut arguments = vec!["run", "-d", "-i"];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&sleeps);
        docker.ok(&arguments)
    };
    run(&["--name", "victim", "-p", "80"])?;
    run(&["--name", "again", "--restart", "on-failure:5"])?;
    run(&["--name", "goes", "--rm"])?;
    run(&["--name", "frozen"])?;
    docker.ok(&["pause", "frozen"])?;

    let waits = stays(&docker, &["wait", "victim"])?;
    let attached = stays(&docker, &["attach", "victim"])?;
    let mut follows = stays(&docker, &["logs", "-f", "victim"])?;
    let mut executes = stays(
        &docker,
        &[
            "exec",
            "-i",
            "victim",
            "sh",
            "-c",
            "echo up; exec sleep 600",
        ],
    )?;
    // Both have begun.
    for client in [&mut follows, &mut executes] {
        let mut up = [0; 3];
        let output = client.stdout.as_mut().context("a pipe")?;
        std::io::Read::read_exact(output, &mut up)?;
    }
    kill_shim(&engine, &docker, "victim")?;
    ensure!(ends("wait", waits)?.1.trim() == "137");
    ends("attach", attached)?;
    ends("logs -f", follows)?;
    let (code, _) = ends("exec", executes)?;
    ensure!(code == Some(137), "the exec ended with {code:?}");
    ensure!(shown(&docker, "victim")? == "exited 137 0");
    ensure!(docker.ok(&["logs", "victim"])? == "up");

    for name in ["again", "goes", "frozen"] {
        kill_shim(&engine, &docker, name)?;
    }
    becomes(&docker, "again", "running 0 1")?;
    becomes(&docker, "frozen", "exited 137 0")?;
    let end = Instant::now() + SOON;
    while docker.run(&["inspect", "goes"])?.code == 0 {
        ensure!(Instant::now() < end, "a container with --rm stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    let until = docker.ok(&["info", "--format", "{{.SystemTime}}"])?;
    let events = docker.ok(&[
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "event=die",
        "--format",
        "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}",
    ])?;
    for name in ["victim", "again", "goes", "frozen"] {
        let line = format!("{name} 137");
        ensure!(
            events.lines().filter(|one| *one == line).count() == 1,
            "{name}: {events}"
        );
    }

    docker.ok(&["start", "victim", "frozen"])?;
    ensure!(docker.ok(&["exec", "victim", "echo", "well"])? == "well");
    docker.ok(&["rm", "-f", "victim", "again", "frozen"])?;
    engine.settles(&before)
}

#[derive(Default)]
struct Work {
    done: AtomicBool,
    next: AtomicU32,
    killed: AtomicU32,
}

impl Work {
    /// Lives of containers whose shims may be killed at any moment: each ends, with its code or with 137, and then runs to its end.
    fn run(&self, docker: &Docker) -> Result<()> {
        while !self.done.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("made-{number}");
            let code = (number % 100).to_string();
            let script = format!("usleep 100000; exit {code}");
            docker.ok(&[
                "create", "--name", &name, "-p", "80", "busybox", "sh", "-c", &script,
            ])?;
            let started = docker.run(&["start", &name])?;
            if started.code == 0 {
                // It may have ended before.
                docker.run(&["exec", &name, "true"])?;
                let ended = docker.ok(&["wait", &name])?;
                ensure!(
                    ended == code || ended == "137",
                    "{name} ended with {ended}, not {code}"
                );
                if ended != code {
                    self.killed.fetch_add(1, Ordering::Relaxed);
                }
            } else {
                ensure!(
                    started.stderr.contains("shim"),
                    "{name}: {}",
                    started.stderr
                );
                self.killed.fetch_add(1, Ordering::Relaxed);
            }
            docker.ok(&["rm", "-f", &name])?;
        }
        Ok(())
    }
}

fn kills() -> u32 {
    let text = std::env::var("BERTH_SHIM_KILLS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Works beside a killer; then all is well and nothing is left.
fn under_load(script: &str) -> Result<(u32, u32)> {
    let Some((engine, docker)) = Engine::ours_or_skipped()? else {
        return Ok((0, 0));
    };
    docker.ok(&["run", "--rm", "busybox", "true"])?;
    let before = engine.left()?;
    let work = Work::default();
    let mut hit = 0;
    let worked: Result<()> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| work.run(&docker)))
            .collect();
        // Not every look finds somebody.
        let end = Instant::now() + EACH_WITHIN * kills();
        while hit < kills() && Instant::now() < end {
            let chance = RandomState::new().hash_one(0);
            std::thread::sleep(Duration::from_millis(chance % MOMENT_MS));
            let said = inside(&engine, script, &(chance % 1000).to_string())?;
            hit += u32::from(said.contains("killed"));
        }
        work.done.store(true, Ordering::Relaxed);
        clients.into_iter().try_for_each(|client| {
            client
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?
        })
    });
    worked.with_context(|| engine.log_tail())?;
    ensure!(
        hit == kills(),
        "only {hit} of {} kills found somebody",
        kills()
    );
    ensure!(docker.ok(&["run", "--rm", "busybox", "echo", "well"])? == "well");
    engine.settles(&before)?;
    Ok((work.next.into_inner(), work.killed.into_inner()))
}

#[test]
fn shims_that_are_killed_under_load_leave_nothing() -> Result<()> {
    let script = r#"set -- "$1" $(grep -l berth-shim /proc/[0-9]*/comm 2>/dev/null)
        n=$(($# - 1)); [ $n -gt 0 ] || exit 0
        shift $(($1 % n + 1 )); p=${1#/proc/}; kill -9 ${p%/comm} && echo killed"#;
    let (lives, killed) = under_load(script)?;
    println!("{lives} lives, {killed} of them ended by the kill of their shims");
    Ok(())
}

#[test]
fn no_start_fails_when_the_spawner_is_killed() -> Result<()> {
    // The spawner and the shims in spare.
    let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q 'spawner $' && ! grep -q berth- $p/comm && kill -9 ${p#/proc/} && echo killed; done";
    let script = script.replace("berth- ", "-e berth-shim -e berth-log ");
    let (lives, killed) = under_load(&script)?;
    ensure!(
        killed == 0,
        "{killed} of {lives} lives were ended with the spawner"
    );
    println!("{lives} lives");
    Ok(())
}

#[test]
fn a_log_driver_whose_process_is_killed_goes_on() -> Result<()> {
    let Some((engine, docker)) = Engine::ours_or_skipped()? else {
        return Ok(());
    };
    let before = engine.left()?;
    let pid = engine.sandbox().pid();
    let bound = std::thread::spawn(move || {
        harness::enter_network(pid)?;
        anyhow::Ok(UdpSocket::bind("127.0.0.1:0")?)
    });
    let socket = bound.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
    socket.set_read_timeout(Some(SOON))?;
    let address = format!("syslog-address=udp://{}", socket.local_addr()?);
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "talker",
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
        "busybox",
        "sh",
        "-c",
        "n=0; while true; do n=$((n+1)); echo line $n; usleep 50000; done",
    ])?;
    let mut bytes = [0; 4096];
    for round in 0..3 {
        let length = socket
            .recv(&mut bytes)
            .with_context(|| format!("nothing came in round {round}"))?;
        ensure!(String::from_utf8_lossy(&bytes[..length]).contains("line "));
        let script = "kill -9 $(grep -l berth-log /proc/[0-9]*/comm | cut -d/ -f3) && echo killed";
        ensure!(inside(&engine, script, "")? == "killed");
        // What the first one had sent is taken; the next one comes from its successor.
        while {
            socket.set_nonblocking(true)?;
            let more = socket.recv(&mut bytes).is_ok();
            socket.set_nonblocking(false)?;
            more
        } {}
    }
    let length = socket.recv(&mut bytes).context("nothing came at last")?;
    ensure!(String::from_utf8_lossy(&bytes[..length]).contains("line "));
    ensure!(shown(&docker, "talker")? == "running 0 0");
    docker.ok(&["stop", "-t", "0", "talker"])?;
    let log = docker.ok(&["logs", "talker"])?;
    for (line, number) in log.lines().zip(1..) {
        ensure!(
            line == format!("line {number}"),
            "{line} in the place of {number}"
        );
    }
    docker.ok(&["rm", "talker"])?;
    engine.settles(&before)
}
