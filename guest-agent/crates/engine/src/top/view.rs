//! What of the machine is needed to write processes down: times and names.

use std::collections::HashMap;

use super::process::{Process, TICKS_PER_SECOND};
use crate::{
    ports::{observe::ProcessTable, world::Timestamp},
    time::rfc3339,
};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// The machine around the processes.
#[derive(Debug)]
pub(super) struct View {
    booted: u64,
    uptime_ticks: u64,
    pub(super) memory_kib: u64,
    pub(super) page_bytes: u64,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl View {
    pub(super) fn new(table: &ProcessTable) -> Self {
        Self {
            booted: table.booted,
            uptime_ticks: table.uptime_ticks,
            memory_kib: table.memory_kib,
            page_bytes: table.page_bytes,
            users: names(&table.passwd),
            groups: names(&table.group),
        }
    }

    /// Seconds it has run.
    pub(super) fn age(&self, process: &Process) -> u64 {
        self.uptime_ticks.saturating_sub(process.started) / TICKS_PER_SECOND
    }

    pub(super) fn started(&self, process: &Process) -> Moment {
        Moment::of(
            self.booted
                .saturating_add(process.started / TICKS_PER_SECOND),
        )
    }

    pub(super) fn now(&self) -> Moment {
        Moment::of(
            self.booted
                .saturating_add(self.uptime_ticks / TICKS_PER_SECOND),
        )
    }

    pub(super) fn user_name(&self, id: u32) -> Option<&str> {
        self.users.get(&id).map(String::as_str)
    }

    pub(super) fn group_name(&self, id: u32) -> Option<&str> {
        self.groups.get(&id).map(String::as_str)
    }
}

/// `name:…:number:…` lines; the first name of a number counts.
fn names(file: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in String::from_utf8_lossy(file).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) =
            (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()))
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// A moment in UTC, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    day_number: u64,
    /// `2026-11-25T22:56:55Z`.
    text: String,
}

impl Moment {
    fn of(seconds: u64) -> Self {
        // Before the year 2262.
        let seconds = seconds.min(9_000_000_000);
        let nanoseconds = i64::try_from(seconds).unwrap_or(0) * 1_000_000_000;
        Self {
            day_number: seconds / 86_400,
            text: rfc3339(Timestamp(nanoseconds)),
        }
    }

    fn part(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }

    fn month(&self) -> &'static str {
        let number: usize = self.part(5, 7).parse().unwrap_or(1);
        MONTHS
            .get(number.wrapping_sub(1))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn time(&self) -> String {
        self.part(11, 19).to_owned()
    }

    pub(super) fn hour_minute(&self) -> String {
        self.part(11, 16).to_owned()
    }

    pub(super) fn month_day(&self) -> String {
        format!("{}{}", self.month(), self.part(8, 10))
    }

    pub(super) fn spaced_month_day(&self) -> String {
        format!("{} {}", self.month(), self.part(8, 10))
    }

    /// Of another year the year, of another day the day, else the time.
    pub(super) fn short(&self, now: &Self) -> String {
        if self.part(0, 4) != now.part(0, 4) {
            self.part(0, 4).to_owned()
        } else if self.part(0, 10) != now.part(0, 10) {
            self.month_day()
        } else {
            self.hour_minute()
        }
    }

    /// `Wed Nov 25 22:56:55 2026`.
    pub(super) fn long(&self) -> String {
        let day = usize::try_from(self.day_number % 7).unwrap_or(0);
        format!(
            "{} {} {:>2} {} {}",
            DAYS[day],
            self.month(),
            self.part(8, 10).trim_start_matches('0'),
            self.time(),
            self.part(0, 4)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_ps_writes_them() {
        let moment = Moment::of(1_795_647_415);
        assert_eq!(moment.long(), "Wed Nov 25 22:56:55 2026");
        assert_eq!(moment.month_day(), "Nov25");
        assert_eq!(moment.short(&Moment::of(1_795_647_500)), "22:56");
        assert_eq!(moment.short(&Moment::of(1_795_747_500)), "Nov25");
        assert_eq!(moment.short(&Moment::of(1_825_747_500)), "2026");
    }

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names = names(b"root:x:0:0:root:/:/bin/sh\ntoor:x:0:0::/:\nbad\nwww-data:x:33:33::/:");
        assert_eq!(names[&0], "root");
        assert_eq!(names[&33], "www-data");
    }
}
