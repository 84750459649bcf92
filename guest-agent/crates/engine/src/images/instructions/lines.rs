//! Instructions of a Dockerfile as lines: comments gone, continued lines joined.

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// As it was written.
    pub(super) name: String,
    /// What comes after it.
    pub(super) rest: String,
}

/// The instructions of a text.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let mut whole = String::new();
    let mut is_open = false;
    for line in text.lines() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        let line = if is_open { line } else { line.trim_start() };
        match line.trim_end().strip_suffix('\\') {
            Some(begun) => {
                whole.push_str(begun);
                is_open = true;
            }
            None => {
                whole.push_str(line);
                is_open = false;
                found.extend(split(&std::mem::take(&mut whole)));
            }
        }
    }
    found.extend(split(&whole));
    found
}

fn split(text: &str) -> Option<Line> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Some(Line {
        name: name.to_owned(),
        rest: rest.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_and_comments_are_not_there() {
        let found = lines("# no\nENV A=1 \\\n  # neither\n  B=2\n\n  CMD a");
        let shown: Vec<(&str, &str)> = found
            .iter()
            .map(|line| (line.name.as_str(), line.rest.as_str()))
            .collect();
        assert_eq!(shown, [("ENV", "A=1   B=2"), ("CMD", "a")]);
        assert_eq!(lines("# only\n\n"), []);
    }
}
