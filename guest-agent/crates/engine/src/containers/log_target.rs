//! Where a container's output is kept, from its log settings. Pure.

use std::path::Path;

use docker_api::LogConfig;
use errdefs::{Error, ErrorKind, Result};

use crate::{
    id::ContainerId, ports::containers::LogTarget, spec::validate::logging::check_options,
};

/// Drivers Docker has that this engine has not yet.
const NOT_YET: &[&str] = &[
    "local", "journald", "syslog", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs",
];

/// The target of a container whose folder is `folder`.
///
/// # Errors
/// `InvalidParameter` for an unknown driver, option or value; `NotImplemented` for a driver that is not there yet.
pub(crate) fn log_target(config: &LogConfig, id: &ContainerId, folder: &Path) -> Result<LogTarget> {
    match config.driver.as_str() {
        "none" => Ok(LogTarget::None),
        "" | "json-file" => json_file(config, id, folder),
        driver if NOT_YET.contains(&driver) => Err(Error::new(
            ErrorKind::NotImplemented,
            format!(
                "log driver {driver} is not implemented by this version of Berth: use json-file or none"
            ),
        )),
        driver => Err(invalid(format!(
            "error looking up logging plugin {driver}: plugin \"{driver}\" not found"
        ))),
    }
}

fn json_file(config: &LogConfig, id: &ContainerId, folder: &Path) -> Result<LogTarget> {
    check_options(config, "json-file")?;
    let max_size_bytes = match config.config.get("max-size").map(String::as_str) {
        None | Some("" | "-1") => None,
        Some(text) => Some(parse_size(text).filter(|size| *size > 0).ok_or_else(|| {
            invalid(format!(
                "invalid value for max-size: '{text}': want a number of bytes with k, m or g"
            ))
        })?),
    };
    let max_files = match config.config.get("max-file") {
        None => 1,
        Some(text) => text
            .parse()
            .ok()
            .filter(|files| *files >= 1)
            .ok_or_else(|| {
                invalid(format!(
                    "invalid value for max-file: '{text}': want a number from 1 on"
                ))
            })?,
    };
    if max_files > 1 && max_size_bytes.is_none() {
        return Err(invalid("max-file cannot be used without max-size"));
    }
    Ok(LogTarget::JsonFile {
        path: folder.join(format!("{id}-json.log")),
        max_size_bytes,
        max_files,
    })
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}

/// `10m`, `10MB`, `10MiB`, `0.5g`: all in powers of 1024, as Docker reads memory sizes.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let (whole, fraction) = number.split_once('.')?;
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().ok()?
    };
    let digits = u32::try_from(fraction.len())
        .ok()
        .filter(|digits| *digits <= 6)?;
    let part = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<u64>().ok()?
    };
    let unit = 1u64 << shift;
    whole
        .checked_mul(unit)?
        .checked_add(part.checked_mul(unit)? / 10u64.pow(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(driver: &str, options: &[(&str, &str)]) -> Result<LogTarget> {
        let config = LogConfig {
            driver: driver.to_owned(),
            config: options
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        log_target(&config, &ContainerId::from_random([1; 32]), Path::new("/c"))
    }

    #[test]
    fn sizes_and_files_are_read() {
        let Ok(LogTarget::JsonFile {
            max_size_bytes,
            max_files,
            path,
        }) = target("json-file", &[("max-size", "0.5m"), ("max-file", "3")])
        else {
            panic!("refused")
        };
        assert_eq!((max_size_bytes, max_files), (Some(512 << 10), 3));
        assert!(path.to_string_lossy().ends_with("-json.log"));
        assert_eq!(parse_size("10m"), Some(10 << 20));
        assert_eq!(parse_size("10KiB"), Some(10 << 10));
        assert_eq!(parse_size("99999999999999999999g"), None);
        assert_eq!(parse_size("1x"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (driver, options, text) in [
            (
                "nope",
                vec![],
                "error looking up logging plugin nope: plugin \"nope\" not found",
            ),
            (
                "json-file",
                vec![("bogus", "1")],
                "unknown log opt 'bogus' for json-file log driver",
            ),
            (
                "json-file",
                vec![("max-file", "2")],
                "max-file cannot be used without max-size",
            ),
            (
                "syslog",
                vec![],
                "log driver syslog is not implemented by this version of Berth: use json-file or none",
            ),
        ] {
            assert_eq!(target(driver, &options).unwrap_err().message(), text);
        }
        assert!(target("json-file", &[("max-size", "x")]).is_err());
        assert_eq!(target("none", &[]).unwrap(), LogTarget::None);
    }
}
