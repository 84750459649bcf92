//! OCI words: reference, digest, platform.

mod digest;
mod platform;
mod reference;

pub use digest::{Digest, DigestError};
pub use platform::Platform;
pub use reference::{DEFAULT_DOMAIN, DEFAULT_TAG, Reference, ReferenceError};
