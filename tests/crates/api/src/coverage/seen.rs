//! What came through an engine's door.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::Operation;

const HEAD: &str = "operation\tparameters\tstatuses\n";

/// What was given and answered, by operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<String, Exchange>);

/// What was seen of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Parameters that were given a value.
    pub(super) parameters: BTreeSet<String>,
    /// Statuses of answers.
    pub(super) statuses: BTreeSet<u16>,
}

impl Seen {
    /// Reads the lines our engine logs of its answers.
    pub fn of_log(log: &str) -> Self {
        let mut seen = Self::default();
        for line in log.lines().filter(|line| line.contains(": answered ")) {
            let value = |key: &str| Some(line.split_once(key)?.1);
            let (Some(operation), Some(status)) = (value(" operation=\""), value(" status="))
            else {
                continue;
            };
            let operation = operation.split('"').next().unwrap_or_default();
            let exchange = seen.0.entry(operation.to_owned()).or_default();
            let status = status.split(' ').next().unwrap_or_default();
            exchange.statuses.extend(status.parse::<u16>());
            let given = value(" given=[").and_then(|rest| rest.split(']').next());
            let names = given.unwrap_or_default().split(", ");
            let names = names.map(|name| name.trim_matches('"').to_owned());
            exchange.parameters.extend(names);
        }
        seen
    }

    /// Reads a record.
    pub fn parse(record: &str) -> Self {
        let exchange = |line: &str| {
            let mut fields = line.split('\t');
            let mut words = || fields.next().unwrap_or_default().split_whitespace();
            let name = words().collect();
            let parameters = words().map(str::to_owned).collect();
            let statuses = words().flat_map(str::parse).collect();
            (
                name,
                Exchange {
                    parameters,
                    statuses,
                },
            )
        };
        Self(record.lines().skip(1).map(exchange).collect())
    }

    /// The record of what the description knows.
    pub fn record(&self, operations: &[Operation]) -> String {
        let mut record = HEAD.to_owned();
        for operation in operations {
            let Some(exchange) = self.of(&operation.name) else {
                continue;
            };
            let given = operation.parameters.iter();
            let given: Vec<_> = given
                .filter(|name| exchange.parameters.contains(*name))
                .map(String::as_str)
                .collect();
            let statuses: Vec<_> = exchange.statuses.iter().map(u16::to_string).collect();
            let (given, statuses) = (given.join(" "), statuses.join(" "));
            let _ = writeln!(record, "{}\t{given}\t{statuses}", operation.name);
        }
        record
    }

    pub(super) fn of(&self, operation: &str) -> Option<&Exchange> {
        self.0.get(operation)
    }
}

/// What was seen before and is not any more, of the operations whose tests may not be lost.
pub fn lost(operations: &[Operation], before: &Seen, now: &Seen) -> Vec<String> {
    let mut lost = Vec::new();
    for operation in operations.iter().filter(|operation| operation.is_kept()) {
        let name = &operation.name;
        let Some(before) = before.of(name) else {
            continue;
        };
        let Some(now) = now.of(name) else {
            lost.push(name.clone());
            continue;
        };
        let gone = |parameter: &&String| {
            before.parameters.contains(*parameter) && !now.parameters.contains(*parameter)
        };
        let parameters = operation.parameters.iter().filter(gone);
        lost.extend(parameters.map(|parameter| format!("{name}: {parameter}")));
        let statuses = operation.reachable();
        lost.extend(
            statuses
                .filter(|status| before.statuses.contains(status) && !now.statuses.contains(status))
                .map(|status| format!("{name}: {status}")),
        );
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-01-01T00:00:00Z DEBUG api_server::server: answered operation=\"container_list\" version=1.51 status=200 given=[\"all\", \"limit\"]
2026-01-01T00:00:00Z  INFO engine: ready
2026-01-01T00:00:00Z DEBUG api_server::server: answered operation=\"container_list\" version=1.51 status=400 given=[\"bogus\"]
2026-01-01T00:00:00Z DEBUG api_server::server: answered operation=\"system_info\" version=1.24 status=200 given=[]
";

    fn operation(name: &str, group: &str) -> Operation {
        Operation {
            group: group.into(),
            method: "GET".into(),
            path: "/".into(),
            name: name.into(),
            parameters: vec!["all".into(), "limit".into(), "size".into()],
            statuses: vec![200, 400, 500],
        }
    }

    #[test]
    fn a_log_becomes_a_record_and_comes_back() {
        let operations = [
            operation("container_list", "Container"),
            operation("system_info", "System"),
        ];
        let record = Seen::of_log(LOG).record(&operations);
        assert_eq!(
            record,
            "operation\tparameters\tstatuses\ncontainer_list\tall limit\t200 400\nsystem_info\t\t200\n"
        );
        assert_eq!(Seen::parse(&record).record(&operations), record);
    }

    #[test]
    fn what_is_not_seen_any_more_is_lost() {
        let operations = [
            operation("container_list", "Container"),
            operation("system_info", "System"),
            operation("image_list", "Image"),
        ];
        let before = Seen::parse(
            "\ncontainer_list\tall limit\t200 400 500\nsystem_info\t\t200\nimage_list\t\t200\n",
        );
        let now = Seen::parse("\ncontainer_list\tall size\t200\n");
        assert_eq!(
            lost(&operations, &before, &now),
            [
                "container_list: limit",
                "container_list: 400",
                "system_info"
            ]
        );
        assert!(lost(&operations, &now, &before).contains(&"container_list: size".to_owned()));
        assert!(lost(&operations, &before, &before).is_empty());
    }
}
