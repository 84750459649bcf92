//! OCI words: reference, digest, platform, image documents.

mod digest;

pub use digest::{Digest, DigestError};
