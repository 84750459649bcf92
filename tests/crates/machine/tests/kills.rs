//! Every process of the product killed at random moments while it works: nothing that was acknowledged is lost, and what can go on does.
//!
//! Needs QEMU and the image (`cargo xtask image`); skipped loudly without them. `BERTH_KILLS` is how often each is killed (20).

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::Docker;
use rustix::process::{Signal, kill_process};
use test_machine::Berth;

const SETTINGS: &str = "cpus = 2\nmemory_mib = 1024\nbackend = \"qemu-tcg\"\n";

/// The longest a victim is left alone.
const MOMENT_MS: u64 = 1500;

/// How long something that comes back may take.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// Writes numbers to its output and to its volume, and serves a page.
const WORKER: &str = "mkdir /s && echo page >/s/index.html && httpd -p 80 -h /s
n=0; while true; do n=$((n+1)); echo $n; echo $n >>/v/numbers; usleep 20000; done";

fn kills() -> u32 {
    let text = std::env::var("BERTH_KILLS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn random_moment() -> Duration {
    Duration::from_millis(RandomState::new().hash_one(0) % MOMENT_MS)
}

/// Clients that make things and note what they were told is made, through all that happens.
#[derive(Default)]
struct Promises {
    done: AtomicBool,
    next: AtomicU32,
    kept: Mutex<BTreeSet<String>>,
    broken_off: AtomicU32,
}

impl Promises {
    fn work(&self, docker: &Docker) {
        while !self.done.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let (volume, name) = (format!("volume-{number}"), format!("made-{number}"));
            let script = format!("echo {number} >/v/{number} && sync -d /v/{number}");
            let mount = ["-v", "promises:/v"];
            for (promise, arguments) in [
                (
                    format!("volume {volume}"),
                    vec!["volume", "create", &volume],
                ),
                (
                    format!("container {name}"),
                    vec!["create", "--name", &name, "busybox", "true"],
                ),
                (
                    format!("file {number}"),
                    [
                        &["run", "--rm"][..],
                        &mount,
                        &["busybox", "sh", "-c", &script],
                    ]
                    .concat(),
                ),
            ] {
                if docker.ok(&arguments).is_ok() {
                    self.kept.lock().expect("no panic").insert(promise);
                } else {
                    self.broken_off.fetch_add(1, Ordering::Relaxed);
                    // The engine is away: its return is awaited by whoever killed it.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// What was promised and is not there.
    fn lost(&self, docker: &Docker) -> Result<Vec<String>> {
        // First: more is promised while we look.
        let kept = self.kept.lock().expect("no panic").clone();
        let mut there = BTreeSet::new();
        for (kind, text) in [
            ("volume", docker.ok(&["volume", "ls", "-q"])?),
            (
                "container",
                docker.ok(&["ps", "-a", "--format", "{{.Names}}"])?,
            ),
            (
                "file",
                docker.ok(&["run", "--rm", "-v", "promises:/v", "busybox", "ls", "/v"])?,
            ),
        ] {
            there.extend(text.lines().map(|name| format!("{kind} {name}")));
        }
        Ok(kept.difference(&there).cloned().collect())
    }
}

/// Waits until the engine answers again.
fn until_it_answers(docker: &Docker) -> Result<()> {
    let end = Instant::now() + BACK_WITHIN;
    loop {
        match docker.ok(&["version"]) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            // What is tested is that it comes back by itself; nothing tells the outside when.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn page(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(BACK_WITHIN))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn kill_engine(berth: &Berth) -> Result<()> {
    let script = "kill -9 $(ps -o pid,args | awk '/ engine --root/ && !/awk/ {print $1}')";
    berth.ok(&["shell", "sh", "-c", script]).map(drop)
}

fn kill_daemon(berth: &Berth) -> Result<()> {
    let daemons = berth.processes("berthd");
    ensure!(daemons.len() == 1, "{daemons:?}");
    kill_process(daemons[0], Signal::KILL)?;
    berth.ok(&["start"]).map(drop)
}

#[test]
fn containers_go_on_when_engine_or_daemon_is_killed() -> Result<()> {
    let Some((berth, docker)) = Berth::started_or_skipped(SETTINGS, BACK_WITHIN)? else {
        return Ok(());
    };
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "worker",
        "-v",
        "work:/v",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sh",
        "-c",
        WORKER,
    ])?;
    let published = docker.ok(&["port", "worker", "80/tcp"])?;
    let port: u16 = published.rsplit(':').next().context("a port")?.parse()?;
    let begun = docker.ok(&[
        "inspect",
        "-f",
        "{{.State.StartedAt}} {{.State.Pid}}",
        "worker",
    ])?;

    let promises = Promises::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| promises.work(&docker)))
            .collect();
        let killed = (0..kills()).try_for_each(|_| {
            std::thread::sleep(random_moment());
            kill_engine(&berth)?;
            until_it_answers(&docker)?;
            std::thread::sleep(random_moment());
            kill_daemon(&berth)?;
            until_it_answers(&docker)?;
            ensure!(page(port)?.ends_with("page\n"), "the port is not served");
            Ok(())
        });
        promises.done.store(true, Ordering::Relaxed);
        for client in clients {
            client
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?;
        }
        killed
    })?;

    let now = docker.ok(&[
        "inspect",
        "-f",
        "{{.State.StartedAt}} {{.State.Pid}}",
        "worker",
    ])?;
    ensure!(now == begun, "the container did not go on: {begun}, {now}");
    let lost = promises.lost(&docker)?;
    ensure!(lost.is_empty(), "lost: {lost:?}");
    docker.ok(&["stop", "-t", "0", "worker"])?;
    let log = docker.ok(&["logs", "worker"])?;
    let numbers: Vec<u64> = log
        .lines()
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    ensure!(
        (1..)
            .zip(&numbers)
            .all(|(expected, number)| expected == *number)
            && numbers.len() > 100,
        "the log has a hole or a double line"
    );
    let written = docker.ok(&[
        "run",
        "--rm",
        "-v",
        "work:/v",
        "busybox",
        "wc",
        "-l",
        "/v/numbers",
    ])?;
    let written: usize = written.split(' ').next().context("a number")?.parse()?;
    // It is killed between its two lines, perhaps.
    ensure!(
        written == numbers.len() || written + 1 == numbers.len(),
        "{written} lines in the volume, {} logged",
        numbers.len()
    );
    println!(
        "{} promises kept, {} calls broken off, {} lines logged",
        promises.kept.lock().expect("no panic").len(),
        promises.broken_off.load(Ordering::Relaxed),
        numbers.len()
    );
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_when_the_machine_is_killed() -> Result<()> {
    let Some((berth, docker)) = Berth::started_or_skipped(SETTINGS, BACK_WITHIN)? else {
        return Ok(());
    };
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "worker",
        "--restart",
        "always",
        "-v",
        "work:/v",
        "busybox",
        "sh",
        "-c",
        WORKER,
    ])?;
    let promises = Promises::default();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| promises.work(&docker));
        let killed = (0..kills()).try_for_each(|round| {
            std::thread::sleep(random_moment());
            let machines = berth.processes("berth-vmm");
            ensure!(machines.len() == 1, "{machines:?}");
            kill_process(machines[0], Signal::KILL)?;
            berth
                .ok(&["start"])
                .with_context(|| format!("round {round}"))?;
            let lost = promises.lost(&docker)?;
            ensure!(lost.is_empty(), "lost in round {round}: {lost:?}");
            let running = docker.ok(&["inspect", "-f", "{{.State.Running}}", "worker"])?;
            ensure!(running == "true", "the worker was not started again");
            Ok(())
        });
        promises.done.store(true, Ordering::Relaxed);
        client
            .join()
            .map_err(|_| anyhow::anyhow!("the client panicked"))?;
        killed
    })?;
    println!(
        "{} promises kept, {} calls broken off",
        promises.kept.lock().expect("no panic").len(),
        promises.broken_off.load(Ordering::Relaxed)
    );

    // An orderly stop: containers end by their own signals, and those that always run come back.
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "polite",
        "--restart",
        "unless-stopped",
        "-v",
        "work:/v",
        "busybox",
        "sh",
        "-c",
        "trap 'echo bye >>/v/bye; exit 0' TERM; while true; do sleep 1 & wait $!; done",
    ])?;
    berth.ok(&["stop"])?;
    berth.ok(&["start"])?;
    let said = docker.ok(&["run", "--rm", "-v", "work:/v", "busybox", "cat", "/v/bye"])?;
    ensure!(said == "bye", "{said}");
    let running = docker.ok(&["ps", "--format", "{{.Names}}"])?;
    ensure!(
        running.contains("worker") && running.contains("polite"),
        "{running}"
    );
    Ok(())
}
