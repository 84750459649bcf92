//! Image content on disk: names, blobs, unpacked layers, and containers' own layers on top of them.
//!
//! The model is that of Docker's "containerd image store": an image is what its name points at, an index or a manifest, and that document's digest is
//! its ID. Blobs are kept as they travelled, so that what is saved or pushed is byte for byte what came.
//!
//! [`ImageStore`] serves the ports of the engine for images, [`engine::ports::images::Images`], for containers' roots,
//! [`engine::ports::rootfs::RootfsStore`], and for the files in them, [`engine::ports::files::Files`]. It knows nothing of
//! registries or of running containers.
//!
//! Archives are hostile. Nothing in one can reach outside of its folder: each name in a layer is resolved by the kernel inside the layer's root
//! (`openat2`, `RESOLVE_IN_ROOT`), and only then, relative to that descriptor, is anything made. Documents, names and counts have bounds.
//!
//! Spec: OCI image.

mod archive;
mod blobs;
mod bounded;
mod commit;
mod containers;
mod document;
mod error;
mod files;
mod garbage;
pub mod hostile;
mod image;
mod images;
mod ingest;
mod layers;
mod load;
mod lookup;
mod make;
mod names;
mod pax;
mod remove;
mod root;
mod save;
mod sparse;
mod store;
mod stream;
mod sys;
mod tree;
pub mod unpack;

pub use store::ImageStore;
pub use unpack::{UnpackError, unpack};
