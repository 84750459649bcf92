//! Images by name, and the way new ones come in. Served by `image-store`.

use async_trait::async_trait;
use docker_api::ImageConfiguration;
use errdefs::Result;
use oci::{Digest, Reference};
use tokio::sync::mpsc;

use super::{ByteReader, world::Timestamp};

/// A step of a long operation, told to the client as it happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it is about: 12 digits of a layer, a tag; empty: the whole.
    pub id: String,
    /// In Docker's words, e.g. `Downloading`.
    pub status: String,
    /// Bytes done and, where known, all.
    pub bytes: Option<(u64, Option<u64>)>,
}

/// Where progress is told. Nobody listening is fine, and a full channel only loses a step.
pub type ProgressSender = mpsc::Sender<Progress>;

/// What points at a blob. Spec: OCI image, descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// An image as it stands, for one platform.
#[derive(Debug, Clone)]
pub struct Image {
    /// What the names point at (index or manifest); its digest is Docker's image ID.
    pub target: Descriptor,
    /// The platform's manifest.
    pub manifest: Descriptor,
    /// Parsed config. Spec: OCI image, config.
    pub config: ImageConfiguration,
    /// Canonical names with tags (`docker.io/library/busybox:latest`), sorted.
    pub tags: Vec<String>,
    /// Canonical names with digests (`docker.io/library/busybox@sha256:…`), sorted.
    pub digests: Vec<String>,
    /// Bytes of its layers, unpacked, and of its documents.
    pub size_bytes: u64,
    /// Bytes of each layer, unpacked, base first.
    pub layer_sizes: Vec<u64>,
    /// When a name was last given.
    pub tagged: Timestamp,
    /// ID of the image it was committed on, if that was done here.
    pub parent: Option<Digest>,
}

/// What removing a name did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone (familiar form, `busybox:latest` or `busybox@sha256:…`).
    Untagged(String),
    /// The image is gone.
    Deleted(Digest),
}

/// One image of an archive that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its ID.
    pub id: Digest,
    /// The names it got (familiar form); none: known by its ID only.
    pub names: Vec<String>,
}

/// Images on disk.
#[async_trait]
pub trait Images: Send + Sync {
    /// Every image, newest first by creation.
    async fn list(&self) -> Result<Vec<Image>>;

    /// By name, `name@digest`, id or unique id prefix.
    ///
    /// # Errors
    /// As [`super::rootfs::RootfsStore::pick`].
    async fn get(&self, reference: &str, platform: Option<&str>) -> Result<Image>;

    /// Gives an image another name; a name that another image had moves. Durable when it returns.
    ///
    /// # Errors
    /// `NotFound`.
    async fn tag(&self, reference: &str, name: &Reference) -> Result<()>;

    /// Takes a name away, or by id all names when there is one at most or `force`. Content that nothing needs goes with the last name;
    /// containers hold theirs (see `in_use`).
    ///
    /// # Errors
    /// Docker's texts: `Conflict` (exit of `docker rmi`): `conflict: unable to delete <12> (must be forced) - image is referenced in multiple
    /// repositories`. What a container needs is checked by the caller.
    async fn remove(&self, reference: &str, force: bool) -> Result<Vec<Removed>>;

    /// Reads an archive of `docker save` or an OCI layout, plain or compressed (gzip, zstd); hostile input. Durable when it returns.
    ///
    /// # Errors
    /// `InvalidParameter` for what is no such archive or does not fit its digests; nothing of it is kept then.
    async fn load(&self, archive: ByteReader, progress: ProgressSender) -> Result<Vec<Loaded>>;

    /// Writes an archive that is both: `docker save`'s and an OCI layout. The content is held until it was read.
    async fn save(&self, references: &[String], platform: Option<&str>) -> Result<ByteReader>;

    /// Begins to take in an image from elsewhere; what it has taken is kept from removal until it is dropped.
    async fn ingest(&self) -> Result<Box<dyn Ingest>>;
}

/// An image that is coming in.
#[async_trait]
pub trait Ingest: Send + Sync {
    /// A document that is there already (≤ 8 MiB).
    async fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>>;

    /// Opens a blob for writing, going on where an earlier try ended. `None`: it is there already.
    async fn blob(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn BlobWriter>>>;

    /// True: the layer of this chain is unpacked already, so its blob is not needed. `diff_ids` base first, up to the layer.
    async fn has_layer(&self, diff_ids: &[Digest]) -> Result<bool>;

    /// Unpacks one layer on what is below it. Idempotent. `diff_ids` base first, its own last; checked against the content.
    ///
    /// # Errors
    /// `DataLoss` when the blob does not fit its digest or diff id: the damaged blob is removed, so that a next try fetches it anew.
    async fn unpack(
        &self,
        descriptor: &Descriptor,
        diff_ids: &[Digest],
        progress: ProgressSender,
    ) -> Result<()>;

    /// Names the image. `target` is what the registry's name points at; `manifest` is the one of the platform. Durable when it returns.
    async fn finish(&self, name: &Reference, target: &Descriptor, manifest: &Digest) -> Result<()>;
}

/// A blob that is being written.
#[async_trait]
pub trait BlobWriter: Send {
    /// Bytes that are there.
    fn offset(&self) -> u64;
    /// Adds bytes.
    ///
    /// # Errors
    /// More than the descriptor says; a full disk.
    async fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Throws away what is there.
    async fn restart(&mut self) -> Result<()>;
    /// Checks size and digest and keeps it.
    ///
    /// # Errors
    /// `DataLoss` when they do not fit; what was written is thrown away.
    async fn commit(self: Box<Self>) -> Result<()>;
}
