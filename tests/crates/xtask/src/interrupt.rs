//! Ctrl-C: whatever a command started, however deep, ends with it.
//!
//! Machines, engines and their helpers run in groups and sessions of their own, so the terminal's signal does not reach them. So the command
//! runs in a second process, and the first adopts what that leaves behind (it is a *subreaper*): all of it is found below it. A command that
//! ends well leaves its machine alone: what `up` starts is meant to stay.

use std::{
    process::{Command, ExitCode},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

/// Set for the second process.
const SUPERVISED: &str = "BERTH_XTASK_SUPERVISED";

/// What ends in order may take so long; then, or at the second Ctrl-C, it is killed.
const GRACE: Duration = Duration::from_secs(20);

/// How long killed processes may take to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked whether all are gone: the end of a process that is not a child has no event.
const LOOK_EVERY: Duration = Duration::from_millis(50);

static REQUESTS: AtomicUsize = AtomicUsize::new(0);

/// Whether this process is the second one, which does the work.
pub(crate) fn is_supervised() -> bool {
    std::env::var_os(SUPERVISED).is_some()
}

/// Runs this program once more and gives its exit code; at SIGINT, SIGTERM or SIGHUP ends it with all that it started.
pub(crate) fn supervise() -> Result<ExitCode> {
    set_child_subreaper(Some(getpid())).context("adopt what children leave behind")?;
    ctrlc::set_handler(|| {
        REQUESTS.fetch_add(1, Ordering::SeqCst);
        signal_all(Signal::TERM);
    })
    .context("listen for Ctrl-C")?;
    let worker = Command::new(std::env::current_exe().context("find this program")?)
        .args(std::env::args_os().skip(1))
        .env(SUPERVISED, "1")
        .spawn()
        .context("start the command")?;
    let code = reap_until(worker.id())?;
    if REQUESTS.load(Ordering::SeqCst) == 0 {
        return Ok(code);
    }
    finish()?;
    bail!("interrupted")
}

/// Takes every end that is told, as an adopter must, until the worker's: processes that nobody waits for hold up the end of their namespace.
fn reap_until(worker: u32) -> Result<ExitCode> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().unsigned_abs() == worker => {
                let code = status
                    .exit_status()
                    .and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for the command"),
        }
    }
}

/// Ends what is left and waits until it is gone.
fn finish() -> Result<()> {
    if end_all(GRACE, || REQUESTS.load(Ordering::SeqCst) > 1) {
        return Ok(());
    }
    let left: Vec<_> = descendants()
        .iter()
        .map(|pid| pid.as_raw_nonzero())
        .collect();
    bail!("processes that do not end: {left:?}")
}

/// True: all are gone.
fn end_all(grace: Duration, hurry: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if descendants().is_empty() {
            return true;
        }
        let waited = begun.elapsed();
        if waited >= grace + KILLED_WITHIN {
            return false;
        }
        signal_all(if hurry() || waited >= grace {
            Signal::KILL
        } else {
            Signal::TERM
        });
        std::thread::sleep(LOOK_EVERY);
    }
}

fn signal_all(signal: Signal) {
    for pid in descendants() {
        // It may be gone already, or be root's under `sudo`, which passes signals on by itself.
        let _ = kill_process(pid, signal);
    }
}

/// Every process below this one.
fn descendants() -> Vec<Pid> {
    let parents = parents();
    let mut found = vec![getpid()];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.split_off(1)
}

/// Who is whose child, from `/proc/PID/stat` (proc(5)): the parent is the second field after the name, which ends with the last `)`.
fn parents() -> Vec<(Pid, Pid)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (_, after) = stat.rsplit_once(')')?;
            let parent = after.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, Pid::from_raw(parent)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };

    use super::*;

    /// A child that leaves a grandchild in a session of its own, and ends.
    fn leave_behind(script: &str) -> Pid {
        let mut child = Command::new("setsid")
            .args(["sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("setsid and sh are everywhere");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("the grandchild's number");
        child.wait().expect("the child ends");
        Pid::from_raw(line.trim().parse().expect("a number")).expect("not zero")
    }

    #[test]
    fn what_children_left_behind_ends_too() {
        set_child_subreaper(Some(getpid())).expect("Linux can");
        let gentle = leave_behind("sleep 1000 & echo $!");
        let deaf = leave_behind(
            "(trap '' TERM; echo $(sh -c 'echo $PPID'); while :; do sleep 1000; done) &",
        );
        assert_eq!(
            descendants()
                .iter()
                .filter(|pid| [gentle, deaf].contains(pid))
                .count(),
            2
        );
        assert!(end_all(Duration::from_millis(200), || false));
        assert!(descendants().is_empty());
    }
}
