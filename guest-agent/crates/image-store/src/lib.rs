//! Image content on disk.
//!
//! So far: [`unpack`] turns a layer's tar into a folder that overlayfs can use. Blobs, names and containers' own layers come next.
//!
//! Archives are hostile. Nothing in one can reach outside of its folder: each name is resolved by the kernel inside the layer's root
//! (`openat2`, `RESOLVE_IN_ROOT`), and only then, relative to that descriptor, is anything made.

mod root;
pub mod unpack;

pub use unpack::{UnpackError, unpack};
