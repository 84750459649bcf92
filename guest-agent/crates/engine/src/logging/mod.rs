//! Log drivers: which options each takes, and where a container's output goes. Pure.
//!
//! As in Docker, names of options and a few values are checked when a container is made ([`check`]), all values when its log is opened
//! ([`target`]): before it starts, or when it is read.

mod attributes;
mod files;
mod fluentd;
mod gelf;
mod journald;
mod options;
mod syslog;
mod template;

use std::{collections::BTreeMap, path::Path};

use docker_api::LogConfig;
use errdefs::{Error, ErrorKind, Result};

use crate::{
    containers::record::ContainerRecord,
    ports::logging::{LogTarget, Protocol, Remote},
    time::rfc3339,
};

/// The driver of containers that name none.
pub(crate) const DEFAULT: &str = "json-file";
/// Drivers that can be asked for, as `info` lists them.
pub const DRIVERS: [&str; 7] = [
    "fluentd",
    "gelf",
    "journald",
    "json-file",
    "local",
    "none",
    "syslog",
];
/// Drivers Docker has and this engine has not.
const NOT_YET: [&str; 3] = ["awslogs", "gcplogs", "splunk"];
/// Options every driver takes.
const COMMON: [&str; 6] = [
    "mode",
    "max-buffer-size",
    "cache-disabled",
    "cache-max-file",
    "cache-max-size",
    "cache-compress",
];
/// Bytes that may wait in mode `non-blocking` when it is not said.
const DEFAULT_BUFFER_BYTES: u64 = 1_000_000;

type Options = BTreeMap<String, String>;

/// What a driver may tell about a container.
#[derive(Debug, Clone, Default, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    config: Options,
    #[serde(rename = "ContainerID")]
    container_id: String,
    container_name: String,
    container_entrypoint: String,
    container_args: Vec<String>,
    #[serde(rename = "ContainerImageID")]
    container_image_id: String,
    container_image_name: String,
    container_created: String,
    container_env: Vec<String>,
    container_labels: BTreeMap<String, String>,
    log_path: String,
    daemon_name: String,
    #[serde(skip)]
    host_name: String,
}

impl Info {
    fn of(record: &ContainerRecord, host_name: &str, log_path: &Path) -> Self {
        let mut arguments = crate::spec::arguments(&record.config).into_iter();
        Self {
            config: record.host.log_config.config.clone(),
            container_id: record.id.to_string(),
            container_name: format!("/{}", record.name),
            container_entrypoint: arguments.next().unwrap_or_default(),
            container_args: arguments.collect(),
            container_image_id: record
                .image
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            container_image_name: record.config.image.clone(),
            container_created: rfc3339(record.created),
            container_env: record.config.env.clone().unwrap_or_default(),
            container_labels: record.config.labels.clone().unwrap_or_default(),
            log_path: log_path.to_string_lossy().into_owned(),
            daemon_name: "docker".to_owned(),
            host_name: host_name.to_owned(),
        }
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.config.get(name).map(String::as_str)
    }
}

/// Fills in the engine's defaults and checks what Docker checks when a container is made.
///
/// # Errors
/// `InvalidParameter` in Docker's words.
pub(crate) fn merge_and_check(log: &mut LogConfig, defaults: &LogConfig) -> Result<()> {
    let default = match defaults.driver.as_str() {
        "" => DEFAULT,
        driver => driver,
    };
    if log.driver.is_empty() {
        default.clone_into(&mut log.driver);
    }
    for (name, value) in &defaults.config {
        if log.driver == default || name.starts_with("cache-") {
            log.config
                .entry(name.clone())
                .or_insert_with(|| value.clone());
        }
    }
    check(log)
}

/// A number of bytes as Docker reads memory sizes: in powers of 1024.
///
/// # Errors
/// In Docker's words.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    options::binary_size(text)
}

/// Checks the engine's own log settings; without options there is nothing to check, as in Docker.
///
/// # Errors
/// As for a container.
pub fn check_defaults(log: &LogConfig) -> Result<()> {
    if log.config.is_empty() {
        return Ok(());
    }
    let mut log = log.clone();
    merge_and_check(&mut log, &LogConfig::default())
}

/// Checks driver and options.
///
/// # Errors
/// `InvalidParameter` in Docker's words.
pub(crate) fn check(log: &LogConfig) -> Result<()> {
    let driver = log.driver.as_str();
    if driver == "none" {
        return Ok(());
    }
    let option = |name: &str| log.config.get(name).map(String::as_str);
    let mode = option("mode").unwrap_or_default();
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(invalid(format!(
            "logger: logging mode not supported: {mode}"
        )));
    }
    if let Some(size) = option("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ));
        }
        options::binary_size(size)
            .map_err(|error| invalid(format!("error parsing option max-buffer-size: {error}")))?;
    }
    if let Some(text) = option("cache-disabled").filter(|text| !text.is_empty())
        && options::boolean(text).is_err()
    {
        return Err(invalid(format!(
            "invalid value for option cache-disabled: {text}"
        )));
    }
    let own: Options = log
        .config
        .iter()
        .filter(|(name, _)| !COMMON.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    match driver {
        "json-file" => files::check_json(&own),
        "local" => files::check_local(&own),
        "syslog" => syslog::check(&own),
        "gelf" => gelf::check(&own),
        "fluentd" => fluentd::check(&own),
        "journald" => journald::check(&own),
        driver if NOT_YET.contains(&driver) => {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                format!(
                    "log driver {driver} is not implemented by this version of Berth: use one of {}",
                    DRIVERS.join(", ")
                ),
            ));
        }
        driver => Err(format!(
            "error looking up logging plugin {driver}: plugin \"{driver}\" not found"
        )),
    }
    .map_err(invalid)
}

/// Where a container whose folder is `folder` writes. The text of a failure is the driver's own.
///
/// # Errors
/// `System`, as in Docker: the container cannot start with these options.
pub(crate) fn target(
    record: &ContainerRecord,
    host_name: &str,
    folder: &Path,
) -> Result<LogTarget> {
    let log = &record.host.log_config;
    let driver = match log.driver.as_str() {
        "" => DEFAULT,
        driver => driver,
    };
    open(record, driver, host_name, folder).map_err(|text| Error::new(ErrorKind::System, text))
}

fn open(
    record: &ContainerRecord,
    driver: &str,
    host_name: &str,
    folder: &Path,
) -> Result<LogTarget, String> {
    let json = folder.join(format!("{}-json.log", record.id));
    let path = match driver {
        "json-file" => json.as_path(),
        _ => Path::new(""),
    };
    let info = Info::of(record, host_name, path);
    let protocol = match driver {
        "none" => return Ok(LogTarget::None),
        "json-file" => return files::json(&info, json).map(LogTarget::File),
        "local" => {
            let path = folder.join("local-logs").join("container.log");
            return files::local(&info.config, path, "").map(LogTarget::File);
        }
        "syslog" => syslog::protocol(&info)?,
        "gelf" => gelf::protocol(&info)?,
        "fluentd" => fluentd::protocol(&info)?,
        "journald" => journald::protocol(&info)?,
        other => {
            return Err(format!(
                "logger: no log driver named '{other}' is registered"
            ));
        }
    };
    remote(&info, protocol, folder)
}

fn remote(info: &Info, protocol: Protocol, folder: &Path) -> Result<LogTarget, String> {
    let buffer_bytes = match info.option("mode") {
        Some("non-blocking") => Some(match info.option("max-buffer-size") {
            Some(size) => options::binary_size(size)?,
            None => DEFAULT_BUFFER_BYTES,
        }),
        _ => None,
    };
    let disabled = match info.option("cache-disabled").unwrap_or_default() {
        "" => false,
        text => options::boolean(text).unwrap_or(true),
    };
    let cache = if disabled {
        None
    } else {
        let file = files::local(&info.config, folder.join("container-cached.log"), "cache-");
        Some(file.map_err(|error| {
            format!("error setting up local container log cache: error initializing local log cache driver: {error}")
        })?)
    };
    Ok(LogTarget::Remote {
        remote: Box::new(Remote {
            protocol,
            buffer_bytes,
            host_name: info.host_name.clone(),
        }),
        cache,
    })
}

/// The first option that is not in a list.
fn unknown<'a>(own: &'a Options, known: &[&str]) -> Option<&'a str> {
    own.keys()
        .map(String::as_str)
        .find(|name| !known.contains(name))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameter, message)
}

#[cfg(test)]
mod tests;
