//! Images as containers need them, and the containers' own layers. Served by `image-store`.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use errdefs::Result;
use oci::Digest;
use serde::{Deserialize, Serialize};

use super::images::Descriptor;
use crate::id::ContainerId;

/// An image picked for a container: one platform's manifest of what the name points at.
#[derive(Debug, Clone)]
pub struct PickedImage {
    /// What the name points at (index or manifest): Docker's image ID.
    pub id: Digest,
    /// The platform's manifest.
    pub manifest: Descriptor,
    /// Canonical name if it was found by name (`docker.io/library/busybox:latest`).
    pub name: Option<String>,
    /// Parsed image config. Spec: OCI image, config.
    pub config: docker_api::ImageConfiguration,
    /// Chain IDs from base to top.
    pub layers: Vec<Digest>,
}

/// How a container's root is put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay to be mounted in the container's own mount namespace.
    Overlay {
        /// Read-only folders, topmost first.
        lower: Vec<PathBuf>,
        /// Writable folder.
        upper: PathBuf,
        /// overlayfs' work folder.
        work: PathBuf,
    },
    /// A folder that is the root already.
    Folder(PathBuf),
}

/// The image side of containers.
#[async_trait]
pub trait RootfsStore: Send + Sync {
    /// Finds an image by name, `name@digest`, id or unique id prefix, for a platform (`os/arch[/variant]`; none: the machine's).
    ///
    /// # Errors
    /// `NotFound`: `No such image: nosuch:latest`, or
    /// `image with reference busybox:latest was found but does not provide the specified platform (linux/s390x)`.
    async fn pick(&self, reference: &str, platform: Option<&str>) -> Result<PickedImage>;

    /// Makes the container's own writable layer on an image; holds the image's content until `remove`. Durable when it returns. Idempotent.
    async fn create(&self, container: &ContainerId, image: &PickedImage) -> Result<()>;

    /// How to mount it. No disk writes; on the start path.
    async fn mounts(&self, container: &ContainerId) -> Result<Rootfs>;

    /// Removes the writable layer. Idempotent.
    async fn remove(&self, container: &ContainerId) -> Result<()>;

    /// Every container that has a writable layer, to find orphans after a crash.
    async fn containers(&self) -> Result<Vec<ContainerId>>;

    /// Bytes used by the writable layer, and by the image below it.
    async fn usage(&self, container: &ContainerId) -> Result<(u64, u64)>;

    /// Copies what the container has at `path` (resolved inside its root) into an empty folder, with owner, mode and xattrs: fills new
    /// volumes. True when something was copied; nothing at `path` is no error.
    async fn copy_up(&self, container: &ContainerId, path: &Path, target: &Path) -> Result<bool>;

    /// Reads one small file (≤ 1 MiB) of the container's root, e.g. `/etc/passwd`; symlinks resolve inside. None: no such file.
    async fn read_file(&self, container: &ContainerId, path: &Path) -> Result<Option<Vec<u8>>>;
}
