//! Tags: templates in Go's form over what is known of a container.
//!
//! Text, fields (`.Name`, `.ContainerLabels.key`), literals, calls in prefix form, pipes, parentheses, trim marks and comments; control structures
//! are refused by name. Spec: Go, text/template; the functions are Docker's.

use serde_json::Value;

use super::Info;

/// The tag of drivers that need one.
pub(super) const DEFAULT: &str = "{{.ID}}";
/// Longest template, and deepest nesting in it.
const MAX_BYTES: usize = 16 << 10;
const MAX_DEPTH: usize = 32;
/// Longest tag, whatever a template repeats.
const MAX_TAG_BYTES: usize = 64 << 10;
/// Heaviest result of a function: some make more than they are given, and their results are given to others.
const MAX_VALUE_BYTES: usize = 4 * MAX_TAG_BYTES;
/// What an item of a list or object weighs beside its text.
const ITEM_BYTES: usize = 64;
const FUNCTIONS: [&str; 13] = [
    "json", "split", "join", "title", "lower", "upper", "pad", "truncate", "index", "len", "print",
    "println", "printf",
];
const CONTROL: [&str; 9] = [
    "if", "else", "end", "range", "with", "define", "template", "block", "break",
];

/// The tag the options ask for, or `default`.
///
/// # Errors
/// In Go's words.
pub(super) fn tag(info: &Info, default: &str) -> Result<String, String> {
    let text = match info.option("tag") {
        None | Some("") => default,
        Some(text) => text,
    };
    render(text, info)
}

/// A container's or an image's id as people see it.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// What the container runs.
pub(super) fn command(info: &Info) -> String {
    let words = std::iter::once(&info.container_entrypoint).chain(&info.container_args);
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn render(text: &str, info: &Info) -> Result<String, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("template: log-tag: it is over {MAX_BYTES} bytes"));
    }
    let mut out = String::new();
    let (mut rest, mut trim) = (text, false);
    loop {
        let (plain, action) = match rest.split_once("{{") {
            Some((plain, action)) => (plain, Some(action)),
            None => (rest, None),
        };
        let plain = if trim { plain.trim_start() } else { plain };
        let Some(action) = action else {
            out.push_str(plain);
            break;
        };
        let (action, trims_before) = match action.strip_prefix("- ") {
            Some(inner) => (inner, true),
            None => (action, false),
        };
        out.push_str(if trims_before {
            plain.trim_end()
        } else {
            plain
        });
        let end = action_end(action).ok_or("template: log-tag:1: unclosed action")?;
        let inner = &action[..end];
        rest = &action[end + 2..];
        let (inner, trims_after) = match inner.strip_suffix(" -") {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        trim = trims_after;
        if inner.trim_start().starts_with("/*") {
            continue;
        }
        let column = text.len() - action.len();
        let value = Action { info, column }.run(inner)?;
        out.push_str(&shown(&value));
        if out.len() > MAX_TAG_BYTES {
            return Err(format!(
                "template: log-tag: the tag is over {MAX_TAG_BYTES} bytes"
            ));
        }
    }
    Ok(out)
}

/// Where the action's end is, quotes observed.
fn action_end(action: &str) -> Option<usize> {
    let bytes = action.as_bytes();
    let (mut quote, mut index) = (None, 0);
    while index < bytes.len() {
        match (quote, bytes[index]) {
            (None, b'"' | b'`') => quote = Some(bytes[index]),
            (Some(b'"'), b'\\') => index += 1,
            (Some(open), byte) if open == byte => quote = None,
            (None, b'}') if bytes.get(index + 1) == Some(&b'}') => return Some(index),
            _ => {}
        }
        index += 1;
    }
    None
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Field(String),
    Word(String),
    Literal(Value),
    Open,
    Close,
    Pipe,
}

struct Action<'a> {
    info: &'a Info,
    column: usize,
}

impl Action<'_> {
    fn run(&self, text: &str) -> Result<Value, String> {
        let tokens = tokens(text)?;
        let mut at = 0;
        let value = self.pipeline(&tokens, &mut at, 0)?;
        match tokens.get(at) {
            None => Ok(value),
            Some(_) => Err("template: log-tag:1: unexpected \")\" in operand".to_owned()),
        }
    }

    fn pipeline(&self, tokens: &[Token], at: &mut usize, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("template: log-tag:1: it is nested too deeply".to_owned());
        }
        let mut piped = None;
        loop {
            let mut operands = Vec::new();
            let mut function = None;
            while let Some(token) = tokens.get(*at) {
                *at += 1;
                match token {
                    Token::Field(path) => operands.push(self.field(path)?),
                    Token::Literal(value) => operands.push(value.clone()),
                    Token::Open => {
                        operands.push(self.pipeline(tokens, at, depth + 1)?);
                        if tokens.get(*at) != Some(&Token::Close) {
                            return Err("template: log-tag:1: unclosed left paren".to_owned());
                        }
                        *at += 1;
                    }
                    Token::Word(word) if function.is_none() && operands.is_empty() => {
                        function = Some(word.as_str());
                    }
                    Token::Word(word) => operands.push(self.call(word, &[])?),
                    Token::Pipe | Token::Close => {
                        *at -= 1;
                        break;
                    }
                }
            }
            operands.extend(piped.take());
            let value = match function {
                Some(name) => self.call(name, &operands)?,
                None if operands.len() == 1 => operands.remove(0),
                None if operands.is_empty() => {
                    return Err("template: log-tag:1: missing value for command".to_owned());
                }
                None => {
                    return Err(self.fails("command", "can't give argument to non-function"));
                }
            };
            if tokens.get(*at) != Some(&Token::Pipe) {
                return Ok(value);
            }
            *at += 1;
            piped = Some(value);
        }
    }

    fn fails(&self, at: &str, why: &str) -> String {
        format!(
            "template: log-tag:1:{}: executing \"log-tag\" at <{at}>: {why}",
            self.column
        )
    }

    fn field(&self, path: &str) -> Result<Value, String> {
        let info = self.info;
        let mut parts = path.split('.');
        let first = parts.next().unwrap_or_default();
        let text = |text: &str| Value::String(text.to_owned());
        let mut value = match first {
            "" => return Err(self.fails(".", "the whole is not shown")),
            "ID" => text(short(&info.container_id)),
            "FullID" => text(&info.container_id),
            "Name" => text(info.container_name.trim_start_matches('/')),
            "ImageID" => text(short(&info.container_image_id)),
            "ImageFullID" => text(&info.container_image_id),
            "ImageName" => text(&info.container_image_name),
            "Command" => text(&command(info)),
            "Hostname" => text(&info.host_name),
            name => serde_json::to_value(info)
                .ok()
                .and_then(|all| all.get(name).cloned())
                .ok_or_else(|| {
                    let why = format!("can't evaluate field {name} in type *logger.Info");
                    self.fails(&format!(".{path}"), &why)
                })?,
        };
        for part in parts {
            value = match value {
                Value::Object(map) => map
                    .get(part)
                    .cloned()
                    .unwrap_or_else(|| Value::String("<no value>".to_owned())),
                _ => {
                    let why = format!("can't evaluate field {part} in type string");
                    return Err(self.fails(&format!(".{path}"), &why));
                }
            };
        }
        Ok(value)
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        let value = self.called(name, arguments)?;
        // What was picked from labels or the like weighs what it weighs.
        if name != "index" && weight(&value) > MAX_VALUE_BYTES {
            return Err(self.too_heavy(name));
        }
        Ok(value)
    }

    fn too_heavy(&self, name: &str) -> String {
        self.fails(name, &format!("its result is over {MAX_VALUE_BYTES} bytes"))
    }

    fn called(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        if CONTROL.contains(&name) {
            return Err(format!(
                "template: log-tag:1: {{{{{name}}}}} is not supported in tags by this version of Berth"
            ));
        }
        if !FUNCTIONS.contains(&name) {
            return Err(format!(
                "template: log-tag:1: function {name:?} not defined"
            ));
        }
        let wrong = || self.fails(name, &format!("wrong arguments for {name}"));
        let text = |text: String| Ok(Value::String(text));
        match (name, arguments) {
            ("json", [value]) => text(value.to_string()),
            ("split", [Value::String(whole), Value::String(by)]) => Ok(Value::Array(
                whole.split(by.as_str()).map(|part| part.into()).collect(),
            )),
            ("join", [Value::Array(parts), Value::String(by)]) => {
                if parts.len().saturating_mul(by.len()) > MAX_VALUE_BYTES {
                    return Err(self.too_heavy(name));
                }
                text(parts.iter().map(shown).collect::<Vec<_>>().join(by))
            }
            ("title", [Value::String(words)]) => text(title(words)),
            ("lower", [Value::String(words)]) => text(words.to_lowercase()),
            ("upper", [Value::String(words)]) => text(words.to_uppercase()),
            ("pad", [Value::String(inner), before, after]) => {
                if inner.is_empty() {
                    return text(String::new());
                }
                let spaces = |count: &Value| {
                    let count = count.as_u64().and_then(|count| usize::try_from(count).ok());
                    count
                        .filter(|count| *count <= MAX_BYTES)
                        .map(|count| " ".repeat(count))
                        .ok_or_else(wrong)
                };
                text(format!("{}{inner}{}", spaces(before)?, spaces(after)?))
            }
            ("truncate", [Value::String(whole), length]) => {
                let length = length
                    .as_u64()
                    .and_then(|length| usize::try_from(length).ok())
                    .ok_or_else(wrong)?;
                text(truncated(whole, length))
            }
            ("index", [Value::Object(map), Value::String(key)]) => {
                Ok(map.get(key).cloned().unwrap_or_else(|| "".into()))
            }
            ("index", [Value::Array(list), place]) => place
                .as_u64()
                .and_then(|place| list.get(usize::try_from(place).ok()?))
                .cloned()
                .ok_or_else(|| self.fails(name, "index out of range")),
            ("len", [Value::String(text)]) => Ok(text.len().into()),
            ("len", [Value::Array(list)]) => Ok(list.len().into()),
            ("len", [Value::Object(map)]) => Ok(map.len().into()),
            ("print", values) => text(values.iter().map(shown).collect()),
            ("println", values) => {
                text(values.iter().map(shown).collect::<Vec<_>>().join(" ") + "\n")
            }
            ("printf", [Value::String(format), values @ ..]) => text(printed(format, values)),
            _ => Err(wrong()),
        }
    }
}

/// About what a value takes.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(|one| ITEM_BYTES + weight(one)).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, one)| ITEM_BYTES + key.len() + weight(one))
            .sum(),
        _ => ITEM_BYTES,
    }
}

fn title(words: &str) -> String {
    let mut before = ' ';
    words
        .chars()
        .flat_map(|c| {
            let starts = !before.is_alphanumeric() && before != '_' && before != '\'';
            before = c;
            if starts {
                c.to_uppercase().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// The first bytes; a character that is cut is replaced.
fn truncated(whole: &str, length: usize) -> String {
    let bytes = whole.as_bytes();
    String::from_utf8_lossy(&bytes[..length.min(bytes.len())]).into_owned()
}

/// The few verbs that make sense in a tag.
fn printed(format: &str, values: &[Value]) -> String {
    let mut values = values.iter();
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(c) = characters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match characters.next() {
            Some('%') => out.push('%'),
            Some(verb @ ('s' | 'v' | 'd' | 'q')) => match values.next() {
                Some(value) if verb == 'q' => out.push_str(&format!("{:?}", shown(value))),
                Some(value) => out.push_str(&shown(value)),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
            Some(verb) => out.push_str(&format!("%!{verb}(NOVERB)")),
            None => out.push_str("%!(NOVERB)"),
        }
    }
    out
}

/// As `%v` shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", shown(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        let word_end = |text: &str| {
            text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.')
                .unwrap_or(text.len())
        };
        let used = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            '"' => {
                let end =
                    quoted_end(rest).ok_or("template: log-tag:1: unterminated quoted string")?;
                let value = serde_json::from_str(&rest[..end])
                    .map_err(|_| "template: log-tag:1: invalid quoted string")?;
                (Token::Literal(Value::String(value)), end)
            }
            '`' => {
                let end = rest[1..]
                    .find('`')
                    .ok_or("template: log-tag:1: unterminated raw quoted string")?;
                let value = Value::String(rest[1..=end].to_owned());
                (Token::Literal(value), end + 2)
            }
            '.' => {
                let end = word_end(rest);
                (Token::Field(rest[1..end].to_owned()), end)
            }
            c if c.is_ascii_digit() || c == '-' => {
                let end = 1 + rest[1..]
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len() - 1);
                let number: i64 = rest[..end].parse().map_err(|_| {
                    format!("template: log-tag:1: bad number syntax: {:?}", &rest[..end])
                })?;
                (Token::Literal(number.into()), end)
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = word_end(rest);
                let word = &rest[..end];
                let token = match word {
                    "true" | "false" => Token::Literal((word == "true").into()),
                    word => Token::Word(word.to_owned()),
                };
                (token, end)
            }
            c => {
                return Err(format!(
                    "template: log-tag:1: unexpected {:?} in command",
                    c.to_string()
                ));
            }
        };
        tokens.push(used.0);
        rest = rest[used.1..].trim_start();
    }
    Ok(tokens)
}

/// Where a quoted string ends, its quotes included.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Info {
        Info {
            container_id: "0123456789abcdef".to_owned(),
            container_name: "/web".to_owned(),
            container_image_name: "img:1".to_owned(),
            container_args: vec!["a".to_owned()],
            container_labels: [("k.x".to_owned(), "v".to_owned())].into(),
            daemon_name: "docker".to_owned(),
            ..Info::default()
        }
    }

    #[test]
    fn templates_are_rendered_as_by_go() {
        for (template, shown) in [
            ("{{.ID}}", "0123456789ab"),
            ("{{ .DaemonName }}/{{.Name}}-x", "docker/web-x"),
            ("{{.ImageName | upper}}", "IMG:1"),
            ("{{ join (split .ImageName \":\") \"-\" }}", "img-1"),
            ("{{ index .ContainerLabels \"k.x\" }}", "v"),
            ("{{truncate .FullID 3}}{{/* no */}}", "012"),
            ("a {{- .Name -}} b", "awebb"),
            ("{{printf \"%s=%d%%\" .Name 3}}", "web=3%"),
            ("{{json .ContainerArgs}}{{.ContainerArgs}}", "[\"a\"][a]"),
            ("{{pad .Name 1 2}}|", " web  |"),
            ("plain }}", "plain }}"),
        ] {
            assert_eq!(
                render(template, &info()).as_deref(),
                Ok(shown),
                "{template}"
            );
        }
    }

    #[test]
    fn wrong_templates_say_what_is_wrong() {
        for (template, why) in [
            ("{{.ID", "template: log-tag:1: unclosed action"),
            (
                "{{foo}}",
                "template: log-tag:1: function \"foo\" not defined",
            ),
            (
                "{{.Foo}}",
                "template: log-tag:1:2: executing \"log-tag\" at <.Foo>: can't evaluate field Foo in type *logger.Info",
            ),
            ("{{}}", "template: log-tag:1: missing value for command"),
        ] {
            assert_eq!(render(template, &info()), Err(why.to_owned()), "{template}");
        }
        for hostile in [
            "{{", "{{\"", "{{((((", "{{)}}", "{{|}}", "{{é}}", "{{.é.}}", "{{- -}}",
        ] {
            let _ = render(hostile, &info());
        }
        assert!(render(&"(".repeat(100), &info()).is_ok());
        assert!(render(&format!("{{{{{}}}}}", "(".repeat(100)), &info()).is_err());
    }

    #[test]
    fn what_grows_with_each_function_is_refused() {
        let doubled = format!("{{{{ \"\\\"\" {} }}}}", "| json ".repeat(100));
        let many = "{{ join (split (pad \"a\" 4000 10) \"\") (pad \"a\" 16384 16384) }}";
        for template in [&*doubled, many] {
            let error = render(template, &info()).expect_err("too much");
            assert!(
                error.ends_with("its result is over 262144 bytes"),
                "{error}"
            );
        }
    }
}
