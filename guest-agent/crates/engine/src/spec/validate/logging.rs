//! The log driver and its options. Docker: daemon/logger.

use docker_api::LogConfig;
use errdefs::Result;

use super::super::invalid;

const DEFAULT: &str = "json-file";

/// Options of json-file.
const OPTIONS: [&str; 8] = [
    "max-file",
    "max-size",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
];

/// Options of every driver.
const COMMON: [&str; 2] = ["mode", "max-buffer-size"];

/// Refuses options that json-file does not have; `driver` is named in the text.
pub(crate) fn check_options(log: &LogConfig, driver: &str) -> Result<()> {
    let unknown =
        |name: &&String| !OPTIONS.contains(&name.as_str()) && !COMMON.contains(&name.as_str());
    match log.config.keys().find(unknown) {
        Some(name) => Err(invalid(format!(
            "unknown log opt '{name}' for {driver} log driver"
        ))),
        None => Ok(()),
    }
}

/// Names the default driver and checks the options. Docker's `local` becomes json-file, which reads the same in `docker logs`.
pub(super) fn check(log: &mut LogConfig) -> Result<Option<String>> {
    if log.driver.is_empty() {
        log.driver = DEFAULT.to_owned();
    }
    if log.driver == "none" {
        return Ok(None);
    }
    let mode = log.config.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(invalid(format!(
            "logger: logging mode not supported: {mode}"
        )));
    }
    if log.config.contains_key("max-buffer-size") && mode != "non-blocking" {
        return Err(invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ));
    }
    if !matches!(log.driver.as_str(), DEFAULT | "local") {
        return Err(invalid(format!(
            "error looking up logging plugin {0}: plugin \"{0}\" not found",
            log.driver
        )));
    }
    check_options(log, &log.driver)?;
    if log.driver == DEFAULT {
        return Ok(None);
    }
    log.driver = DEFAULT.to_owned();
    Ok(Some(
        "The log driver local is not supported. Logging with json-file instead.".to_owned(),
    ))
}
