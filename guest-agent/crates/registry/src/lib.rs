//! Pull and push against OCI registries.
