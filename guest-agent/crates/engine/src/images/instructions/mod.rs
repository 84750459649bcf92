//! Instructions of a Dockerfile that only change how containers are run: what `--change` of `docker commit` and `docker import` takes. Pure.
//!
//! Spec: Dockerfile reference.

mod health;
mod lines;
mod words;

use docker_api::{ContainerConfig, Empty};
use errdefs::{Error, ErrorKind, Result};

use self::words::{Budget, Environment, expand, expand_to_words, split};
use crate::spec::{clean_path, parse_signal};

/// Longest port with its protocol: `65535/sctp`.
const MOST_PORT_BYTES: usize = 10;

const ALLOWED: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Applies instructions, in order, each text one or more lines of them.
///
/// # Errors
/// `InvalidParameter` in Docker's words; nothing was applied then that the caller could use.
pub(crate) fn apply(config: &mut ContainerConfig, texts: &[String]) -> Result<()> {
    if texts.is_empty() {
        return Ok(());
    }
    let lines = lines::lines(&texts.join("\n"));
    if lines.is_empty() {
        return Err(invalid("file with no instructions"));
    }
    for line in &lines {
        if !ALLOWED.contains(&line.name.to_uppercase().as_str()) {
            return Err(invalid(format!(
                "{} is not a valid change command",
                line.name
            )));
        }
    }
    let mut command_is_set = false;
    let budget = Budget::new();
    for line in &lines {
        one(
            config,
            &line.name.to_uppercase(),
            &line.rest,
            &mut command_is_set,
            &budget,
        )?;
    }
    Ok(())
}

fn one(
    config: &mut ContainerConfig,
    name: &str,
    rest: &str,
    command_is_set: &mut bool,
    budget: &Budget,
) -> Result<()> {
    let environment = Environment {
        variables: config.env.as_deref().unwrap_or_default(),
        budget,
    };
    let needs = |how: &str| {
        if rest.is_empty() {
            Err(invalid(format!("{name} requires {how} argument")))
        } else {
            Ok(())
        }
    };
    match name {
        "CMD" => {
            let command = command_line(config, rest)?;
            *command_is_set |= !command.is_empty();
            config.cmd = Some(command);
        }
        "ENTRYPOINT" => {
            config.entrypoint = match command_line(config, rest)? {
                _ if rest.is_empty() => None,
                list => Some(list),
            };
            if !*command_is_set {
                config.cmd = None;
            }
        }
        "ENV" => {
            needs("at least one")?;
            let pairs = pairs(name, rest, environment)?;
            let variables = config.env.get_or_insert_default();
            for (key, value) in pairs {
                let entry = format!("{key}={value}");
                let is_same = |other: &&mut String| {
                    other
                        .split_once('=')
                        .map_or(other.as_str(), |(name, _)| name)
                        == key
                };
                match variables.iter_mut().find(is_same) {
                    Some(old) => *old = entry,
                    None => variables.push(entry),
                }
            }
        }
        "LABEL" => {
            needs("at least one")?;
            let labels = config.labels.get_or_insert_default();
            labels.extend(pairs(name, rest, environment)?);
        }
        "EXPOSE" => {
            needs("at least one")?;
            let exposed = config.exposed_ports.get_or_insert_default();
            for word in rest.split_whitespace() {
                for port in expand_to_words(word, environment)? {
                    exposed.extend(
                        ports(&port, budget)?
                            .into_iter()
                            .map(|port| (port, Empty {})),
                    );
                }
            }
        }
        "USER" => {
            needs("exactly one")?;
            config.user = expand(rest, environment)?;
        }
        "WORKDIR" => {
            needs("exactly one")?;
            let path = expand(rest, environment)?;
            if path.is_empty() {
                return Err(invalid("cannot normalize nothing"));
            }
            config.working_dir = if path.starts_with('/') {
                clean_path(&path)
            } else {
                clean_path(&format!("/{}/{path}", config.working_dir))
            };
        }
        "VOLUME" => {
            needs("at least one")?;
            let given = match list(rest)? {
                Some(list) => list,
                None => rest.split_whitespace().map(str::to_owned).collect(),
            };
            let volumes = config.volumes.get_or_insert_default();
            for volume in given {
                let volume = expand(volume.trim(), environment)?;
                if volume.is_empty() {
                    return Err(invalid("VOLUME specified can not be an empty string"));
                }
                volumes.insert(volume, Empty {});
            }
        }
        "STOPSIGNAL" => {
            needs("exactly one")?;
            let signal = expand(rest, environment)?;
            parse_signal(&signal)?;
            config.stop_signal = signal;
        }
        "ONBUILD" => {
            needs("at least one")?;
            let trigger = rest
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_uppercase();
            match trigger.as_str() {
                "ONBUILD" => {
                    return Err(invalid(
                        "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
                    ));
                }
                "MAINTAINER" | "FROM" => {
                    return Err(invalid(format!(
                        "{trigger} isn't allowed as an ONBUILD trigger"
                    )));
                }
                _ => config
                    .on_build
                    .get_or_insert_default()
                    .push(rest.to_owned()),
            }
        }
        // The only one left.
        _ => {
            needs("at least one")?;
            config.healthcheck = Some(health::parse(rest)?);
        }
    }
    Ok(())
}

/// A list in JSON, or a line for the shell.
fn command_line(config: &ContainerConfig, rest: &str) -> Result<Vec<String>> {
    if let Some(list) = list(rest)? {
        return Ok(list);
    }
    let mut command = match &config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
    };
    if !rest.is_empty() {
        command.push(rest.to_owned());
    }
    Ok(command)
}

/// A list of texts in JSON; none: it is no list.
fn list(text: &str) -> Result<Option<Vec<String>>> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let texts = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(invalid(
            "when using JSON array syntax, arrays must be comprised of strings only",
        )),
    });
    texts.collect::<Result<_>>().map(Some)
}

/// `a=b c=d`, or `a and all the rest`.
fn pairs(name: &str, rest: &str, environment: Environment<'_>) -> Result<Vec<(String, String)>> {
    let words = split(rest);
    let first = words.first().map_or("", String::as_str);
    let raw: Vec<(&str, &str)> = if first.contains('=') {
        words
            .iter()
            .map(|word| {
                word.split_once('=').ok_or_else(|| {
                    invalid(format!(
                        "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
                    ))
                })
            })
            .collect::<Result<_>>()?
    } else {
        let pair = rest.split_once(char::is_whitespace);
        let (key, value) =
            pair.ok_or_else(|| invalid(format!("{name} must have two arguments")))?;
        vec![(key, value.trim_start())]
    };
    raw.into_iter()
        .map(|(key, value)| {
            if key.is_empty() {
                return Err(invalid(format!("{name} names can not be blank")));
            }
            Ok((expand(key, environment)?, expand(value, environment)?))
        })
        .collect()
}

/// `[[ip:]host:]container[/protocol]`, where the container's may be a range; only that one counts.
fn ports(text: &str, budget: &Budget) -> Result<Vec<String>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(invalid(format!("Invalid proto: {protocol}")));
    }
    let container = ports.rsplit(':').next().unwrap_or(ports);
    if container.is_empty() {
        return Err(invalid(format!("no port specified: {text}<empty>")));
    }
    let wrong = || invalid(format!("Invalid containerPort: {container}"));
    let (first, last) = container.split_once('-').unwrap_or((container, container));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(wrong());
    }
    budget.take(usize::from(last - first) * MOST_PORT_BYTES)?;
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> ContainerConfig {
        ContainerConfig {
            cmd: Some(vec!["old".to_owned()]),
            env: Some(vec!["X=1".to_owned()]),
            working_dir: "/tmp".to_owned(),
            ..ContainerConfig::default()
        }
    }

    fn applied(change: &str) -> Result<ContainerConfig> {
        let mut config = base();
        apply(&mut config, &[change.to_owned()]).map(|()| config)
    }

    #[test]
    fn instructions_do_what_docker_does() {
        let of = |change| applied(change).expect(change);
        let texts = |list: &[&str]| {
            Some(
                list.iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(of("CMD [\"a\",\"b\"]").cmd, texts(&["a", "b"]));
        assert_eq!(of("cmd a b $X").cmd, texts(&["/bin/sh", "-c", "a b $X"]));
        assert_eq!(of("CMD [\"a\"").cmd, texts(&["/bin/sh", "-c", "[\"a\""]));
        assert_eq!(of("CMD").cmd, texts(&["/bin/sh", "-c"]));
        let both = of("CMD a\nENTRYPOINT [\"x\"]");
        assert_eq!(
            (both.entrypoint, both.cmd),
            (texts(&["x"]), texts(&["/bin/sh", "-c", "a"]))
        );
        assert_eq!(of("ENTRYPOINT [\"/e\"]").cmd, None);
        assert_eq!(of("ENV A=1 X=$X$X").env, texts(&["X=11", "A=1"]));
        assert_eq!(of("ENV A one two").env, texts(&["X=1", "A=one two"]));
        assert_eq!(
            of("LABEL \"a b\"=\"c d\"").labels.expect("some")["a b"],
            "c d"
        );
        let exposed = of("EXPOSE 80/udp 90-91 127.0.0.1:80:81 $NONE")
            .exposed_ports
            .expect("some");
        assert_eq!(
            exposed.keys().collect::<Vec<_>>(),
            ["80/udp", "81/tcp", "90/tcp", "91/tcp"]
        );
        assert_eq!(of("USER a b").user, "a b");
        assert_eq!(of("WORKDIR rel").working_dir, "/tmp/rel");
        assert_eq!(of("WORKDIR /abs/../x").working_dir, "/x");
        let volumes = of("VOLUME [\"/j\",\"/k l\"]").volumes.expect("some");
        assert_eq!(volumes.keys().collect::<Vec<_>>(), ["/j", "/k l"]);
        assert_eq!(of("STOPSIGNAL \"SIGTERM\"").stop_signal, "SIGTERM");
        assert_eq!(of("ONBUILD RUN x").on_build, texts(&["RUN x"]));
    }

    #[test]
    fn what_is_wrong_is_told_in_dockers_words() {
        for (change, text) in [
            ("RUN x", "RUN is not a valid change command"),
            ("bogus", "bogus is not a valid change command"),
            ("# comment", "file with no instructions"),
            ("LABEL x", "LABEL must have two arguments"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV =x", "ENV names can not be blank"),
            (
                "ENV A=1 B",
                "Syntax error - can't find = in \"B\". Must be of the form: name=value",
            ),
            ("USER", "USER requires exactly one argument"),
            ("EXPOSE bad", "Invalid containerPort: bad"),
            ("EXPOSE 99999", "Invalid containerPort: 99999"),
            ("EXPOSE 80/foo", "Invalid proto: foo"),
            ("WORKDIR $NONE", "cannot normalize nothing"),
            ("VOLUME", "VOLUME requires at least one argument"),
            ("STOPSIGNAL NOPE", "invalid signal: NOPE"),
            (
                "ONBUILD ONBUILD RUN",
                "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            ),
            ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
            (
                "CMD [\"a\", 1]",
                "when using JSON array syntax, arrays must be comprised of strings only",
            ),
        ] {
            assert_eq!(
                applied(change).expect_err(change).message(),
                text,
                "{change}"
            );
        }
    }

    #[test]
    fn what_grows_without_end_is_refused() {
        for text in [
            format!("ENV A=aaaa\n{}", "ENV A=$A$A\n".repeat(60)),
            format!("EXPOSE{}", " 1-65535".repeat(100)),
        ] {
            let mut config = ContainerConfig::default();
            let error = apply(&mut config, &[text]).expect_err("too much");
            assert_eq!(
                error.message(),
                "instructions that expand to more than 4194304 bytes are not supported"
            );
        }
    }
}
