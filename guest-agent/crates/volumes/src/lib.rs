//! The local volume driver: a folder a volume.
//!
//! ```text
//! <root>/<name>/_data          the content, what containers mount
//! <root>/<name>/volume.json    driver, labels, options, creation time; written before the volume is announced
//! <root>/.removed-<n>          on its way out: renamed first, so that half a removal is never seen
//! ```
//! Knows nothing of who uses a volume: the engine asks for removal only when nobody does. Files that somebody else put into the root are left
//! alone and not shown.

mod disk;
mod name;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use disk::Disk;
use engine::ports::volumes::{NewVolume, Volume, Volumes};
use errdefs::{Error, ErrorKind, Result};
pub use name::NameError;

/// Volumes below one folder.
#[derive(Debug, Clone)]
pub struct LocalVolumes {
    disk: Arc<Disk>,
}

impl LocalVolumes {
    /// Opens the folder, making it when it is missing, and finishes removals that were cut off.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(root: PathBuf) -> std::io::Result<Self> {
        Ok(Self {
            disk: Arc::new(Disk::open(root)?),
        })
    }

    /// Runs a piece of disk work where it may block.
    async fn on_disk<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Disk) -> Result<T> + Send + 'static,
    {
        let disk = Arc::clone(&self.disk);
        match tokio::task::spawn_blocking(move || work(&disk)).await {
            Ok(result) => result,
            Err(error) => {
                Err(Error::new(ErrorKind::System, "the volume driver failed").with_source(error))
            }
        }
    }
}

#[async_trait]
impl Volumes for LocalVolumes {
    async fn ensure(&self, request: NewVolume) -> Result<(Volume, bool)> {
        self.on_disk(move |disk| disk.ensure(&request)).await
    }

    async fn get(&self, name: &str) -> Result<Volume> {
        let name = name.to_owned();
        self.on_disk(move |disk| disk.get(&name)).await
    }

    async fn list(&self) -> Result<Vec<Volume>> {
        self.on_disk(Disk::list).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.on_disk(move |disk| disk.remove(&name)).await
    }

    async fn mount(&self, name: &str) -> Result<PathBuf> {
        Ok(self.get(name).await?.mountpoint)
    }

    async fn unmount(&self, _name: &str) -> Result<()> {
        // A volume without options is a folder: there is nothing to undo.
        Ok(())
    }

    async fn usage(&self, name: &str) -> Result<u64> {
        let name = name.to_owned();
        self.on_disk(move |disk| disk.usage(&name)).await
    }
}
