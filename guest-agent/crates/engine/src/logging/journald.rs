//! `journald`. Docker: daemon/logger/journald.

use super::{Info, Options, attributes, template, unknown};
use crate::ports::logging::Protocol;

const OPTIONS: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];

pub(super) fn check(own: &Options) -> Result<(), String> {
    match unknown(own, &OPTIONS) {
        Some(name) => Err(format!("unknown log opt '{name}' for journald log driver")),
        None => Ok(()),
    }
}

pub(super) fn protocol(info: &Info) -> Result<Protocol, String> {
    let tag = template::tag(info, template::DEFAULT)?;
    let mut fields: std::collections::BTreeMap<String, String> = [
        ("CONTAINER_ID", template::short(&info.container_id)),
        ("CONTAINER_ID_FULL", info.container_id.as_str()),
        (
            "CONTAINER_NAME",
            info.container_name.trim_start_matches('/'),
        ),
        ("CONTAINER_TAG", tag.as_str()),
        ("IMAGE_NAME", info.container_image_name.as_str()),
        ("SYSLOG_IDENTIFIER", tag.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let extra = attributes::extra(info, field_name)?;
    // What is left without a name cannot be sent.
    fields.extend(extra.into_iter().filter(|(name, _)| !name.is_empty()));
    Ok(Protocol::Journald { fields })
}

/// A name the journal takes: capital letters, digits and underscores, none of these first.
fn field_name(name: &str) -> String {
    let capitals: String = name
        .chars()
        .map(|c| match c {
            'a'..='z' => c.to_ascii_uppercase(),
            'A'..='Z' | '0'..='9' => c,
            _ => '_',
        })
        .collect();
    capitals.trim_start_matches('_').to_owned()
}
