//! New images made here: from a container, or from an archive of files. Served by `image-store`.

use async_trait::async_trait;
use errdefs::Result;
use oci::{Digest, Reference};

use super::ByteReader;
use crate::id::ContainerId;

/// What a new image says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct NewImage {
    /// When it is made, RFC 3339.
    pub created: String,
    /// Who made it; empty: who made the image below, if anybody.
    pub author: String,
    /// What is said of its last layer.
    pub comment: String,
    /// What made its last layer.
    pub created_by: String,
    /// How containers are run from it. Spec: OCI image, config, `config`.
    pub config: serde_json::Value,
    /// Its name; none: known by its ID only.
    pub name: Option<Reference>,
    /// `os/arch[/variant]`; none: the image's below, or the machine's.
    pub platform: Option<String>,
}

/// Makes images.
#[async_trait]
pub trait Commits: Send + Sync {
    /// Makes an image of a container's image and what the container changed. Durable when it returns; its ID.
    async fn commit(&self, container: &ContainerId, image: NewImage) -> Result<Digest>;

    /// Makes an image of one layer from a tar, plain or packed. Durable when it returns; its ID.
    ///
    /// # Errors
    /// `InvalidParameter` for what is no tar, or has what no layer may have; nothing of it is kept then.
    async fn import(&self, archive: ByteReader, image: NewImage) -> Result<Digest>;
}
