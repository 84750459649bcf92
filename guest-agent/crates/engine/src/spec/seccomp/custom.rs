//! A user's profile, as `--security-opt seccomp=` sends it. Docker: profiles/seccomp, JSON format.

use errdefs::Result;
use oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag};
use serde::Deserialize;

use super::{
    super::system,
    rule::{Conditions, Profile, Rule},
};

/// Largest profile; Docker's own has 14 KB.
const MAX_BYTES: usize = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProfileJson {
    default_action: Option<LinuxSeccompAction>,
    default_errno_ret: Option<u32>,
    architectures: Vec<Arch>,
    arch_map: Vec<FamilyJson>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    syscalls: Vec<RuleJson>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FamilyJson {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Vec<Arch>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleJson {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Vec<String>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<LinuxSeccompArg>,
    #[serde(default)]
    includes: ConditionsJson,
    #[serde(default)]
    excludes: ConditionsJson,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConditionsJson {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: String,
}

/// Reads a profile.
///
/// # Errors
/// `System`: `Decoding seccomp profile failed: …`.
pub(super) fn decode(json: &str) -> Result<Profile> {
    let failed = |why: &str| system(format!("Decoding seccomp profile failed: {why}"));
    if json.len() > MAX_BYTES {
        return Err(failed("the profile is too large"));
    }
    let profile: ProfileJson = docker_api::json::from_slice(json.as_bytes())
        .map_err(|error| failed(&error.to_string()))?;
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(both("architectures", "archMap"));
    }
    let mut rules = Vec::new();
    for rule in profile.syscalls {
        rules.push(Rule {
            names: names(rule.name, rule.names)?,
            action: rule.action,
            errno: rule.errno_ret,
            arguments: rule.args,
            includes: conditions(rule.includes).map_err(|why| failed(&why))?,
            excludes: conditions(rule.excludes).map_err(|why| failed(&why))?,
        });
    }
    Ok(Profile {
        default_action: profile.default_action,
        default_errno: profile.default_errno_ret,
        architectures: profile.architectures,
        families: profile
            .arch_map
            .into_iter()
            .map(|family| (family.architecture, family.sub_architectures))
            .collect(),
        flags: profile.flags,
        rules,
    })
}

fn both(one: &str, other: &str) -> errdefs::Error {
    system(format!(
        "both '{one}' and '{other}' are specified in the seccomp profile, use either '{one}' or '{other}'"
    ))
}

/// `name` is the old spelling.
fn names(name: String, names: Vec<String>) -> Result<Vec<String>> {
    match (name.is_empty(), names.is_empty()) {
        (true, _) => Ok(names),
        (false, true) => Ok(vec![name]),
        (false, false) => Err(both("name", "names")),
    }
}

fn conditions(json: ConditionsJson) -> std::result::Result<Conditions, String> {
    Ok(Conditions {
        kernel: kernel(&json.min_kernel)?,
        capabilities: json.caps,
        architectures: json.arches,
    })
}

/// `4.8`; empty says nothing.
fn kernel(text: &str) -> std::result::Result<Option<(u32, u32)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("invalid kernel version: {text:?}, expected \"<kernel>.<major>\"");
    let (kernel, major) = text.split_once('.').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u8>().map(u32::from).map_err(|_| wrong());
    match (number(kernel)?, number(major)?) {
        (0, 0) => Err(format!("{}: version cannot be 0.0", wrong())),
        version => Ok(Some(version)),
    }
}
