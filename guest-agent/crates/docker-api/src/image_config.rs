//! An image's config with all that Docker keeps in it. Spec: OCI image, config; Docker adds `Healthcheck`, `OnBuild` and `Shell`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EmptyMap, HealthConfig, container::is_false};

/// The config document of an image. Read it with [`crate::json::from_slice`]: Go writes what is not set as `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfiguration {
    /// RFC 3339; empty: not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// Author.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// In Go's words.
    pub architecture: String,
    /// `v8` and the like.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `linux`.
    pub os: String,
    /// Windows only.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// What containers take over.
    pub config: ImageConfig,
    /// Layers.
    pub rootfs: LayerIds,
    /// Steps of its making, oldest first.
    pub history: Vec<HistoryStep>,
}

/// What containers take over from their image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`; empty: root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports a container listens on, `port[/protocol]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<EmptyMap>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// What is run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// The command is already escaped (Windows only).
    #[serde(skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// Mount points of anonymous volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<EmptyMap>,
    /// Working folder.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// User labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that asks a container to stop.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// How health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Build triggers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Shell for the shell form of commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// Layers of an image, unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerIds {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the tars, base first.
    pub diff_ids: Vec<String>,
}

/// One step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryStep {
    /// RFC 3339; empty: not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// What made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Author.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Comment.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// It made no layer.
    #[serde(skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_adds_to_a_config_is_kept() {
        let text = br#"{"architecture":"amd64","os":"linux","history":null,"rootfs":{"type":"layers","diff_ids":["sha256:x"]},
            "config":{"Env":null,"Cmd":["a"],"Healthcheck":{"Test":["CMD","x"],"Interval":5},"OnBuild":["RUN x"],"Shell":["/bin/ash","-c"],
            "Volumes":{"/v":{}}}}"#;
        let image: ImageConfiguration = crate::json::from_slice(text).expect("valid");
        let shown = serde_json::to_value(&image.config).expect("JSON");
        assert_eq!(
            shown,
            serde_json::json!({"Cmd":["a"],"Healthcheck":{"Test":["CMD","x"],"Interval":5},"OnBuild":["RUN x"],
                "Shell":["/bin/ash","-c"],"Volumes":{"/v":{}}})
        );
        assert_eq!(image.rootfs.diff_ids, ["sha256:x"]);
    }
}
