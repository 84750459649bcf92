//! The table for people.

use std::fmt::Write;

use super::{Operation, Seen};

const HEAD: &str = "\
# Coverage of the API

Made from `coverage/operations.tsv` (the description of API 1.55) and `coverage/seen.tsv` (what the native lane's checks had our engine
answer); `BERTH_COVERAGE=record cargo test -p test-api` makes all three anew. *Seen* says that a check sent it with a value or got it as an
answer, and no more. Statuses from 500 on count as seen where they were, and are not missed where they were not; nor are those that dockerd
never gives (`NEVER_ANSWERED`).
";

/// Words for one thing of an operation, as far as there are some.
fn words<T: ToString>(things: impl IntoIterator<Item = T>) -> String {
    let words: Vec<_> = things.into_iter().map(|thing| thing.to_string()).collect();
    words.join(" ")
}

/// One operation with what was seen of it.
struct Row<'a> {
    operation: &'a Operation,
    is_tested: bool,
    given: Vec<&'a str>,
    not_given: Vec<&'a str>,
    answered: Vec<u16>,
    not_answered: Vec<u16>,
}

impl<'a> Row<'a> {
    fn new(operation: &'a Operation, seen: &Seen) -> Self {
        let exchange = seen.of(&operation.name).cloned().unwrap_or_default();
        let parameters = operation.parameters.iter().map(String::as_str);
        let (given, not_given) = parameters.partition(|name| exchange.parameters.contains(*name));
        let missing = |status: &u16| !exchange.statuses.contains(status);
        Self {
            operation,
            is_tested: seen.of(&operation.name).is_some(),
            given,
            not_given,
            not_answered: operation.reachable().filter(missing).collect(),
            answered: exchange.statuses.into_iter().collect(),
        }
    }

    fn write(&self, to: &mut String) {
        let Operation { method, path, .. } = self.operation;
        let _ = writeln!(
            to,
            "| `{method} {path}` | {} | {} | {} | {} | {} |",
            if self.is_tested { "yes" } else { "**no**" },
            words(&self.given),
            words(&self.not_given),
            words(&self.answered),
            words(&self.not_answered),
        );
    }

    /// A line of the list of what has no test.
    fn missing(&self) -> Option<String> {
        let name = &self.operation.name;
        if !self.is_tested {
            return Some(format!("- `{name}`: everything\n"));
        }
        let missing = words(
            self.not_given
                .iter()
                .map(|name| format!("`{name}`"))
                .chain(self.not_answered.iter().map(u16::to_string)),
        );
        (!missing.is_empty()).then(|| format!("- `{name}`: {missing}\n"))
    }
}

/// Of each group its sums and its operations; then the list of what has no test.
pub fn markdown(operations: &[Operation], seen: &Seen) -> String {
    let mut groups: Vec<&str> = Vec::new();
    for operation in operations {
        if !groups.contains(&operation.group.as_str()) {
            groups.push(&operation.group);
        }
    }
    // Those whose tests may not be lost come first.
    groups.sort_by_key(|group| !super::KEPT_GROUPS.contains(group));
    let rows: Vec<_> = operations
        .iter()
        .map(|operation| Row::new(operation, seen))
        .collect();
    let of = |group: &str| -> Vec<&Row<'_>> {
        let rows = rows.iter().filter(|row| row.operation.group == group);
        rows.collect()
    };

    let mut made = HEAD.to_owned();
    made.push_str("\n| group | operations | parameters | statuses |\n|---|---|---|---|\n");
    for group in &groups {
        let rows = of(group);
        let sum = |count: fn(&Row<'_>) -> usize| rows.iter().map(|row| count(row)).sum::<usize>();
        let _ = writeln!(
            made,
            "| {group} | {} of {} | {} of {} | {} of {} |",
            sum(|row| usize::from(row.is_tested)),
            rows.len(),
            sum(|row| row.given.len()),
            sum(|row| row.operation.parameters.len()),
            sum(|row| row.operation.reachable().count() - row.not_answered.len()),
            sum(|row| row.operation.reachable().count()),
        );
    }
    for group in &groups {
        let _ = write!(
            made,
            "\n## {group}\n\n| operation | tested | parameters seen | not seen | statuses seen | not seen |\n|---|---|---|---|---|---|\n"
        );
        of(group).iter().for_each(|row| row.write(&mut made));
    }
    made.push_str("\n## Without a test\n");
    for group in &groups {
        let missing: String = of(group).iter().filter_map(|row| row.missing()).collect();
        if !missing.is_empty() {
            let _ = write!(made, "\n{group}:\n\n{missing}");
        }
    }
    made
}
