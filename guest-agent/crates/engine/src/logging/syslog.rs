//! `syslog`. Docker: daemon/logger/syslog.

use super::{Info, Options, options, template, unknown};
use crate::ports::logging::{Protocol, SyslogAddress, SyslogFormat, TlsFiles};

const OPTIONS: [&str; 12] = [
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "syslog-address",
    "syslog-facility",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
    "tag",
    "syslog-format",
];
const DEFAULT_PORT: &str = "514";
/// Number of the facility `daemon`.
const DAEMON: u8 = 3;
/// Facilities by their numbers; the empty ones have no name.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

pub(super) fn check(own: &Options) -> Result<(), String> {
    if let Some(name) = unknown(own, &OPTIONS) {
        return Err(format!("unknown log opt '{name}' for syslog log driver"));
    }
    address(own)?;
    facility(own)?;
    format(own)?;
    Ok(())
}

pub(super) fn protocol(info: &Info) -> Result<Protocol, String> {
    Ok(Protocol::Syslog {
        tag: template::tag(info, template::DEFAULT)?,
        address: address(&info.config)?,
        facility: facility(&info.config)?,
        format: format(&info.config)?,
    })
}

fn address(own: &Options) -> Result<SyslogAddress, String> {
    let text = own.get("syslog-address").map_or("", String::as_str);
    if text.is_empty() {
        return Ok(SyslogAddress::Local);
    }
    let url = options::url(text)?;
    let with_port = || match options::host_port(url.host) {
        Ok(_) => Ok(url.host.to_owned()),
        Err(error) if error.contains("missing port in address") => {
            let host = url.host.trim_start_matches('[').trim_end_matches(']');
            Ok(if host.contains(':') {
                format!("[{host}]:{DEFAULT_PORT}")
            } else {
                format!("{host}:{DEFAULT_PORT}")
            })
        }
        Err(error) => Err(error),
    };
    Ok(match url.scheme.as_str() {
        "unix" => SyslogAddress::Unix(url.path.into()),
        "unixgram" => SyslogAddress::UnixDatagram(url.path.into()),
        "udp" => SyslogAddress::Udp(with_port()?),
        "tcp" => SyslogAddress::Tcp(with_port()?),
        "tcp+tls" => {
            let file = |name: &str| own.get(name).cloned().unwrap_or_default();
            let files = TlsFiles {
                authorities: file("syslog-tls-ca-cert"),
                certificate: file("syslog-tls-cert"),
                key: file("syslog-tls-key"),
                // Its mere presence is meant, as in Docker.
                skip_verify: own.contains_key("syslog-tls-skip-verify"),
            };
            SyslogAddress::Tls(with_port()?, files)
        }
        scheme => return Err(format!("unsupported scheme: '{scheme}'")),
    })
}

fn facility(own: &Options) -> Result<u8, String> {
    let text = own.get("syslog-facility").map_or("", String::as_str);
    if text.is_empty() {
        return Ok(DAEMON);
    }
    FACILITIES
        .iter()
        .position(|name| *name == text)
        .and_then(|number| u8::try_from(number).ok())
        .or_else(|| {
            let number = options::integer(text).ok()?;
            u8::try_from(number).ok().filter(|number| *number <= 23)
        })
        .ok_or_else(|| "invalid syslog facility".to_owned())
}

fn format(own: &Options) -> Result<SyslogFormat, String> {
    match own.get("syslog-format").map_or("", String::as_str) {
        "" => Ok(SyslogFormat::Unix),
        "rfc3164" => Ok(SyslogFormat::Rfc3164),
        "rfc5424" => Ok(SyslogFormat::Rfc5424),
        "rfc5424micro" => Ok(SyslogFormat::Rfc5424Micro),
        _ => Err("Invalid syslog format".to_owned()),
    }
}
