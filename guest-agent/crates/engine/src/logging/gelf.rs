//! `gelf`. Docker: daemon/logger/gelf.

use super::{
    Info, Options, attributes,
    options::{self, Url},
    template,
};
use crate::ports::logging::{Compression, GelfAddress, Protocol};

/// Level of gzip when it is not said.
const BEST_SPEED: i8 = 1;
/// Bounds of the level; -1 is the library's choice.
const LEVELS: std::ops::RangeInclusive<i64> = -1..=9;
const DEFAULT_RECONNECTS: u32 = 3;
const DEFAULT_DELAY_SECONDS: u64 = 1;

pub(super) fn check(own: &Options) -> Result<(), String> {
    let address = address(own)?;
    for (name, value) in own {
        let unknown_value =
            || format!("unknown value {value:?} for log opt {name:?} for gelf log driver");
        match name.as_str() {
            "gelf-address" | "tag" | "labels" | "labels-regex" | "env" | "env-regex" => {}
            "gelf-compression-level" | "gelf-compression-type" if address.scheme != "udp" => {
                return Err("compression is only supported on UDP".to_owned());
            }
            "gelf-compression-level" => {
                options::integer(value)
                    .ok()
                    .filter(|level| LEVELS.contains(level))
                    .ok_or_else(unknown_value)?;
            }
            "gelf-compression-type" => {
                compression(value).ok_or_else(unknown_value)?;
            }
            "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay" => {
                if address.scheme != "tcp" {
                    return Err(format!("{name:?} is only valid for TCP"));
                }
                options::integer(value)
                    .ok()
                    .filter(|number| *number >= 0)
                    .ok_or_else(|| format!("{name:?} must be a positive integer"))?;
            }
            _ => return Err(format!("unknown log opt {name:?} for gelf log driver")),
        }
    }
    Ok(())
}

pub(super) fn protocol(info: &Info) -> Result<Protocol, String> {
    let tag = template::tag(info, template::DEFAULT)?;
    let mut extra: std::collections::BTreeMap<String, String> = [
        ("_container_id", info.container_id.clone()),
        (
            "_container_name",
            info.container_name.trim_start_matches('/').to_owned(),
        ),
        ("_image_id", info.container_image_id.clone()),
        ("_image_name", info.container_image_name.clone()),
        ("_command", template::command(info)),
        ("_tag", tag),
        ("_created", info.container_created.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    extra.extend(attributes::extra(info, |name| {
        if name.starts_with('_') {
            name.to_owned()
        } else {
            format!("_{name}")
        }
    })?);
    let url = address(&info.config)?;
    let number = |name: &str| info.option(name).map(options::integer).transpose();
    let address = if url.scheme == "udp" {
        GelfAddress::Udp {
            address: url.host.to_owned(),
            compression: info
                .option("gelf-compression-type")
                .and_then(compression)
                .unwrap_or(Compression::Gzip),
            level: number("gelf-compression-level")?
                .and_then(|level| i8::try_from(level).ok())
                .unwrap_or(BEST_SPEED),
        }
    } else {
        GelfAddress::Tcp {
            address: url.host.to_owned(),
            max_reconnect: number("gelf-tcp-max-reconnect")?
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(DEFAULT_RECONNECTS),
            reconnect_delay_seconds: number("gelf-tcp-reconnect-delay")?
                .and_then(|delay| u64::try_from(delay).ok())
                .unwrap_or(DEFAULT_DELAY_SECONDS),
        }
    };
    Ok(Protocol::Gelf { address, extra })
}

fn compression(name: &str) -> Option<Compression> {
    Some(match name {
        "gzip" => Compression::Gzip,
        "zlib" => Compression::Zlib,
        "none" => Compression::None,
        _ => return None,
    })
}

fn address(own: &Options) -> Result<Url<'_>, String> {
    let text = own.get("gelf-address").map_or("", String::as_str);
    if text.is_empty() {
        return Err("gelf-address is a required parameter".to_owned());
    }
    let url = options::url(text)?;
    if !matches!(url.scheme.as_str(), "udp" | "tcp") {
        return Err("gelf: endpoint needs to be TCP or UDP".to_owned());
    }
    if options::host_port(url.host).is_err() {
        return Err("gelf: please provide gelf-address as proto://host:port".to_owned());
    }
    Ok(url)
}
