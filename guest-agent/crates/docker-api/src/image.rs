//! Images. Docker API: definitions ImageInspect, ImageSummary, ImageDeleteResponseItem, HistoryResponseItem.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inspect::{GraphDriver, OciDescriptor, OciPlatform};

/// `GET /images/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageInspect {
    /// `sha256:…` of what the name points at.
    pub id: String,
    /// Names with tags.
    pub repo_tags: Vec<String>,
    /// Names with digests.
    pub repo_digests: Vec<String>,
    /// ID of the image it was committed on; empty otherwise.
    pub parent: String,
    /// Comment of the last step.
    pub comment: String,
    /// RFC 3339.
    pub created: String,
    /// Always empty.
    pub docker_version: String,
    /// Author.
    pub author: String,
    /// In Go's words.
    pub architecture: String,
    /// `v8` and the like.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// `linux`.
    pub os: String,
    /// Bytes.
    pub size: u64,
    /// The same once more; before 1.44.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
    /// Storage driver.
    pub graph_driver: GraphDriver,
    /// Layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// What the engine keeps beside it.
    pub metadata: ImageMetadata,
    /// What the name points at; since 1.48.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<OciDescriptor>,
    /// The image's own settings, as the config has them.
    pub config: serde_json::Value,
}

/// Layers of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Diff ids, base first.
    pub layers: Vec<String>,
}

/// What the engine keeps beside an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageMetadata {
    /// RFC 3339.
    pub last_tag_time: String,
}

/// One image in `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageSummary {
    /// Containers that use it, since 1.51; -1: not counted.
    pub containers: i64,
    /// Seconds since 1970-01-01 UTC.
    pub created: i64,
    /// `sha256:…`.
    pub id: String,
    /// User labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// ID of the image it was committed on; empty otherwise.
    pub parent_id: String,
    /// What the name points at; since 1.48.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<OciDescriptor>,
    /// Names with digests.
    pub repo_digests: Vec<String>,
    /// Names with tags.
    pub repo_tags: Vec<String>,
    /// Bytes shared with others; -1: not counted.
    pub shared_size: i64,
    /// Bytes.
    pub size: u64,
    /// The same once more; before 1.44.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
}

/// One thing that was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageDeleted {
    /// A name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged: Option<String>,
    /// An image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
}

/// `POST /images/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImagesPruned {
    /// What was removed; `null`: nothing.
    pub images_deleted: Option<Vec<ImageDeleted>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// One step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryItem {
    /// Comment.
    pub comment: String,
    /// Seconds since 1970-01-01 UTC.
    pub created: i64,
    /// What made it.
    pub created_by: String,
    /// Image ID for the last step, else `<missing>`.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// Names for the last step; `null`: none.
    pub tags: Option<Vec<String>>,
}

/// `GET /distribution/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DistributionInspect {
    /// What the name points at.
    pub descriptor: OciDescriptor,
    /// The platforms it has.
    pub platforms: Vec<OciPlatform>,
}
