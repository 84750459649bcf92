//! What the engine says about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /version`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SystemVersion {
    /// Who makes the product.
    pub platform: Platform,
    /// The parts and their versions.
    pub components: Vec<ComponentVersion>,
    /// Version of the engine.
    pub version: String,
    /// Newest API version that is served.
    pub api_version: String,
    /// Oldest API version that is served.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// Commit the engine was built from.
    pub git_commit: String,
    /// Always empty here: this engine has no Go in it; clients print the field.
    pub go_version: String,
    /// Operating system.
    pub os: String,
    /// Architecture in Go's words, e.g. `amd64`.
    pub arch: String,
    /// Release of the running kernel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kernel_version: String,
    /// When it was built.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_time: String,
}

/// The product's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Platform {
    /// Name.
    pub name: String,
}

/// One part of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ComponentVersion {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// What else there is to say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Every error that is not a success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The text a client shows.
    pub message: String,
}
