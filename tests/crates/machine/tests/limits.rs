//! What only a machine of its own can show: limits that its kernel enforces, a disk that is full, folders that are not shared.
//!
//! One boot. Needs QEMU and the image (`cargo xtask image`); skipped loudly without them.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::Docker;
use test_machine::Berth;

/// A small disk, so that it can be filled.
const SETTINGS: &str = "cpus = 2\nmemory_mib = 1024\ndisk_gib = 1\nbackend = \"qemu-tcg\"\n";

/// Bound of one command.
const WITHIN: Duration = Duration::from_secs(300);

/// A file of an image that does not fit a full disk.
const LARGE_BYTES: usize = 8 << 20;

#[test]
fn limits_hold_and_what_is_full_or_forbidden_is_said() -> Result<()> {
    let Some((berth, docker)) = Berth::started_or_skipped(SETTINGS, WITHIN)? else {
        return Ok(());
    };

    limits_are_in_the_containers_group(&docker)?;
    who_takes_more_memory_than_its_limit_is_killed_and_said_so(&docker)?;
    more_processes_than_the_limit_are_refused(&docker)?;
    running_containers_are_measured_and_changed(&docker)?;
    a_folder_that_is_not_shared_is_refused_with_the_way_out(&docker)?;
    let large = berth.path().join("large.tar");
    harness::busybox_with(&[("large", &vec![7; LARGE_BYTES])])?
        .write_archive("large:latest", &large)?;
    a_full_disk_is_said_and_nothing_half_made_stays(&docker, &large.to_string_lossy())?;
    Ok(())
}

fn limits_are_in_the_containers_group(docker: &Docker) -> Result<()> {
    let script = "cd /sys/fs/cgroup && cat memory.max memory.swap.max memory.low cpu.max cpu.weight cpuset.cpus pids.max";
    let text = docker.ok(&[
        "run",
        "--rm",
        "--memory",
        "64m",
        "--memory-swap",
        "96m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "20",
        "busybox",
        "sh",
        "-c",
        script,
    ])?;
    let values: Vec<&str> = text.lines().collect();
    ensure!(
        values
            == [
                "67108864",
                "33554432",
                "33554432",
                "50000 100000",
                "20",
                "0",
                "20"
            ],
        "{values:?}"
    );
    Ok(())
}

fn who_takes_more_memory_than_its_limit_is_killed_and_said_so(docker: &Docker) -> Result<()> {
    // The tmpfs is the container's memory, too.
    let output = docker.run(&[
        "run",
        "--name",
        "greedy",
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
        "--tmpfs",
        "/t",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/t/x",
        "bs=1M",
        "count=64",
    ])?;
    ensure!(output.code == 137, "{output:?}");
    let state = docker.ok(&[
        "inspect",
        "-f",
        "{{.State.OOMKilled}} {{.State.ExitCode}}",
        "greedy",
    ])?;
    ensure!(state == "true 137", "{state}");
    docker.ok(&["rm", "greedy"]).map(drop)
}

fn more_processes_than_the_limit_are_refused(docker: &Docker) -> Result<()> {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo started";
    let output = docker.run(&[
        "run",
        "--rm",
        "--pids-limit",
        "4",
        "busybox",
        "sh",
        "-c",
        script,
    ])?;
    ensure!(output.stderr.contains("can't fork"), "{output:?}");
    Ok(())
}

fn running_containers_are_measured_and_changed(docker: &Docker) -> Result<()> {
    docker.ok(&[
        "run", "-d", "--name", "seen", "--memory", "64m", "busybox", "sleep", "600",
    ])?;
    let stats = docker.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.MemUsage}} {{.PIDs}}",
        "seen",
    ])?;
    ensure!(
        stats.contains("/ 64MiB") && stats.ends_with(" 1") && !stats.starts_with("0B"),
        "{stats}"
    );
    docker.ok(&[
        "update",
        "--memory",
        "48m",
        "--memory-swap",
        "48m",
        "--cpus",
        "0.25",
        "seen",
    ])?;
    let text = docker.ok(&[
        "exec",
        "seen",
        "cat",
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/cpu.max",
    ])?;
    ensure!(text == "50331648\n25000 100000", "{text}");
    docker.ok(&["rm", "-f", "seen"]).map(drop)
}

fn a_folder_that_is_not_shared_is_refused_with_the_way_out(docker: &Docker) -> Result<()> {
    let output = docker.fails(&["run", "--rm", "-v", "/etc:/w", "busybox", "true"])?;
    ensure!(
        output.stderr.contains("/etc") && output.stderr.contains("share_roots in settings.toml"),
        "{output:?}"
    );
    Ok(())
}

fn a_full_disk_is_said_and_nothing_half_made_stays(docker: &Docker, archive: &str) -> Result<()> {
    let output = docker.run(&[
        "run",
        "--rm",
        "-v",
        "big:/v",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/v/x",
        "bs=1M",
        "count=2000",
    ])?;
    ensure!(
        output.code != 0 && output.stderr.contains("No space left on device"),
        "{output:?}"
    );
    let before = docker.ok(&["images"])?;
    let refused = docker.fails(&["load", "-i", archive])?;
    ensure!(
        refused
            .stderr
            .to_lowercase()
            .contains("no space left on device"),
        "{refused:?}"
    );
    ensure!(docker.ok(&["images"])? == before);
    // What lists and inspects goes on, and so does the way out.
    docker.ok(&["volume", "rm", "big"])?;
    docker.ok(&["load", "-i", archive])?;
    ensure!(docker.ok(&["run", "--rm", "large", "echo", "again"])? == "again");
    Ok(())
}
