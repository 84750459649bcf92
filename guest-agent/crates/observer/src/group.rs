//! Files of a cgroup, of a network and of the machine.

use std::path::Path;

use engine::ports::observe::SampleFiles;
use errdefs::{Error, ErrorKind, Result};

use crate::bounded;

/// One file of a group.
const MAX_FILE_BYTES: usize = 256 << 10;
/// `/proc/PID/net/dev`: a container can make many links.
const MAX_NETWORK_BYTES: usize = 1 << 20;
/// `/proc/stat` of a machine with many processors.
const MAX_STAT_BYTES: usize = 4 << 20;

pub(crate) fn read(folder: &Path, network_of: Option<u32>) -> Result<SampleFiles> {
    if !folder.is_dir() {
        return Err(Error::new(
            ErrorKind::NotFound,
            "the container's cgroup is gone",
        ));
    }
    let file = |name: &str| bounded::text(&folder.join(name), MAX_FILE_BYTES);
    let info = rustix::system::sysinfo();
    let network = network_of.and_then(|pid| {
        bounded::text(
            Path::new(&format!("/proc/{pid}/net/dev")),
            MAX_NETWORK_BYTES,
        )
    });
    Ok(SampleFiles {
        cpu_stat: file("cpu.stat"),
        memory_current: file("memory.current"),
        memory_max: file("memory.max"),
        memory_stat: file("memory.stat"),
        memory_events: file("memory.events"),
        pids_current: file("pids.current"),
        pids_max: file("pids.max"),
        io_stat: file("io.stat"),
        network,
        // Last, so that it is close to what the group has used.
        machine_stat: bounded::text("/proc/stat".as_ref(), MAX_STAT_BYTES).unwrap_or_default(),
        machine_memory: info.totalram.saturating_mul(u64::from(info.mem_unit)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_is_missing_leaves_its_files_out() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("cpu.stat"), "usage_usec 5\n").expect("write");
        let files = read(folder.path(), Some(std::process::id())).expect("a group");
        assert_eq!(files.cpu_stat.as_deref(), Some("usage_usec 5\n"));
        assert_eq!((files.memory_current, files.pids_current), (None, None));
        assert!(files.network.is_some_and(|text| text.contains("lo:")));
        assert!(files.machine_stat.starts_with("cpu "));
        let error = read(&folder.path().join("gone"), None).expect_err("no group");
        assert_eq!(errdefs::Classify::kind(&error), ErrorKind::NotFound);
    }
}
