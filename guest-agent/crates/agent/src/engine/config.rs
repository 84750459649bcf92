//! `daemon.json`: Docker's keys, as far as this engine knows them. An unknown key is an error, as it is for dockerd.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Largest file that is read.
const MAX_BYTES: usize = 1 << 20;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    /// Log more.
    pub(super) debug: bool,
}

const KNOWN_KEYS: &[&str] = &["debug"];

/// Reads it; no file is no settings.
pub(super) fn load(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let bytes = std::fs::read(path)
        .with_context(|| format!("read the configuration {}", path.display()))?;
    parse(&bytes).with_context(|| {
        format!(
            "unable to configure the engine with file {}",
            path.display()
        )
    })
}

fn parse(bytes: &[u8]) -> Result<Config> {
    if bytes.len() > MAX_BYTES {
        bail!("the file is over {MAX_BYTES} bytes");
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(Config::default());
    }
    let keys: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(bytes).context("it is not a JSON object")?;
    let unknown: Vec<&str> = keys
        .keys()
        .map(String::as_str)
        .filter(|key| !KNOWN_KEYS.contains(key))
        .collect();
    if !unknown.is_empty() {
        bail!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        );
    }
    serde_json::from_value(serde_json::Value::Object(keys)).context("a value does not fit its key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_are_taken_and_unknown_ones_named() {
        assert!(parse(br#"{"debug": true}"#).expect("valid").debug);
        assert_eq!(parse(b" ").expect("empty"), Config::default());
        let error = parse(br#"{"debug": true, "bogus": 1}"#)
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("bogus") && !error.contains("debug"),
            "{error}"
        );
    }

    #[test]
    fn a_broken_file_is_an_error_that_says_where() {
        for bad in [&b"{"[..], b"[]", br#"{"debug": 1}"#] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
