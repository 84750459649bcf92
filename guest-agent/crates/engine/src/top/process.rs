//! One process, taken from its files. Pure; the files are in the hands of the process.

use crate::ports::observe::ProcessFiles;

/// Clock ticks a second in /proc: the same on every Linux. Linux: include/asm-generic/param.h, USER_HZ.
pub(super) const TICKS_PER_SECOND: u64 = 100;

/// A process as the kernel tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) state: char,
    pub(super) parent: i64,
    pub(super) group: i64,
    pub(super) session: i64,
    pub(super) terminal: u64,
    pub(super) terminal_group: i64,
    pub(super) flags: u64,
    pub(super) major_faults: u64,
    pub(super) minor_faults: u64,
    /// Ticks in user and kernel mode.
    pub(super) cpu_ticks: u64,
    pub(super) priority: i64,
    pub(super) nice: i64,
    pub(super) threads: u64,
    /// Ticks since the machine's start.
    pub(super) started: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_pages: u64,
    pub(super) processor: u64,
    pub(super) real_time_priority: u64,
    pub(super) policy: u64,
    /// Real and effective.
    pub(super) users: [u32; 2],
    /// Real and effective.
    pub(super) groups: [u32; 2],
    pub(super) has_locked_memory: bool,
    /// Program and arguments on one line.
    pub(super) command: String,
    pub(super) waits_in: String,
}

impl Process {
    /// None: the files make no sense, as when the process just ended.
    pub(super) fn parse(files: &ProcessFiles) -> Option<Self> {
        // The name is whatever the process likes, brackets too: the last one ends it.
        let (before, rest) = files.stat.rsplit_once(')')?;
        let name = printable(before.split_once('(')?.1.as_bytes());
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |place: usize| {
            fields
                .get(place)
                .and_then(|text| text.parse::<i64>().ok())
                .unwrap_or(0)
        };
        let count = |place: usize| {
            fields
                .get(place)
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let state = fields.first()?.chars().next()?;
        let ids = |name: &str| {
            let line = files
                .status
                .lines()
                .find_map(|line| line.strip_prefix(name));
            let mut ids = line.unwrap_or_default().split_ascii_whitespace();
            [(); 2].map(|()| ids.next().and_then(|text| text.parse().ok()).unwrap_or(0))
        };
        let locked = files
            .status
            .lines()
            .find_map(|line| line.strip_prefix("VmLck:"));
        let mut command = printable(&joined(&files.command));
        if command.is_empty() {
            command = format!("[{name}]");
        }
        if state == 'Z' {
            command.push_str(" <defunct>");
        }
        Some(Self {
            pid: files.pid,
            state,
            parent: number(1),
            group: number(2),
            session: number(3),
            terminal: count(4),
            terminal_group: number(5),
            flags: count(6),
            minor_faults: count(7),
            major_faults: count(9),
            cpu_ticks: count(11).saturating_add(count(12)),
            priority: number(15),
            nice: number(16),
            threads: count(17),
            started: count(19),
            virtual_bytes: count(20),
            resident_pages: count(21),
            processor: count(36),
            real_time_priority: count(37),
            policy: count(38),
            users: ids("Uid:"),
            groups: ids("Gid:"),
            has_locked_memory: locked.is_some_and(|text| !text.trim_start().starts_with('0')),
            name,
            command,
            waits_in: files.wchan.clone(),
        })
    }
}

/// Arguments end with a zero each.
fn joined(command: &[u8]) -> Vec<u8> {
    let text = command.strip_suffix(&[0]).unwrap_or(command);
    text.iter()
        .map(|&byte| if byte == 0 { b' ' } else { byte })
        .collect()
}

/// What cannot be shown is a question mark.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.extend(
            chunk
                .valid()
                .chars()
                .map(|c| if c.is_control() { '?' } else { c }),
        );
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::top) fn files(pid: u32, command: &[u8]) -> ProcessFiles {
        ProcessFiles {
            pid,
            stat: format!(
                "{pid} (a) (b)) S 1 {pid} {pid} 34817 {pid} 4194560 100 0 3 0 250 50 0 0 20 0 2 0 1000 2322432 344 1844 1 2 3 0 0 0 0 0 0 0 0 0 17 1 0 0 0"
            ),
            status: "Name:\ta\nUid:\t5\t33\t33\t33\nGid:\t6\t34\t34\t34\nVmLck:\t       0 kB\n"
                .to_owned(),
            command: command.to_vec(),
            wchan: "hrtimer_nanosleep".to_owned(),
        }
    }

    #[test]
    fn a_process_is_read_whatever_it_calls_itself() {
        let process = Process::parse(&files(7, b"sleep\0a  b\0")).unwrap();
        assert_eq!(
            (process.name.as_str(), process.command.as_str()),
            ("a) (b)", "sleep a  b")
        );
        assert_eq!(
            (process.parent, process.cpu_ticks, process.started),
            (1, 300, 1000)
        );
        assert_eq!((process.users, process.groups), ([5, 33], [6, 34]));
        assert_eq!(
            (process.threads, process.resident_pages, process.policy),
            (2, 344, 0)
        );
        assert_eq!((process.processor, process.has_locked_memory), (1, false));
    }

    #[test]
    fn nonsense_is_no_process_and_bytes_are_made_printable() {
        for stat in ["", "1", "1 (a", "1 (a)", "1 a) "] {
            let files = ProcessFiles {
                stat: stat.to_owned(),
                ..ProcessFiles::default()
            };
            assert_eq!(Process::parse(&files), None, "{stat:?}");
        }
        let process = Process::parse(&files(7, b"a\n\x1b\xff\0")).unwrap();
        assert_eq!(process.command, "a???");
        assert_eq!(Process::parse(&files(7, b"")).unwrap().command, "[a) (b)]");
    }
}
