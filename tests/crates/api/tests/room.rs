//! No room left on the disk, no inodes, or no file descriptors. Each request ends, with success or with an error that
//! says what is missing; nothing half-made is left; the engine lives on, and the next try works once there is room.
//!
//! Needs root and loop devices, else skipped and said so.
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{Docker, Engine, Kind, disk};

/// A request that nobody can answer now is given up after this.
const WITHIN: Duration = Duration::from_secs(30);
/// A small disk.
const DISK_BYTES: u64 = 64 << 20;
/// Incompressible, so that it takes its room: in an image, and copied into a container.
const LOAD_BYTES: usize = 6 << 20;
const COPY_BYTES: usize = 3 << 20;

/// Network namespaces that an engine has ready.
const MADE_IN_ADVANCE: usize = 3;

/// An engine with a container that runs, one that does not, and what requests need.
struct Bed {
    engine: Engine,
    docker: Docker,
    _folder: tempfile::TempDir,
    archive: PathBuf,
    file: PathBuf,
    left: String,
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

impl Bed {
    /// On a disk of its own; `mkfs`: how it is made.
    fn new(mkfs: &[&str]) -> Result<Option<Self>> {
        if let Some(reason) = harness::native_lane_missing() {
            println!("skipped: the native lane {reason}");
            return Ok(None);
        }
        if !std::path::Path::new("/dev/loop-control").exists() {
            println!("skipped: no loop devices");
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let image = folder.path().join("disk");
        let engine = Engine::start_prepared(Kind::Ours, &[], |sandbox| {
            disk::make(&image, DISK_BYTES, mkfs)?;
            disk::mount(sandbox, &image, &Engine::root(sandbox))
        })?;
        let docker = engine.docker()?.within(WITHIN);
        docker.load_busybox(folder.path())?;
        let (archive, file) = (folder.path().join("big.tar"), folder.path().join("file"));
        harness::busybox_with(&[("noise", &noise(LOAD_BYTES))])?.write_archive("big", &archive)?;
        std::fs::write(&file, noise(COPY_BYTES))?;
        docker.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "600"])?;
        docker.ok(&["create", "--name", "stands", "busybox", "echo", "stands"])?;
        docker.ok(&["run", "--rm", "busybox", "true"])?;
        let left = engine.left()?;
        Ok(Some(Self {
            engine,
            docker,
            _folder: folder,
            archive,
            file,
            left,
        }))
    }

    /// Every kind of request once; what those that failed said.
    fn requests(&self) -> Result<BTreeMap<&'static str, String>> {
        let (archive, file) = (self.archive.to_string_lossy(), self.file.to_string_lossy());
        let requests: [(&str, &[&str]); 10] = [
            (
                "create",
                &["create", "--name", "new", "-v", "vol:/v", "busybox", "true"],
            ),
            ("start", &["start", "-a", "stands"]),
            (
                "run",
                &[
                    "run",
                    "--name",
                    "ran",
                    "-p",
                    "80",
                    "busybox",
                    "sh",
                    "-c",
                    "echo x; head -c 100000 /dev/zero",
                ],
            ),
            ("exec", &["exec", "runs", "echo", "x"]),
            ("load", &["load", "-i", &archive]),
            ("cp", &["cp", &file, "runs:/file"]),
            ("commit", &["commit", "runs", "committed"]),
            ("tag", &["tag", "busybox", "tagged"]),
            ("logs", &["logs", "stands"]),
            ("volume", &["volume", "create", "other"]),
        ];
        let mut failed = BTreeMap::new();
        for (what, request) in requests {
            let output = self.docker.run(request).context(what)?;
            if output.code != 0 {
                // Of an exec it is told in the stream's place.
                let said = String::from_utf8_lossy(&output.stdout);
                failed.insert(what, format!("{said}{}", output.stderr));
            }
        }
        Ok(failed)
    }

    /// Takes away what requests made, and looks for what else there is.
    fn clean(&self) -> Result<()> {
        let docker = &self.docker;
        for gone in [
            &["rm", "-f", "-v", "new", "ran"][..],
            &["rmi", "big", "committed", "tagged"],
            &["volume", "rm", "-f", "vol", "other"],
            &["exec", "runs", "rm", "-f", "/file"],
        ] {
            let output = docker.run(gone)?;
            // What failed is not there.
            let there = output.stderr.lines().find(|line| {
                !["No such", "no such"]
                    .iter()
                    .any(|words| line.contains(words))
                    && !line.is_empty()
            });
            ensure!(there.is_none(), "{gone:?}: {there:?}");
        }
        self.engine.settles(&self.left)?;
        let images = docker.ok(&["images", "-a", "--format", "{{.Repository}}"])?;
        ensure!(images == "busybox", "images: {images}");
        let names = docker.ok(&["ps", "-a", "--format", "{{.Names}}"])?;
        ensure!(
            names.split_whitespace().collect::<Vec<_>>() == ["stands", "runs"],
            "containers: {names}"
        );
        Ok(())
    }

    /// All works again.
    fn works(&self) -> Result<()> {
        let failed = self.requests()?;
        ensure!(failed.is_empty(), "with room again: {failed:?}");
        self.clean()
    }

    /// A script in the engine's namespaces.
    fn inside(&self, script: &str, argument: &str) -> Result<String> {
        let mut command = self.engine.sandbox().command("sh");
        command.args(["-c", script, "inside", argument]);
        command.env("ROOT", Engine::root(self.engine.sandbox()));
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// Every error says what is missing.
fn says(failed: &BTreeMap<&'static str, String>, words: &[&str]) -> Result<()> {
    for (what, said) in failed {
        let clear = words.iter().any(|word| said.contains(word));
        ensure!(clear, "{what} says {said:?}");
    }
    Ok(())
}

/// Fills the disk but for so much, tries everything, makes room, tries again.
fn filled(bed: &Bed, fill: &str, room: &[&str]) -> Result<()> {
    let mut failures = 0;
    for room in room {
        bed.inside(fill, room)?;
        let failed = bed
            .requests()
            .with_context(|| format!("with {room} left"))?;
        says(&failed, &["no space left on device"]).with_context(|| format!("with {room} left"))?;
        failures += failed.len();
        bed.clean().with_context(|| format!("with {room} left"))?;
        bed.inside("rm -rf $ROOT/filler; sync", "")?;
    }
    println!("{failures} requests failed");
    ensure!(failures > 0, "it was never full");
    bed.works()?;
    let log = bed.engine.log();
    ensure!(!log.contains("panicked"), "{}", bed.engine.log_tail());
    Ok(())
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() -> Result<()> {
    let Some(bed) = Bed::new(&[])? else {
        return Ok(());
    };
    // Whole blocks first, then what is left of the last ones.
    let fill = "set -e; cd $ROOT; mkdir filler; sync; free=$(($(stat -f -c '%a * %S / 1024' .)))
        [ $free -le $1 ] || fallocate -l $((free - $1))k filler/a || dd if=/dev/zero of=filler/a bs=4k count=$(((free - $1) / 4)) 2>/dev/null || :";
    filled(
        &bed,
        fill,
        &["0", "4", "8", "16", "40", "150", "500", "2000", "5000"],
    )
}

#[test]
fn a_disk_without_inodes_is_an_error_and_leaves_nothing() -> Result<()> {
    let Some(bed) = Bed::new(&["-N", "2000"])? else {
        return Ok(());
    };
    let fill = "set -e; mkdir $ROOT/filler; cd $ROOT/filler; free=$(stat -f -c %d .)
        seq 1 $((free - $1)) | xargs touch || :";
    filled(&bed, fill, &["0", "1", "2", "3", "5", "8", "13", "30"])
}

/// Leaves the engine so many descriptors that it can still open.
fn leave_descriptors(bed: &Bed, count: usize) -> Result<()> {
    let open: Vec<usize> = std::fs::read_dir(format!("/proc/{}/fd", bed.engine.pid()?))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let mut free = (0..).filter(|number| !open.contains(number));
    let limit = free.nth(count).context("there are always more numbers")?;
    limit_descriptors(bed, &limit.to_string())
}

fn limit_descriptors(bed: &Bed, limit: &str) -> Result<()> {
    let output = std::process::Command::new("prlimit")
        .args(["--pid", &bed.engine.pid()?.to_string()])
        .arg(format!("--nofile={limit}:"))
        .output()
        .context("prlimit")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "prlimit: {said}");
    Ok(())
}

#[test]
fn an_engine_without_descriptors_says_so_and_leaves_nothing() -> Result<()> {
    let Some(bed) = Bed::new(&[])? else {
        return Ok(());
    };
    let mut failures = 0;
    // With fewer a connection is not taken, and waits, as with dockerd.
    for count in [3, 4, 5, 6, 8, 10, 12, 16, 24] {
        let left = || format!("with {count} descriptors left");
        leave_descriptors(&bed, count)?;
        let failed = bed.requests().with_context(left)?;
        says(&failed, &["too many open files"]).with_context(left)?;
        failures += failed.len();
        limit_descriptors(&bed, "1024")?;
        // The next try works; so many, that what could not be made in advance meanwhile has been used up.
        for _ in 0..MADE_IN_ADVANCE {
            bed.docker
                .ok(&["run", "--rm", "busybox", "true"])
                .with_context(left)?;
        }
        bed.clean().with_context(left)?;
    }
    println!("{failures} requests failed");
    ensure!(failures > 0, "there were always enough");
    bed.works()?;
    let runs = bed.docker.ok(&[
        "inspect",
        "-f",
        "{{.State.Running}} {{.RestartCount}}",
        "runs",
    ])?;
    ensure!(runs == "true 0", "{runs}");
    let log = bed.engine.log();
    ensure!(!log.contains("panicked"), "{}", bed.engine.log_tail());
    Ok(())
}
