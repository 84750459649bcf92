//! `json-file` and `local`. Docker: daemon/logger/jsonfilelog, daemon/logger/local.

use std::path::PathBuf;

use super::{Info, Options, attributes, options, template, unknown};
use crate::ports::logging::{LogFile, LogFormat};

const JSON: [&str; 8] = [
    "max-file",
    "max-size",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
];
const LOCAL: [&str; 3] = ["max-file", "max-size", "compress"];

/// Defaults of `local`.
const LOCAL_SIZE_BYTES: u64 = 20 << 20;
const LOCAL_FILES: i64 = 5;
/// More files than anybody wants to rename at each rotation.
const MAX_FILES: u32 = 100_000;

pub(super) fn check_json(own: &Options) -> Result<(), String> {
    match unknown(own, &JSON) {
        Some(name) => Err(format!("unknown log opt '{name}' for json-file log driver")),
        None => Ok(()),
    }
}

pub(super) fn check_local(own: &Options) -> Result<(), String> {
    match unknown(own, &LOCAL) {
        Some(name) => Err(format!("unknown log opt '{name}' for log driver local")),
        None => Ok(()),
    }
}

pub(super) fn json(info: &Info, path: PathBuf) -> Result<LogFile, String> {
    let max_size_bytes = info
        .option("max-size")
        .map(options::decimal_size)
        .transpose()?;
    if max_size_bytes == Some(0) {
        return Err("max-size must be a positive number".to_owned());
    }
    let files = info
        .option("max-file")
        .map(options::integer)
        .transpose()?
        .unwrap_or(1);
    if files < 1 {
        return Err("max-file cannot be less than 1".to_owned());
    }
    let compress = info
        .option("compress")
        .map(options::boolean)
        .transpose()?
        .unwrap_or(false);
    if compress && (files == 1 || max_size_bytes.is_none()) {
        return Err(
            "compress cannot be true when max-file is less than 2 or max-size is not set"
                .to_owned(),
        );
    }
    let mut attributes = attributes::extra(info, str::to_owned)?;
    let tag = template::tag(info, "")?;
    if !tag.is_empty() {
        attributes.insert("tag".to_owned(), tag);
    }
    Ok(LogFile {
        path,
        format: LogFormat::JsonLines { attributes },
        max_size_bytes,
        max_files: bounded(files),
        compress,
    })
}

/// The driver `local`, and with a prefix to its options the cache beside a remote driver.
pub(super) fn local(own: &Options, path: PathBuf, prefix: &str) -> Result<LogFile, String> {
    let option = |name: &str| own.get(&format!("{prefix}{name}"));
    let size = match option("max-size") {
        None => LOCAL_SIZE_BYTES,
        Some(text) => options::decimal_size(text)
            .map_err(|error| format!("invalid value for max-size: {text}: {error}"))?,
    };
    let files = match option("max-file") {
        None => LOCAL_FILES,
        Some(text) => options::integer(text)
            .map_err(|error| format!("invalid value for max-file: {text}: {error}"))?,
    };
    let compress = match option("compress") {
        None => true,
        Some(text) => options::boolean(text)
            .map_err(|error| format!("error reading compress log option: {error}"))?,
    };
    if files < 0 {
        return Err("max file count cannot be less than 0".to_owned());
    }
    if compress && files <= 1 {
        return Err("compression cannot be enabled when max file count is 1".to_owned());
    }
    Ok(LogFile {
        path,
        format: LogFormat::Entries,
        max_size_bytes: Some(size),
        max_files: bounded(files),
        compress,
    })
}

fn bounded(files: i64) -> u32 {
    u32::try_from(files)
        .unwrap_or(MAX_FILES)
        .clamp(1, MAX_FILES)
}
