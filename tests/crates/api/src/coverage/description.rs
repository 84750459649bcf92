//! The facts of the API description, read line by line: it is YAML of one hand, whose indents never change.

use std::{fmt::Write, path::Path};

const METHODS: [&str; 5] = ["get", "head", "post", "put", "delete"];
const HEAD: &str = "group\tmethod\tpath\toperation\tparameters\tstatuses\n";

#[derive(Default)]
struct Operation {
    method: String,
    path: String,
    id: String,
    group: String,
    statuses: Vec<String>,
    /// Name and place.
    parameters: Vec<(String, String)>,
}

impl Operation {
    fn line(&self) -> String {
        let mut queries: Vec<&str> = self
            .parameters
            .iter()
            .filter(|(_, place)| place == "query")
            .map(|(name, _)| name.as_str())
            .collect();
        queries.dedup();
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}\n",
            self.group,
            self.method.to_uppercase(),
            self.path,
            snake(&self.id),
            queries.join(" "),
            self.statuses.join(" ")
        )
    }
}

/// `ContainerAttach` as `container_attach`.
fn snake(id: &str) -> String {
    let mut snake = String::new();
    for letter in id.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// A key and its value without quotes.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    Some((key.trim_matches('"'), value.trim().trim_matches('"')))
}

/// The list of facts.
fn facts(description: &str) -> String {
    let mut operations: Vec<Operation> = Vec::new();
    let (mut path, mut section, mut in_paths) = (String::new(), String::new(), false);
    for line in description.lines() {
        let text = line.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let indent = line.len() - text.len();
        if indent == 0 {
            in_paths = text == "paths:";
        }
        if !in_paths {
            continue;
        }
        if indent == 2 {
            text.trim_end_matches(':')
                .trim_matches('"')
                .clone_into(&mut path);
        }
        let method = text.trim_end_matches(':');
        if indent == 4 && METHODS.contains(&method) {
            operations.push(Operation {
                method: method.to_owned(),
                path: path.clone(),
                ..Operation::default()
            });
        }
        let Some(operation) = operations.last_mut() else {
            continue;
        };
        if indent == 6 {
            section.clear();
            match pair(text) {
                Some(("operationId", id)) => id.clone_into(&mut operation.id),
                Some(("tags", tags)) if !tags.is_empty() => {
                    let first = tags.trim_matches(['[', ']']).split(',').next();
                    let first = first.unwrap_or_default();
                    first.trim_matches('"').clone_into(&mut operation.group);
                }
                Some((key, _)) => key.clone_into(&mut section),
                None => {}
            }
        } else if indent == 8 && section == "tags" && operation.group.is_empty() {
            let first = text.trim_start_matches("- ").trim_matches('"');
            first.clone_into(&mut operation.group);
        } else if indent == 8 && section == "responses" {
            if let Some((status, _)) = pair(text) {
                operation.statuses.push(status.to_owned());
            }
        } else if section == "parameters" && (indent == 8 || indent == 10) {
            if indent == 8 && text.starts_with("- ") {
                operation.parameters.push(Default::default());
            }
            let last = operation.parameters.last_mut();
            match (last, pair(text.trim_start_matches("- "))) {
                (Some(last), Some(("name", name))) => name.clone_into(&mut last.0),
                (Some(last), Some(("in", place))) => place.clone_into(&mut last.1),
                _ => {}
            }
        }
    }
    let mut made = HEAD.to_owned();
    for operation in &operations {
        let _ = made.write_str(&operation.line());
    }
    made
}

#[test]
fn the_facts_are_those_of_the_api_description() {
    let shared = std::env::var_os("BERTH_SHARED").map_or_else(
        || super::file("../../../../shared"),
        |folder| Path::new(&folder).to_owned(),
    );
    let Ok(text) = std::fs::read_to_string(shared.join("api/docker-engine-v1.55.yaml")) else {
        eprintln!(
            "skipped: no API description below {} (set BERTH_SHARED)",
            shared.display()
        );
        return;
    };
    let made = facts(&text);
    if super::records() {
        std::fs::write(super::file("coverage/operations.tsv"), &made).unwrap();
        return;
    }
    assert!(
        made == super::OPERATIONS,
        "coverage/operations.tsv is not what the description says: BERTH_COVERAGE=record writes it"
    );
}

#[test]
fn a_description_is_read_to_its_facts() {
    let text = "definitions:\n  A:\n    get:\npaths:\n  /a/{id}:\n    get:\n      operationId: \"TheThing\"\n      responses:\n        200:\n          description: \"x\"\n          schema:\n            name: 4\n        404:\n          description: \"x\"\n      parameters:\n        - in: \"path\"\n          name: \"id\"\n        - name: \"one-shot\"\n          in: \"query\"\n          description: |\n            name: no\n      tags: [\"Things\", \"Others\"]\n    head:\n      tags:\n        - \"Others\"\n        - \"Things\"\n      operationId: \"B\"\n";
    assert_eq!(
        facts(text),
        format!(
            "{HEAD}Things\tGET\t/a/{{id}}\tthe_thing\tone-shot\t200 404\nOthers\tHEAD\t/a/{{id}}\tb\t\t\n"
        )
    );
}
