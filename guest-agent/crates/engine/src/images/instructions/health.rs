//! HEALTHCHECK: `NONE`, or `[--interval=5s …] CMD command`.

use docker_api::HealthConfig;
use errdefs::Result;

use super::{invalid, list};

/// Shortest time between two checks, ns.
const MIN_TIME_NS: i64 = 1_000_000;

pub(super) fn parse(text: &str) -> Result<HealthConfig> {
    let mut health = HealthConfig::default();
    let mut left = text.trim_start();
    while left.starts_with("--") {
        let (flag, rest) = left.split_once(char::is_whitespace).unwrap_or((left, ""));
        left = rest.trim_start();
        if flag == "--" {
            break;
        }
        set(&mut health, flag)?;
    }
    let (kind, command) = left.split_once(char::is_whitespace).unwrap_or((left, ""));
    let command = command.trim_start();
    health.test = Some(match kind.to_uppercase().as_str() {
        "NONE" if command.is_empty() => {
            return Ok(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            });
        }
        "NONE" => return Err(invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" if command.is_empty() => {
            return Err(invalid("Missing command after HEALTHCHECK CMD"));
        }
        "CMD" => match list(command)? {
            Some(list) if list.is_empty() => {
                return Err(invalid("Missing command after HEALTHCHECK CMD"));
            }
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        _ => {
            return Err(invalid(format!(
                "Unknown type {kind:?} in HEALTHCHECK (try CMD)"
            )));
        }
    });
    Ok(health)
}

fn set(health: &mut HealthConfig, flag: &str) -> Result<()> {
    let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
    let slot = match name {
        "--interval" => &mut health.interval,
        "--timeout" => &mut health.timeout,
        "--start-period" => &mut health.start_period,
        "--start-interval" => &mut health.start_interval,
        "--retries" => {
            health.retries = retries(value)?;
            return Ok(());
        }
        _ => return Err(invalid(format!("unknown flag: {name}"))),
    };
    let name = name.trim_start_matches('-');
    if !value.is_empty() {
        let time =
            duration(value).ok_or_else(|| invalid(format!("time: invalid duration {value:?}")))?;
        if time != 0 && time < MIN_TIME_NS {
            return Err(invalid(format!(
                "Interval {name:?} cannot be less than 1ms"
            )));
        }
        *slot = time;
    }
    Ok(())
}

fn retries(text: &str) -> Result<i64> {
    if text.is_empty() {
        return Ok(0);
    }
    let number: i64 = text
        .parse::<i32>()
        .map_err(|_| {
            invalid(format!(
                "strconv.ParseInt: parsing {text:?}: invalid syntax"
            ))
        })?
        .into();
    if number < 0 {
        return Err(invalid(format!("--retries cannot be negative ({number})")));
    }
    Ok(number)
}

/// Go's durations, `1h2m3.5s`, in ns.
fn duration(text: &str) -> Option<i64> {
    let (negative, mut left) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if left == "0" {
        return Some(0);
    }
    if left.is_empty() {
        return None;
    }
    let mut sum = 0.0_f64;
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = left[..digits].parse().ok()?;
        left = &left[digits..];
        let end = left
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(left.len());
        let unit = match &left[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        left = &left[end..];
        sum += number * unit;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "compared with the range first"
    )]
    let whole = (sum < 9.2e18).then_some(sum as i64)?;
    Some(if negative { -whole } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_with_their_options() {
        let texts = |list: &[&str]| {
            Some(
                list.iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        let health = parse(
            "--interval=5s --timeout=1m30s --retries=3 --start-period=1.5s CMD [\"a\",\"b\"]",
        )
        .expect("read");
        assert_eq!(health.test, texts(&["CMD", "a", "b"]));
        assert_eq!(
            (
                health.interval,
                health.timeout,
                health.retries,
                health.start_period
            ),
            (5_000_000_000, 90_000_000_000, 3, 1_500_000_000)
        );
        assert_eq!(
            parse("cmd curl x").expect("read").test,
            texts(&["CMD-SHELL", "curl x"])
        );
        assert_eq!(parse("NONE").expect("read").test, texts(&["NONE"]));
    }

    #[test]
    fn what_is_wrong_is_told_in_dockers_words() {
        for (text, expected) in [
            ("NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("X", "Unknown type \"X\" in HEALTHCHECK (try CMD)"),
            ("CMD", "Missing command after HEALTHCHECK CMD"),
            ("--bogus CMD x", "unknown flag: --bogus"),
            (
                "--interval=1us CMD x",
                "Interval \"interval\" cannot be less than 1ms",
            ),
            ("--retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ] {
            assert_eq!(parse(text).expect_err(text).message(), expected, "{text}");
        }
    }
}
