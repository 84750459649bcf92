//! Volumes. Served by `volumes`.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use errdefs::Result;

use super::world::Timestamp;

/// A volume as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, or 64 hex digits when anonymous.
    pub name: String,
    /// `local`.
    pub driver: String,
    /// Where its content is.
    pub mountpoint: PathBuf,
    /// User labels; anonymous ones carry `com.docker.volume.anonymous`.
    pub labels: BTreeMap<String, String>,
    /// Driver options as asked for.
    pub options: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

/// What a new volume should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Name; the caller has made one up for anonymous volumes.
    pub name: String,
    /// Driver; empty: local.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options.
    pub options: BTreeMap<String, String>,
    /// Creation time.
    pub created: Timestamp,
}

/// Volumes on disk.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Makes it unless it exists; an existing one is returned as it is. Durable when it returns. True: it is new (and empty).
    async fn ensure(&self, request: NewVolume) -> Result<(Volume, bool)>;
    /// By name.
    ///
    /// # Errors
    /// `NotFound`: `get NAME: no such volume`.
    async fn get(&self, name: &str) -> Result<Volume>;
    /// All, by name.
    async fn list(&self) -> Result<Vec<Volume>>;
    /// Removes it and its content. The caller has checked that nothing uses it. Idempotent.
    async fn remove(&self, name: &str) -> Result<()>;
    /// Makes it ready to be bind mounted (mounts `local` volumes with options) and says where.
    async fn mount(&self, name: &str) -> Result<PathBuf>;
    /// Undoes `mount`.
    async fn unmount(&self, name: &str) -> Result<()>;
    /// Opens what is at a path inside a mounted volume; links lead no further than the volume.
    ///
    /// # Errors
    /// `NotFound`: `cannot access path …`; `InvalidParameter`: `path concatenation escapes the base directory…`.
    async fn open_inside(&self, folder: &Path, path: &str) -> Result<OwnedFd>;
    /// Mounts memory of a size at a folder, which is made, for a container that shares its /dev/shm. Idempotent.
    async fn mount_memory(&self, folder: &Path, size_bytes: i64) -> Result<()>;
    /// Undoes it. Idempotent.
    async fn unmount_memory(&self, folder: &Path) -> Result<()>;
    /// Bytes it holds.
    async fn usage(&self, name: &str) -> Result<u64>;
}
