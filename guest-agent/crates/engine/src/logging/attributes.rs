//! Labels and variables of a container that go with its output.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::Info;

/// Longest pattern, so that none costs much.
const MAX_PATTERN_BYTES: usize = 4096;

/// What the options `labels`, `labels-regex`, `env` and `env-regex` pick, under names that `key` may change.
///
/// # Errors
/// A pattern is wrong.
pub(super) fn extra(
    info: &Info,
    key: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, String>, String> {
    let labels = info
        .container_labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let variables = info
        .container_env
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .collect();
    let mut picked = BTreeMap::new();
    pick(info, ["labels", "labels-regex"], &labels, &key, &mut picked)?;
    pick(info, ["env", "env-regex"], &variables, &key, &mut picked)?;
    Ok(picked)
}

fn pick(
    info: &Info,
    [list, pattern]: [&str; 2],
    there: &BTreeMap<&str, &str>,
    key: impl Fn(&str) -> String,
    picked: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for name in info.option(list).unwrap_or_default().split(',') {
        if let Some(value) = there.get(name) {
            picked.insert(key(name), (*value).to_owned());
        }
    }
    let pattern = info.option(pattern).unwrap_or_default();
    if pattern.is_empty() {
        return Ok(());
    }
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!("a pattern is over {MAX_PATTERN_BYTES} bytes"));
    }
    let regex = Regex::new(pattern)
        .map_err(|error| format!("error parsing regexp: {error}: `{pattern}`"))?;
    for (name, value) in there.iter().filter(|(name, _)| regex.is_match(name)) {
        picked.insert(key(name), (*value).to_owned());
    }
    Ok(())
}
