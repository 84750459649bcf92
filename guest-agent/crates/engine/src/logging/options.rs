//! Values of options as Go reads them, with Go's texts for those that are wrong.

/// `strconv.ParseBool`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

/// `strconv.Atoi`.
pub(super) fn integer(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
    }
    text.parse()
        .map_err(|_| format!("strconv.Atoi: parsing {text:?}: value out of range"))
}

/// A number of bytes in powers of 1000.
pub(super) fn decimal_size(text: &str) -> Result<u64, String> {
    size(text, 1000)
}

/// A number of bytes in powers of 1024.
pub(super) fn binary_size(text: &str) -> Result<u64, String> {
    size(text, 1024)
}

fn size(text: &str, base: u32) -> Result<u64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let last = text
        .rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' '))
        .ok_or_else(invalid)?;
    let (number, suffix) = (&text[..=last], &text[last + 1..]);
    let number = number.strip_suffix(' ').unwrap_or(number);
    // Go knows no number in words; Rust does.
    let plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    let value: f64 = number
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| format!("strconv.ParseFloat: parsing {number:?}: invalid syntax"))?;
    if value < 0.0 {
        return Err(invalid());
    }
    let suffix = suffix.to_lowercase();
    let bad = || format!("invalid suffix: '{suffix}'");
    let power = match suffix.as_bytes() {
        [] | [b'b'] => 0,
        [unit] | [unit, b'b'] | [unit, b'i', b'b'] => {
            let place = b"kmgtp".iter().position(|known| known == unit);
            place
                .and_then(|place| i32::try_from(place).ok())
                .ok_or_else(bad)?
                + 1
        }
        _ => return Err(bad()),
    };
    let bytes = value * f64::from(base).powi(power);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and what is too large is cut to the largest"
    )]
    Ok((bytes as u64).min(i64::MAX.unsigned_abs()))
}

/// `time.ParseDuration`, in nanoseconds.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let value: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        rest = &rest[end..];
        total += value * unit;
    }
    if total > 9.2e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let total = total as i64;
    Ok(if negative { -total } else { total })
}

/// An address as `net/url` splits it: scheme, host with port, path.
pub(super) struct Url<'a> {
    pub(super) scheme: String,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
}

/// Splits an address.
pub(super) fn url(text: &str) -> Result<Url<'_>, String> {
    let Some((scheme, rest)) = text.split_once(':') else {
        return Ok(Url {
            scheme: String::new(),
            host: "",
            path: text,
        });
    };
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !named {
        let why = if scheme.is_empty() {
            "missing protocol scheme"
        } else {
            "first path segment in URL cannot contain colon"
        };
        return Err(format!("parse {text:?}: {why}"));
    }
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    check_port(host).map_err(|why| format!("parse {text:?}: {why}"))?;
    Ok(Url {
        scheme: scheme.to_ascii_lowercase(),
        host,
        path,
    })
}

/// What follows the last colon is a number.
fn check_port(host: &str) -> Result<(), String> {
    let port = match host.rfind(']') {
        Some(end) => &host[end + 1..],
        None if host.starts_with('[') => return Err("missing ']' in host".to_owned()),
        None => host.rfind(':').map_or("", |colon| &host[colon..]),
    };
    let digits = port.strip_prefix(':').unwrap_or("0");
    if port.is_empty() || port.starts_with(':') && digits.bytes().all(|b| b.is_ascii_digit()) {
        Ok(())
    } else {
        Err(format!("invalid port {port:?} after host"))
    }
}

/// `net.SplitHostPort`: both parts without brackets.
pub(super) fn host_port(text: &str) -> Result<(&str, &str), String> {
    let fails = |why: &str| Err(format!("address {text}: {why}"));
    let Some((host, port)) = text.rsplit_once(':') else {
        return fails("missing port in address");
    };
    if let Some(inner) = host.strip_prefix('[') {
        return match inner.strip_suffix(']') {
            Some(host) => Ok((host, port)),
            None if port.contains(']') => fails("missing port in address"),
            None => fails("missing ']' in address"),
        };
    }
    if host.contains(':') {
        return fails("too many colons in address");
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, bytes) in [
            ("10m", 10_000_000),
            ("10MB", 10_000_000),
            ("10 MiB", 10_000_000),
            ("0.5k", 500),
            ("7b", 7),
            ("7", 7),
        ] {
            assert_eq!(decimal_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(binary_size("4k"), Ok(4096));
        for (text, why) in [
            ("x", "invalid size: 'x'"),
            ("-1", "invalid size: '-1'"),
            ("1x", "invalid suffix: 'x'"),
            (
                "1mib2",
                "strconv.ParseFloat: parsing \"1mib2\": invalid syntax",
            ),
        ] {
            assert_eq!(decimal_size(text), Err(why.to_owned()));
        }
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("1m1.5s"), Ok(61_500_000_000));
        assert_eq!(duration("-2ms"), Ok(-2_000_000));
        assert_eq!(
            duration("5"),
            Err("time: missing unit in duration \"5\"".to_owned())
        );
        assert_eq!(
            duration("x"),
            Err("time: invalid duration \"x\"".to_owned())
        );
    }

    #[test]
    fn addresses_are_split() {
        let url = url("tcp+tls://[::1]:99/x").unwrap();
        assert_eq!(
            (url.scheme.as_str(), url.host, url.path),
            ("tcp+tls", "[::1]:99", "/x")
        );
        assert_eq!(host_port("[::1]:99"), Ok(("::1", "99")));
        assert!(host_port("h").unwrap_err().contains("missing port"));
        assert!(host_port("a:b:c").unwrap_err().contains("too many colons"));
    }
}
