//! The power is cut at random moments under load: what the disk may then hold is opened by an engine, and all that was acknowledged is there.
//!
//! Needs root, FUSE and loop devices, else skipped and said so. `BERTH_CUTS` is how often (20).
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{Docker, Engine, Kind, disk};

/// The longest between two cuts.
const MOMENT_MS: u64 = 600;
/// Cuts, fewer on a machine that is slow.
const CUTS: u32 = 20;
const LONG_ENOUGH: Duration = Duration::from_secs(90);
/// Clients at work.
const CLIENTS: u32 = 3;
/// The disk.
const DISK_BYTES: u64 = 1 << 30;
/// What an engine says of what it finds broken.
const COMPLAINTS: [&str; 4] = ["damaged", "corrupt", "cannot be read", "is missing"];

/// What clients were told.
#[derive(Debug, Default, Clone)]
struct Promises {
    /// `container NAME`, `image NAME`, `volume NAME`.
    there: BTreeSet<String>,
    gone: BTreeSet<String>,
    /// The highest count of restarts that was seen.
    restarts: u64,
}

#[derive(Default)]
struct Work {
    done: AtomicBool,
    next: AtomicU32,
    promises: Mutex<Promises>,
    /// Held for writing while a disk is looked at: the machine is wanted for that.
    pause: RwLock<()>,
}

impl Work {
    fn promised(&self) -> Promises {
        self.promises.lock().expect("no panic").clone()
    }

    /// It is there from now on.
    fn made(&self, what: &str, name: &str) {
        let mut promises = self.promises.lock().expect("no panic");
        promises.there.insert(format!("{what} {name}"));
    }

    /// Takes it away by a command: until that is through, it may be there or not.
    fn unmake(
        &self,
        what: &str,
        name: &str,
        command: impl FnOnce() -> Result<String>,
    ) -> Result<()> {
        let entry = format!("{what} {name}");
        self.promises.lock().expect("no panic").there.remove(&entry);
        command()?;
        self.promises.lock().expect("no panic").gone.insert(entry);
        Ok(())
    }

    fn run(&self, docker: &Docker, folder: &Path) -> Result<()> {
        while !self.done.load(Ordering::Relaxed) {
            drop(self.pause.read());
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            self.one(docker, folder, number)
                .with_context(|| format!("round {number}"))?;
        }
        Ok(())
    }

    fn one(&self, docker: &Docker, folder: &Path, number: u32) -> Result<()> {
        let [made, renamed, volume, loaded, tag, committed] =
            ["made", "renamed", "volume", "loaded", "tag", "committed"]
                .map(|what| format!("{what}-{number}"));
        docker.ok(&["volume", "create", &volume])?;
        self.made("volume", &volume);
        let mount = format!("{volume}:/data");
        let script = format!("echo {number} >/data/mark; echo {number} >/mark; sync");
        docker.ok(&[
            "create", "--name", &made, "-v", &mount, "busybox", "sh", "-c", &script,
        ])?;
        self.made("container", &made);
        docker.ok(&["start", "-a", &made])?;
        docker.ok(&["commit", &made, &committed])?;
        self.made("image", &committed);
        self.unmake("container", &made, || {
            docker.ok(&["rename", &made, &renamed])
        })?;
        self.made("container", &renamed);
        let archive = folder.join(format!("{loaded}.tar"));
        harness::busybox_with(&[("mark", number.to_string().as_bytes())])?
            .write_archive(&loaded, &archive)?;
        docker.ok(&["load", "-i", &archive.to_string_lossy()])?;
        self.made("image", &loaded);
        std::fs::remove_file(&archive)?;
        docker.ok(&["tag", &loaded, &tag])?;
        self.made("image", &tag);
        let restarts = docker
            .ok(&["inspect", "-f", "{{.RestartCount}}", "restarts"])?
            .parse()?;
        {
            let mut promises = self.promises.lock().expect("no panic");
            promises.restarts = promises.restarts.max(restarts);
        }
        match number % 4 {
            0 => {
                self.unmake("image", &loaded, || docker.ok(&["rmi", &loaded]))?;
                self.unmake("image", &tag, || docker.ok(&["rmi", &tag]))
            }
            1 => self.unmake("image", &tag, || docker.ok(&["rmi", &tag])),
            2 => {
                self.unmake("container", &renamed, || docker.ok(&["rm", &renamed]))?;
                self.unmake("volume", &volume, || docker.ok(&["volume", "rm", &volume]))
            }
            _ => Ok(()),
        }
    }
}

/// All that an engine has, in the words of promises.
fn found(docker: &Docker) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (what, list) in [
        ("container", &["ps", "-a", "--format", "{{.Names}}"][..]),
        ("image", &["images", "--format", "{{.Repository}}"]),
        ("volume", &["volume", "ls", "-q"]),
    ] {
        found.extend(
            docker
                .ok(list)?
                .lines()
                .map(|name| format!("{what} {name}")),
        );
    }
    Ok(found)
}

/// Opens what the disk held and compares it with what was promised.
fn check(image: &Path, promises: &Promises) -> Result<()> {
    let engine = Engine::start_prepared(Kind::Ours, &[], |sandbox| {
        disk::mount(sandbox, image, &Engine::root(sandbox))
    })?;
    let docker = engine.docker()?;
    let found = found(&docker)?;
    let lost: Vec<_> = promises.there.difference(&found).collect();
    ensure!(lost.is_empty(), "lost: {lost:?}; there: {found:?}");
    let back: Vec<_> = promises.gone.intersection(&found).collect();
    ensure!(back.is_empty(), "back again: {back:?}");
    let restarts: u64 = docker
        .ok(&["inspect", "-f", "{{.RestartCount}}", "restarts"])?
        .parse()?;
    ensure!(
        restarts >= promises.restarts,
        "{restarts} restarts, not {}",
        promises.restarts
    );
    // What is there works, promised or not.
    let images = promises
        .there
        .iter()
        .filter_map(|one| one.strip_prefix("image "));
    for image in images.filter(|image| image.contains('-')).rev().take(2) {
        let number = image.rsplit('-').next().unwrap_or_default();
        let said = docker.ok(&["run", "--rm", image, "cat", "/mark"])?;
        ensure!(said == number, "{image} has {said:?}");
    }
    let containers = docker.ok(&[
        "ps",
        "-a",
        "-q",
        "--filter",
        "status=created",
        "--filter",
        "status=exited",
    ])?;
    let mut start: Vec<&str> = containers.lines().take(4).collect();
    if !start.is_empty() {
        start.insert(0, "start");
        docker.ok(&start)?;
    }
    let log = engine.log();
    let complaint = log
        .lines()
        .find(|line| COMPLAINTS.iter().any(|word| line.contains(word)));
    ensure!(complaint.is_none(), "it complains: {complaint:?}");
    let containers = docker.ok(&["ps", "-a", "-q"])?;
    let mut remove = vec!["rm", "-f"];
    remove.extend(containers.lines());
    docker.ok(&remove)?;
    docker.ok(&["image", "prune", "-a", "-f"])?;
    ensure!(docker.ok(&["images", "-q"])?.is_empty());
    Ok(())
}

#[test]
fn what_was_acknowledged_is_there_after_a_power_cut() -> Result<()> {
    if let Some(reason) = harness::native_lane_missing() {
        println!("skipped: the native lane {reason}");
        return Ok(());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            println!("skipped: no {device}");
            return Ok(());
        }
    }
    // Named first, dropped last: the sandbox needs it until its end.
    let folder = tempfile::tempdir()?;
    let disk = disk::Disk::new(folder.path(), DISK_BYTES)?;
    let engine = Engine::start_prepared(Kind::Ours, &[], |sandbox| {
        disk.mount(sandbox, &Engine::root(sandbox))
    })?;
    let docker = engine.docker()?;
    docker.load_busybox(folder.path())?;
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "restarts",
        "--restart",
        "always",
        "busybox",
        "false",
    ])?;
    let cuts: Option<u32> = std::env::var("BERTH_CUTS")
        .ok()
        .and_then(|text| text.parse().ok());
    let mut made = 0;
    let work = Work::default();
    work.made("image", "busybox");
    work.made("container", "restarts");

    let image = folder.path().join("cut");
    let worked: Result<()> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| work.run(&docker, folder.path())))
            .collect();
        let end = Instant::now() + LONG_ENOUGH;
        let checked = (0..cuts.unwrap_or(CUTS)).try_for_each(|cut| {
            if cuts.is_none() && Instant::now() > end {
                return Ok(());
            }
            made = cut + 1;
            let chance = RandomState::new().hash_one(cut);
            std::thread::sleep(Duration::from_millis(chance % MOMENT_MS));
            let mut promises = work.promised();
            disk.cut(&image)?;
            // What somebody began to take away meanwhile may be gone.
            let after = work.promised();
            promises.there = promises.there.intersection(&after.there).cloned().collect();
            let _pause = work.pause.write();
            let checked = check(&image, &promises).with_context(|| format!("cut {cut}"));
            if checked.is_err()
                && let Ok(kept) = std::env::var("BERTH_KEEP_CUT")
            {
                std::fs::copy(&image, kept)?;
            }
            checked
        });
        work.done.store(true, Ordering::Relaxed);
        let worked = clients.into_iter().try_for_each(|client| {
            client
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?
        });
        checked.and(worked)
    });
    worked?;
    println!(
        "{made} cuts: {} promises kept, {} flushes",
        work.promised().there.len(),
        disk.flushes()
    );
    Ok(())
}
