//! OCI words: reference, digest.

mod digest;
mod reference;

pub use digest::{Digest, DigestError};
pub use reference::{DEFAULT_DOMAIN, DEFAULT_TAG, Reference, ReferenceError};
