//! What is known of containers, kept over ends of the engine and of the machine. Served by `state-db`.

use std::path::PathBuf;

use async_trait::async_trait;
use errdefs::Result;

use crate::{
    containers::{record::ContainerRecord, state::State},
    id::ContainerId,
};

/// A container as it was kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it is.
    pub record: ContainerRecord,
    /// How it stood when the engine last wrote it down.
    pub state: State,
}

/// Keeps containers.
#[async_trait]
pub trait Store: Send + Sync {
    /// All of them, oldest first.
    async fn containers(&self) -> Result<Vec<Kept>>;

    /// Keeps a new container, or a changed one. Durable when it returns.
    async fn put(&self, record: &ContainerRecord) -> Result<()>;

    /// Forgets a container and removes its folder. Durable when it returns. Idempotent.
    async fn remove(&self, id: &ContainerId) -> Result<()>;

    /// Writes down how a container stands. Survives an end of the engine; a power cut may lose the last of it unless it is to be `durable`.
    async fn save_state(&self, id: &ContainerId, state: &State, durable: bool) -> Result<()>;

    /// The container's folder on the data disk: log, and the files below.
    fn folder(&self, id: &ContainerId) -> PathBuf;

    /// Replaces one file in the folder, and says where it is. On the start path.
    async fn write_file(&self, id: &ContainerId, name: &str, content: &[u8]) -> Result<PathBuf>;

    /// One file of the folder; a container may have changed it. At most 1 MiB of it.
    async fn read_file(&self, id: &ContainerId, name: &str) -> Result<Vec<u8>>;
}
