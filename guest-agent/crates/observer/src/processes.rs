//! Processes in /proc.

use std::path::Path;

use engine::ports::observe::{ProcessFiles, ProcessTable};
use errdefs::{Error, ErrorKind, Result};

use crate::bounded;

/// One of the small files.
const MAX_FILE_BYTES: usize = 16 << 10;
/// One command line.
const MAX_COMMAND_BYTES: usize = 32 << 10;
/// All command lines: a container may have many processes with long ones.
const MAX_COMMANDS_BYTES: usize = 8 << 20;
/// The machine's own lists.
const MAX_NAMES_BYTES: usize = 1 << 20;

/// Reads those that still are.
pub(crate) fn read(pids: &[u32]) -> Result<ProcessTable> {
    let proc = Path::new("/proc");
    let stat = bounded::text(&proc.join("stat"), MAX_NAMES_BYTES)
        .ok_or_else(|| Error::new(ErrorKind::System, "read /proc/stat"))?;
    let booted = stat.lines().find_map(|line| line.strip_prefix("btime "));
    let uptime = bounded::text(&proc.join("uptime"), MAX_FILE_BYTES);
    let info = rustix::system::sysinfo();
    let mut room = MAX_COMMANDS_BYTES;
    let mut processes = Vec::new();
    for pid in pids {
        let folder = proc.join(pid.to_string());
        let file = |name: &str| bounded::text(&folder.join(name), MAX_FILE_BYTES);
        let (Some(stat), Some(status)) = (file("stat"), file("status")) else {
            continue;
        };
        let command = bounded::bytes(&folder.join("cmdline"), MAX_COMMAND_BYTES.min(room));
        let command = command.unwrap_or_default();
        room -= command.len();
        processes.push(ProcessFiles {
            pid: *pid,
            stat,
            status,
            command,
            wchan: file("wchan").unwrap_or_default(),
        });
    }
    let names = |path: &str| bounded::bytes(path.as_ref(), MAX_NAMES_BYTES).unwrap_or_default();
    Ok(ProcessTable {
        processes,
        booted: booted
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0),
        uptime_ticks: uptime_ticks(uptime.as_deref().unwrap_or_default()),
        memory_kib: info.totalram.saturating_mul(u64::from(info.mem_unit)) / 1024,
        page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
        passwd: names("/etc/passwd"),
        group: names("/etc/group"),
    })
}

/// `12345.67 …` in hundredths.
fn uptime_ticks(text: &str) -> u64 {
    let seconds = text.split(' ').next().unwrap_or_default();
    seconds.trim().replace('.', "").parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there_and_one_that_ended_is_not() {
        let own = std::process::id();
        let table = read(&[own, u32::MAX]).expect("/proc is there");
        assert_eq!(table.processes.len(), 1);
        assert_eq!(table.processes[0].pid, own);
        assert!(table.processes[0].stat.starts_with(&own.to_string()));
        assert!(!table.processes[0].command.is_empty());
        assert!(table.booted > 0 && table.uptime_ticks > 0 && table.memory_kib > 0);
    }
}
