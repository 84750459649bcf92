//! `fluentd`. Docker: daemon/logger/fluentd.

use super::{Info, Options, attributes, options, template, unknown};
use crate::ports::logging::{FluentdAddress, FluentdSettings, Protocol};

const OPTIONS: [&str; 14] = [
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "tag",
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
];
const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 24224;
const DEFAULT_BUFFER: u64 = 1 << 20;
const DEFAULT_RETRY_WAIT_MS: u64 = 1000;
const MAX_RETRIES: u32 = i32::MAX.unsigned_abs();
const MIN_RECONNECT_NS: i64 = 100_000_000;
const MAX_RECONNECT_NS: i64 = 10_000_000_000;
const MILLISECOND_NS: i64 = 1_000_000;

pub(super) fn check(own: &Options) -> Result<(), String> {
    if let Some(name) = unknown(own, &OPTIONS) {
        return Err(format!("unknown log opt '{name}' for fluentd log driver"));
    }
    parse(own).map(drop)
}

pub(super) fn protocol(info: &Info) -> Result<Protocol, String> {
    let (address, settings) = parse(&info.config)?;
    let tag = template::tag(info, template::DEFAULT)?;
    let mut record: std::collections::BTreeMap<String, String> = [
        ("container_id", &info.container_id),
        ("container_name", &info.container_name),
    ]
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .into();
    record.extend(attributes::extra(info, str::to_owned)?);
    Ok(Protocol::Fluentd {
        address,
        tag,
        record,
        settings,
    })
}

fn parse(own: &Options) -> Result<(FluentdAddress, FluentdSettings), String> {
    let option = |name: &str| own.get(name).filter(|text| !text.is_empty());
    let text = own.get("fluentd-address").map_or("", String::as_str);
    let address =
        address(text).map_err(|error| format!("invalid fluentd-address ({text}): {error}"))?;
    let buffer_limit = option("fluentd-buffer-limit")
        .map(|text| options::binary_size(text))
        .transpose()?
        .unwrap_or(DEFAULT_BUFFER);
    let retry_wait_ms = option("fluentd-retry-wait")
        .map(|text| options::duration(text))
        .transpose()?
        .map_or(DEFAULT_RETRY_WAIT_MS, milliseconds);
    let max_retries = match option("fluentd-max-retries") {
        None => MAX_RETRIES,
        Some(text) => {
            let wrong = |why| format!("strconv.ParseUint: parsing {text:?}: {why}");
            if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(wrong("invalid syntax"));
            }
            let retries: u32 = text.parse().map_err(|_| wrong("value out of range"))?;
            if retries > MAX_RETRIES {
                return Err("invalid fluentd-max-retries: value out of range".to_owned());
            }
            retries
        }
    };
    let flag = |name: &str| {
        let flag = option(name)
            .map(|text| options::boolean(text))
            .transpose()?;
        Ok::<_, String>(flag.unwrap_or(false))
    };
    Ok((
        address,
        FluentdSettings {
            buffer_limit,
            retry_wait_ms,
            max_retries,
            asynchronous: flag("fluentd-async")?,
            reconnect_interval_ms: reconnect_interval(
                option("fluentd-async-reconnect-interval").map(String::as_str),
            )?,
            sub_second: flag("fluentd-sub-second-precision")?,
            acknowledge: flag("fluentd-request-ack")?,
            write_timeout_ms: write_timeout(option("fluentd-write-timeout").map(String::as_str))?,
        },
    ))
}

fn reconnect_interval(text: Option<&str>) -> Result<u64, String> {
    const NAME: &str = "fluentd-async-reconnect-interval";
    let Some(text) = text else { return Ok(0) };
    let interval =
        options::duration(text).map_err(|error| format!("invalid value for {NAME}: {error}"))?;
    if interval != 0 && !(MIN_RECONNECT_NS..=MAX_RECONNECT_NS).contains(&interval) {
        return Err(format!(
            "invalid value for {NAME}: value ({:?}) must be between 100ms and 10s",
            shown(interval)
        ));
    }
    Ok(milliseconds(interval))
}

fn write_timeout(text: Option<&str>) -> Result<u64, String> {
    const NAME: &str = "fluentd-write-timeout";
    let Some(text) = text else { return Ok(0) };
    let timeout = options::duration(text)
        .map_err(|error| format!("invalid value for {NAME}: value must be a duration: {error}"))?;
    if timeout < 0 {
        return Err(format!(
            "invalid value for {NAME}: value must be a duration that is non-negative"
        ));
    }
    Ok(milliseconds(timeout))
}

fn milliseconds(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds / MILLISECOND_NS).unwrap_or(0)
}

/// A duration as Go shows it: whole units are enough for what is out of bounds here.
fn shown(nanoseconds: i64) -> String {
    let (sign, value) = if nanoseconds < 0 {
        ("-", nanoseconds.unsigned_abs())
    } else {
        ("", nanoseconds.unsigned_abs())
    };
    let fraction = |unit: u64, name: &str| {
        let (whole, rest) = (value / unit, value % unit);
        if rest == 0 {
            return format!("{sign}{whole}{name}");
        }
        let width = unit.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        format!("{sign}{whole}.{}{name}", digits.trim_end_matches('0'))
    };
    match value {
        0..1_000 => format!("{sign}{value}ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let minutes = value / 60_000_000_000;
            let value = value % 60_000_000_000;
            let seconds = {
                let (whole, rest) = (value / 1_000_000_000, value % 1_000_000_000);
                if rest == 0 {
                    format!("{whole}s")
                } else {
                    format!("{whole}.{}s", format!("{rest:09}").trim_end_matches('0'))
                }
            };
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

fn address(text: &str) -> Result<FluentdAddress, String> {
    if text.is_empty() {
        return Ok(FluentdAddress::Tcp(DEFAULT_HOST.to_owned(), DEFAULT_PORT));
    }
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("tcp://{text}")
    };
    let url = options::url(&full)?;
    match url.scheme.as_str() {
        "unix" if url.path.trim_start_matches('/').is_empty() => Err("path is empty".to_owned()),
        "unix" => Ok(FluentdAddress::Unix(url.path.into())),
        "tcp" | "tls" => {
            if !url.path.is_empty() {
                return Err("should not contain a path element".to_owned());
            }
            let (host, port) = match options::host_port(url.host) {
                Ok((host, port)) => (host, port),
                Err(_) => (url.host.trim_start_matches('[').trim_end_matches(']'), ""),
            };
            let host = if host.is_empty() { DEFAULT_HOST } else { host }.to_owned();
            let port = match port {
                "" => DEFAULT_PORT,
                port => port.parse().map_err(|_| {
                    format!("invalid port: strconv.ParseUint: parsing {port:?}: value out of range")
                })?,
            };
            Ok(if url.scheme == "tls" {
                FluentdAddress::Tls(host, port)
            } else {
                FluentdAddress::Tcp(host, port)
            })
        }
        scheme => Err(format!("unsupported scheme: '{scheme}'")),
    }
}
