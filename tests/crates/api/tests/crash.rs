//! Our engine killed at random moments under load: every acknowledged container is there, running ones ran on, exit codes are right, the log
//! has no hole and no double line, and nothing is left over.
//!
//! Needs root, else skipped and said so. `BERTH_KILLS` is how often it is killed (100).
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use harness::{Docker, Engine};

/// The longest the engine is left alone.
const MOMENT_MS: u64 = 400;

/// Clients at work.
const CLIENTS: u32 = 3;

#[derive(Default)]
struct Work {
    done: AtomicBool,
    next: AtomicU32,
    /// Acknowledged containers and the exit codes they were given; none: only created.
    promised: Mutex<BTreeMap<String, Option<i32>>>,
    broken_off: AtomicU32,
}

impl Work {
    fn run(&self, docker: &Docker) {
        while !self.done.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.one(docker, number) {
                self.broken_off.fetch_add(1, Ordering::Relaxed);
                let text = format!("{error:#}");
                // Anything else than an engine that is away is a fault.
                let away = [
                    "EOF",
                    "Is the docker daemon running",
                    "connection re",
                    "broken pipe",
                    "going down",
                    "No such container",
                    "is not running",
                    "marked for removal",
                ];
                if !away.iter().any(|word| text.contains(word)) {
                    println!("broken off: {text}");
                }
            }
        }
    }

    /// A container's life in its parts, each noted as soon as it is acknowledged.
    fn one(&self, docker: &Docker, number: u32) -> Result<()> {
        let name = format!("made-{number}");
        let code = i32::try_from(number % 100)?;
        let promise = |code| {
            let mut promised = self.promised.lock().expect("no panic");
            promised.insert(name.clone(), code);
        };
        let script = format!("usleep 30000; exit {code}");
        docker.ok(&[
            "create", "--name", &name, "-p", "80", "busybox", "sh", "-c", &script,
        ])?;
        promise(None);
        docker.ok(&["start", &name])?;
        promise(Some(code));
        ensure!(docker.ok(&["exec", "worker", "echo", &name])? == name);
        if number.is_multiple_of(3) {
            // Not promised any more as soon as its end is wished for.
            self.promised.lock().expect("no panic").remove(&name);
            docker.ok(&["rm", "-f", &name])?;
        }
        docker.ok(&["run", "--rm", "busybox", "true"])?;
        Ok(())
    }
}

fn kills() -> u32 {
    let text = std::env::var("BERTH_KILLS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(100)
}

#[test]
fn an_engine_that_is_killed_loses_nothing_and_leaves_nothing() -> Result<()> {
    let Some((mut engine, docker)) = Engine::ours_or_skipped()? else {
        return Ok(());
    };
    docker.ok(&["run", "--rm", "busybox", "true"])?;
    let before = engine.left()?;
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "worker",
        "busybox",
        "sh",
        "-c",
        "n=0; while true; do n=$((n+1)); echo $n; usleep 5000; done",
    ])?;
    let begun = docker.ok(&[
        "inspect",
        "-f",
        "{{.State.StartedAt}} {{.State.Pid}}",
        "worker",
    ])?;

    let work = Work::default();
    let killed: Result<()> = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| work.run(&docker));
        }
        let killed = (0..kills()).try_for_each(|round| {
            std::thread::sleep(Duration::from_millis(
                RandomState::new().hash_one(0) % MOMENT_MS,
            ));
            engine.kill().with_context(|| format!("kill {round}"))?;
            engine
                .run()
                .with_context(|| format!("start after kill {round}"))
        });
        work.done.store(true, Ordering::Relaxed);
        killed
    });
    killed?;

    let now = docker.ok(&[
        "inspect",
        "-f",
        "{{.State.StartedAt}} {{.State.Pid}}",
        "worker",
    ])?;
    ensure!(now == begun, "the worker did not go on: {begun}, {now}");
    let promised = work.promised.lock().expect("no panic").clone();
    for (name, code) in &promised {
        match code {
            None => docker.ok(&["inspect", name]).map(drop)?,
            Some(code) => {
                let ended = docker.ok(&["wait", name])?;
                ensure!(
                    ended == code.to_string(),
                    "{name} ended with {ended}, not {code}"
                );
            }
        }
    }
    docker.ok(&["stop", "-t", "0", "worker"])?;
    let log = docker.ok(&["logs", "worker"])?;
    let numbers: Vec<u64> = log.lines().map(str::parse).collect::<Result<_, _>>()?;
    let wrong = (1..)
        .zip(&numbers)
        .find(|(expected, number)| expected != *number);
    ensure!(
        wrong.is_none() && numbers.len() > 100,
        "the log is wrong at {wrong:?}"
    );

    // Everything is removed in order; then the world is as it was.
    let all = docker.ok(&["ps", "-a", "-q"])?;
    let mut remove = vec!["rm", "-f"];
    remove.extend(all.lines());
    docker.ok(&remove)?;
    engine.settles(&before)?;
    println!(
        "{} kills: {} containers kept, {} lives broken off, {} lines logged",
        kills(),
        promised.len(),
        work.broken_off.load(Ordering::Relaxed),
        numbers.len()
    );
    Ok(())
}
