//! What of the API the checks exercise: facts of its description, what was really seen at an engine's door, and the table of both.
//!
//! ```text
//! ../shared/api/*.yaml ── description ──► coverage/operations.tsv ─┐
//! log of our engine (debug) ── Seen ────► coverage/seen.tsv ───────┴─► COVERAGE.md
//! ```
//! Seen is not asserted: a parameter or a status counts when some check had it sent or answered. What it does show is what no check touches.

#[cfg(test)]
mod description;
mod seen;
mod table;

use std::path::PathBuf;

pub use seen::{Seen, lost};
pub use table::markdown;

/// The facts, one operation a line: group, method, path, name, parameters of the query, statuses.
const OPERATIONS: &str = include_str!("../../coverage/operations.tsv");

/// The groups whose tests may not be lost.
const KEPT_GROUPS: [&str; 3] = ["Container", "Exec", "System"];

/// Documented, and given by no handler of dockerd 28.5.2: a read-only root is 400, a websocket always upgrades, a login always has a body.
const NEVER_ANSWERED: [(&str, u16); 3] = [
    ("put_container_archive", 403),
    ("container_attach_websocket", 200),
    ("system_auth", 204),
];

/// One operation of the API as it is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The tag it stands under.
    pub group: String,
    /// HTTP method.
    pub method: String,
    /// Path with placeholders.
    pub path: String,
    /// The `operationId` in snake case.
    pub name: String,
    /// Parameters of its query.
    pub parameters: Vec<String>,
    /// Statuses of its answers.
    pub statuses: Vec<u16>,
}

impl Operation {
    /// Its tests may not be lost.
    pub fn is_kept(&self) -> bool {
        KEPT_GROUPS.contains(&self.group.as_str())
    }

    /// The statuses that a client can bring about. A fault of the engine is documented everywhere and seen where it is made on purpose.
    pub fn reachable(&self) -> impl Iterator<Item = u16> {
        let never = |status| NEVER_ANSWERED.contains(&(self.name.as_str(), status));
        let statuses = self.statuses.iter().copied();
        statuses.filter(move |status| *status < 500 && !never(*status))
    }
}

/// Every operation, in the order of the description.
///
/// # Panics
/// When a line of the list of facts is broken.
pub fn operations() -> Vec<Operation> {
    OPERATIONS
        .lines()
        .skip(1)
        .map(|line| parse(line).unwrap_or_else(|| panic!("no operation: {line}")))
        .collect()
}

fn parse(line: &str) -> Option<Operation> {
    let mut fields = line.split('\t').map(str::to_owned);
    let [group, method, path, name, parameters, statuses] = std::array::from_fn(|_| fields.next());
    let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let statuses = statuses?.split_whitespace().map(str::parse).collect();
    Some(Operation {
        group: group?,
        method: method?,
        path: path?,
        name: name?,
        parameters: list(&parameters?),
        statuses: Result::ok(statuses)?,
    })
}

/// A file of this room's sources.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Whether what is made is to be written instead of compared.
pub fn records() -> bool {
    std::env::var_os("BERTH_COVERAGE").is_some_and(|value| value == "record")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_made_from_the_record() {
        let read = |name| std::fs::read_to_string(file(name)).unwrap();
        let seen = Seen::parse(&read("coverage/seen.tsv"));
        let made = markdown(&operations(), &seen);
        assert!(
            read("COVERAGE.md") == made,
            "COVERAGE.md is not what seen.tsv gives: run the native lane with BERTH_COVERAGE=record"
        );
    }
}
