//! Answers as a client of some version reads them.

use std::borrow::Cow;

use docker_api::{
    EventMessage,
    image::{ImageInspect, ImageSummary},
    inspect::{ContainerInspect, ContainerSummary},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::version::ApiVersion;

/// The default bridge's end was shown twice.
const BRIDGE_ONCE_MORE: [&str; 14] = [
    "Bridge",
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "HairpinMode",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "LinkLocalIPv6Address",
    "LinkLocalIPv6PrefixLen",
    "MacAddress",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
];

/// Settings of a container that an image's settings were shown with, always empty.
const NOT_OF_IMAGES: [(&str, Value); 9] = [
    ("AttachStderr", Value::Bool(false)),
    ("AttachStdin", Value::Bool(false)),
    ("AttachStdout", Value::Bool(false)),
    ("Domainname", Value::String(String::new())),
    ("Hostname", Value::String(String::new())),
    ("Image", Value::String(String::new())),
    ("OpenStdin", Value::Bool(false)),
    ("StdinOnce", Value::Bool(false)),
    ("Tty", Value::Bool(false)),
];

/// An answer: most are only changed in what they have, and keep Docker's order of fields.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown<T> {
    Whole(Box<T>),
    /// Some fields are left out, or others.
    Cut(Value),
}

/// `GET /containers/{id}/json`.
pub(crate) fn container(
    mut shown: ContainerInspect,
    version: ApiVersion,
) -> Shown<ContainerInspect> {
    if version < ApiVersion::v1(48) {
        shown.image_manifest_descriptor = None;
    }
    if version < ApiVersion::v1(52) {
        return Shown::Whole(Box::new(shown));
    }
    let storage = json!({"RootFS": {"Snapshot": {"Name": shown.graph_driver.name}}});
    let mut shown = value(&shown);
    remove(&mut shown, "/NetworkSettings", &BRIDGE_ONCE_MORE);
    remove(&mut shown, "/Config", &["MacAddress"]);
    remove_empty(&mut shown, "/Config", &["OnBuild"]);
    remove(&mut shown, "/HostConfig", &["KernelMemoryTCP"]);
    remove(&mut shown, "", &["GraphDriver"]);
    set(&mut shown, "Storage", storage);
    Shown::Cut(shown)
}

/// `GET /containers/json`.
pub(crate) fn containers(
    mut shown: Vec<ContainerSummary>,
    version: ApiVersion,
) -> Vec<ContainerSummary> {
    for one in &mut shown {
        if version < ApiVersion::v1(46) {
            one.host_config.annotations = None;
        }
        if version < ApiVersion::v1(48) {
            one.image_manifest_descriptor = None;
        }
        if version < ApiVersion::v1(52) {
            one.health = None;
        }
    }
    shown
}

/// `GET /images/{name}/json`.
pub(crate) fn image(mut shown: ImageInspect, version: ApiVersion) -> Shown<ImageInspect> {
    if version < ApiVersion::v1(44) {
        shown.virtual_size = Some(shown.size);
    }
    if version < ApiVersion::v1(48) {
        shown.descriptor = None;
    }
    if version < ApiVersion::v1(50)
        && let Some(settings) = shown.config.as_object_mut()
    {
        for (name, nothing) in NOT_OF_IMAGES {
            settings.entry(name).or_insert(nothing);
        }
    }
    if version < ApiVersion::v1(52) {
        return Shown::Whole(Box::new(shown));
    }
    let settings = [
        "Cmd",
        "Entrypoint",
        "Env",
        "Labels",
        "OnBuild",
        "User",
        "Volumes",
        "WorkingDir",
    ];
    let own = ["Parent", "Comment", "DockerVersion", "Author"];
    let mut shown = value(&shown);
    remove_empty(&mut shown, "/Config", &settings);
    remove_empty(&mut shown, "", &own);
    remove(&mut shown, "", &["GraphDriver"]);
    Shown::Cut(shown)
}

/// `GET /images/json`.
pub(crate) fn images(shown: Vec<ImageSummary>, version: ApiVersion) -> Vec<ImageSummary> {
    let mut shown = measured_images(shown, version);
    for one in &mut shown {
        if version < ApiVersion::v1(43) && one.repo_tags.is_empty() && one.repo_digests.is_empty() {
            one.repo_tags = vec!["<none>:<none>".to_owned()];
            one.repo_digests = vec!["<none>@<none>".to_owned()];
        }
        if version < ApiVersion::v1(48) {
            one.descriptor = None;
        }
        if version < ApiVersion::v1(51) {
            one.containers = -1;
        }
    }
    shown
}

/// Images in `GET /system/df`: all fields but one are there for every version.
pub(crate) fn measured_images(
    mut shown: Vec<ImageSummary>,
    version: ApiVersion,
) -> Vec<ImageSummary> {
    for one in &mut shown {
        one.virtual_size = (version < ApiVersion::v1(44)).then_some(one.size);
    }
    shown
}

/// `GET /info`.
pub(crate) fn info(mut shown: Value, version: ApiVersion) -> Value {
    let before = |minor| version < ApiVersion::v1(minor);
    if before(47) {
        for name in [
            "AllowNondistributableArtifactsCIDRs",
            "AllowNondistributableArtifactsHostnames",
        ] {
            set_in(&mut shown, "/RegistryConfig", name, Value::Null);
        }
    }
    if before(49) {
        remove(&mut shown, "", &["FirewallBackend"]);
        for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            let id = shown
                .pointer(&format!("/{name}/ID"))
                .and_then(Value::as_str);
            if let Some(id) = id.filter(|id| !id.is_empty()).map(str::to_owned) {
                set_in(&mut shown, &format!("/{name}"), "Expected", json!(id));
            }
        }
    }
    if before(50) {
        set(&mut shown, "BridgeNfIptables", json!(false));
        set(&mut shown, "BridgeNfIp6tables", json!(false));
    }
    if before(42) {
        set(&mut shown, "KernelMemory", json!(false));
    }
    shown
}

/// One event; none: a client of that version does not know its like.
pub(crate) fn event(event: &EventMessage, version: ApiVersion) -> Option<Cow<'_, EventMessage>> {
    if version < ApiVersion::v1(46) && event.kind == "image" && event.action == "create" {
        return None;
    }
    if version < ApiVersion::v1(52) {
        return Some(Cow::Borrowed(event));
    }
    Some(Cow::Owned(EventMessage {
        status: String::new(),
        id: String::new(),
        from: String::new(),
        ..event.clone()
    }))
}

fn value(shown: &impl Serialize) -> Value {
    serde_json::to_value(shown).unwrap_or_default()
}

fn object<'a>(shown: &'a mut Value, at: &str) -> Option<&'a mut Map<String, Value>> {
    shown.pointer_mut(at).and_then(Value::as_object_mut)
}

fn set(shown: &mut Value, name: &str, value: Value) {
    set_in(shown, "", name, value);
}

fn set_in(shown: &mut Value, at: &str, name: &str, value: Value) {
    if let Some(object) = object(shown, at) {
        object.insert(name.to_owned(), value);
    }
}

fn remove(shown: &mut Value, at: &str, names: &[&str]) {
    if let Some(object) = object(shown, at) {
        object.retain(|name, _| !names.contains(&name.as_str()));
    }
}

/// What Go calls empty.
fn remove_empty(shown: &mut Value, at: &str, names: &[&str]) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    if let Some(object) = object(shown, at) {
        object.retain(|name, value| !names.contains(&name.as_str()) || !is_empty(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(shown: &Value, at: &str) -> Vec<String> {
        let object = shown.pointer(at).and_then(Value::as_object);
        object.expect("an object").keys().cloned().collect()
    }

    #[test]
    fn a_container_is_shown_as_its_client_knows_it() {
        let shown = |minor| container(ContainerInspect::default(), ApiVersion::v1(minor));
        let (old, new) = (value(&shown(51)), value(&shown(52)));
        let text = serde_json::to_string(&shown(51)).expect("JSON");
        assert!(text.starts_with(r#"{"Id":"","Created":"#), "{text}");
        assert!(keys(&old, "/NetworkSettings").contains(&"IPAddress".to_owned()));
        assert_eq!(old.pointer("/Config/OnBuild"), Some(&Value::Null));
        assert_eq!(
            keys(&new, "/NetworkSettings"),
            ["Networks", "Ports", "SandboxID", "SandboxKey"]
        );
        assert!(new.pointer("/Config/OnBuild").is_none() && new.get("GraphDriver").is_none());
        assert!(new.pointer("/Storage/RootFS/Snapshot/Name").is_some());
    }

    #[test]
    fn an_image_is_shown_as_its_client_knows_it() {
        let inspect = || ImageInspect {
            size: 7,
            config: json!({"Cmd": ["sh"], "Env": null, "User": ""}),
            ..ImageInspect::default()
        };
        let shown = |minor| value(&image(inspect(), ApiVersion::v1(minor)));
        let oldest = shown(43);
        assert_eq!(oldest["VirtualSize"], 7);
        assert_eq!(oldest["Config"]["Tty"], false);
        let old = shown(50);
        assert!(old.get("VirtualSize").is_none() && old["Config"].get("Tty").is_none());
        assert_eq!(old["Parent"], "");
        let new = shown(52);
        assert_eq!(new["Config"], json!({"Cmd": ["sh"]}));
        assert!(new.get("Parent").is_none() && new.get("Author").is_none());
    }

    #[test]
    fn lists_and_info_lose_what_came_later() {
        let summary = ImageSummary {
            containers: 2,
            size: 7,
            ..ImageSummary::default()
        };
        let old = images(vec![summary.clone()], ApiVersion::v1(42)).remove(0);
        assert_eq!((old.containers, old.virtual_size), (-1, Some(7)));
        assert_eq!(old.repo_tags, ["<none>:<none>"]);
        assert_eq!(images(vec![summary.clone()], ApiVersion::v1(51)), [summary]);

        let shown = json!({"RuncCommit": {"ID": "x"}, "RegistryConfig": {}, "FirewallBackend": {}});
        let old = info(shown.clone(), ApiVersion::v1(46));
        assert_eq!(old["RuncCommit"]["Expected"], "x");
        assert_eq!(
            (&old["BridgeNfIptables"], old.get("FirewallBackend")),
            (&json!(false), None)
        );
        assert_eq!(info(shown.clone(), ApiVersion::v1(51)), shown);
    }

    #[test]
    fn an_event_repeats_itself_for_old_clients_only() {
        let told = EventMessage {
            id: "a".into(),
            status: "start".into(),
            ..EventMessage::default()
        };
        assert_eq!(*event(&told, ApiVersion::v1(51)).expect("told"), told);
        assert_eq!(
            *event(&told, ApiVersion::v1(52)).expect("told"),
            EventMessage::default()
        );
        let create = EventMessage {
            kind: "image".into(),
            action: "create".into(),
            ..told
        };
        assert!(event(&create, ApiVersion::v1(45)).is_none());
    }
}
