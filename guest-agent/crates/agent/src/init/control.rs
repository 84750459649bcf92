//! The control service: status, wall clock, power-off.

use std::{
    fs,
    sync::{Arc, mpsc},
    time::Duration,
};

use agent_api::{ControlReply, ControlRequest, frame};
use anyhow::{Context, Result};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount_remount, unmount},
    process::{WaitOptions, wait},
    system::RebootCommand,
    time::{ClockId, Timespec, clock_settime},
};
use tokio::{io::AsyncReadExt, net::UnixStream, time::timeout};

use super::{Machine, data_disk, sys};

/// How long the engine may take to end beside the time its containers have.
const ENGINE_TIME: Duration = Duration::from_secs(10);

/// How long killed processes may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(5);

/// How long the host may take to see our last answer.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// Answers requests until the host hangs up.
pub(super) async fn serve(host: &mut UnixStream, machine: &Arc<Machine>) -> Result<()> {
    while let Some(request) = frame::receive(host).await? {
        match request {
            ControlRequest::Status => frame::send(host, &status(machine)).await?,
            ControlRequest::SetTime { unix_time_ns } => {
                let reply = match set_time(unix_time_ns) {
                    Ok(()) => ControlReply::Done,
                    Err(error) => ControlReply::Failed {
                        message: format!("{error:#}"),
                    },
                };
                frame::send(host, &reply).await?;
            }
            ControlRequest::PowerOff { timeout_seconds } => {
                wind_down(machine, Duration::from_secs(timeout_seconds)).await;
                let told = frame::send(host, &ControlReply::Done).await;
                if told.is_ok() {
                    // The host hangs up when it has read the answer; without this wait it could be lost with the machine.
                    let _host_is_slow = timeout(FAREWELL_TIME, host.read_u8()).await;
                }
                power_off();
            }
        }
    }
    Ok(())
}

/// Sets the wall clock.
pub(super) fn set_time(unix_time_ns: i64) -> Result<()> {
    let time = Timespec {
        tv_sec: unix_time_ns.div_euclid(1_000_000_000),
        tv_nsec: unix_time_ns.rem_euclid(1_000_000_000),
    };
    clock_settime(ClockId::Realtime, time).context("set the clock")
}

fn status(machine: &Machine) -> ControlReply {
    let disk_bytes = rustix::fs::statvfs(data_disk::MOUNT_POINT).map_or((0, 0), |disk| {
        (
            disk.f_blocks * disk.f_frsize,
            (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        )
    });
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    ControlReply::Status {
        engine_ready: machine.engine.is_ready(),
        engine_restarts: machine.engine.restarts(),
        disk_bytes,
        memory_bytes: (
            memory_field(&memory, "MemTotal:"),
            memory_field(&memory, "MemAvailable:"),
        ),
    }
}

/// A field of `/proc/meminfo`, in bytes.
fn memory_field(memory: &str, name: &str) -> u64 {
    memory
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kibibytes| kibibytes.parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes * 1024)
}

/// The engine stops the containers, each by its own stop signal, and ends; then the disk.
async fn wind_down(machine: &Machine, bound: Duration) {
    tracing::info!("powering off");
    machine.engine.stop(bound + ENGINE_TIME).await;
    rustix::fs::sync();
}

/// Ends every other process, leaves the disk clean, and the machine with it.
fn power_off() -> ! {
    if let Err(error) = sys::kill_all_others() {
        tracing::debug!(%error, "no other process was left");
    }
    wait_for_the_killed();
    leave_data_disk();
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(RebootCommand::PowerOff) {
        tracing::error!(%error, "cannot power off");
    }
    super::park()
}

/// Their mounts are gone only with them.
fn wait_for_the_killed() {
    let (all_gone, gone) = mpsc::channel();
    std::thread::spawn(move || {
        while wait(WaitOptions::empty()).is_ok() {}
        let _too_late = all_gone.send(());
    });
    if gone.recv_timeout(KILL_TIME).is_err() {
        tracing::warn!("some processes do not end although killed");
    }
}

/// Unmounts the data disk and everything on it; what stays in use becomes read-only, so that it is clean all the same.
fn leave_data_disk() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in below(&mounts, data_disk::MOUNT_POINT).into_iter().rev() {
        if let Err(error) = unmount(mount, UnmountFlags::NOFOLLOW) {
            tracing::warn!(mount, %error, "not unmounted");
        }
    }
    let still = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if !below(&still, data_disk::MOUNT_POINT).is_empty()
        && let Err(error) = mount_remount(data_disk::MOUNT_POINT, MountFlags::RDONLY, "")
    {
        tracing::warn!(%error, "the data disk is left as after a power cut");
    }
}

/// The mount points at or below a path, in the order they were made. Linux: Documentation/filesystems/proc.rst, `/proc/PID/mounts`
fn below<'a>(mounts: &'a str, path: &str) -> Vec<&'a str> {
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| {
            point
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_path_are_found_and_neighbours_are_not() {
        let mounts = "a /var ext4 rw\nb /var/lib/berth ext4 rw\nc /var/lib/berth/x overlay rw\nd /var/lib/berthold tmpfs rw\n";
        assert_eq!(
            below(mounts, "/var/lib/berth"),
            ["/var/lib/berth", "/var/lib/berth/x"]
        );
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let memory = "MemTotal:        1024 kB\nMemAvailable:     512 kB\n";
        assert_eq!(memory_field(memory, "MemTotal:"), 1 << 20);
        assert_eq!(memory_field(memory, "Other:"), 0);
    }
}
