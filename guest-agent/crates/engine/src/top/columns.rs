//! Columns of `ps` and how each is written. Man page: ps(1) of procps, standard format specifiers.

use super::{
    process::{Process, TICKS_PER_SECOND},
    view::View,
};

/// Width of a name of a user or group.
const NAME_WIDTH: usize = 8;
/// Width of a command that is not in the last column.
const COMMAND_WIDTH: usize = 27;
/// Longest width that can be asked for.
const MAX_WIDTH: usize = 4096;

/// A column that is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) title: String,
    key: Key,
    width: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Address,
    Arguments,
    BsdStart,
    BsdTime,
    Class,
    CpuInteger,
    CpuPercent,
    Elapsed,
    ElapsedSeconds,
    Flags,
    GroupName(usize),
    GroupNumber(usize),
    LongStart,
    MajorFaults,
    MemoryPercent,
    MinorFaults,
    Name,
    Nice,
    OldPriority,
    Parent,
    Pid,
    Priority,
    PriorityRaw,
    ProcessGroup,
    Processor,
    RealTimePriority,
    Resident,
    Session,
    SizePages,
    Start,
    State,
    StateLetter,
    StartShort,
    Terminal,
    TerminalGroup,
    Threads,
    Time,
    UserName(usize),
    UserNumber(usize),
    Virtual,
    WaitsIn,
}

const REAL: usize = 0;
const EFFECTIVE: usize = 1;

/// Name, title, what is shown.
const KNOWN: &[(&str, &str, Key)] = &[
    ("%cpu", "%CPU", Key::CpuPercent),
    ("%mem", "%MEM", Key::MemoryPercent),
    ("addr", "ADDR", Key::Address),
    ("args", "COMMAND", Key::Arguments),
    ("bsdstart", "START", Key::BsdStart),
    ("bsdtime", "TIME", Key::BsdTime),
    ("c", "C", Key::CpuInteger),
    ("class", "CLS", Key::Class),
    ("cls", "CLS", Key::Class),
    ("cmd", "CMD", Key::Arguments),
    ("comm", "COMMAND", Key::Name),
    ("command", "COMMAND", Key::Arguments),
    ("cp", "CP", Key::CpuInteger),
    ("cputime", "TIME", Key::Time),
    ("egid", "EGID", Key::GroupNumber(EFFECTIVE)),
    ("egroup", "EGROUP", Key::GroupName(EFFECTIVE)),
    ("etime", "ELAPSED", Key::Elapsed),
    ("etimes", "ELAPSED", Key::ElapsedSeconds),
    ("euid", "EUID", Key::UserNumber(EFFECTIVE)),
    ("euser", "EUSER", Key::UserName(EFFECTIVE)),
    ("f", "F", Key::Flags),
    ("flag", "F", Key::Flags),
    ("flags", "F", Key::Flags),
    ("fname", "COMMAND", Key::Name),
    ("gid", "GID", Key::GroupNumber(EFFECTIVE)),
    ("group", "GROUP", Key::GroupName(EFFECTIVE)),
    ("lstart", "STARTED", Key::LongStart),
    ("maj_flt", "MAJFL", Key::MajorFaults),
    ("min_flt", "MINFL", Key::MinorFaults),
    ("ni", "NI", Key::Nice),
    ("nice", "NI", Key::Nice),
    ("nlwp", "NLWP", Key::Threads),
    ("opri", "PRI", Key::OldPriority),
    ("pcpu", "%CPU", Key::CpuPercent),
    ("pgid", "PGID", Key::ProcessGroup),
    ("pgrp", "PGRP", Key::ProcessGroup),
    ("pid", "PID", Key::Pid),
    ("pmem", "%MEM", Key::MemoryPercent),
    ("ppid", "PPID", Key::Parent),
    ("pri", "PRI", Key::Priority),
    ("priority", "PRI", Key::PriorityRaw),
    ("psr", "PSR", Key::Processor),
    ("rgid", "RGID", Key::GroupNumber(REAL)),
    ("rgroup", "RGROUP", Key::GroupName(REAL)),
    ("rss", "RSS", Key::Resident),
    ("rssize", "RSS", Key::Resident),
    ("rsz", "RSZ", Key::Resident),
    ("rtprio", "RTPRIO", Key::RealTimePriority),
    ("ruid", "RUID", Key::UserNumber(REAL)),
    ("ruser", "RUSER", Key::UserName(REAL)),
    ("s", "S", Key::StateLetter),
    ("sess", "SESS", Key::Session),
    ("session", "SESS", Key::Session),
    ("sid", "SID", Key::Session),
    ("start", "STARTED", Key::Start),
    ("start_time", "START", Key::StartShort),
    ("stat", "STAT", Key::State),
    ("state", "S", Key::StateLetter),
    ("stime", "STIME", Key::StartShort),
    ("sz", "SZ", Key::SizePages),
    ("thcount", "THCNT", Key::Threads),
    ("time", "TIME", Key::Time),
    ("tname", "TTY", Key::Terminal),
    ("tpgid", "TPGID", Key::TerminalGroup),
    ("tt", "TT", Key::Terminal),
    ("tty", "TT", Key::Terminal),
    ("ucmd", "CMD", Key::Name),
    ("ucomm", "COMMAND", Key::Name),
    ("uid", "UID", Key::UserNumber(EFFECTIVE)),
    ("uname", "USER", Key::UserName(EFFECTIVE)),
    ("user", "USER", Key::UserName(EFFECTIVE)),
    ("vsize", "VSZ", Key::Virtual),
    ("vsz", "VSZ", Key::Virtual),
    ("wchan", "WCHAN", Key::WaitsIn),
];

/// A column by its name.
pub(super) fn find(name: &str) -> Option<Column> {
    let (_, title, key) = KNOWN.iter().find(|(known, ..)| *known == name)?;
    Some(Column {
        title: (*title).to_owned(),
        key: *key,
        width: None,
    })
}

/// A list a user wrote: `pid,user:20,comm=TITLE`.
///
/// # Errors
/// The text of `ps` for a name it does not know.
pub(super) fn own(list: &str) -> Result<Vec<Column>, String> {
    list.split(',').map(one).collect()
}

fn one(item: &str) -> Result<Column, String> {
    let (name, title) = item
        .split_once('=')
        .map_or((item, None), |(name, title)| (name, Some(title)));
    let unknown = || format!("error: unknown user-defined format specifier \"{name}\"");
    let (known, width) = name
        .split_once(':')
        .map_or((name, None), |(name, width)| (name, Some(width)));
    let mut column = find(known).ok_or_else(unknown)?;
    if let Some(width) = width {
        let width = width
            .parse()
            .ok()
            .filter(|width| (1..=MAX_WIDTH).contains(width));
        column.width = Some(width.ok_or_else(unknown)?);
    }
    if let Some(title) = title {
        title.clone_into(&mut column.title);
    }
    Ok(column)
}

/// A list of ours, where each name may have a title of its own.
pub(super) fn built_in(list: &str) -> Vec<Column> {
    list.split(',').filter_map(|item| one(item).ok()).collect()
}

impl Column {
    /// What is written for a process.
    pub(super) fn text(&self, process: &Process, view: &View, is_last: bool) -> String {
        let age = view.age(process);
        let cpu_seconds = process.cpu_ticks / TICKS_PER_SECOND;
        // In tenths.
        let tenths =
            |part: u64, whole: u64| part.saturating_mul(1000).checked_div(whole).unwrap_or(0);
        let percent = |tenths: u64| format!("{}.{}", tenths / 10, tenths % 10);
        let cpu = tenths(process.cpu_ticks, age * TICKS_PER_SECOND);
        let resident_kib = process.resident_pages.saturating_mul(view.page_bytes) / 1024;
        match self.key {
            Key::Address => "-".to_owned(),
            Key::Arguments if is_last => process.command.clone(),
            Key::Arguments => cut(&process.command, self.width.unwrap_or(COMMAND_WIDTH)),
            Key::BsdStart if age >= 24 * 3600 => view.started(process).month_day(),
            Key::BsdStart => view.started(process).hour_minute(),
            Key::BsdTime => format!("{}:{:02}", cpu_seconds / 60, cpu_seconds % 60),
            Key::Class => match process.policy {
                0 => "TS",
                1 => "FF",
                2 => "RR",
                3 => "B",
                4 => "ISO",
                5 => "IDL",
                6 => "DLN",
                _ => "?",
            }
            .to_owned(),
            Key::CpuInteger => (cpu / 10).min(99).to_string(),
            Key::CpuPercent if cpu > 999 => (cpu / 10).to_string(),
            Key::CpuPercent => percent(cpu),
            Key::Elapsed => clock(age, false),
            Key::ElapsedSeconds => age.to_string(),
            Key::Flags => format!("{:o}", (process.flags >> 6) & 7),
            Key::GroupName(which) => self.name(
                view.group_name(process.groups[which]),
                process.groups[which],
            ),
            Key::GroupNumber(which) => process.groups[which].to_string(),
            Key::LongStart => view.started(process).long(),
            Key::MajorFaults => process.major_faults.to_string(),
            Key::MemoryPercent => percent(tenths(resident_kib, view.memory_kib).min(999)),
            Key::MinorFaults => process.minor_faults.to_string(),
            Key::Name if process.state == 'Z' => format!("{} <defunct>", process.name),
            Key::Name => process.name.clone(),
            Key::Nice if matches!(process.policy, 1 | 2) => "-".to_owned(),
            Key::Nice => process.nice.to_string(),
            Key::OldPriority => process.priority.saturating_add(60).to_string(),
            Key::Parent => process.parent.to_string(),
            Key::Pid => process.pid.to_string(),
            Key::Priority => 39i64.saturating_sub(process.priority).to_string(),
            Key::PriorityRaw => process.priority.to_string(),
            Key::ProcessGroup => process.group.to_string(),
            Key::Processor => process.processor.to_string(),
            Key::RealTimePriority if matches!(process.policy, 1 | 2) => {
                process.real_time_priority.to_string()
            }
            Key::RealTimePriority => "-".to_owned(),
            Key::Resident => resident_kib.to_string(),
            Key::Session => process.session.to_string(),
            Key::SizePages => process
                .virtual_bytes
                .checked_div(view.page_bytes)
                .unwrap_or(0)
                .to_string(),
            Key::Start if age >= 24 * 3600 => view.started(process).spaced_month_day(),
            Key::Start => view.started(process).time(),
            Key::State => state(process),
            Key::StateLetter => process.state.to_string(),
            Key::StartShort => view.started(process).short(&view.now()),
            Key::Terminal => terminal(process.terminal),
            Key::TerminalGroup => process.terminal_group.to_string(),
            Key::Threads => process.threads.to_string(),
            Key::Time => clock(cpu_seconds, true),
            Key::UserName(which) => {
                self.name(view.user_name(process.users[which]), process.users[which])
            }
            Key::UserNumber(which) => process.users[which].to_string(),
            Key::Virtual => (process.virtual_bytes / 1024).to_string(),
            Key::WaitsIn => cut(waits_in(&process.waits_in), self.width.unwrap_or(6)),
        }
    }

    /// A name that does not fit ends with a plus.
    fn name(&self, name: Option<&str>, number: u32) -> String {
        let width = self.width.unwrap_or(NAME_WIDTH);
        match name {
            None => number.to_string(),
            Some(name) if name.len() > width => format!("{}+", cut(name, width - 1)),
            Some(name) => name.to_owned(),
        }
    }

    /// What processes are ordered by: numbers by value, texts after them.
    pub(super) fn rank(&self, process: &Process, view: &View) -> (u64, String) {
        match self.key {
            Key::CpuInteger | Key::CpuPercent => {
                let ticks = process.cpu_ticks.saturating_mul(1_000_000);
                (ticks / view.age(process).max(1), String::new())
            }
            Key::MemoryPercent | Key::Resident => (process.resident_pages, String::new()),
            Key::Time | Key::BsdTime => (process.cpu_ticks, String::new()),
            Key::Start | Key::StartShort | Key::LongStart | Key::BsdStart => {
                (process.started, String::new())
            }
            Key::Elapsed | Key::ElapsedSeconds => (view.age(process), String::new()),
            _ => {
                let text = self.text(process, view, true);
                match text.parse::<i64>() {
                    Ok(number) => (number.abs_diff(i64::MIN), String::new()),
                    Err(_) => (u64::MAX, text),
                }
            }
        }
    }
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// `[days-][hours:]minutes:seconds`.
fn clock(seconds: u64, with_hours: bool) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let rest = format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) if !with_hours => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

fn state(process: &Process) -> String {
    let mut text = String::from(process.state);
    let mut mark = |is: bool, letter| text.extend(is.then_some(letter));
    mark(process.nice < 0, '<');
    mark(process.nice > 0, 'N');
    mark(process.has_locked_memory, 'L');
    mark(process.session == i64::from(process.pid), 's');
    mark(process.threads > 1, 'l');
    mark(process.terminal_group == process.group, '+');
    text
}

/// Linux: Documentation/admin-guide/devices.txt, majors 4 and 136 to 143.
fn terminal(device: u64) -> String {
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xf_ff00),
    );
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        _ => "?".to_owned(),
    }
}

fn waits_in(text: &str) -> &str {
    let text = text.trim_start_matches('.');
    let text = text
        .strip_prefix("sys_")
        .or_else(|| text.strip_prefix("do_"))
        .unwrap_or(text);
    match text.trim_start_matches('_') {
        "" | "0" => "-",
        text => text,
    }
}
