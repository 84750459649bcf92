//! Files of containers. Docker API: /containers/{id}/archive and /changes; POST /commit.

use serde::{Deserialize, Serialize};

/// What is at a path: the header `X-Docker-Container-Path-Stat`, JSON in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPathStat {
    /// The last part of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode`.
    pub mode: u32,
    /// RFC 3339.
    pub mtime: String,
    /// Where a link ends; empty: it is none.
    pub link_target: String,
}

/// One difference between a container and its image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FilesystemChange {
    /// Absolute.
    pub path: String,
    /// 0: modified, 1: added, 2: deleted.
    pub kind: u8,
}
